"""Turns of recorded trajectories as one-action episodes: how often does the policy act as the demonstration does?

`pivots` takes held-out candidates, each by itself. `next-action` takes whole recorded trajectories, teacher-forced: at
every turn the policy sees the recorded history and acts once, and a trajectory's turns are one cluster (`by_trajectory`
has the metrics of whole trajectories). It costs one rollout per turn and needs no world, and it is not success: the
policy never meets the states that its own actions lead to, and a right way other than the recorded one counts only
where the verifier knows it.

Beside the verifier's reward, two measurements that need none. `tool_name`: where the demonstration calls tools, 1 if
the policy calls the same ones, in the same order. `valid_calls`: where the policy calls tools or the demonstration
does, 1 if there is a call, and every one names a declared tool with a JSON object that the tool's schema accepts.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import takewhile
from typing import Any

from jsonschema.exceptions import SchemaError
from jsonschema.validators import validator_for

from pivotrl_cli.benchmarks import Setting
from pivotrl_cli.environments import Episode
from pivotrl_cli.errors import InputError
from pivotrl_cli.rows import Candidate, EvalResult, Message, ToolCall
from pivotrl_cli.storage.table import Table
from pivotrl_cli.verifiers import Verifier, load_verifier
from pivotrl_cli.verifiers.compare.parameters import declared_tools


def pivots(setting: Setting) -> Sequence[Episode]:
    """The holdout split of a candidates, profile or pivots table."""
    return _episodes(_holdout(setting)[: setting.limit], setting)


def next_action(setting: Setting) -> Sequence[Episode]:
    """All turns of the first trajectories of the holdout split; warns about trajectories that lack turns."""
    by_trajectory: dict[str, list[Candidate]] = {}
    for candidate in _holdout(setting):
        by_trajectory.setdefault(candidate.trajectory_id, []).append(candidate)
    kept = [sorted(rows, key=lambda c: c.turn) for rows in list(by_trajectory.values())[: setting.limit]]
    n_short = sum(len(rows) < rows[0].n_turns for rows in kept)
    if n_short and setting.trial == 0:
        print(
            f"next-action: {n_short:,} of {len(kept):,} trajectories lack turns in {setting.argument} (rejected or "
            "filtered); they are judged by those that are there",
            file=sys.stderr,
        )
    return _episodes([candidate for rows in kept for candidate in rows], setting)


def _holdout(setting: Setting) -> list[Candidate]:
    """The holdout split of the table in the benchmark's argument; all of it with the split `all`."""
    with Table.open(setting.argument, Candidate) as table:
        found = [c for c in table.rows() if setting.split == "all" or c.split == "holdout"]
    if not found:
        raise InputError(
            f"{setting.argument}: no rows in the holdout split",
            "extract with --holdout 0.1, or evaluate every row with --split all",
        )
    return found


def _episodes(candidates: Sequence[Candidate], setting: Setting) -> list[TurnEpisode]:
    verifiers = {name: load_verifier(name, setting.judge) for name in {c.verifier for c in candidates}}
    return [TurnEpisode(c, verifiers[c.verifier]) for c in candidates]


class TurnEpisode:
    """One candidate; the score is its verifier's reward."""

    def __init__(self, candidate: Candidate, verifier: Verifier) -> None:
        self.task_id = candidate.candidate_id
        self.cluster = candidate.trajectory_id
        calls = candidate.expected_action.tool_calls
        self.category = " + ".join(call.name for call in calls) or "(message)"
        self.tools = candidate.tools
        self.state = list(candidate.state)
        self.done = False
        self.concurrency = getattr(verifier, "concurrency", 1)
        self._candidate, self._verifier = candidate, verifier

    def step(self, action: Message) -> None:
        self.state.append(action)
        self.done = True

    def score(self) -> float:
        return self._verifier(self._candidate, self.state[-1]).reward if self.done else 0.0

    def metrics(self) -> dict[str, float]:
        """`tool_name` and `valid_calls`, where they apply; 0 where the completion cannot be parsed as an action."""
        wanted = [call.name for call in self._candidate.expected_action.tool_calls]
        taken = self.state[-1].tool_calls if self.done else []
        found = {"tool_name": float([call.name for call in taken] == wanted)} if wanted else {}
        if wanted or taken:
            valid = bool(taken) and all(is_valid(call, self.tools) for call in taken)
            found["valid_calls"] = float(valid)
        return found


def is_valid(call: ToolCall, tools: str) -> bool:
    """Whether the tool is declared and its schema accepts the arguments; a schema that is none accepts any object."""
    schemas = _schemas(tools)
    try:
        arguments = json.loads(call.arguments)
    except (ValueError, RecursionError):
        return False
    if call.name not in schemas or not isinstance(arguments, dict):
        return False
    schema = schemas[call.name]
    kind = validator_for(schema)
    try:
        kind.check_schema(schema)
    except SchemaError:
        return True
    return bool(kind(schema).is_valid(arguments))


@lru_cache(maxsize=64)
def _schemas(tools: str) -> dict[str, dict[str, object]]:
    return dict(declared_tools(tools))


def by_trajectory(rows: Iterable[EvalResult]) -> dict[str, Any]:
    """Whole-trajectory metrics over each trajectory and trial, where a turn is right at score 1.

    `success` is the share whose every turn is right; `prefix` the mean number of right turns before the first wrong
    one, and `prefix_share` the mean of its share of the turns. A trajectory with an unmeasured turn before the first
    wrong one is left out, and counted in `n_unknown`.
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
