"""What an accepting verdict rests on: the same text, the same parsed value, likeness, or a judge.

Comparisons return what differs, or nothing. One that accepts two values by likeness alone, and so may be wrong, says so
with `note_likeness`; whoever makes a verdict of it asks `rests_on_likeness` around the comparison.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from enum import StrEnum
from typing import TypeVar

T = TypeVar("T")


class Basis(StrEnum):
    """How an action was found equivalent, from the surest to the least sure rule; then the judge."""

    EQUAL = "equal"
    """The same text, or the same calls as JSON."""
    PARSED_EQUAL = "parsed_equal"
    """Another text of the same meaning in its own grammar: numbers, queries, commands, code, data, names."""
    SIMILAR = "similar"
    """Natural language, or the body of an edit, that is alike and keeps its facts."""
    JUDGED = "judged"
    """A language model says so."""


_likeness: ContextVar[bool] = ContextVar("likeness", default=False)


def note_likeness() -> None:
    """Mark the comparison under way as one that likeness decided."""
    _likeness.set(True)


def rests_on_likeness(compare: Callable[[], T]) -> tuple[T, bool]:
    """The result of a comparison, and whether likeness decided any of it."""
    token = _likeness.set(False)
    try:
        result = compare()
        return result, _likeness.get()
    finally:
        _likeness.reset(token)
