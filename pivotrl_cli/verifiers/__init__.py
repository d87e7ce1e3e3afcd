"""Functional verifiers: is this action equivalent to the demonstrated one?

A verifier is a function `(candidate, action) -> Verdict`. A new one is a new file here and a line in `VERIFIERS`; a
user's own is named as `module:function` or `file.py:function`.

A verifier returns a verdict on any action, however broken. It raises `UnverifiableError` only where the demonstration
itself is malformed: a failed measurement is not a zero. The names that end in `_compat` reproduce NVIDIA's public
verifiers, faults included; the others mend them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pivotrl_cli.actions import Category, Difference, UnverifiableError
from pivotrl_cli.actions.batches import Score
from pivotrl_cli.errors import ConfigError
from pivotrl_cli.registry import load
from pivotrl_cli.rows import Candidate, Message

__all__ = ["VERIFIERS", "UnverifiableError", "Verdict", "Verifier", "load_verifier"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verifier says of one action.

    Example: `Verdict(0.0, "argument_value_different", "order_id: expected 'A17', got 'A71'")`
    """

    reward: float
    """In [0, 1]."""
    category: str
    """Enumerated by the verifier."""
    detail: str = ""
    """For a person."""

    @classmethod
    def of(cls, difference: Difference | None, accepted: Category) -> Verdict:
        """Reward 1 and the category `accepted` where nothing differs, else 0 and what differs."""
        if difference is None:
            return cls(1.0, str(accepted))
        return cls(0.0, str(difference.category), difference.detail)

    @classmethod
    def of_calls(cls, score: Score, expected: Message) -> Verdict:
        """The reward of several calls, and what keeps it from being 1."""
        if score.difference is not None:
            return cls(score.reward, str(score.difference.category), score.difference.detail)
        several = len(expected.tool_calls) > 1
        return cls(score.reward, str(Category.EXPECTED_TOOL_CALL_BATCH if several else Category.EXPECTED_TOOL_CALL))


Verifier = Callable[[Candidate, Message], Verdict]

VERIFIERS: dict[str, str] = {
    "tool_call": "pivotrl_cli.verifiers.tool_call:verify",
    "tool_call_compat": "pivotrl_cli.verifiers.tool_call_compat:verify",
    "tool_name": "pivotrl_cli.verifiers.tool_name:verify",
    "exact": "pivotrl_cli.verifiers.exact:verify",
    "swe": "pivotrl_cli.verifiers.swe:verify",
    "swe_continuous": "pivotrl_cli.verifiers.swe:verify_continuous",
    "swe_compat": "pivotrl_cli.verifiers.swe_compat:verify",
    "swe_compat_continuous": "pivotrl_cli.verifiers.swe_compat:verify_continuous",
    "terminal": "pivotrl_cli.verifiers.terminal:verify",
    "terminal_compat": "pivotrl_cli.verifiers.terminal_compat:verify",
    "terminus_compat": "pivotrl_cli.verifiers.terminus_compat:verify",
    "search": "pivotrl_cli.verifiers.search:verify",
}


def load_verifier(name: str) -> Verifier:
    """The verifier of that name, or a user's own."""
    verifier: Verifier = load("verifier", name, VERIFIERS)
    if not callable(verifier):
        raise ConfigError(f"verifier {name!r} is not a function", "it takes (candidate, action) and returns a Verdict")
    return verifier
