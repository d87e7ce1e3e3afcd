from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from verifiers_actions import call, calls, candidate, demonstrations, gym_action, records, says

from pivotrl_cli.actions import MAX_NESTING, Category, Difference, maximum_matching, shown
from pivotrl_cli.errors import ConfigError
from pivotrl_cli.rows import Message, ToolCall
from pivotrl_cli.verifiers import VERIFIERS, UnverifiableError, Verdict, load_verifier
from pivotrl_cli.verifiers.tool_call import arguments_difference
from pivotrl_cli.verifiers.tool_call_compat import CompatConfig, compare_actions
from pivotrl_cli.verifiers.tool_call_compat import arguments_difference as compat_arguments_difference

REAL = [
    "tau_bench/gpt-4o-airline.json",
    "tau2_bench/openai_sft/train_sft-v1-small.jsonl",
    "tau2_bench/openai_sft/test_sft-v1-small.jsonl",
]
GYM = "nemo_gym/single_step_tool_use_with_argument_comparison"
HUGE_INT = '{"x": ' + "1" * 5_000 + "}"
DEEP = '{"x": ' + "[" * 10_000 + "]" * 10_000 + "}"


def nested(levels: int) -> str:
    """Arguments of so many levels, the object itself included."""
    return '{"x": ' + "[" * (levels - 1) + "]" * (levels - 1) + "}"


def score(name: str, expected: Message, action: Message) -> Verdict:
    return load_verifier(name)(candidate(expected), action)


# --- the table


def test_load_verifier_knows_four_names() -> None:
    assert list(VERIFIERS) == ["tool_call", "tool_call_compat", "tool_name", "exact"]
    assert all(callable(load_verifier(name)) for name in VERIFIERS)


def test_load_verifier_refuses_what_is_not_callable() -> None:
    with pytest.raises(ConfigError, match=r"^verifier 'math:pi' is not a function$"):
        load_verifier("math:pi")


# --- the default: arguments


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        (5, 5.0),
        (0.3, 0.1 + 0.2),
        (0.0, 1e-6),
        (2.5e9, 2.5e9 + 0.5),
        (float("nan"), float("nan")),
        (float("-inf"), float("-inf")),
        (None, None),
        (True, True),
        ("A17", " A17 "),
        ("", "  "),
        ("New York", "new  york"),
        ({"a": 1, "b": [2, {}]}, {"b": [2.0, {}], "a": 1}),
        # 8 and 9 words, 7 in common, the number kept: Dice 14/17
        ("The customer wants to return order 812 today", "customer wants to return the whole order 812 now"),
    ],
)
def test_arguments_are_equal(expected: Any, actual: Any) -> None:
    assert arguments_difference(expected, actual) is None


@pytest.mark.parametrize(
    ("expected", "actual", "category", "detail"),
    [
        (1, True, Category.ARGUMENT_VALUE_TYPE_DIFFERENT, "expected 1, got true"),
        (False, 0, Category.ARGUMENT_VALUE_TYPE_DIFFERENT, "expected false, got 0"),
        (None, False, Category.ARGUMENT_VALUE_TYPE_DIFFERENT, "expected null, got false"),
        ("5", 5, Category.ARGUMENT_VALUE_TYPE_DIFFERENT, "expected '5', got 5"),
        ([], {}, Category.ARGUMENT_VALUE_TYPE_DIFFERENT, "expected a list of 0, got an object of 0"),
        (10_000_000, 10_000_001, Category.ARGUMENT_VALUE_DIFFERENT, "expected 10000000, got 10000001"),
        (10_000_000, 10_000_001.0, Category.ARGUMENT_VALUE_DIFFERENT, "expected 10000000, got 10000001.0"),
        (10**400, 1.5, Category.ARGUMENT_VALUE_DIFFERENT, f"expected 1{'0' * 56}..., got 1.5"),
        (float("inf"), float("-inf"), Category.ARGUMENT_VALUE_DIFFERENT, "expected Infinity, got -Infinity"),
        (1.0, 1.00001, Category.ARGUMENT_VALUE_DIFFERENT, "expected 1.0, got 1.00001"),
        ("A17", "a17", Category.ARGUMENT_VALUE_DIFFERENT, "expected 'A17', got 'a17'"),
        ("New York", "New Jersey", Category.ARGUMENT_VALUE_DIFFERENT, "expected 'New York', got 'New Jersey'"),
        ("Paris", "Paris France", Category.ARGUMENT_VALUE_DIFFERENT, "expected 'Paris', got 'Paris France'"),
        ("100 - 50 + 20 - 3", "100 + 50 - 20 - 3", Category.ARGUMENT_VALUE_DIFFERENT, None),
        ([1], [1, 2], Category.ARGUMENT_LIST_LENGTH_DIFFERENT, "expected a list of 1, got a list of 2"),
        ([1, 2], [2, 1], Category.ARGUMENT_VALUE_DIFFERENT, "[0]: expected 1, got 2"),
        (
            {"a": {"to be": [{"c": "A17"}]}},
            {"a": {"to be": [{"c": "A71"}]}},
            Category.ARGUMENT_VALUE_DIFFERENT,
            "a['to be'][0].c: expected 'A17', got 'A71'",
        ),
        (
            {"o": {"a": 1, "b": 2}},
            {"o": {"a": 1, "c": 2}},
            Category.ARGUMENT_OBJECT_KEYS_DIFFERENT,
            "o: lacks 'b' and has unexpected 'c'",
        ),
        (
            "please refund the whole order 812 today",
            "please refund the whole order 821 today",
            Category.ARGUMENT_VALUE_DIFFERENT,
            "does not mention '812'",
        ),
        (
            "please refund the whole order today",
            "no thanks the weather is nice outside",
            Category.ARGUMENT_VALUE_DIFFERENT,
            "word overlap 0.15 is below 0.5",  # 2 * 1 / (6 + 7)
        ),
    ],
)
def test_arguments_differ(expected: Any, actual: Any, category: Category, detail: str | None) -> None:
    difference = arguments_difference(expected, actual)
    assert difference is not None
    assert difference.category == category
    assert detail is None or difference.detail == detail


# --- the default: calls and messages


def test_one_call() -> None:
    expected = calls(call("get_order", order_id="A17"))
    assert score("tool_call", expected, calls(call("get_order", order_id="A17"))) == Verdict(1.0, "expected_tool_call")
    assert score("tool_call", expected, calls(call("get_order", order_id="A71"))) == Verdict(
        0.0, "argument_value_different", "order_id: expected 'A17', got 'A71'"
    )
    assert score("tool_call", expected, calls(call("Get_order", order_id="A17"))) == Verdict(
        0.0, "unexpected_tool", "expected 'get_order', got 'Get_order'"
    )
    assert score("tool_call", expected, says("Let me look.")) == Verdict(
        0.0, "no_expected_tool_call", "expected a call of 'get_order', got 'Let me look.'"
    )
    assert score("tool_call", expected, says(" ")) == Verdict(
        0.0, "no_action_found", "expected a call of 'get_order', got ''"
    )


def test_several_calls_match_in_any_order_and_without_surplus() -> None:
    a, b, c = call("search", q="alpha"), call("search", q="beta"), call("book", day=3)
    expected = calls(a, b, c)
    assert score("tool_call", expected, calls(c, b, a)) == Verdict(1.0, "expected_tool_call_batch")
    assert score("tool_call", expected, calls(a, b)) == Verdict(
        0.0, "missing_calls", "expected 3 calls ('search', 'search', 'book'), got 2 ('search', 'search')"
    )
    assert score("tool_call", expected, calls(a, b, c, c)) == Verdict(
        0.0,
        "surplus_calls",
        "expected 3 calls ('search', 'search', 'book'), got 4 ('search', 'search', 'book' and 1 more)",
    )
    assert score("tool_call", expected, calls(a, a, c)) == Verdict(
        0.0, "argument_value_different", "call 2 (search): q: expected 'beta', got 'alpha'"
    )
    assert score("tool_call", expected, calls(a, b, call("cancel"))) == Verdict(
        0.0, "unexpected_tool", "call 3 (book): expected 'book', got 'cancel'"
    )


def test_pairing_leaves_the_scarce_match_to_the_call_that_needs_it() -> None:
    """Within 1e-6, 0.5 matches both given numbers and 0.4999985 only the first."""
    expected = calls(call("pay", x=0.5), call("pay", x=0.4999985))
    action = calls(call("pay", x=0.4999992), call("pay", x=0.5000005))
    assert score("tool_call", expected, action) == Verdict(1.0, "expected_tool_call_batch")


def test_text_beside_calls_and_reasoning_are_ignored() -> None:
    expected = calls(call("get", x=1), content="Let me look.")
    action = calls(call("get", x=1), content="One moment.").model_copy(update={"reasoning": "hm"})
    assert score("tool_call", expected, action) == Verdict(1.0, "expected_tool_call")


@pytest.mark.parametrize(
    ("expected", "actual", "verdict"),
    [
        # 6 and 7 words, 6 in common
        ("Your refund is on its way.", "your refund is now on its WAY!", Verdict(1.0, "expected_chat_message_found")),
        ("Order #A17 costs $12.50.", "The order A17 costs 12.50 now", Verdict(1.0, "expected_chat_message_found")),
        (
            "Order #A17 costs $12.50.",
            "The order A17 costs 12.05 now",
            Verdict(0.0, "message_facts_missing", "does not mention '12.50'"),
        ),
        ("1. Cash\n2. Card", "- Cash\n- Card", Verdict(1.0, "expected_chat_message_found")),
        ("👍", "👍 ", Verdict(1.0, "expected_chat_message_found")),
        ("👍", "👎", Verdict(0.0, "message_different", "word overlap 0.00 is below 0.5")),
        # one character in common of 4 and 4: 2 * 1 / 8
        ("退款成功", "订单失款", Verdict(0.0, "message_different", "word overlap 0.25 is below 0.5")),
        ("yes", "", Verdict(0.0, "no_action_found", "expected a message, got nothing")),
        # exactly one half is enough: 2 * 1 / 4
        ("good day", "good night", Verdict(1.0, "expected_chat_message_found")),
    ],
)
@pytest.mark.parametrize("verifier", ["tool_call", "tool_name"])
def test_messages(verifier: str, expected: str, actual: str, verdict: Verdict) -> None:
    assert score(verifier, says(expected), says(actual)) == verdict


@pytest.mark.parametrize("verifier", VERIFIERS)
def test_a_call_is_not_a_message(verifier: str) -> None:
    verdict = score(verifier, says("Hello"), calls(call("get"), content="Hello"))
    assert (verdict.reward, verdict.category) == (0.0, "no_expected_chat_message")


# --- the other rules


def test_tool_name_compares_names_only() -> None:
    expected = calls(call("bash", command="ls"), call("edit", path="a"))
    batch = Verdict(1.0, "expected_tool_call_batch")
    assert score("tool_name", expected, calls(call("edit", "not json"), call("bash", "[]"))) == batch
    assert score("tool_name", expected, calls(call("bash"), call("bash"))) == Verdict(
        0.0, "unexpected_tool", "expected 'edit', got 'bash'"
    )
    assert score("tool_name", expected, calls(call("bash"))).category == "missing_calls"


@pytest.mark.parametrize(
    ("action", "category"),
    [
        (calls(call("t", '{"b": "y z", "a": 5}'), content="Now "), "expected_tool_call"),
        (calls(call("t", '{"a": 5.0, "b": "y z"}'), content="Now"), "argument_value_different"),
        (calls(call("t", '{"a": 5, "b": "y Z"}'), content="Now"), "argument_value_different"),
        (calls(call("t", '{"a": 5, "b": "y z"}'), content="Then"), "message_different"),
        (calls(call("u", '{"a": 5, "b": "y z"}'), content="Now"), "unexpected_tool"),
        (calls(call("t", "[5]"), content="Now"), "arguments_not_object"),
    ],
)
def test_exact(action: Message, category: str) -> None:
    verdict = score("exact", calls(call("t", a=5, b="y z"), content="Now"), action)
    assert (verdict.reward, verdict.category) == (float(category == "expected_tool_call"), category)


def test_exact_wants_the_same_order_and_text() -> None:
    expected = calls(call("a"), call("b"))
    assert score("exact", expected, calls(call("b"), call("a"))).reward == 0.0
    assert score("exact", says("Hi there"), says("Hi there\n")) == Verdict(1.0, "expected_chat_message_found")
    assert score("exact", says("Hi there"), says("hi there")) == Verdict(
        0.0, "message_different", "expected 'Hi there', got 'hi there'"
    )


def test_compat_keeps_the_known_exploits() -> None:
    expected = calls(call("t", x=1))
    assert score("tool_call_compat", says("The total is 12."), says("")) == Verdict(1.0, "expected_chat_message_found")
    assert score("tool_call_compat", expected, calls(call("t", x=2), call("u"), call("t", x=1))) == Verdict(
        1.0, "expected_tool_call"
    )
    # 1 / 4 of the words shared is above 0.1
    assert score("tool_call_compat", calls(call("t", x="New York")), calls(call("t", x="New Jersey"))).reward == 1.0


def test_compat_finds_no_action_in_bare_reasoning() -> None:
    action = Message(role="assistant", reasoning="Let me think.")
    assert score("tool_call_compat", says("Hello"), action) == Verdict(0.0, "no_action_found")


def test_compat_compares_arguments_that_are_no_object() -> None:
    assert score("tool_call_compat", calls(call("t", "[1]")), calls(call("t", "[1]"))).reward == 1.0


# --- conformance with the recorded verdicts of NVIDIA's code


def compat_verdict(record: dict[str, Any], expected: str, actual: str) -> tuple[float, str]:
    verdict = compare_actions(
        gym_action(record[expected]), gym_action(record[actual]), CompatConfig(**record["config"])
    )
    return verdict.reward, verdict.category.upper()


@pytest.mark.parametrize(
    ("file", "expected", "actual", "count"),
    [
        ("single_step_compare_action", "expected_action", "actual_action", 38),
        ("edge_single_step", "expected_action", "actual_action", 78),
        ("single_step_compare_tool_call", "expected", "actual", 2),
    ],
)
def test_compat_conforms(file: str, expected: str, actual: str, count: int) -> None:
    scored = [r for r in records(f"conformance/{file}.jsonl") if "raises" not in r]
    assert [compat_verdict(r, expected, actual) for r in scored] == [(r["reward"], r["category"]) for r in scored]
    assert len(scored) >= count


def test_compat_conforms_on_values() -> None:
    for record in records("conformance/single_step_compare_arguments.jsonl"):
        difference = compat_arguments_difference(record["expected"], record["actual"], CompatConfig(**record["config"]))
        assert (difference is None) == record["match"]
        assert (difference.category.upper() if difference else None) == record["category"]


def test_compat_gives_a_verdict_where_their_code_throws() -> None:
    thrown = [r for r in records("conformance/edge_single_step.jsonl") if "raises" in r]
    assert [compat_verdict(r, "expected_action", "actual_action") for r in thrown] == [(0.0, "ARGUMENTS_BEYOND_LIMITS")]


def test_compat_reproduces_recorded_rewards() -> None:
    rollouts = records(f"{GYM}/example_rollouts.jsonl")
    actions = []
    for rollout in rollouts:
        items = rollout["response"]["output"]
        found = [call(i["name"], i["arguments"]) for i in items if i["type"] == "function_call"]
        texts = [i["content"][0]["text"] for i in items if i["type"] == "message"]
        actions.append(calls(*found, content=texts[0]))
    rewards = [
        score("tool_call_compat", gym_action(rollout["expected_action"]), action).reward
        for rollout, action in zip(rollouts, actions, strict=True)
    ]
    assert rewards == [rollout["reward"] for rollout in rollouts] == [1.0, 1.0, 0.0, 1.0, 0.0]


# --- robustness


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
    assert (score("tool_call", expected, action).reward, score("tool_call", expected, action).category) == (0, category)
    assert score("tool_call_compat", expected, action).category == compat_category
    assert score("tool_name", expected, action).reward == 1.0
    assert score("exact", expected, action).reward == 0.0


@pytest.mark.parametrize("verifier", ["tool_call", "exact"])
@pytest.mark.parametrize("arguments", ["", "[]", HUGE_INT, DEEP])
@pytest.mark.parametrize("action", [says("hi"), calls(call("t")), calls(call("u"), call("v"))])
def test_a_malformed_demonstration_cannot_be_verified(verifier: str, arguments: str, action: Message) -> None:
    with pytest.raises(UnverifiableError, match=r"^the demonstrated call of 't': arguments "):
        score(verifier, calls(call("t", arguments)), action)


@pytest.mark.parametrize("verifier", ["tool_call", "tool_name", "exact"])
def test_an_empty_demonstration_cannot_be_verified(verifier: str) -> None:
    with pytest.raises(UnverifiableError, match="neither text nor calls"):
        score(verifier, says(" "), says("hi"))


def test_compat_cannot_verify_a_demonstration_that_is_not_json() -> None:
    expected = calls(call("t", "{x}"))
    assert score("tool_call_compat", expected, says("hi")).category == "no_expected_tool_call"
    with pytest.raises(UnverifiableError):
        score("tool_call_compat", expected, calls(call("t")))


def test_nesting_up_to_the_limit_is_compared() -> None:
    expected = calls(call("t", nested(MAX_NESTING)))
    assert [score(name, expected, expected).reward for name in VERIFIERS] == [1.0] * 4


@pytest.mark.parametrize("verifier", VERIFIERS)
@pytest.mark.parametrize(
    "text",
    ["a" * 2_000_000, "a1 " * 300_000, "\n" * 500_000, "1-" * 500_000, "a..." * 300_000, "[" * 1_000_000],
    ids=["word", "words", "lines", "digits", "dots", "brackets"],
)
def test_long_texts_take_linear_time(verifier: str, text: str) -> None:
    start = time.perf_counter()
    score(verifier, says("The total is 12 today."), says(text))
    expected = calls(call("t", x="please tell the customer about order 12"))
    score(verifier, expected, calls(call("t", x=text), call("t", text)))
    score(verifier, expected, calls(call("t", x=text)))
    assert time.perf_counter() - start < 3.0


@pytest.mark.parametrize("verifier", VERIFIERS)
def test_a_thousand_calls_are_scored_in_time(verifier: str) -> None:
    expected = calls(*(call("t", x=i) for i in range(30)))
    action = calls(*(call("t", x=i % 30) for i in range(1_000)))
    start = time.perf_counter()
    assert score(verifier, expected, action).reward == float(verifier == "tool_call_compat")
    assert time.perf_counter() - start < 3.0


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
arguments_texts = st.dictionaries(st.text(max_size=8), json_values, max_size=4).map(json.dumps)
names = st.sampled_from(["get", "set", "find"])
tool_calls = st.builds(ToolCall, id=st.none() | st.text(max_size=4), name=names, arguments=arguments_texts)
called = st.lists(tool_calls, min_size=1, max_size=4).map(lambda several: calls(*several))
said = st.text(min_size=1, max_size=80).filter(str.strip).map(says)
valid_actions = called | said
any_actions = st.builds(
    Message,
    role=st.just("assistant"),
    content=st.text(max_size=40),
    reasoning=st.none() | st.text(max_size=4),
    tool_calls=st.lists(st.builds(ToolCall, name=names, arguments=arguments_texts | st.text(max_size=20)), max_size=3),
)
quick = settings(max_examples=60, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])


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


def holds_non_finite(action: Message) -> bool:
    return any(word in c.arguments for c in action.tool_calls for word in ("NaN", "Infinity"))


@quick
@given(valid_actions)
def test_every_verifier_accepts_its_own_demonstration(action: Message) -> None:
    for name in VERIFIERS:
        assert (name == "tool_call_compat" and holds_non_finite(action)) or score(name, action, action).reward == 1.0


@quick
@given(valid_actions, valid_actions)
def test_key_order_ids_and_repetition_do_not_matter(expected: Message, action: Message) -> None:
    for name in VERIFIERS:
        reward = score(name, expected, action).reward
        assert score(name, expected, action) == score(name, expected, action)
        assert score(name, reworked(expected), reworked(action)).reward == reward
        assert score(name, expected, reworked(action)).reward == reward


@quick
@given(valid_actions, any_actions)
def test_any_action_gets_a_verdict(expected: Message, action: Message) -> None:
    for name in VERIFIERS:
        verdict = score(name, expected, action)
        assert verdict.reward in (0.0, 1.0)
        assert verdict.category in set(Category)
        assert type(verdict.category) is str
        assert len(verdict.detail.encode()) <= 1200


@quick
@given(st.text(max_size=200))
def test_any_arguments_get_a_verdict(arguments: str) -> None:
    for name in VERIFIERS:
        assert score(name, calls(call("get", x=1)), calls(call("get", arguments))).reward in (0.0, 1.0)


@quick
@given(json_values, json_values)
def test_equality_of_arguments_is_symmetric(left: Any, right: Any) -> None:
    assert (arguments_difference(left, right) is None) == (arguments_difference(right, left) is None)


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


# --- real demonstrations


@pytest.mark.parametrize("verifier", VERIFIERS)
@pytest.mark.parametrize("path", REAL)
def test_every_real_demonstration_is_accepted(path: str, verifier: str) -> None:
    verify = load_verifier(verifier)
    turns = [action for action in demonstrations(path) if action.tool_calls or action.content.strip()]
    rejected = [action for action in turns if verify(candidate(action), action).reward != 1.0]
    assert rejected == []
    assert len(turns) > 300
