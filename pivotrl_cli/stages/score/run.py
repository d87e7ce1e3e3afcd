"""Score: what would other verifiers say of rollouts that are recorded already?

No sampling. Each recorded rollout is scored by every named verifier; pairs of verifiers and the widest disagreements
show where they differ. A profile can be written again with the first verifier's rewards.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pivotrl_cli.configs import ScoreConfig
from pivotrl_cli.engines import Completion
from pivotrl_cli.errors import ConfigError, InputError
from pivotrl_cli.rows import Candidate, Profile, Rollout
from pivotrl_cli.stages.profile.samples import Samples
from pivotrl_cli.stages.profile.statistics import ADDED, statistics
from pivotrl_cli.stages.score.agreement import Agreement
from pivotrl_cli.stages.score.audit import audit
from pivotrl_cli.stages.score.recorded_rollouts import Recorded, recorded_rollouts
from pivotrl_cli.stages.score.summary import AuditSummary, ScoreSummary, describe
from pivotrl_cli.stages.shared.judge import judge_usage, open_judge
from pivotrl_cli.stages.shared.scoring import map_concurrently, score, score_again
from pivotrl_cli.storage.arrow import with_columns
from pivotrl_cli.storage.provenance import Provenance, source_fingerprint
from pivotrl_cli.storage.table import Table, cached_summary, rows_of
from pivotrl_cli.storage.table_writer import TableWriter
from pivotrl_cli.verifiers import Verifier, load_verifier

if TYPE_CHECKING:
    from pivotrl_cli.verifiers.judge import Judge

__all__ = ["describe", "run"]


def run(config: ScoreConfig) -> ScoreSummary | AuditSummary:
    """Score recorded rollouts again; with `audit`, score wrong actions made on purpose."""
    with open_judge(config.verifier or None, config) as judge:
        verifiers = _Verifiers(judge)
        summary: ScoreSummary | AuditSummary
        if config.audit:
            summary = _audit(config, verifiers)
        elif config.output is None:
            summary = _compare(config, verifiers)
        else:
            summary = _write_profile(config, config.output, verifiers)
        return summary.model_copy(update={"judge": judge_usage(judge)})


class _Verifiers(dict[str, Verifier]):
    """Verifiers by name, each loaded when it is first asked for."""

    def __init__(self, judge: Judge | None) -> None:
        self.judge = judge

    def __missing__(self, name: str) -> Verifier:
        self[name] = load_verifier(name, self.judge)
        return self[name]


def _audit(config: ScoreConfig, verifiers: _Verifiers) -> AuditSummary:
    if len(config.verifier) > 1:
        raise ConfigError("--audit takes one verifier", "run it once for each")
    with Table.open(config.rollouts, Candidate) as table:
        names = config.verifier or table.distinct("verifier")
        return audit(table, {name: verifiers[name] for name in names}, *config.verifier)


def _compare(config: ScoreConfig, verifiers: _Verifiers) -> ScoreSummary:
    def score_by_each(recorded: Recorded | None) -> tuple[Recorded, dict[str, Rollout]] | None:
        if recorded is None:
            return None
        names = config.verifier or [recorded.candidate.verifier]
        return recorded, {name: _score(recorded, verifiers[name]) for name in names}

    agreement = Agreement()
    concurrency = verifiers.judge.concurrency if verifiers.judge else 1
    for found in map_concurrently(score_by_each, recorded_rollouts(config), concurrency):
        if found is None:
            agreement.n_unscored += 1
        else:
            agreement.add(*found)
    if not (agreement.n or agreement.n_unscored or agreement.errors):
        raise InputError(f"{config.rollouts}: no rollouts in it", "sample some: pivotrl profile candidates.parquet")
    return agreement.summary()


def _score(recorded: Recorded, verify: Verifier) -> Rollout:
    completion = Completion(text="", action=recorded.action)
    return score(recorded.candidate, recorded.sample, completion, verify, "exclude")


def _write_profile(config: ScoreConfig, output: str, verifiers: _Verifiers) -> ScoreSummary:
    """Write the profile with new rewards, and compare on the way."""
    with Table.open(config.rollouts, Profile) as profile:
        used = config.verifier[:1] or profile.distinct("verifier")
        fingerprints = {f"verifier {Path(name).name}": source_fingerprint(verifiers[name]) for name in used}
        provenance = Provenance.of("score", Profile, config, [profile.as_input()], fingerprints)
        cached = cached_summary(output, provenance, config.force, ScoreSummary)
        if cached is not None:
            return cached
        summary = _compare(config, verifiers)
        with TableWriter(output, Profile, provenance) as out:
            for table in profile.tables():
                rows = list(rows_of(table, Profile, profile.name))
                added = [_new_columns(row, verifiers[(config.verifier or [row.verifier])[0]]) for row in rows]
                kept = table.select(list(Candidate.model_fields))
                out.write_table(with_columns(kept, Profile, {name: [a[name] for a in added] for name in ADDED}))
            out.set_summary(summary.to_metadata())
    return summary


def _new_columns(row: Profile, verify: Verifier) -> dict[str, Any]:
    """The columns of a profile row with this verifier's rewards; unmeasured rollouts stay as they are."""
    rollouts = [r if r.reward is None else score_again(row, r, verify) for r in row.rollouts]
    samples = Samples(
        rollouts=rollouts,
        prompt_tokens=row.prompt_tokens,
        template_fault=row.template_fault,
        entropy=row.entropy,
        audited=row.audited,
    )
    unchanged = {} if row.rollouts else {"status": row.status, "status_detail": row.status_detail}
    return statistics(samples) | unchanged
