"""Profile: K one-turn rollouts at every candidate from the frozen policy, each scored by the verifier (paper, Eq. 4).

For each row group: sample a group of completions at every state, verify each, append the statistics to the
candidate's row. The states themselves pass through as they are stored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from pivotrl_cli.arrow import with_columns
from pivotrl_cli.configs import ProfileConfig
from pivotrl_cli.engines import Engine, Group, Request, Sampling, each_group, open_engine
from pivotrl_cli.engines import fingerprints as engine_fingerprints
from pivotrl_cli.errors import InputError, RunError
from pivotrl_cli.progress import Progress
from pivotrl_cli.provenance import Provenance, source_fingerprint
from pivotrl_cli.rows import Candidate, Profile, ProfileStatus, Rollout
from pivotrl_cli.stages.judging import cost_row, judge_cost, opened_judge
from pivotrl_cli.stages.scoring import score_group
from pivotrl_cli.stats import mean_and_std, rate_interval
from pivotrl_cli.table import Table, TableWriter, current_summary, rows_of
from pivotrl_cli.verifiers import Verifier, load_verifier

if TYPE_CHECKING:
    from rich.console import RenderableType

ADDED = [name for name in Profile.model_fields if name not in Candidate.model_fields]
"""Columns that profiling adds."""


def run(config: ProfileConfig) -> dict[str, Any]:
    """Profile a candidates table; returns the summary."""
    with Table.open(config.candidates, Candidate) as candidates:
        selected = _selection(candidates, config)
        names = _verifier_names(candidates, config)
        with opened_judge(names, config) as judge:
            verifiers = {name: load_verifier(name, judge) for name in names}
            provenance = Provenance.of(
                "profile", Profile, config, [candidates.as_input()], _fingerprints(config, verifiers)
            )
            stored = current_summary(config.output, provenance, config.force)
            summary = (
                stored | {"cached": True}
                if stored is not None
                else _profile(config, candidates, selected, verifiers, provenance) | judge_cost(judge)
            )
    if 0 < summary["rollouts"] == summary["errors"]:
        raise RunError(
            "no rollout could be measured", f"see the error column of {config.output}; --force samples again"
        )
    return summary


def _profile(
    config: ProfileConfig,
    candidates: Table[Candidate],
    selected: np.ndarray,
    verifiers: dict[str, Verifier],
    provenance: Provenance,
) -> dict[str, Any]:
    engine = open_engine(config)
    tally = Tally()
    first = 0
    with (
        TableWriter(config.output, Profile, provenance) as out,
        Progress("profile", int(selected.sum()) * config.n, "rollouts") as bar,
    ):
        for table in candidates.tables():
            chosen = table.filter(pa.array(selected[first : first + table.num_rows]))
            rows = list(rows_of(chosen, Candidate, candidates.name))
            profiled = _profile_rows(rows, engine, verifiers, config, tally, bar)
            out.write_table(with_columns(chosen, Profile, profiled))
            first += table.num_rows
        summary = tally.summary(len(selected) - int(selected.sum()))
        out.set_summary(summary)
    return summary


def _profile_rows(
    rows: list[Candidate],
    engine: Engine,
    verifiers: dict[str, Verifier],
    config: ProfileConfig,
    tally: Tally,
    bar: Progress,
) -> dict[str, list[Any]]:
    """The added columns of these candidates, in their order."""
    by_id = {row.candidate_id: row for row in rows}
    requests = [Request(key=row.candidate_id, state=row.state, tools=row.tools) for row in rows]
    sampling = Sampling(
        n=config.n, temperature=config.temperature, max_new_tokens=config.max_new_tokens, seed=config.seed
    )
    added: dict[str, dict[str, Any]] = {}
    for group in each_group(engine, requests, sampling):
        candidate = by_id[group.request.key]
        verifier = verifiers[config.verifier or candidate.verifier]
        rollouts = score_group(candidate, group.completions, verifier, config.truncated)
        added[candidate.candidate_id] = statistics(group, rollouts)
        tally.add(added[candidate.candidate_id])
        bar.advance(config.n, tally.note())
    return {name: [added[row.candidate_id][name] for row in rows] for name in ADDED}


def statistics(group: Group, rollouts: list[Rollout]) -> dict[str, Any]:
    """What a profile adds to its candidate: the rollouts and what they say of the pass rate."""
    rewards = [r.reward for r in rollouts if r.reward is not None]
    mean, std = mean_and_std(rewards)
    low, high = (None, None) if mean is None else rate_interval(mean, len(rewards))
    status, detail = _status(group, len(rewards))
    return {
        "rollouts": rollouts,
        "n_scored": len(rewards),
        "n_error": sum(r.error is not None for r in rollouts),
        "n_truncated": sum(r.finish_reason == "length" for r in rollouts),
        "prompt_tokens": len(group.prompt_ids) or None,
        "reward_mean": mean,
        "reward_std": std,
        "pass_rate_low": low,
        "pass_rate_high": high,
        "status": status,
        "status_detail": detail,
        "template_fault": group.template_fault,
    }


def _status(group: Group, n_scored: int) -> tuple[ProfileStatus, str]:
    if group.status != "ok":
        return ProfileStatus(group.status), group.detail
    if n_scored == 0:
        return ProfileStatus.NOT_SCORED, "every rollout failed or was cut"
    return ProfileStatus.OK, ""


class Tally:
    """Running counts over profiled candidates."""

    def __init__(self) -> None:
        self.status: Counter[str] = Counter()
        self.verdicts: Counter[str] = Counter()
        self.signal: Counter[str] = Counter()
        self.template_faults: Counter[str] = Counter()
        self.reward_sum = 0.0
        self.counts: Counter[str] = Counter()

    def add(self, added: dict[str, Any]) -> None:
        """Count one profiled candidate."""
        self.status[str(added["status"])] += 1
        if added["template_fault"]:
            self.template_faults[added["template_fault"].partition(":")[0]] += 1
        self.verdicts.update(r.verdict for r in added["rollouts"])
        self.counts["rollouts"] += len(added["rollouts"])
        self.counts["tokens"] += sum(r.n_tokens for r in added["rollouts"])
        for name in ("n_scored", "n_error", "n_truncated"):
            self.counts[name] += added[name]
        if added["reward_mean"] is not None:
            self.reward_sum += added["reward_mean"] * added["n_scored"]
            self.signal[_signal(added["reward_mean"], added["reward_std"])] += 1

    def note(self) -> str:
        """For the progress bar."""
        scored = self.counts["n_scored"]
        return f"pass rate {self.reward_sum / scored:.2f}" if scored else "nothing scored yet"

    def summary(self, n_left_out: int) -> dict[str, Any]:
        """As JSON values."""
        scored = self.counts["n_scored"]
        return {
            "candidates": sum(self.status.values()),
            "left_out": n_left_out,
            "status": dict(sorted(self.status.items())),
            "template_faults": dict(self.template_faults.most_common()),
            "rollouts": self.counts["rollouts"],
            "scored": scored,
            "errors": self.counts["n_error"],
            "truncated": self.counts["n_truncated"],
            "tokens": self.counts["tokens"],
            "reward_mean": self.reward_sum / scored if scored else None,
            "signal": dict(sorted(self.signal.items())),
            "verdicts": dict(self.verdicts.most_common()),
        }


def _signal(mean: float, std: float) -> str:
    if std > 0.0:
        return "mixed"
    return "all_right" if mean == 1.0 else "all_wrong" if mean == 0.0 else "all_equal"


def _selection(candidates: Table[Candidate], config: ProfileConfig) -> np.ndarray:
    """Which rows to profile: those of the split, thinned evenly to the limit."""
    split = candidates.frame(["split"])["split"].to_numpy()
    if not len(split):
        raise InputError(f"{candidates.name}: no candidates", "see its rejects table for the reasons")
    selected: np.ndarray = np.full(len(split), True) if config.split == "all" else split == config.split
    if not selected.any():
        raise InputError(f"{candidates.name}: no candidates in the {config.split} split", "use --split all")
    if config.limit is not None:
        kept = np.flatnonzero(selected)
        even = kept[np.linspace(0, len(kept) - 1, min(config.limit, len(kept))).round().astype(int)]
        selected = np.isin(np.arange(len(split)), even)
    return selected


def _verifier_names(candidates: Table[Candidate], config: ProfileConfig) -> Sequence[str]:
    if config.verifier:
        return [config.verifier]
    return candidates.frame(["verifier"])["verifier"].unique().sort().to_list()


def _fingerprints(config: ProfileConfig, verifiers: dict[str, Verifier]) -> dict[str, str]:
    found = {
        f"verifier {Path(name).name}": source_fingerprint(verifier) for name, verifier in sorted(verifiers.items())
    }
    return found | engine_fingerprints(config)


def describe(summary: dict[str, Any]) -> RenderableType:
    """The summary for a terminal."""
    from rich.table import Table as RichTable

    table = RichTable(title="profile", title_justify="left", show_header=False, box=None)
    mean = summary["reward_mean"]
    table.add_row("candidates", f"{summary['candidates']:,}", _counts(summary["status"]))
    if summary.get("template_faults"):
        table.add_row(
            "template faults", "", f"{_counts(summary['template_faults'])}: the prompts lack what was recorded"
        )
    table.add_row("rollouts", f"{summary['rollouts']:,}", f"{summary['tokens']:,} tokens sampled")
    table.add_row("scored", f"{summary['scored']:,}", "nothing" if mean is None else f"mean reward {mean:.3f}")
    table.add_row("not scored", "", f"{summary['errors']:,} errors, {summary['truncated']:,} cut by the token limit")
    table.add_row("signal", "", _counts(summary["signal"]))
    table.add_row("verdicts", "", _counts(summary["verdicts"]))
    for row in cost_row(summary):
        table.add_row(*row)
    return table


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {n:,}" for name, n in counts.items()) or "none"
