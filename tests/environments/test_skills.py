"""The skills: right answers score one, anything else zero, whatever the action."""

from __future__ import annotations

import json

import pytest

from pivotrl_cli.environments import skills
from pivotrl_cli.environments.skills import KINDS, TRAINED, SkillEpisode, SkillItem
from pivotrl_cli.rows import Message, ToolCall

HEAT = SkillItem("i", "home", "s", "Heat it.", ("set_heat", {"room": "hall", "degrees": 20}), skills.HOME_TOOLS)
SUM = SkillItem("i", "add", "s", "Add 2 and 3.", "5")


def answered(item: SkillItem, action: Message) -> SkillEpisode:
    episode = SkillEpisode(item)
    episode.step(action)
    return episode


def heat(arguments: str, name: str = "set_heat") -> Message:
    return Message(role="assistant", tool_calls=[ToolCall(name=name, arguments=arguments)])


def test_the_right_answer_scores_one_and_ends() -> None:
    episodes = skills.items(100, seed=0)
    assert sum(episode.score() for episode in episodes) == 0.0
    for episode in episodes:
        episode.step(episode.item.action())
    assert [(episode.done, episode.score()) for episode in episodes] == [(True, 1.0)] * 100


def test_skills_come_in_turn_from_their_seed() -> None:
    one, same, other = skills.items(8, 3), skills.items(8, 3), skills.items(8, 4)
    assert [episode.category for episode in one] == [*KINDS, *KINDS]
    assert [episode.item for episode in one] == [episode.item for episode in same]
    assert [episode.item for episode in one] != [episode.item for episode in other]
    assert len({episode.task_id for episode in one + other}) == 16


def test_answers_by_hand() -> None:
    answers = {item.kind: (item.question, item.answer) for item in (skills.item(kind, "x") for kind in TRAINED)}
    left, right = (int(word.strip(".")) for word in answers["add"][0].split() if word[0].isdigit())
    assert answers["add"][1] == str(left + right)
    assert answers["reverse"][1] == " ".join(answers["reverse"][0].split()[:0:-1])
    assert answers["sort"][1] == " ".join(sorted(answers["sort"][0].split()[1:]))
    listed, asked = answers["recall"][0].split(". Which number is ")
    assert f"{asked.rstrip('?')} {answers['recall'][1]}" in listed


@pytest.mark.parametrize(
    ("text", "score"), [("5", 1.0), (" 5\n", 1.0), ("6", 0.0), ("", 0.0), ("It is 5", 0.0), ("5 6 7 8", 0.0)]
)
def test_text_answers(text: str, score: float) -> None:
    assert answered(SUM, Message(role="assistant", content=text)).score() == score


@pytest.mark.parametrize(
    ("action", "score"),
    [
        (heat('{"degrees": 20, "room": "hall"}'), 1.0),
        (heat('{"degrees": 20.0, "room": "hall"}'), 0.0),
        (heat('{"degrees": 21, "room": "hall"}'), 0.0),
        (heat('{"room": "hall"}'), 0.0),
        (heat('{"degrees": 20, "room": "hall"}', name="lock_door"), 0.0),
        (heat("{"), 0.0),
        (heat("[" * 100_000), 0.0),
        (Message(role="assistant", content="set_heat"), 0.0),
    ],
)
def test_call_answers(action: Message, score: float) -> None:
    assert answered(HEAT, action).score() == score


def test_one_action_ends_it() -> None:
    episode = answered(SUM, Message(role="assistant", content="6"))
    episode.step(Message(role="assistant", content="5"))
    assert (episode.score(), len(episode.state)) == (0.0, 3)


def test_tools_are_the_home_tools_or_none() -> None:
    assert {episode.category: len(json.loads(episode.tools)) for episode in skills.items(4, 0)} == {
        "add": 0,
        "reverse": 0,
        "sort": 0,
        "home": 3,
    }
