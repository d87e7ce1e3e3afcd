"""The default rule in the light of a tool's schema: wider where the schema says so, never elsewhere."""

from __future__ import annotations

from typing import Any

import pytest
from verifiers_actions import call, calls, score, tool

from pivotrl_cli.verifiers import Verdict

ORDER = tool(
    "order",
    required=["item"],
    item={"type": "string"},
    size={"enum": ["Small", "large"], "default": "Small"},
    extras={"type": "array", "uniqueItems": True, "items": {"type": "string", "enum": ["Ice", "Lid"]}, "default": []},
    steps={"type": "array", "items": {"type": "string"}},
    to={"$ref": "#/$defs/place"},
    note={"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
    at={"type": "string", "format": "date-time"},
).replace('"required"', '"$defs": {"place": {"properties": {"city": {}, "country": {"default": "US"}}}}, "required"')


def order(expected: dict[str, Any], actual: dict[str, Any], tools: str = ORDER) -> Verdict:
    return score("tool_call", calls(call("order", expected)), calls(call("order", actual)), tools)


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        ({"size": "Small"}, {"size": "SMALL "}),
        ({}, {"size": "small"}),
        ({"extras": []}, {}),
        ({"note": None}, {}),
        ({"extras": ["Ice", "Lid"]}, {"extras": ["lid", "ice"]}),
        ({"to": {"city": "Rome"}}, {"to": {"city": "Rome", "country": "US"}}),
        ({"at": "2024-05-15T10:00:00"}, {"at": " 2024-05-15T10:00:00"}),
    ],
)
def test_the_schema_widens_equality(expected: dict[str, Any], actual: dict[str, Any]) -> None:
    expected, actual = {"item": "tea", **expected}, {"item": "tea", **actual}
    for left, right in [(expected, actual), (actual, expected)]:
        assert order(left, right) == Verdict(1.0, "expected_tool_call")
        known = expected == {**expected, **actual, "at": expected.get("at")}
        assert order(left, right, tools="[]").reward == float("at" in expected or known)


@pytest.mark.parametrize(
    ("expected", "actual", "category", "detail"),
    [
        ({"size": "large"}, {}, "argument_value_different", "size: expected 'large', got 'Small'"),
        ({}, {"steps": []}, "argument_object_keys_different", "has unexpected 'steps'"),
        ({"size": "large"}, {"size": "Small"}, "argument_value_different", "size: expected 'large', got 'Small'"),
        ({"extras": ["Ice"]}, {"extras": ["Lid"]}, "argument_value_different", "extras[0]: expected 'Ice', got 'Lid'"),
        ({"steps": ["a", "b"]}, {"steps": ["b", "a"]}, "argument_value_different", "steps[0]: expected 'a', got 'b'"),
        ({"note": "hot"}, {"note": None}, "argument_value_type_different", "note: expected 'hot', got null"),
        ({"to": {"city": "Rome", "country": "IT"}}, {"to": {"city": "Rome"}}, "argument_value_different", None),
        ({"at": "on May 5 at ten sharp then"}, {"at": "at ten sharp on May 5 then"}, "argument_value_different", None),
    ],
)
def test_the_schema_does_not_hide_differences(
    expected: dict[str, Any], actual: dict[str, Any], category: str, detail: str | None
) -> None:
    verdict = order({"item": "tea", **expected}, {"item": "tea", **actual})
    assert (verdict.reward, verdict.category) == (0.0, category)
    assert detail is None or verdict.detail == detail


def test_a_required_argument_is_never_filled_in() -> None:
    tools = tool("get", required=["x"], x={"type": "integer", "default": 1})
    assert score("tool_call", calls(call("get", x=1)), calls(call("get", {})), tools) == Verdict(
        0.0, "argument_object_keys_different", "lacks 'x'"
    )


def test_case_that_tells_choices_apart_counts() -> None:
    tools = tool("get", x={"enum": ["a", "A"]})
    assert score("tool_call", calls(call("get", x="a")), calls(call("get", x="A")), tools).reward == 0.0


def test_a_large_set_is_compared_in_the_order_of_its_text() -> None:
    tools = tool("get", x={"type": "array", "uniqueItems": True})
    expected, action = calls(call("get", x=list(range(1_000)))), calls(call("get", x=list(range(999, -1, -1))))
    assert score("tool_call", expected, action, tools).reward == 1.0


@pytest.mark.parametrize(
    "tools",
    ["", "{}", "[1, {}, {'x'", '[{"name": "get", "parameters": {"properties": {"x": {"$ref": "#/properties/x"}}}}]',
     '[{"name": "get", "parameters": {"properties": [], "required": {}, "allOf": {}, "anyOf": [1]}}]',
     '[{"name": "get", "parameters": {"$ref": "#/a/b", "oneOf": [{"$ref": "#"}], "allOf": [{"$ref": "#"}]}}]'],
)  # fmt: skip
def test_a_broken_schema_says_nothing(tools: str) -> None:
    expected = calls(call("get", x=1))
    assert score("tool_call", expected, expected, tools).reward == 1.0
    assert score("tool_call", expected, calls(call("get", x=2)), tools).reward == 0.0
    assert score("tool_call", expected, calls(call("get", {})), tools).reward == 0.0
