"""The desk world: the expert is right, nothing else passes, and no action can break an episode."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from search import examples

from pivotrl_cli.benchmarks import Setting, open_benchmark
from pivotrl_cli.environments import desk, skills
from pivotrl_cli.environments.desk import phrases
from pivotrl_cli.environments.desk.tasks import (
    MAX_TURNS,
    MIN_TURNS,
    DeskTask,
    Request,
    expert_turns,
    goal,
    right_outcome,
)
from pivotrl_cli.environments.desk.world import SCHEMAS, Order, User, World
from pivotrl_cli.rows import Candidate, Message, ToolCall
from pivotrl_cli.verifiers import load_verifier
from recipes.desk_habits import RATES, converse, other_rates

TASKS = desk.tasks("train", 400, seed=0)


def call(name: str, /, **arguments: Any) -> Message:
    return Message(role="assistant", tool_calls=[ToolCall(name=name, arguments=json.dumps(arguments))])


def say(text: str) -> Message:
    return Message(role="assistant", content=text)


def replay(task: DeskTask, actions: list[Message]) -> desk.DeskEpisode:
    episode = desk.DeskEpisode(task)
    for action in actions:
        episode.step(action)
    return episode


def expert_actions(task: DeskTask, seed: int = 0) -> list[Message]:
    return [message for message in desk.demonstrate(task, seed) if message.role == "assistant"]


GIFT = DeskTask(
    task_id="desk-gift",
    family="return",
    user=User("U317", "Mia Stone", "5512", "gold"),
    orders=(Order("K482", "delivered", days=12, late=0, amount=140, paid="gift", city="Rome"),),
    requests=(Request("return", "K482", "Yes, go ahead."),),
    request_text="Hello, I am Mia Stone. Please return order K482.",
    by_phone=False,
)
GIFT_ACTIONS = [
    call("find_user", name="Mia Stone"),
    call("get_order", order_id="K482"),
    say("Order K482 costs 140 euros. Shall I return it?"),
    call("return_order", order_id="K482"),
    call("refund", order_id="K482", amount=140, method="gift"),
    call("log_case", order_id="K482", outcome="done"),
    say("All done: order K482 is returned."),
]


def test_the_expert_scores_one_in_every_family() -> None:
    assert [replay(task, expert_actions(task)).score() for task in TASKS] == [1.0] * len(TASKS)
    assert {task.family for task in TASKS} == set(desk.FAMILIES)


def test_the_expert_takes_between_5_and_20_turns_spread_out() -> None:
    turns = [len(expert_actions(task)) for task in TASKS]
    assert turns == [expert_turns(task) for task in TASKS]
    assert (MIN_TURNS, MAX_TURNS) == (5, 20)
    assert min(turns) == 5
    assert 17 <= max(turns) <= 20
    assert 9 <= sum(turns) / len(turns) <= 12
    assert len(set(turns)) >= 12


def test_every_family_meets_every_outcome() -> None:
    met = Counter((task.family, right_outcome(r, task.order(r.order_id))) for task in TASKS for r in task.requests)
    assert set(met) == {(family, outcome) for family in desk.FAMILIES for outcome in ("done", "denied", "kept")}


def test_tasks_and_demonstrations_come_from_their_seed() -> None:
    assert desk.tasks("test", 20, seed=7) == desk.tasks("test", 40, seed=7)[:20]
    assert desk.tasks("test", 20, seed=7) != desk.tasks("test", 20, seed=8)
    assert desk.demonstrate(TASKS[0], 3) == desk.demonstrate(TASKS[0], 3)


def test_long_tasks_are_the_long_ones_of_the_same_draw() -> None:
    long = desk.tasks("train", 20, seed=0, min_turns=12)
    assert long == [task for task in TASKS if expert_turns(task) >= 12][:20]
    setting = Setting(argument="12", split="test", limit=3)
    assert [one.task_id for one in open_benchmark("desk:12").make(setting)] == [
        task.task_id for task in desk.tasks("test", 3, 0, 12)
    ]


def test_style_varies_with_the_seed() -> None:
    assert len({repr(expert_actions(TASKS[0], seed)) for seed in range(20)}) == 20


def test_splits_share_no_user() -> None:
    users = {split: {t.user.user_id for t in desk.tasks(split, 400, 0)} for split in ("train", "val", "test", "base")}
    assert len(set().union(*users.values())) == sum(map(len, users.values()))


def test_one_task_by_hand() -> None:
    episode = replay(GIFT, GIFT_ACTIONS)
    assert episode.score() == 1.0
    assert episode.state[2:6] == [
        GIFT_ACTIONS[0],
        Message(role="tool", content='{"user_id": "U317", "tier": "gold"}', name="find_user"),
        GIFT_ACTIONS[1],
        Message(
            role="tool",
            content='{"order_id": "K482", "status": "delivered", "days": 12, "late": 0, "amount": 140, "paid": "gift"}',
            name="get_order",
        ),
    ]
    assert goal(GIFT) == episode.world.db
    assert episode.world.db == {
        "orders": {
            "K482": {
                "order_id": "K482",
                "status": "returned",
                "days": 12,
                "late": 0,
                "amount": 140,
                "paid": "gift",
                "city": "Rome",
            }
        },
        "refunds": {"K482": [[140, "gift"]]},
        "credits": {},
        "cases": {"K482": [["done", False]]},
        "unasked": [],
    }


@pytest.mark.parametrize(
    ("at", "replacement"),
    [
        (2, []),
        (3, []),
        (4, []),
        (5, []),
        (6, []),
        (4, [call("refund", order_id="K482", amount=140, method="card")]),
        (4, [call("refund", order_id="K482", amount=14, method="gift")]),
        (4, [GIFT_ACTIONS[4], GIFT_ACTIONS[4]]),
        (3, [GIFT_ACTIONS[3], call("cancel_order", order_id="K482")]),
        (5, [call("log_case", order_id="K482", outcome="denied", note="no")]),
        (5, [GIFT_ACTIONS[5], call("add_credit", user_id="U317", order_id="K482", amount=10)]),
        (6, [say("All done.")]),
        (6, [say("Order K482 is denied.")]),
        (6, [say("Order K482 is returned, order A111 is returned.")]),
        (6, [say("Order K482 is cancelled, returned, moved, credited, denied, kept.")]),
    ],
)
def test_anything_else_fails(at: int, replacement: list[Message]) -> None:
    assert replay(GIFT, [*GIFT_ACTIONS[:at], *replacement, *GIFT_ACTIONS[at + 1 :]]).score() == 0.0


def test_lookups_and_reads_do_no_harm() -> None:
    assert replay(GIFT, [GIFT_ACTIONS[1], call("get_order", order_id="A111"), *GIFT_ACTIONS]).score() == 1.0


def test_an_agent_that_only_talks_scores_zero() -> None:
    words = [phrases.outcome_word(r.verb, right_outcome(r, t.order(r.order_id))) for t in TASKS for r in t.requests]
    told = iter(words)
    silent = [replay(task, [say("Done.")]).score() for task in TASKS]
    knowing = [
        replay(task, [say(phrases.report(Random(0), {r.order_id: next(told) for r in task.requests}))]).score()
        for task in TASKS
    ]
    assert (sum(silent), sum(knowing)) == (0.0, 0.0)


def test_an_unfinished_episode_scores_zero_and_a_finished_one_takes_no_more() -> None:
    assert replay(GIFT, GIFT_ACTIONS[:-1]).score() == 0.0
    episode = replay(GIFT, [*GIFT_ACTIONS, GIFT_ACTIONS[4]])
    assert (episode.done, episode.score()) == (True, 1.0)


def test_parallel_calls_run_in_order() -> None:
    both = Message(role="assistant", tool_calls=[*GIFT_ACTIONS[0].tool_calls, *GIFT_ACTIONS[1].tool_calls])
    assert [message.name for message in replay(GIFT, [both]).state[3:]] == ["find_user", "get_order"]
    assert replay(GIFT, [both, *GIFT_ACTIONS[2:]]).score() == 1.0


def test_the_user_answers_about_one_order_only() -> None:
    refusal = GIFT.requests[0].__class__("return", "K482", "No, leave it.")
    task = DeskTask(**{**GIFT.__dict__, "requests": (refusal,)})
    asked = [*GIFT_ACTIONS[:3], say("Which one?")]
    answers = [message.content for message in replay(task, asked).state if message.role == "user"]
    assert answers == [GIFT.request_text, "No, leave it.", "Which order do you mean?"]
    kept = [*GIFT_ACTIONS[:3], call("log_case", order_id="K482", outcome="kept"), say("Order K482 is kept.")]
    assert replay(task, kept).score() == 1.0
    assert replay(task, GIFT_ACTIONS).score() == 0.0


@pytest.mark.parametrize(
    ("name", "arguments", "error"),
    [
        ("fly", "{}", "no such tool"),
        ("get_order", "{", "arguments are not JSON"),
        ("get_order", "[" * 100_000, "arguments are not JSON"),
        ("get_order", "[]", "arguments are not an object"),
        ("get_order", "{}", "missing order_id"),
        ("get_order", '{"order_id": 482}', "order_id must be string"),
        ("get_order", '{"order_id": "Z999"}', "no such order"),
        ("get_order", '{"order_id": "K482", "x": 1}', "unknown argument"),
        ("refund", '{"order_id": "K482", "amount": true, "method": "card"}', "amount must be integer"),
        ("refund", '{"order_id": "K482", "amount": 1, "method": "cash"}', "method must be one of card, gift, bank"),
        ("find_user", "{}", "no such user"),
        ("add_credit", '{"user_id": "U1", "order_id": "K482", "amount": 5}', "no such user"),
    ],
)
def test_a_bad_call_gets_an_error_and_changes_nothing(name: str, arguments: str, error: str) -> None:
    world = World(GIFT.user, GIFT.orders)
    assert json.loads(world.call(name, arguments)) == {"error": error}
    assert world.db == World(GIFT.user, GIFT.orders).db


def json_values() -> st.SearchStrategy[Any]:
    leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("K482")
    return st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2)
    )


def calls() -> st.SearchStrategy[ToolCall]:
    names = st.sampled_from([schema["function"]["name"] for schema in SCHEMAS]) | st.text(max_size=5)
    keys = st.sampled_from(["order_id", "amount", "method", "name", "phone", "city", "outcome", "note", "user_id"])
    arguments = st.dictionaries(keys, json_values(), max_size=4).map(json.dumps) | st.text(max_size=9)
    return st.builds(ToolCall, name=names, arguments=arguments)


@examples(60)
@given(st.lists(st.builds(Message, role=st.just("assistant"), content=st.text(), tool_calls=st.lists(calls()))))
def test_no_action_raises(actions: list[Message]) -> None:
    assert replay(GIFT, actions).score() == 0.0


def candidate(task: DeskTask, messages: list[Message], turn: int) -> Candidate:
    return Candidate(
        candidate_id="c",
        trajectory_id="t",
        task_id=task.task_id,
        source="s",
        turn=0,
        n_turns=1,
        domain="desk",
        verifier="tool_call",
        state=messages[:turn],
        tools=json.dumps(SCHEMAS),
        expected_action=messages[turn],
        outcome=1.0,
        split="train",
        provenance="{}",
    )


def test_the_verifier_accepts_any_style_for_any_other() -> None:
    """But for the style that gives the reason of a question: that is more than its words."""
    verify = load_verifier("tool_call")
    for task in TASKS[:60]:
        one, other = desk.demonstrate(task, 1), desk.demonstrate(task, 2)
        turns = [i for i, message in enumerate(one) if message.role == "assistant"]
        turns = [i for i in turns if ("limit" in one[i].content) == ("limit" in other[i].content)]
        rewards = [verify(candidate(task, one, turn), other[turn]).reward for turn in turns]
        assert rewards == [1.0] * len(turns)


def test_a_record_reads_back_as_the_demonstration() -> None:
    messages = desk.demonstrate(GIFT, 0)
    record = json.loads(json.dumps(desk.to_record(GIFT, messages)))
    assert {key: record[key] for key in ("task_id", "reward", "domain", "tools")} == {
        "task_id": "desk-gift",
        "reward": 1.0,
        "domain": "desk",
        "tools": SCHEMAS,
    }
    assert record["messages"][2] == {
        "role": "assistant",
        "content": messages[2].content,
        "tool_calls": [
            {
                "id": "call_1",
                "type": "function",
                "function": {"name": "find_user", "arguments": '{"name": "Mia Stone"}'},
            }
        ],
    }
    assert record["messages"][3]["tool_call_id"] == "call_1"


def test_the_agent_with_habits_is_right_at_times_and_mistypes_now_and_then() -> None:
    tasks = desk.tasks("base", 400, seed=0)
    conversations = [converse(task, 0) for task in tasks]
    assert 0.15 < sum(score for _, score in conversations) / len(tasks) < 0.3
    replies = [message.content for messages, _ in conversations for message in messages if message.role == "tool"]
    refused = [reply for reply in replies if "error" in reply]
    assert set(refused) == {'{"error": "no such user"}', '{"error": "no such order"}'}
    assert 0.02 < len(refused) / len(replies) < 0.06


def test_another_agent_has_the_same_habits_at_other_rates() -> None:
    rates = other_rates(1)
    assert rates == other_rates(1) != other_rates(2)
    assert rates.keys() == RATES.keys()
    assert {habit for habit, rate in rates.items() if not 0.2 <= rate <= 0.7} == {"mistypes"}
    task = next(task for task in TASKS if any(request.verb == "credit" for request in task.requests))
    never = converse(task, 0, dict.fromkeys(RATES, 0.0))
    assert never[1] == 1.0
    assert converse(task, 0, dict.fromkeys(RATES, 1.0))[1] == 0.0


POLICY = Path(desk.__file__).parents[2] / "policies" / "desk"


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(POLICY)


def test_the_template_renders_a_turn_as_prompt_and_completion(tokenizer: Any) -> None:
    from pivotrl_cli.model.chat import ChatFormat

    chat = ChatFormat(tokenizer)
    messages = replay(GIFT, GIFT_ACTIONS).state
    tools = json.dumps(SCHEMAS)
    whole = chat.prompt_ids(messages, tools)
    for turn, message in enumerate(messages):
        if message.role != "assistant":
            continue
        prompt, completion = (
            chat.prompt_ids(messages[:turn], tools),
            chat.completion_ids(messages[:turn], tools, message),
        )
        assert whole[: len(prompt) + len(completion)] == prompt + completion
        assert chat.parse(chat.decode(completion)) == message


def test_a_whole_conversation_is_short(tokenizer: Any) -> None:
    from pivotrl_cli.model.chat import ChatFormat

    chat = ChatFormat(tokenizer)
    tools = json.dumps(SCHEMAS)
    longest = max(TASKS, key=expert_turns)
    assert max(len(chat.prompt_ids(desk.DeskEpisode(task).state, tools)) for task in TASKS) <= 450
    assert len(chat.prompt_ids(desk.demonstrate(longest, 0), tools)) <= 1400


FUNCTION = {"name": "f", "arguments": {"x": [1, "ü"]}}
ODD_CONVERSATIONS: list[list[dict[str, Any]]] = [
    [{"role": "assistant", "content": "first"}],
    [{"role": "user", "content": [{"type": "text", "text": "parts"}, "and", {"type": "image"}]}],
    [
        {"role": "user", "content": "😀"},
        {"role": "assistant", "content": None, "tool_calls": [{"function": FUNCTION}] * 2},
    ],
    [{"role": "tool", "content": "one"}, {"role": "tool", "content": "two"}, {"role": "user", "content": "so"}],
    [{"role": "user", "content": "u"}, {"role": "system", "content": "late"}, {"role": "developer", "content": "d"}],
    [{"role": "assistant", "content": "", "tool_calls": [{"name": "f", "arguments": '{"broken'}]}],
    [{"role": "assistant", "content": "x", "reasoning_content": "hm", "tool_calls": None}],
]


@pytest.mark.parametrize("messages", ODD_CONVERSATIONS)
def test_the_template_renders_odd_conversations(tokenizer: Any, messages: list[dict[str, Any]]) -> None:
    tool = {"type": "function", "function": {"name": "f", "description": "d " * 999, "parameters": {"type": "object"}}}
    for tools in (None, [tool]):
        text = tokenizer.apply_chat_template(messages, tools=tools, add_generation_prompt=True, tokenize=False)
        assert text.endswith("<|im_start|>assistant\n")
        assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


def test_the_template_writes_hermes_tags(tokenizer: Any) -> None:
    messages: list[dict[str, Any]] = [
        {"role": "assistant", "content": "Hm.", "tool_calls": [{"function": FUNCTION}, {"function": FUNCTION}]},
        {"role": "tool", "content": "one"},
        {"role": "tool", "content": "two"},
    ]
    tagged = '<tool_call>\n{"name": "f", "arguments": {"x": [1, "ü"]}}\n</tool_call>'
    assert tokenizer.apply_chat_template(messages, tokenize=False) == (
        f"<|im_start|>assistant\nHm.\n{tagged}\n{tagged}<|im_end|>\n<|im_start|>user\n"
        "<tool_response>\none\n</tool_response>\n<tool_response>\ntwo\n</tool_response><|im_end|>\n"
    )


def test_the_shipped_policy_loads_and_answers(tokenizer: Any) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from pivotrl_cli.model.chat import ChatFormat

    model = AutoModelForCausalLM.from_pretrained(POLICY).eval()
    assert sum(parameter.numel() for parameter in model.parameters()) < 2_000_000
    assert (model.config.model_type, model.dtype, model.config.max_position_embeddings) == (
        "qwen3",
        torch.float32,
        4096,
    )
    chat = ChatFormat(tokenizer)
    for episode in skills.items(4, seed=1):
        prompt = torch.tensor([chat.prompt_ids(episode.state, episode.tools)])
        output = model.generate(prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=60)
        episode.step(chat.parse(chat.decode(output[0, prompt.shape[1] :].tolist())))
        assert (episode.category, episode.score()) == (episode.category, 1.0)
