"""Turns that break the form: by the cases that NeMo RL tests its own detector on, and in a step."""

from __future__ import annotations

import pytest
from tables import RIGHT, WRONG

from pivotrl_cli.configs import TrainConfig
from pivotrl_cli.engines import Completion
from pivotrl_cli.errors import ConfigError
from pivotrl_cli.model.chat import UnparsableError, parse_hermes
from pivotrl_cli.model.formats.known import KNOWN
from pivotrl_cli.stages.train.groups import ScoredGroup, ScoredRollout, StepGroups, Turn
from pivotrl_cli.stages.train.penalties import check_format, has_invalid_tool_call, has_malformed_thinking, penalty

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
    assert (has_invalid_tool_call(reasoning, answer), has_malformed_thinking(reasoning, answer)) == (invalid, malformed)


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
    turns = [Turn([1], completion(text), penalty(completion(text), CONFIG)) for text in texts]
    return ScoredGroup("q", [ScoredRollout([turn], r, "") for turn, r in zip(turns, rewards, strict=True)])


def test_a_penalty_takes_the_place_of_the_advantage():
    mixed = group([1.0, 0.0, 0.0, 1.0], RIGHT, WRONG, "<tool_call>", RIGHT)
    (advantages,) = StepGroups([mixed]).advantages("group")
    assert advantages == [pytest.approx([a], rel=1e-5) for a in (1.0, -1.0, -5.0, 1.0)]
    assert mixed.n_penalised == 1


def test_a_group_without_variance_trains_only_on_its_penalties():
    constant, penalised = group([0.0, 0.0], WRONG, WRONG), group([0.0, 0.0], WRONG, "<tool_call>")
    assert (constant.trains, penalised.trains) == (False, True)
    assert StepGroups([constant, penalised]).advantages("group") == [[[0.0], [-5.0]]]


def test_what_was_not_measured_is_not_penalised():
    unmeasured = group([None, None], "<tool_call>", "<tool_call>")
    assert (unmeasured.n_penalised, unmeasured.trains) == (0, False)


def test_all_groups_of_a_step_get_their_advantages_at_once():
    """One [P, G] batch: groups of equal rewards are left out, an unscored rollout has advantage 0 and no row of it."""
    step = StepGroups([group(rewards, RIGHT, WRONG) for rewards in ([1.0, 0.0], [1.0, 1.0], [0.0, 0.5], [None, 1.0])])
    advantages = step.advantages("no_std")
    assert advantages == [[[0.5], [-0.5]], [[-0.25], [0.25]]]
    batch = step.batch(advantages)
    assert (batch.advantages, batch.rollouts) == ([[0.5, -0.5], [-0.25, 0.25]], [[0, 1], [2, 3]])
    recorded = [row.advantage for row in step.table_rows(1, advantages)]
    assert recorded == [0.5, -0.5, None, None, -0.25, 0.25, None, None]
    assert {row.purpose for row in step.table_rows(1, None)} == {"reprofile"}


@pytest.mark.parametrize(
    ("name", "option", "refused"),
    [
        ("hermes", "invalid_tool_call_advantage", False),
        ("glm", "invalid_tool_call_advantage", False),
        ("mistral", "invalid_tool_call_advantage", True),
        ("gpt-oss", "invalid_tool_call_advantage", True),
        ("hermes", "malformed_thinking_advantage", False),
        ("gpt-oss", "malformed_thinking_advantage", True),
    ],
)
def test_a_penalty_whose_tags_the_model_does_not_write_is_refused(name, option, refused):
    form = next(form for form in KNOWN if form.name == name)
    config = TrainConfig(pivots="p", output="o", **{option: -5.0})
    if not refused:
        check_format(form, config)
        return
    with pytest.raises(ConfigError, match=f"--{option.replace('_', '-')} looks for"):
        check_format(form, config)
