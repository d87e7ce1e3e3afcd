"""Turns that break the form: by the cases that NeMo RL tests its own detector on, and in a step."""

from __future__ import annotations

import pytest
from tables import RIGHT, WRONG

from pivotrl_cli.configs import TrainConfig
from pivotrl_cli.engines import Completion
from pivotrl_cli.model.chat import UnparsableError, parse_hermes
from pivotrl_cli.stages.train.groups import ScoredGroup, ScoredRollout, Turn
from pivotrl_cli.stages.train.penalties import invalid_tool_call, malformed_thinking, penalty

CONFIG = TrainConfig(pivots="p", output="o", invalid_tool_call_advantage=-5.0, malformed_thinking_advantage=-7.0)


def completion(text: str) -> Completion:
    try:
        return Completion(text=text, action=parse_hermes(text), token_ids=[1])
    except UnparsableError as error:
        return Completion(text=text, action=None, problem=str(error), token_ids=[1])


@pytest.mark.parametrize(
    ("reasoning", "answer", "invalid", "malformed"),
    [
        ("", "use <tool_call>{}</tool_call>", True, False),
        ("", "final answer leaked <think>reasoning</think>", False, True),
        ("<think>a</think>", "", False, False),
        ("<think>a</think><think>b", "", False, True),
        ("bad <function_call>{}", "", True, False),
        ("", "", False, False),
    ],
)
def test_the_rules_are_nemo_rls(reasoning, answer, invalid, malformed):
    assert (invalid_tool_call(reasoning, answer), malformed_thinking(reasoning, answer)) == (invalid, malformed)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (RIGHT, None),
        ("Which order?", None),
        (f"<think>Look.</think>{RIGHT}", None),
        ("<tool_call>\n{broken\n</tool_call>", -5.0),
        ("Done. <tool_call>", -5.0),
        (f"<think>Look.</think>{RIGHT}</think>", -7.0),
        ("<think>No end", -7.0),
        ("<think>Twice.</think> Once. <think>More.</think> <tool_call>", -7.0),
    ],
)
def test_a_sampled_turn_is_judged_by_what_parsing_left(text, expected):
    assert penalty(completion(text), CONFIG) == expected
    assert penalty(completion(text), TrainConfig(pivots="p", output="o")) is None


def group(rewards: list[float | None], *texts: str) -> ScoredGroup:
    rollouts = [ScoredRollout([Turn([1], completion(t))], r, "") for r, t in zip(rewards, texts, strict=True)]
    return ScoredGroup.of("q", rollouts, CONFIG)


def test_a_penalty_takes_the_place_of_the_advantage():
    mixed = group([1.0, 0.0, 0.0, 1.0], RIGHT, WRONG, "<tool_call>", RIGHT)
    assert mixed.advantages == [pytest.approx([a], rel=1e-5) for a in (1.0, -1.0, -5.0, 1.0)]
    assert mixed.n_penalised == 1


def test_a_group_without_variance_teaches_only_its_penalties():
    assert group([0.0, 0.0], WRONG, WRONG).advantages is None
    assert group([0.0, 0.0], WRONG, "<tool_call>").advantages == [[0.0], [-5.0]]


def test_what_was_not_measured_is_not_penalised():
    assert group([None, None], "<tool_call>", "<tool_call>").n_penalised == 0
    assert group([None, None], "<tool_call>", "<tool_call>").advantages is None
