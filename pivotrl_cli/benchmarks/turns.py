"""Turns of recorded trajectories as episodes: how often does the policy act as the demonstration does?

Beside the verifier's reward, two measurements that need none. `tool_name`: where the demonstration calls tools, 1 if
the policy calls the same ones, in the same order. `valid_calls`: where the policy calls tools or the demonstration
does, 1 if there is a call, and every one names a declared tool with a JSON object that the tool's schema accepts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache

from jsonschema.exceptions import SchemaError
from jsonschema.validators import validator_for

from pivotrl_cli.benchmarks import Setting
from pivotrl_cli.errors import InputError
from pivotrl_cli.rows import Candidate, Message, ToolCall
from pivotrl_cli.storage.table import Table
from pivotrl_cli.verifiers import Verifier, load_verifier
from pivotrl_cli.verifiers.compare.parameters import declared_tools


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
        """Take the one action."""
        self.state.append(action)
        self.done = True

    def score(self) -> float:
        """The verifier's reward of the action taken."""
        return self._verifier(self._candidate, self.state[-1]).reward if self.done else 0.0

    def metrics(self) -> dict[str, float]:
        """`tool_name` and `valid_calls`, where they apply; 0 for what is no action."""
        wanted = [call.name for call in self._candidate.expected_action.tool_calls]
        taken = self.state[-1].tool_calls if self.done else []
        found = {"tool_name": float([call.name for call in taken] == wanted)} if wanted else {}
        if wanted or taken:
            valid = bool(taken) and all(is_valid(call, self.tools) for call in taken)
            found["valid_calls"] = float(valid)
        return found


def turns(candidates: Sequence[Candidate], setting: Setting) -> list[TurnEpisode]:
    """An episode for each candidate, in order."""
    verifiers = {name: load_verifier(name, setting.judge) for name in {c.verifier for c in candidates}}
    return [TurnEpisode(c, verifiers[c.verifier]) for c in candidates]


def chosen(setting: Setting) -> list[Candidate]:
    """The holdout split of the table that the benchmark's argument names; all of it with the split `all`."""
    with Table.open(setting.argument, Candidate) as table:
        found = [c for c in table.rows() if setting.split == "all" or c.split == "holdout"]
    if not found:
        raise InputError(
            f"{setting.argument}: no rows in the holdout split",
            "extract with --holdout 0.1, or evaluate every row with --split all",
        )
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
