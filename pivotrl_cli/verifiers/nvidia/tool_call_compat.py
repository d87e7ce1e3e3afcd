"""NVIDIA's public verifier for conversational pivots, reproduced reward by reward and category by category.

It follows the behaviour of `single_step_tool_use_with_argument_comparison` in NVIDIA-NeMo/Gym at 07d6b0d07b22, known
exploits included, so that published numbers can be matched; `tool_call` lists what the default does otherwise.
Categories are theirs in lower case. The defaults are the conversational domain's; `compare_actions` takes others.

Its own demonstration is not accepted where that holds NaN, an infinity, or, under a threshold above 0.5, a string of
two words and more: identical strings have a similarity of 0.5 by their formula.

Differences, all where their server answers with an error: an action that is nested more than 200 levels deep or holds
an integer of more than 4,300 digits gets 0 and `arguments_beyond_limits`; a malformed demonstration raises
`UnverifiableError` as soon as a call of the same name is compared with it.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal

from pivotrl_cli.rows import Candidate, Message
from pivotrl_cli.verifiers import Verdict
from pivotrl_cli.verifiers.compare import (
    Call,
    Category,
    Difference,
    key_difference,
    maximum_matching,
    read_call,
    require_sound,
    value_difference,
)


@dataclass(frozen=True, slots=True)
class CompatConfig:
    """Their configuration keys under their names."""

    word_count_similarity_threshold: float = 0.1
    """Shared words over the sum of both counts, from which strings of two words and more are equal."""
    floating_point_comparison_threshold: float = 1e-6
    """Absolute difference below which floats are equal."""
    parallel_tool_call_rewarding: bool = False
    """Whether the number of calls matters at all; the three below are read only then."""
    allow_subset: bool = False
    """Whether fewer calls than expected can earn a reward."""
    allow_superset: bool = False
    """Whether more calls than expected can earn a reward."""
    parallel_tool_call_reward_mode: Literal["binary_strict", "fractional", "f1"] = "binary_strict"
    """How matched calls become a reward."""


def verify(candidate: Candidate, action: Message) -> Verdict:
    """Score `action` as NVIDIA's server does with its conversational configuration."""
    return compare_actions(candidate.expected_action, action, CompatConfig())


def compare_actions(expected: Message, actual: Message, config: CompatConfig) -> Verdict:
    """Call or talk first, then the calls."""
    # Their responses hold an empty message item where the model wrote nothing at all, but none beside bare reasoning.
    if not actual.tool_calls and not actual.content and actual.reasoning:
        return Verdict(0.0, str(Category.NO_ACTION_FOUND))
    if not expected.tool_calls:
        talks = not actual.tool_calls
        category = Category.EXPECTED_CHAT_MESSAGE_FOUND if talks else Category.NO_EXPECTED_CHAT_MESSAGE
        return Verdict(float(talks), str(category))
    if not actual.tool_calls:
        return Verdict(0.0, str(Category.NO_EXPECTED_TOOL_CALL))
    return _compare_calls(
        [read_call(call) for call in expected.tool_calls], [read_call(call) for call in actual.tool_calls], config
    )


def _compare_calls(expected: list[Call], actual: list[Call], config: CompatConfig) -> Verdict:
    """Match without regard to order; costs `len(expected) * len(actual)` comparisons."""
    counts = len(expected), len(actual)
    other_length = Difference(
        Category.FUNCTION_CALL_BATCH_LENGTH_DIFFERENT, f"expected {counts[0]} calls, got {counts[1]}"
    )
    if not _admissible(*counts, config):
        return Verdict.of(other_length, Category.EXPECTED_TOOL_CALL_BATCH)
    found = [[call_difference(want, got, config) for got in actual] for want in expected]
    pairs = maximum_matching([[i for i, miss in enumerate(row) if miss is None] for row in found])
    reward = _credit(len(pairs), *counts, config)
    if reward == 1.0:
        several = len(expected) > 1
        return Verdict(1.0, str(Category.EXPECTED_TOOL_CALL_BATCH if several else Category.EXPECTED_TOOL_CALL))
    left_over = [row for i, row in enumerate(found) if i not in pairs]
    only_length = not left_over or len(pairs) == len(actual)
    reason = other_length if only_length else _near_miss(left_over[0])
    return Verdict(reward, str(reason.category), reason.detail)


def _admissible(wanted: int, given: int, config: CompatConfig) -> bool:
    if wanted == given or not config.parallel_tool_call_rewarding:
        return True
    return config.allow_subset if given < wanted else config.allow_superset


def _credit(matched: int, wanted: int, given: int, config: CompatConfig) -> float:
    if not config.parallel_tool_call_rewarding:
        return float(matched == wanted)
    if config.parallel_tool_call_reward_mode == "f1":
        return 2 * matched / (wanted + given)
    required = min(wanted, given) if config.allow_subset else wanted
    if config.parallel_tool_call_reward_mode == "fractional":
        return matched / required
    return float(matched == required)


def _near_miss(row: list[Difference | None]) -> Difference:
    """The first failure that is more than another name, else another name."""
    misses = [miss for miss in row if miss is not None]
    near = [miss for miss in misses if miss.category != Category.UNEXPECTED_TOOL]
    return (near or misses or [Difference(Category.UNEXPECTED_TOOL, "its match is taken by another call")])[0]


def call_difference(expected: Call, actual: Call, config: CompatConfig) -> Difference | None:
    """Same name, and arguments that compare equal."""
    if expected.name != actual.name:
        return value_difference(Category.UNEXPECTED_TOOL, expected.name, actual.name)
    require_sound(expected)
    return actual.problem or arguments_difference(expected.arguments, actual.arguments, config)


def arguments_difference(expected: Any, actual: Any, config: CompatConfig) -> Difference | None:
    """The first difference between two JSON values, in the expected object's key order."""
    # Python's subclassing shows through: an expected 1 takes true, an expected true does not take 1.
    if not isinstance(actual, type(expected)):
        return value_difference(Category.ARGUMENT_VALUE_TYPE_DIFFERENT, expected, actual)
    if isinstance(expected, dict):
        return _object_difference(expected, actual, config)
    if isinstance(expected, list):
        return _list_difference(expected, actual, config)
    if isinstance(expected, float):
        equal = abs(actual - expected) < config.floating_point_comparison_threshold
    elif isinstance(expected, str):
        equal = _strings_equal(expected, actual, config.word_count_similarity_threshold)
    else:
        equal = expected == actual
    return None if equal else value_difference(Category.ARGUMENT_VALUE_DIFFERENT, expected, actual)


def _object_difference(expected: dict[str, Any], actual: dict[str, Any], config: CompatConfig) -> Difference | None:
    difference = key_difference(expected, actual)
    if difference is not None:
        return difference
    for key, want in expected.items():
        difference = arguments_difference(want, actual[key], config)
        if difference is not None:
            return difference.below(key)
    return None


def _list_difference(expected: list[Any], actual: list[Any], config: CompatConfig) -> Difference | None:
    if len(expected) != len(actual):
        return value_difference(Category.ARGUMENT_LIST_LENGTH_DIFFERENT, expected, actual)
    for index, (want, got) in enumerate(zip(expected, actual, strict=True)):
        difference = arguments_difference(want, got, config)
        if difference is not None:
            return difference.below(index)
    return None


_WORD = re.compile(r"\S+")


def _strings_equal(expected: str, actual: str, threshold: float) -> bool:
    """Raw equality below two words, else shared words over the sum of both counts, at most 0.5.

    The actual words are taken one by one, until the demonstrated ones cannot be shared often enough any more.
    """
    left = Counter(expected.lower().split())
    n_want, n_got, shared = left.total(), 0, 0
    if n_want < 2 or len(actual.split(None, 1)) < 2:
        return expected == actual
    if threshold <= 0:
        return True
    for match in _WORD.finditer(actual.lower()):
        n_got += 1
        if left[match.group()] > 0:
            left[match.group()] -= 1
            shared += 1
        if n_want / (n_want + n_got) < threshold:
            return False
    return shared / (n_want + n_got) >= threshold
