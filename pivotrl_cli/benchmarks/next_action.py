"""Whole recorded trajectories, teacher-forced: at every turn the policy sees the recorded history and acts once.

A row is a turn, and a trajectory's turns are one cluster. What they say of trajectories is `by_trajectory`'s. It costs
one rollout per turn and needs no world, and it is not success: the policy never meets the states that its own actions
lead to, and another right way than the recorded one counts only where the verifier knows it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from itertools import takewhile
from typing import Any

from pivotrl_cli.benchmarks import Setting
from pivotrl_cli.benchmarks.turns import chosen, turns
from pivotrl_cli.environments import Episode
from pivotrl_cli.rows import Candidate, EvalResult


def episodes(setting: Setting) -> Sequence[Episode]:
    """All turns of the first trajectories of the holdout split; says how many trajectories lack turns."""
    by_trajectory: dict[str, list[Candidate]] = {}
    for candidate in chosen(setting):
        by_trajectory.setdefault(candidate.trajectory_id, []).append(candidate)
    kept = [sorted(rows, key=lambda c: c.turn) for rows in list(by_trajectory.values())[: setting.limit]]
    n_short = sum(len(rows) < rows[0].n_turns for rows in kept)
    if n_short and setting.trial == 0:
        print(
            f"next-action: {n_short:,} of {len(kept):,} trajectories lack turns in {setting.argument} (rejected or "
            "filtered); they are judged by those that are there",
            file=sys.stderr,
        )
    return turns([candidate for rows in kept for candidate in rows], setting)


def by_trajectory(rows: Iterable[EvalResult]) -> dict[str, Any]:
    """What the turns say of whole trajectories: of each trajectory and trial, in order, a turn is right at score 1.

    `success` is the share whose every turn is right; `prefix` the mean number of right turns before the first that is
    not, and `prefix_share` its share of the turns. Where a turn before the first wrong one was not measured, nothing is
    known: those are left out, and counted in `n_unknown`.
    """
    runs: dict[tuple[str, int], list[EvalResult]] = {}
    for row in rows:
        runs.setdefault((row.cluster, row.trial), []).append(row)
    prefixes = [(_prefix(run), len(run)) for run in runs.values()]
    known = [(prefix, n) for prefix, n in prefixes if prefix is not None]
    mean = (lambda values: sum(values) / len(known)) if known else (lambda values: None)
    return {
        "n": len(known),
        "n_unknown": len(prefixes) - len(known),
        "success": mean([float(prefix == n) for prefix, n in known]),
        "prefix": mean([prefix for prefix, _ in known]),
        "prefix_share": mean([prefix / n for prefix, n in known]),
    }


def _prefix(run: list[EvalResult]) -> int | None:
    ordered = sorted(run, key=lambda row: int(row.task_id.rpartition("-")[2]))  # a candidate's id ends in its turn
    prefix = sum(1 for _ in takewhile(lambda row: row.score == 1.0, ordered))
    return None if prefix < len(ordered) and ordered[prefix].score is None else prefix
