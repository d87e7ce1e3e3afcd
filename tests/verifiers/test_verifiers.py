from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from recorded import needs_recorded
from records import FOLDER
from verifiers_actions import BY_RULE, MENDED, call, calls, candidate, demonstrations, says, score

from pivotrl_cli.configs import ExtractConfig
from pivotrl_cli.errors import ConfigError
from pivotrl_cli.readers.sources import find_sources
from pivotrl_cli.rows import Candidate, Message
from pivotrl_cli.stages.extract.extraction import Extraction
from pivotrl_cli.verifiers import VERIFIERS, Verdict, asks_judge, load_verifier
from pivotrl_cli.verifiers.compare.arguments import value_difference_at
from pivotrl_cli.verifiers.compare.differences import Category

DOCS = Path(__file__).parents[2] / "docs/verifiers.md"
REAL = [
    "tau_bench/gpt-4o-airline.json",
    "tau2_bench/openai_sft/train_sft-v1-small.jsonl",
    "tau2_bench/openai_sft/test_sft-v1-small.jsonl",
]


# --- the table


def test_every_name_is_a_function() -> None:
    assert all(callable(load_verifier(name)) for name in VERIFIERS if not asks_judge(name))


def test_a_verifier_from_outside_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of the documentation, word for word."""
    source = DOCS.read_text().split("```python\n")[1].split("```")[0]
    (tmp_path / "my_verifiers.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    assert len(source.strip().splitlines()) <= 10
    expected = calls(call("get", path="a"))
    for name in ["my_verifiers:first_tool", f"{tmp_path}/my_verifiers.py:first_tool"]:
        verify = load_verifier(name)
        assert verify(candidate(expected), calls(call("get"), call("put"))) == Verdict(1.0, "same_tool")
        assert verify(candidate(expected), calls(call("put"))) == Verdict(0.0, "other_tool")
        assert verify(candidate(expected), says("hi")) == Verdict(0.0, "other_tool")


def test_load_verifier_refuses_what_is_not_callable() -> None:
    with pytest.raises(ConfigError, match=r"^verifier 'math:pi' is not a function"):
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
        ("grep -rn total src/a.py && pytest tests/a.py", " grep -rn total  src/a.py && pytest tests/a.py\n"),
        # 8 and 9 words, 7 in common, the number kept: Dice 14/17
        ("The customer wants to return order 812 today", "The customer wants to return order no. 812 today."),
    ],
)
def test_arguments_are_equal(expected: Any, actual: Any) -> None:
    assert value_difference_at(expected, actual) is None


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
        ("New York", "New Jersey", Category.ARGUMENT_VALUE_DIFFERENT, "lacks 'york' and adds 'jersey'"),
        ("Paris", "Paris France", Category.ARGUMENT_VALUE_DIFFERENT, "expected 'Paris', got 'Paris France'"),
        (
            "grep -rn total src/a.py && pytest tests/a.py",
            "grep -n total src/a.py && pytest tests/a.py",
            Category.ARGUMENT_VALUE_DIFFERENT,
            None,
        ),
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
            "expected 0 negations, got 1",
        ),
    ],
)
def test_arguments_differ(expected: Any, actual: Any, category: Category, detail: str | None) -> None:
    difference = value_difference_at(expected, actual)
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


def test_several_calls_match_in_any_order_and_each_counts() -> None:
    a, b, c = call("search", q="alpha"), call("search", q="beta"), call("book", day=3)
    expected = calls(a, b, c)
    assert score("tool_call", expected, calls(c, b, a)) == Verdict(1.0, "expected_tool_call_batch")
    assert score("tool_call", expected, calls(a, b)) == Verdict(
        4 / 5, "missing_calls", "expected 3 calls ('search', 'search', 'book'), got 2 ('search', 'search')"
    )
    assert score("tool_call", expected, calls(a, b, c, c)) == Verdict(
        6 / 7,
        "surplus_calls",
        "expected 3 calls ('search', 'search', 'book'), got 4 ('search', 'search', 'book' and 1 more)",
    )
    assert score("tool_call", expected, calls(a, a, c)) == Verdict(
        2 / 3, "argument_value_different", "call 2 (search): q: expected 'beta', got 'alpha'"
    )
    assert score("tool_call", expected, calls(a, b, call("cancel"))) == Verdict(
        2 / 3, "unexpected_tool", "call 3 (book): expected 'book', got 'cancel'"
    )


def test_surplus_calls_cost() -> None:
    right, wrong = call("get", x=1), call("put", x=1)
    expected = calls(right)
    assert score("tool_call", expected, calls(right, wrong)) == Verdict(
        2 / 3, "surplus_calls", "expected 1 calls ('get'), got 2 ('get', 'put')"
    )
    assert score("tool_call", expected, calls(right, right)).reward == 2 / 3
    assert score("tool_call", expected, calls(*[wrong] * 19, right)).reward == 2 / 21
    assert score("tool_call", expected, calls(*[wrong] * 101, right)).reward == 0.0
    assert score("tool_call", expected, calls(wrong, call("get", x=2))) == Verdict(
        0.0, "argument_value_different", "x: expected 1, got 2"
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
            Verdict(0.0, "message_facts_missing", "does not mention '12.5'"),
        ),
        ("1. Cash\n2. Card", "- Cash\n- Card", Verdict(1.0, "expected_chat_message_found")),
        ("👍", "👍 ", Verdict(1.0, "expected_chat_message_found")),
        ("👍", "👎", Verdict(0.0, "message_different", "lacks '👍' and adds '👎'")),
        # one character in common of 4 and 4: 2 * 1 / 8
        ("退款成功", "订单失款", Verdict(0.0, "message_different", "lacks '功', '成', '退' and adds '单', '失', '订'")),
        ("yes", "", Verdict(0.0, "no_action_found", "expected a message, got nothing")),
        # exactly one half is enough: 2 * 1 / 4
        ("good day", "good night", Verdict(0.0, "message_different", "lacks 'day' and adds 'night'")),
    ],
)
@pytest.mark.parametrize("verifier", ["tool_call", "tool_name"])
def test_messages(verifier: str, expected: str, actual: str, verdict: Verdict) -> None:
    assert score(verifier, says(expected), says(actual)) == verdict


@pytest.mark.parametrize("verifier", [*MENDED, "tool_call_compat"])
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


# --- demonstrations


@pytest.mark.parametrize("verifier", [*MENDED, "tool_call_compat"])
def test_every_demonstration_of_the_records_is_accepted(verifier: str) -> None:
    config = ExtractConfig(sources=[str(FOLDER)], verifier=verifier)
    rows = list(Extraction.from_config(config).rows(find_sources(config.sources)))
    candidates = [row for row in rows if isinstance(row, Candidate)]
    verify = load_verifier(verifier)
    assert [row.candidate_id for row in candidates if verify(row, row.expected_action).reward != 1.0] == []
    assert len(candidates) > 40


@pytest.mark.parametrize("path", REAL)
@needs_recorded
def test_every_real_demonstration_is_accepted(path: str) -> None:
    turns = [action for action in demonstrations(path) if action.tool_calls or action.content.strip()]
    for name in [*MENDED, "tool_call_compat"]:
        verify = load_verifier(name)
        rejected = [action for action in turns if verify(candidate(action), action).reward != 1.0]
        assert rejected == [], name
    assert len(turns) > 300


# --- the documentation


def test_the_documentation_lists_every_name_and_category() -> None:
    text = DOCS.read_text()
    assert [name for name in [*BY_RULE, *Category] if f"`{name}`" not in text] == []


@pytest.mark.parametrize("name", ["tool_call+any_message", "search+any_message", "exact+any_message"])
def test_any_message_is_taken_for_a_message_and_for_nothing_else(name: str) -> None:
    talk, other, call_a, call_b = says("Your order 7 is on its way."), says("Hm."), calls(call("a")), calls(call("b"))
    assert score(name, talk, other) == Verdict(1.0, "expected_chat_message_found")
    assert score(name, talk, says(" \n")).category == "no_action_found"
    assert score(name, talk, call_a).category == "no_expected_chat_message"
    assert score(name, call_a, other).category == "no_expected_tool_call"
    assert [score(name, call_a, action).reward for action in (call_a, call_b)] == [1.0, 0.0]
    assert score(name.partition("+")[0], talk, other).reward == 0.0


def test_any_message_goes_with_a_judge() -> None:
    def judge(candidate: Candidate, action: Message) -> Verdict:
        return Verdict(1.0, "judge_same")

    judge.concurrency = 4  # type: ignore[attr-defined]
    verify = load_verifier("tool_call+any_message+judge", judge)  # type: ignore[arg-type]
    assert verify(candidate(says("Yes.")), says("No.")).category == "expected_chat_message_found"
    assert verify(candidate(calls(call("a"))), calls(call("b"))).category == "judge_same"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("tool_call+judge+any_message", "write tool_call+any_message+judge"),
        ("terminal+any_message", "messages are commands there; write terminal"),
    ],
)
def test_where_any_message_makes_no_sense(name: str, hint: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load_verifier(name)
    assert raised.value.hint == hint
