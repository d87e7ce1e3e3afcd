"""Score: what would other verifiers have said of rollouts that are there already?

No sampling. Each recorded rollout is scored by every named verifier; where two of them disagree is shown as a table of
pairs and as the most telling rows. A profile can be written anew with the first verifier's rewards.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pivotrl_cli.configs import ScoreConfig
from pivotrl_cli.engines import Completion
from pivotrl_cli.errors import ConfigError, InputError
from pivotrl_cli.rows import Candidate, Message, Profile, Rollout
from pivotrl_cli.stages.profile.samples import Samples
from pivotrl_cli.stages.profile.statistics import ADDED, statistics
from pivotrl_cli.stages.score import audit
from pivotrl_cli.stages.score.recorded_rollouts import Recorded, recorded_rollouts
from pivotrl_cli.stages.shared.judge import cost_row, judge_cost, open_judge
from pivotrl_cli.stages.shared.scoring import mapped, score, score_again
from pivotrl_cli.storage.arrow import with_columns
from pivotrl_cli.storage.provenance import Provenance, source_fingerprint
from pivotrl_cli.storage.table import Table, TableWriter, current_summary, rows_of
from pivotrl_cli.verifiers import Verifier, load_verifier

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pivotrl_cli.verifiers.judge import Judge

RECORDED = "recorded"
"""Name of the rewards that the file has."""
MOST_TELLING = 10


def run(config: ScoreConfig) -> dict[str, Any]:
    """Score again, or audit; returns the summary."""
    stage = _audit if config.audit else _compare if config.output is None else _rescore
    with open_judge(config.verifier or None, config) as judge:
        return stage(config, Loaded(judge)) | judge_cost(judge)


class Loaded(dict[str, Verifier]):
    """Verifiers by name, each loaded when it is first named."""

    def __init__(self, judge: Judge | None) -> None:
        self.judge = judge

    def __missing__(self, name: str) -> Verifier:
        self[name] = load_verifier(name, self.judge)
        return self[name]


def _audit(config: ScoreConfig, verifiers: Loaded) -> dict[str, Any]:
    with Table.open(config.rollouts, Candidate) as table:
        names = config.verifier or table.distinct("verifier")
        if config.verifier and len(config.verifier) > 1:
            raise ConfigError("--audit takes one verifier", "run it once for each")
        override = config.verifier[0] if config.verifier else None
        audited = audit.audit(table, {name: verifiers[name] for name in names}, override)
        return {"audit": audited, "verifiers": names}


def _compare(config: ScoreConfig, verifiers: Loaded) -> dict[str, Any]:
    def scored(recorded: Recorded | None) -> tuple[Recorded, dict[str, Rollout]] | None:
        if recorded is None:
            return None
        names = config.verifier or [recorded.candidate.verifier]
        return recorded, {name: _scored(recorded, verifiers[name]) for name in names}

    agreement = Agreement()
    concurrency = verifiers.judge.concurrency if verifiers.judge else 1
    for found in mapped(scored, recorded_rollouts(config), concurrency):
        if found is None:
            agreement.n_unscored += 1
        else:
            agreement.add(*found)
    if not (agreement.n or agreement.n_unscored or agreement.errors):
        raise InputError(f"{config.rollouts}: no rollouts in it", "sample some: pivotrl profile candidates.parquet")
    return agreement.summary()


def _scored(recorded: Recorded, verify: Verifier) -> Rollout:
    completion = Completion(text="", action=recorded.action)
    return score(recorded.candidate, recorded.sample, completion, verify, "exclude")


@dataclass(slots=True)
class Pair:
    """How two scorers agree."""

    both: int = 0
    neither: int = 0
    only_first: int = 0
    only_second: int = 0
    other: int = 0
    """Partial rewards that are not equal."""

    def add(self, first: float, second: float) -> None:
        """Count one rollout."""
        match first >= 1.0, second >= 1.0:
            case True, True:
                self.both += 1
            case True, False:
                self.only_first += 1
            case False, True:
                self.only_second += 1
            case _:
                self.neither += first == second
                self.other += first != second


@dataclass(slots=True)
class Agreement:
    """Rewards of several scorers on the same rollouts."""

    n: int = 0
    n_unscored: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    sums: Counter[str] = field(default_factory=Counter)
    pairs: dict[tuple[str, str], Pair] = field(default_factory=dict)
    _telling: dict[tuple[str, ...], tuple[float, int, dict[str, Any]]] = field(default_factory=dict)

    def add(self, recorded: Recorded, scored: dict[str, Rollout]) -> None:
        """Count one rollout; only those that every verifier could score are compared."""
        self.errors.update(name for name, rollout in scored.items() if rollout.reward is None)
        rewards = {name: rollout.reward for name, rollout in scored.items() if rollout.reward is not None}
        if len(rewards) < len(scored):
            return
        self.n += 1
        all_rewards = {RECORDED: recorded.reward, **rewards}
        for name, reward in all_rewards.items():
            self.sums[name] += reward  # type: ignore[assignment]
        for first, second in combinations(all_rewards, 2):
            self.pairs.setdefault((first, second), Pair()).add(all_rewards[first], all_rewards[second])
        self._keep_telling(recorded, scored, all_rewards)

    def _keep_telling(self, recorded: Recorded, scored: dict[str, Rollout], rewards: dict[str, float]) -> None:
        """One row per combination of tool and categories: the first with the widest gap."""
        gap = max(rewards.values()) - min(rewards.values())
        if gap == 0.0:
            return
        tool = "+".join(c.name for c in recorded.candidate.expected_action.tool_calls) or "(message)"
        kind = (tool, recorded.verdict, *(r.verdict for r in scored.values()))
        widest, count, row = self._telling.get(kind, (-1.0, 0, {}))
        if gap > widest:
            row = {
                "candidate_id": recorded.candidate.candidate_id,
                "sample": recorded.sample,
                "rewards": rewards,
                "verdicts": {RECORDED: recorded.verdict} | {name: r.verdict for name, r in scored.items()},
                "expected": _brief(recorded.candidate.expected_action),
                "sampled": "(no action)" if recorded.action is None else _brief(recorded.action),
            }
        self._telling[kind] = (max(gap, widest), count + 1, row)

    def summary(self) -> dict[str, Any]:
        """As JSON values; the telling rows by gap and by how many share their kind."""
        telling = sorted(self._telling.values(), key=lambda t: (-t[0], -t[1], t[2]["candidate_id"]))
        return {
            "rollouts": self.n,
            "unscored": self.n_unscored,
            "errors": dict(self.errors),
            "means": {name: total / self.n for name, total in self.sums.items()} if self.n else {},
            "pairs": [
                {"first": a, "second": b, **{f: getattr(p, f) for f in Pair.__slots__}}
                for (a, b), p in self.pairs.items()
            ],
            "telling": [row | {"alike": count} for _, count, row in telling[:MOST_TELLING]],
        }


def _rescore(config: ScoreConfig, verifiers: Loaded) -> dict[str, Any]:
    """Write the profile with new rewards, and compare on the way."""
    assert config.output is not None
    with Table.open(config.rollouts, Profile) as profile:
        names = profile.distinct("verifier")
        used = config.verifier[:1] or names
        fingerprints = {f"verifier {Path(name).name}": source_fingerprint(verifiers[name]) for name in used}
        provenance = Provenance.of("score", Profile, config, [profile.as_input()], fingerprints)
        stored = current_summary(config.output, provenance, config.force)
        if stored is not None:
            return stored | {"cached": True}
        summary = _compare(config, verifiers)
        with TableWriter(config.output, Profile, provenance) as out:
            for table in profile.tables():
                rows = list(rows_of(table, Profile, profile.name))
                added = [_rescored(row, verifiers[(config.verifier or [row.verifier])[0]]) for row in rows]
                kept = table.select(list(Candidate.model_fields))
                out.write_table(with_columns(kept, Profile, {name: [a[name] for a in added] for name in ADDED}))
            out.set_summary(summary)
    return summary


def _rescored(row: Profile, verify: Verifier) -> dict[str, Any]:
    """The columns of a profile row with this verifier's rewards; unmeasured rollouts stay as they are."""
    rollouts = [r if r.reward is None else score_again(row, r, verify) for r in row.rollouts]
    samples = Samples(rollouts=rollouts, prompt_tokens=row.prompt_tokens, template_fault=row.template_fault)
    unchanged = {} if row.rollouts else {"status": row.status, "status_detail": row.status_detail}
    return statistics(samples) | unchanged


def _brief(message: Message, limit: int = 160) -> str:
    calls = " ".join(f"{call.name} {call.arguments}" for call in message.tool_calls)
    text = " ".join((calls or message.content).split())
    return text if len(text) <= limit else text[: limit - 3] + "..."


def describe(summary: dict[str, Any]) -> RenderableType:
    """The comparison, or the audit, for a terminal."""
    if "audit" in summary:
        return audit.describe(summary["audit"])
    from rich.console import Group as RichGroup
    from rich.table import Table as RichTable
    from rich.text import Text

    means = ", ".join(f"{name} {mean:.3f}" for name, mean in summary["means"].items())
    errors = "".join(f", {n:,} errors of {name}" for name, n in summary["errors"].items())
    head = Text(f"{summary['rollouts']:,} rollouts, {summary['unscored']:,} unscored{errors}\nmean reward: {means}")
    pairs = RichTable(box=None, pad_edge=False, title="who accepts", title_justify="left")
    for column in ("first", "second", "both", "only first", "only second", "neither", "other"):
        pairs.add_column(column, justify="left" if column in ("first", "second") else "right", overflow="fold")
    for p in summary["pairs"]:
        counts = (p["both"], p["only_first"], p["only_second"], p["neither"], p["other"])
        pairs.add_row(p["first"], p["second"], *(f"{n:,}" for n in counts))
    cost = [Text(f"{what}: {n}, {more}") for what, n, more in cost_row(summary)]
    return RichGroup(head, *cost, pairs, *_telling_lines(summary["telling"]))


def _telling_lines(rows: list[dict[str, Any]]) -> list[RenderableType]:
    from rich.text import Text

    if not rows:
        return [Text("they agree everywhere")]
    lines: list[RenderableType] = [Text("\nmost telling disagreements")]
    for row in rows:
        says = ", ".join(f"{name} {reward:g} ({row['verdicts'][name]})" for name, reward in row["rewards"].items())
        where = f"{row['candidate_id']} sample {row['sample']}, {row['alike']:,} alike: {says}"
        lines.append(Text(f"{where}\n  expected {row['expected']}\n  sampled  {row['sampled']}"))
    return lines
