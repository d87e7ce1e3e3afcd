"""The default: the demonstrated calls with functionally equal arguments, or a message that says the same.

The rule for conversational tool use of the paper (arXiv 2603.21383, appendix A.2: call or talk, tool name, arguments),
with what can be exploited in NVIDIA's public verifier mended. `tool_call_compat` keeps that one as it is.

| case                             | compat                      | here                                        |
|----------------------------------|-----------------------------|---------------------------------------------|
| message expected                 | any message, even empty: 1  | same words (Dice >= 0.5), every number kept |
| expected call among surplus ones | 1                           | 0, `surplus_calls`                          |
| 5 and 5.0                        | differ                      | equal                                       |
| 1 expected, `true` given         | equal                       | differ, a boolean is not a number           |
| fractions                        | absolute 1e-6               | relative or absolute 1e-6                   |
| NaN, Infinity                    | differ from themselves      | equal themselves                            |
| one word                         | raw equality                | equality after strip; case counts (ids)     |
| two to four words ("New York")   | a fifth of the words shared | same words, same order, case folded         |
| five words and more              | a fifth of the words shared | Dice >= 0.5, every number kept              |
| arguments that are no object     | compared like any value     | 0, `arguments_not_object`                   |

The reward is binary: every expected call matched, none missing, none surplus, in any order. Matching costs the square
of the number of demonstrated calls, which is some dozens at most; an action with another number of calls is never
matched. Text beside demonstrated calls, reasoning and call ids are ignored.

Left out: partial credit, optional and default arguments (omitting one or spelling it out differs), sets written as
lists, and any understanding of code: a command of five words and more is compared as prose.
"""

from __future__ import annotations

import math
import re
from typing import Any

from pivotrl_cli.actions import (
    Call,
    Category,
    Difference,
    count_difference,
    demonstrated_calls,
    key_difference,
    maximum_matching,
    prose_difference,
    read_object_call,
    talk_difference,
    value_difference,
)
from pivotrl_cli.rows import Candidate, Message
from pivotrl_cli.verifiers import Verdict

PROSE_WORDS = 5
"""Words with letters from which a string is prose; shorter ones are values: names, places, dates, titles."""

TOLERANCE = 1e-6
"""Relative or absolute difference up to which two floats are equal."""

_LETTER = re.compile(r"[^\W\d_]")


def verify(candidate: Candidate, action: Message) -> Verdict:
    """Score `action` against the demonstrated one."""
    expected = candidate.expected_action
    if not expected.tool_calls:
        return Verdict.of(talk_difference(expected, action), Category.EXPECTED_CHAT_MESSAGE_FOUND)
    calls = demonstrated_calls(expected)
    difference = count_difference(expected, action)
    if difference is None:
        difference = calls_difference(calls, [read_object_call(call) for call in action.tool_calls])
    several = len(calls) > 1
    return Verdict.of(difference, Category.EXPECTED_TOOL_CALL_BATCH if several else Category.EXPECTED_TOOL_CALL)


def calls_difference(expected: list[Call], actual: list[Call]) -> Difference | None:
    """Pair as many calls as possible; the first expected call left over explains the failure."""
    found = [[call_difference(want, got) for got in actual] for want in expected]
    edges = [[i for i, difference in enumerate(row) if difference is None] for row in found]
    pairs = maximum_matching(edges)
    if len(pairs) == len(expected):
        return None
    left_over = next(i for i in range(len(expected)) if i not in pairs)
    free = set(range(len(actual))) - set(pairs.values())
    reasons = [difference for i, difference in enumerate(found[left_over]) if difference is not None and i in free]
    near_misses = [reason for reason in reasons if reason.category != Category.UNEXPECTED_TOOL]
    reason = (near_misses or reasons)[0]
    if len(expected) == 1:
        return reason
    return reason._replace(reason=f"call {left_over + 1} ({expected[left_over].name}): {reason.detail}", path="")


def call_difference(expected: Call, actual: Call) -> Difference | None:
    """Same name, and equal arguments."""
    if expected.name != actual.name:
        return value_difference(Category.UNEXPECTED_TOOL, expected.name, actual.name)
    return actual.problem or arguments_difference(expected.arguments, actual.arguments)


def arguments_difference(expected: Any, actual: Any) -> Difference | None:
    """Whether two JSON values are functionally equal; the first difference in key order otherwise."""
    kind = _kind(expected)
    if kind != _kind(actual):
        return value_difference(Category.ARGUMENT_VALUE_TYPE_DIFFERENT, expected, actual)
    match kind:
        case "object":
            return _object_difference(expected, actual)
        case "list":
            return _list_difference(expected, actual)
        case "string":
            return _string_difference(expected, actual)
        case "number":
            equal = _numbers_equal(expected, actual)
        case _:
            equal = expected == actual
    return None if equal else value_difference(Category.ARGUMENT_VALUE_DIFFERENT, expected, actual)


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "list" if isinstance(value, list) else "object"


def _object_difference(expected: dict[str, Any], actual: dict[str, Any]) -> Difference | None:
    difference = key_difference(expected, actual)
    if difference is not None:
        return difference
    for key in sorted(expected):
        difference = arguments_difference(expected[key], actual[key])
        if difference is not None:
            return difference.below(key)
    return None


def _list_difference(expected: list[Any], actual: list[Any]) -> Difference | None:
    if len(expected) != len(actual):
        return value_difference(Category.ARGUMENT_LIST_LENGTH_DIFFERENT, expected, actual)
    for index, (want, got) in enumerate(zip(expected, actual, strict=True)):
        difference = arguments_difference(want, got)
        if difference is not None:
            return difference.below(index)
    return None


def _string_difference(expected: str, actual: str) -> Difference | None:
    if expected.strip() == actual.strip():
        return None
    expected_words, actual_words = expected.casefold().split(), actual.casefold().split()
    if min(_letter_words(expected_words), _letter_words(actual_words)) >= PROSE_WORDS:
        difference = prose_difference(expected, actual)
        return difference and difference._replace(category=Category.ARGUMENT_VALUE_DIFFERENT)
    if len(expected_words) > 1 and expected_words == actual_words:
        return None
    return value_difference(Category.ARGUMENT_VALUE_DIFFERENT, expected, actual)


def _letter_words(words: list[str]) -> int:
    return sum(1 for word in words if _LETTER.search(word))


def _numbers_equal(expected: float, actual: float) -> bool:
    if expected == actual or (expected != expected and actual != actual):
        return True
    if _is_whole(expected) and _is_whole(actual):
        return False  # identifiers and counts: 10000000 is not 10000001, whatever the tolerance
    try:
        return math.isclose(expected, actual, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    except OverflowError:  # an integer beyond the range of floats
        return False


def _is_whole(number: float) -> bool:
    return isinstance(number, int) or number.is_integer()
