"""Held-out candidates as one-turn episodes: how often does the policy act as the demonstration does?"""

from __future__ import annotations

from collections.abc import Sequence

from pivotrl_cli.environments import Episode
from pivotrl_cli.errors import InputError
from pivotrl_cli.rows import Candidate, Message
from pivotrl_cli.table import Table
from pivotrl_cli.verifiers import Judge, Verifier, load_verifier


class PivotEpisode:
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


def episodes(argument: str, split: str, limit: int | None, judge: Judge | None = None) -> Sequence[Episode]:
    """The holdout split of a candidates, profile or pivots table; `judge` is for verifiers that ask one."""
    with Table.open(argument, Candidate) as table:
        held_out = [c for c in table.rows() if c.split == "holdout"]
    if not held_out:
        raise InputError(f"{argument}: no rows in the holdout split", "extract with --holdout 0.1")
    verifiers = {name: load_verifier(name, judge) for name in {c.verifier for c in held_out}}
    return [PivotEpisode(c, verifiers[c.verifier]) for c in held_out[:limit]]
