"""What holds for every verifier of the table: no action breaks one, and none depends on what does not matter."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from search import examples
from verifiers_actions import BY_RULE, EVERY_TOOL, MENDED, call, calls, demonstrated, says, score

from pivotrl_cli.rows import Message, ToolCall
from pivotrl_cli.verifiers import UnverifiableError
from pivotrl_cli.verifiers.compare.arguments import value_difference_at
from pivotrl_cli.verifiers.compare.calls import MAX_NESTING
from pivotrl_cli.verifiers.compare.differences import Category, Difference, shown
from pivotrl_cli.verifiers.compare.matching import maximum_matching
from pivotrl_cli.verifiers.nvidia.harness_rules import HarnessCode
from pivotrl_cli.verifiers.nvidia.swe_compat import SweCode
from pivotrl_cli.verifiers.nvidia.terminus_compat import TerminusCode

HUGE_INT = '{"x": ' + "1" * 5_000 + "}"
DEEP = '{"x": ' + "[" * 10_000 + "]" * 10_000 + "}"
CATEGORIES = {*Category, *SweCode, *HarnessCode, *TerminusCode}


def nested(levels: int) -> str:
    """Arguments of so many levels, the object itself included."""
    return '{"x": ' + "[" * (levels - 1) + "]" * (levels - 1) + "}"


# --- what cannot be read


@pytest.mark.parametrize(
    ("arguments", "category", "compat_category"),
    [
        ("", "arguments_decode_error", "arguments_decode_error"),
        ("{x: 1}", "arguments_decode_error", "arguments_decode_error"),
        ('{"x": "' + "a" * 100, "arguments_decode_error", "arguments_decode_error"),
        ("null", "arguments_not_object", "argument_value_type_different"),
        ('"{}"', "arguments_not_object", "argument_value_type_different"),
        (HUGE_INT, "arguments_beyond_limits", "arguments_beyond_limits"),
        (DEEP, "arguments_beyond_limits", "arguments_beyond_limits"),
        (nested(MAX_NESTING + 1), "arguments_beyond_limits", "arguments_beyond_limits"),
        (nested(MAX_NESTING), "argument_value_type_different", "argument_value_type_different"),
    ],
)
def test_unreadable_arguments_get_a_verdict(arguments: str, category: str, compat_category: str) -> None:
    expected, action = calls(call("t", x=1)), calls(call("t", arguments))
    for name in MENDED:
        if name == "similarity" and arguments == nested(MAX_NESTING):
            continue  # readable, and not without likeness
        found = score(name, expected, action)
        differs = "argument_value_different" if name == "exact" and arguments == nested(MAX_NESTING) else category
        assert (found.reward, found.category) == ((1.0, "expected_tool_call") if name == "tool_name" else (0, differs))
    assert score("tool_call_compat", expected, action).category == compat_category


@pytest.mark.parametrize("verifier", [name for name in MENDED if name != "tool_name"])
@pytest.mark.parametrize("arguments", ["", "[]", HUGE_INT, DEEP])
@pytest.mark.parametrize("action", [says("hi"), calls(call("t")), calls(call("u"), call("v"))])
def test_a_malformed_demonstration_cannot_be_verified(verifier: str, arguments: str, action: Message) -> None:
    with pytest.raises(UnverifiableError, match=r"^the demonstrated call of 't': arguments "):
        score(verifier, calls(call("t", arguments)), action)


@pytest.mark.parametrize("verifier", MENDED)
def test_an_empty_demonstration_cannot_be_verified(verifier: str) -> None:
    with pytest.raises(UnverifiableError, match="neither text nor calls"):
        score(verifier, says(" "), says("hi"))


def test_compat_cannot_verify_a_demonstration_that_is_not_json() -> None:
    expected = calls(call("t", "{x}"))
    assert score("tool_call_compat", expected, says("hi")).category == "no_expected_tool_call"
    with pytest.raises(UnverifiableError):
        score("tool_call_compat", expected, calls(call("t")))


@pytest.mark.parametrize("verifier", [name for name in BY_RULE if name != "terminus_compat"])
def test_nesting_up_to_the_limit_is_compared(verifier: str) -> None:
    expected = calls(call("t", nested(MAX_NESTING)))
    assert score(verifier, expected, expected, EVERY_TOOL).reward == 1.0


# --- size: what is not linear in the length of a text would not end here


def swollen(action: Message, text: str) -> list[Message]:
    """The action with one text after the other made long, and with arguments that are long and no JSON."""
    if not action.tool_calls:
        typed = {"analysis": "", "plan": "", "commands": [{"keystrokes": text}]}
        return [says(text), says(json.dumps(typed))]
    one = action.tool_calls[0]
    arguments = json.loads(one.arguments)
    long = [calls(call(one.name, {**arguments, key: text})) for key in arguments]
    return [*long, calls(call(one.name, text))]


def score_swollen(verifier: str, text: str) -> None:
    for expected in demonstrated():
        for action in swollen(expected, text):
            assert 0 <= score(verifier, expected, action, EVERY_TOOL).reward <= 1


@pytest.mark.parametrize("verifier", BY_RULE)
@pytest.mark.parametrize(
    "text",
    ["a" * 1_000_000, "a1 " * 150_000, "\n" * 250_000, "1-" * 250_000, "a..." * 150_000, "[" * 500_000, "/a" * 250_000],
    ids=["word", "words", "lines", "digits", "dots", "brackets", "paths"],
)
def test_long_texts_end(verifier: str, text: str) -> None:
    score_swollen(verifier, text)


@pytest.mark.slow
@pytest.mark.parametrize("verifier", BY_RULE)
@pytest.mark.parametrize("unit", ["a", "a1 /b\n"], ids=["word", "words"])
def test_a_hundred_megabytes_end(verifier: str, unit: str) -> None:
    score_swollen(verifier, unit * (10**8 // len(unit)))


@pytest.mark.slow
@pytest.mark.parametrize("verifier", BY_RULE)
def test_alike_texts_of_a_megabyte_end(verifier: str) -> None:
    """Both sides are long, so nothing is refused by its length alone."""
    text = "x = compute(1, 'a')  # see src/a.py\n" * 28_000
    for name, key in [
        ("bash", "command"),
        ("edit", "new_str"),
        ("t", "x"),
        ("grep", "pattern"),
        ("web_search", "query"),
    ]:
        expected, action = calls(call(name, {key: text})), calls(call(name, {key: text[1:] + "y"}))
        score(verifier, expected, action, EVERY_TOOL)
        assert verifier == "terminus_compat" or score(verifier, expected, expected, EVERY_TOOL).reward > 0.8


@pytest.mark.parametrize("verifier", [name for name in BY_RULE if name != "similarity"])
def test_a_thousand_calls_are_scored(verifier: str) -> None:
    expected = calls(*(call("t", x=i) for i in range(30)))
    action = calls(*(call("t", x=i % 30) for i in range(1_000)))
    assert score(verifier, expected, action).reward == float(verifier == "tool_call_compat")


def test_details_are_short_and_encodable() -> None:
    expected = calls(call("t", json.dumps({"k" * 500: "\ud800" + "a" * 500})))
    verdict = score("tool_call", expected, calls(call("t", json.dumps({"k" * 500: "\ud801\n" * 500}))))
    assert len(verdict.detail.encode()) <= 300
    assert "\n" not in verdict.detail
    assert shown("\ud800") == r"'\ud800'"
    difference = Difference(Category.ARGUMENT_VALUE_DIFFERENT, "x").below("\ud800").below(3).below("a")
    assert difference.detail == r"a[3]['\ud800']: x"


# --- properties

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
keys = st.text(max_size=8) | st.sampled_from(["command", "path", "old_str", "new_str", "query", "url", "pattern"])
urls = st.sampled_from(["https://a.org/x", "http://A.org/x/", "https://b.org?a=1&b=2"])
arguments_texts = st.dictionaries(keys, json_values | urls, max_size=4).map(json.dumps)
names = st.sampled_from(["get", "bash", "edit", "grep", "think", "web_search"])
tool_calls = st.builds(ToolCall, id=st.none() | st.text(max_size=4), name=names, arguments=arguments_texts)
called = st.lists(tool_calls, min_size=1, max_size=4).map(lambda several: calls(*several))
said = st.text(min_size=1, max_size=80).filter(str.strip).map(says)
commands = st.lists(
    st.fixed_dictionaries({"keystrokes": st.text(max_size=20)}, optional={"duration": st.floats() | st.integers()})
)
forms = st.fixed_dictionaries(
    {"analysis": st.text(max_size=4), "plan": st.just(""), "commands": commands},
    optional={"task_complete": st.booleans()},
)
typed = forms.map(lambda form: says(json.dumps(form)))
valid_actions = called | said | typed
any_actions = st.builds(
    Message,
    role=st.just("assistant"),
    content=st.text(max_size=40),
    reasoning=st.none() | st.text(max_size=4),
    tool_calls=st.lists(st.builds(ToolCall, name=names, arguments=arguments_texts | st.text(max_size=20)), max_size=3),
)
quick = examples(60)


def reordered(value: Any) -> Any:
    """The same JSON value with the keys of every object in reverse."""
    if isinstance(value, dict):
        return {key: reordered(value[key]) for key in reversed(value)}
    return [reordered(item) for item in value] if isinstance(value, list) else value


def reworked(action: Message) -> Message:
    """The same action with other ids, key order and white space."""
    return calls(
        *(ToolCall(id="z", name=c.name, arguments=json.dumps(reordered(json.loads(c.arguments)), indent=1))
          for c in action.tool_calls),
        content=action.content,
    )  # fmt: skip


def holds_objects(action: Message) -> bool:
    return any("{" in c.arguments[1:] for c in action.tool_calls)


def least(verifier: str, action: Message) -> float:
    """What an action earns against itself at least; peers' rules do not know every kind of action."""
    n_calls = len(action.tool_calls)
    match verifier.removesuffix("@0.6"):
        case "tool_call_compat" | "xlam_fc_compat":
            non_finite = any(word in c.arguments for c in action.tool_calls for word in ("NaN", "Infinity"))
            return float(not non_finite)
        case "swe_compat":
            return float(n_calls == 1)
        case "swe_compat_continuous":
            return 0.9 if n_calls == 1 else 0.0
        case "terminus_compat":
            return float(action.content.startswith('{"analysis"'))
    return 1.0


@pytest.mark.parametrize("verifier", BY_RULE)
@quick
@given(action=valid_actions)
def test_every_verifier_accepts_its_own_demonstration(verifier: str, action: Message) -> None:
    assert score(verifier, action, action, EVERY_TOOL).reward >= least(verifier, action)


@pytest.mark.parametrize("verifier", BY_RULE)
@quick
@given(expected=valid_actions, action=valid_actions)
def test_key_order_ids_and_repetition_do_not_matter(verifier: str, expected: Message, action: Message) -> None:
    assume("swe_compat" not in verifier or not holds_objects(action))  # their text of an object depends on its order
    reward = score(verifier, expected, action, EVERY_TOOL).reward
    assert score(verifier, expected, action, EVERY_TOOL) == score(verifier, expected, action, EVERY_TOOL)
    assert score(verifier, reworked(expected), reworked(action), EVERY_TOOL).reward == reward
    assert score(verifier, expected, reworked(action), EVERY_TOOL).reward == reward


@pytest.mark.parametrize("verifier", BY_RULE)
@quick
@given(expected=valid_actions, action=any_actions)
def test_any_action_gets_a_verdict(verifier: str, expected: Message, action: Message) -> None:
    verdict = score(verifier, expected, action, EVERY_TOOL)
    assert 0 <= verdict.reward <= 1
    assert verdict.category in CATEGORIES
    assert type(verdict.category) is str
    assert len(verdict.detail.encode()) <= 1200


@pytest.mark.parametrize("verifier", BY_RULE)
@quick
@given(arguments=st.text(max_size=200), tools=st.text(max_size=40) | json_values.map(json.dumps), name=names)
def test_any_text_gets_a_verdict(verifier: str, arguments: str, tools: str, name: str) -> None:
    assert 0 <= score(verifier, calls(call(name, command="x")), calls(call(name, arguments)), tools).reward <= 1
    assert 0 <= score(verifier, says("{}"), says(arguments), tools, arguments).reward <= 1


schemas = st.recursive(
    st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["object", "array", "string", "number", "integer", "boolean", "null"]),
            "default": json_values,
            "enum": st.lists(json_values, max_size=3),
            "uniqueItems": st.booleans(),
            "format": st.just("uri"),
            "$ref": st.sampled_from(["#", "#/properties/command", "#/nowhere", "x"]),
        },
    ),
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "properties": st.dictionaries(keys, inner, max_size=3),
            "required": st.lists(keys, max_size=2),
            "items": inner,
            "additionalProperties": inner | st.booleans(),
            "anyOf": st.lists(inner, max_size=2),
            "allOf": st.lists(inner, max_size=2),
        },
    ),
    max_leaves=6,
)


@quick
@given(arguments_texts, arguments_texts, schemas)
def test_schemas_keep_equality_reflexive_and_symmetric(left: str, right: str, schema: dict[str, Any]) -> None:
    tools = json.dumps([{"name": "get", "parameters": schema}])
    expected, action = calls(call("get", left)), calls(call("get", right))
    assert score("tool_call", expected, expected, tools).reward == 1.0
    assert score("tool_call", expected, action, tools).reward == score("tool_call", action, expected, tools).reward
    same_without = score("tool_call", expected, action).reward == 1.0
    assert score("tool_call", expected, action, tools).reward == 1.0 or not same_without or "format" in tools or (
        "enum" in tools
    )  # fmt: skip


@quick
@given(json_values, json_values)
def test_equality_of_arguments_is_symmetric(left: Any, right: Any) -> None:
    assert (value_difference_at(left, right) is None) == (value_difference_at(right, left) is None)


@quick
@given(st.lists(st.lists(st.integers(0, 5), unique=True, max_size=6), max_size=5))
def test_matching_is_maximum(edges: list[list[int]]) -> None:
    def best(left: int, taken: frozenset[int]) -> int:
        if left == len(edges):
            return 0
        options = [1 + best(left + 1, taken | {right}) for right in edges[left] if right not in taken]
        return max([best(left + 1, taken), *options])

    pairs = maximum_matching(edges)
    assert len(pairs) == len(set(pairs.values())) == best(0, frozenset())
    assert all(right in edges[left] for left, right in pairs.items())
