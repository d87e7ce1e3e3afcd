"""Scoring several calls against several demonstrated ones: f1, so that missing and surplus calls both cost.

The reward is `2 * credit / (expected + given)`, where `credit` is the sum over the matched pairs, each in [0, 1]. One
expected call beside one surplus call earns 2/3; all declared tools called at once earn next to nothing. It is 1 only if
every demonstrated call is matched in full and none is given beyond.

Calls match in any order. Full matches are paired first, as many as possible, so that an action always earns 1 against
itself; partial ones are paired among the rest. Costs are `expected * given` comparisons, and `MAX_SURPLUS` bounds them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from pivotrl_cli.rows import Message
from pivotrl_cli.verifiers.compare.arguments import Rule, arguments_difference
from pivotrl_cli.verifiers.compare.basis import Basis, rests_on_likeness
from pivotrl_cli.verifiers.compare.calls import Call, canonical, demonstrated_calls, read_object_call
from pivotrl_cli.verifiers.compare.differences import Category, Difference, value_difference
from pivotrl_cli.verifiers.compare.matching import maximum_matching
from pivotrl_cli.verifiers.compare.messages import call_count_difference
from pivotrl_cli.verifiers.compare.parameters import shape_of

MAX_SURPLUS = 100
"""Calls beyond the demonstrated number from which nothing is compared and nothing earned."""


class Credit(NamedTuple):
    """What one call earns as one demonstrated call; `difference` says why not more."""

    value: float
    difference: Difference | None
    basis: Basis = Basis.PARSED_EQUAL


FULL = Credit(1.0, None)

CallCredit = Callable[[Call, Call], Credit]
"""Compares a demonstrated call with one that was made."""


def credit_of(difference: Difference | None) -> Credit:
    """All or nothing."""
    return FULL if difference is None else Credit(0.0, difference)


def call_credit(expected: Call, actual: Call, tools: str, rules: Mapping[str, Rule] | None = None) -> Credit:
    """All for the same name and equal arguments, by the tool's schema and further `rules` for single keys."""
    if expected.name != actual.name:
        return credit_of(value_difference(Category.UNEXPECTED_TOOL, expected.name, actual.name))
    shape = shape_of(tools, expected.name)
    return credit_of(arguments_difference(expected.arguments, actual.arguments, shape, rules))


class Score(NamedTuple):
    """What an action earns; `difference` is None only for a reward of 1."""

    reward: float
    difference: Difference | None
    basis: Basis | None = None


def score_calls(expected: Message, action: Message, credit: CallCredit) -> Score:
    """Score the calls of an action where calls were demonstrated; `credit(want, got)` compares two of them."""
    wanted = demonstrated_calls(expected)
    n_given = len(action.tool_calls)
    miscount = None if n_given == len(wanted) else call_count_difference(expected, action)
    if n_given == 0 or n_given > len(wanted) + MAX_SURPLUS:
        return Score(0.0, miscount)
    given = [read_object_call(call) for call in action.tool_calls]
    found = [[_earned(want, got, credit) for got in given] for want in wanted]
    if len(wanted) == n_given == 1:
        return Score(*found[0][0])
    pairs = _pair(found)
    total = sum(found[left][right].value for left, right in pairs.items())
    reward = min(1.0, 2 * total / (len(wanted) + n_given))
    if reward < 1.0:
        return Score(reward, _reason(wanted, found, pairs, miscount))
    return Score(reward, None, max((found[left][right].basis for left, right in pairs.items()), key=_DOUBT.index))


_DOUBT = list(Basis)


def _earned(want: Call, got: Call, credit: CallCredit) -> Credit:
    """What one call earns as another, and what a full credit rests on."""
    if got.problem:
        return Credit(0.0, got.problem)
    earned, alike = rests_on_likeness(lambda: credit(want, got))
    if earned.value < 1.0:
        return earned
    if want.name == got.name and canonical(want.arguments) == canonical(got.arguments):
        return earned._replace(basis=Basis.EQUAL)
    return earned._replace(basis=Basis.SIMILAR) if alike else earned


def _pair(found: Sequence[Sequence[Credit]]) -> dict[int, int]:
    pairs = maximum_matching([[i for i, credit in enumerate(row) if credit.value == 1.0] for row in found])
    taken = set(pairs.values())
    rest = [
        [] if left in pairs else [i for i, credit in enumerate(row) if credit.value > 0.0 and i not in taken]
        for left, row in enumerate(found)
    ]
    return pairs | maximum_matching(rest)


def _reason(
    wanted: Sequence[Call], found: Sequence[Sequence[Credit]], pairs: dict[int, int], miscount: Difference | None
) -> Difference:
    """The number of calls where the smaller side is matched throughout, else the first demonstrated call left over."""
    free = set(range(len(found[0]))) - set(pairs.values())
    left_over = [left for left in range(len(wanted)) if left not in pairs]
    partial = [(left, found[left][right].difference) for left, right in sorted(pairs.items())]
    missed = [(left, near_miss([found[left][i].difference for i in sorted(free)])) for left in left_over if free]
    reasons = [(left, reason) for left, reason in [*missed, *partial] if reason is not None]
    if not reasons:
        assert miscount is not None  # every pair earns all, so calls are missing or surplus
        return miscount
    left, reason = reasons[0]
    if len(wanted) == 1:
        return reason
    return reason._replace(reason=f"call {left + 1} ({wanted[left].name}): {reason.detail}", path="")


def near_miss(reasons: Sequence[Difference | None]) -> Difference | None:
    """The first reason that is more than another name, else another name."""
    misses = [reason for reason in reasons if reason is not None]
    near = [reason for reason in misses if reason.category != Category.UNEXPECTED_TOOL]
    return next(iter(near or misses), None)
