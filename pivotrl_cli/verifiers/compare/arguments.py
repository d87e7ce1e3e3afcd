"""Whether two argument values are functionally equal, in the light of the tool's schema where there is one.

- Numbers: 5 is 5.0; two whole numbers are equal or not; fractions up to a relative or absolute 1e-6; NaN equals itself.
- Booleans and numeric strings are not numbers: JSON types never change.
- Strings are equal after strip, or mean the same in their own grammar (`kinds.py`); likeness is for prose alone.
- By the schema: an optional key that is left out stands for its default; strings of an enumeration are case-folded;
  `uniqueItems` lists are compared without order; a declared `format` is compared by its standard.

A tool's rules may replace all this for single top-level keys. Equality is symmetric.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from pivotrl_cli.verifiers.compare.differences import Category, Difference, key_difference, value_difference
from pivotrl_cli.verifiers.compare.kinds import same_format, string_equal
from pivotrl_cli.verifiers.compare.matching import maximum_matching
from pivotrl_cli.verifiers.compare.parameters import UNDECLARED, Shape
from pivotrl_cli.verifiers.compare.prose import other_size, prose_difference

TOLERANCE = 1e-6
"""Relative or absolute difference up to which two floats are equal."""

MAX_SET = 64
"""Items of a set that are compared each with each; longer ones are sorted first."""

Rule = Callable[[Any, Any], Difference | None]
"""How one argument is compared; both sides have it."""


def ignored(expected: Any, actual: Any) -> None:
    """The rule of an argument that does not matter, so that it may be left out too."""


def arguments_difference(
    expected: dict[str, Any], actual: dict[str, Any], shape: Shape = UNDECLARED, rules: Mapping[str, Rule] | None = None
) -> Difference | None:
    """The first difference, in key order, between the arguments of two calls of one tool."""
    if not rules:
        return value_difference_at(expected, actual, shape)
    free = {key for key, rule in rules.items() if rule is ignored}
    shape = shape.facing(expected)
    defaults = shape.defaults()
    expected, actual = ({k: v for k, v in {**defaults, **side}.items() if k not in free} for side in (expected, actual))
    difference = key_difference(expected, actual)
    for key in sorted(expected) if difference is None else []:
        want, got = expected[key], actual[key]
        difference = rules[key](want, got) if key in rules else value_difference_at(want, got, shape.key(key))
        if difference is not None:
            return difference.below(key)
    return difference


def value_difference_at(expected: Any, actual: Any, shape: Shape = UNDECLARED) -> Difference | None:
    """The first difference, in key order, between two JSON values."""
    kind = _kind(expected)
    if kind != _kind(actual) and shape.takes_text_for_numbers and {kind, _kind(actual)} == {"number", "string"}:
        expected, actual = str(expected), str(actual)
        kind = "string"
    if kind != _kind(actual):
        return value_difference(Category.ARGUMENT_VALUE_TYPE_DIFFERENT, expected, actual)
    shape = shape.facing(expected)
    match kind:
        case "object":
            return _object_difference(expected, actual, shape)
        case "list":
            return _list_difference(expected, actual, shape)
        case "string":
            return _string_difference(expected, actual, shape)
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


def _object_difference(expected: dict[str, Any], actual: dict[str, Any], shape: Shape) -> Difference | None:
    if expected.keys() != actual.keys():
        defaults = shape.defaults()
        expected, actual = {**defaults, **expected}, {**defaults, **actual}
    difference = key_difference(expected, actual)
    if difference is not None:
        return difference
    for key in sorted(expected):
        difference = value_difference_at(expected[key], actual[key], shape.key(key))
        if difference is not None:
            return difference.below(key)
    return None


def _list_difference(expected: list[Any], actual: list[Any], shape: Shape) -> Difference | None:
    if len(expected) != len(actual):
        return value_difference(Category.ARGUMENT_LIST_LENGTH_DIFFERENT, expected, actual)
    if shape.is_set and _same_set(expected, actual, shape):
        return None
    for index, (want, got) in enumerate(zip(expected, actual, strict=True)):
        difference = value_difference_at(want, got, shape.item(index))
        if difference is not None:
            return difference.below(index)
    return None


def _same_set(expected: list[Any], actual: list[Any], shape: Shape) -> bool:
    """Whether the items can be paired; where there are many, in the order of their JSON text."""
    item = shape.item(0)
    if len(expected) > MAX_SET:
        pairs = zip(
            *(sorted(side, key=partial(json.dumps, sort_keys=True)) for side in (expected, actual)), strict=True
        )
        return all(value_difference_at(want, got, item) is None for want, got in pairs)
    edges = [[i for i, got in enumerate(actual) if value_difference_at(want, got, item) is None] for want in expected]
    return len(maximum_matching(edges)) == len(expected)


def _string_difference(expected: str, actual: str, shape: Shape) -> Difference | None:
    if expected.strip() == actual.strip():
        return None
    different = value_difference(Category.ARGUMENT_VALUE_DIFFERENT, expected, actual)
    if shape.enum_values is not None:
        # the same choice but for case, where the case tells no two choices apart
        folded = expected.strip().casefold()
        same = folded == actual.strip().casefold()
        return None if same and [choice.casefold() for choice in shape.enum_values].count(folded) == 1 else different
    if other_size(expected, actual):
        return different
    if shape.is_formal:
        return None if same_format(expected, actual, shape.node) else different
    means_same = string_equal(expected, actual, shape.name, shape.about)
    if means_same is not None:
        return None if means_same else different
    difference = prose_difference(expected, actual)
    beyond = difference and difference.category == Category.COMPARISON_BEYOND_LIMITS
    return difference if not difference or beyond else different._replace(reason=difference.reason)


def _numbers_equal(expected: float, actual: float) -> bool:
    if expected == actual or (expected != expected and actual != actual):
        return True
    if all(isinstance(number, int) or number.is_integer() for number in (expected, actual)):
        return False  # identifiers and counts: 10000000 is not 10000001, whatever the tolerance
    try:
        return math.isclose(expected, actual, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    except OverflowError:  # an integer beyond the range of floats
        return False
