"""Skills outside the desk's domain: one-turn questions that measure forgetting when a policy is trained on the desk.

Arithmetic, string work, and tool calls in another domain (`home`). The shipped policy learned them without faults, from
the same generators with other seeds: they measure retention, not generalization.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from pivotrl_cli.rows import Message, ToolCall

_ROOMS = ("hall", "kitchen", "office", "cellar", "attic", "garage")
_COLOURS = ("red", "blue", "green", "black", "white", "pink", "gold", "gray")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def _schema(name: str, properties: dict[str, Any]) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "description": "", "parameters": parameters}}


_TEXT = {"type": "string"}
HOME_TOOLS = json.dumps(
    [
        _schema("set_heat", {"room": _TEXT, "degrees": {"type": "integer"}}),
        _schema("set_light", {"room": _TEXT, "on": {"type": "boolean"}}),
        _schema("lock_door", {"room": _TEXT}),
    ]
)
"""Tool schemas of the `home` domain."""


@dataclass(frozen=True)
class SkillItem:
    """One question and its answer; `answer` is a text, or a call's name and arguments."""

    item_id: str
    kind: str
    system: str
    question: str
    answer: str | tuple[str, dict[str, Any]]
    tools: str = "[]"

    def action(self) -> Message:
        if isinstance(self.answer, str):
            return Message(role="assistant", content=self.answer)
        name, arguments = self.answer
        call = ToolCall(id="call_1", name=name, arguments=json.dumps(arguments))
        return Message(role="assistant", tool_calls=[call])


class SkillEpisode:
    """Implements `Episode` for one question: done after one action."""

    def __init__(self, item: SkillItem) -> None:
        self.item = item
        self.task_id = self.cluster = item.item_id
        self.category = item.kind
        self.tools = item.tools
        self.state = [Message(role="system", content=item.system), Message(role="user", content=item.question)]
        self.done = False

    def step(self, action: Message) -> None:
        if not self.done:
            self.state.append(action)
            self.done = True

    def score(self) -> float:
        """1.0 for the right answer, else 0.0; words around a right answer make it wrong."""
        return float(self.done and _is_right(self.state[-1], self.item.answer))


def _is_right(action: Message, answer: str | tuple[str, dict[str, Any]]) -> bool:
    if isinstance(answer, str):
        return not action.tool_calls and action.content.split() == answer.split()
    if len(action.tool_calls) != 1:
        return False
    call = action.tool_calls[0]
    try:
        arguments = json.loads(call.arguments)
    except (ValueError, RecursionError):
        return False
    return call.name == answer[0] and json.dumps(arguments, sort_keys=True) == json.dumps(answer[1], sort_keys=True)


_Drawn = tuple[str, str | tuple[str, dict[str, Any]]]


def _add(rng: Random) -> _Drawn:
    left, right = rng.randint(1, 49), rng.randint(1, 49)
    return f"Add {left} and {right}.", str(left + right)


def _reverse(rng: Random) -> _Drawn:
    letters = rng.sample(_LETTERS, rng.randint(3, 5))
    return f"Reverse: {' '.join(letters)}", " ".join(reversed(letters))


def _sort(rng: Random) -> _Drawn:
    digits = rng.sample("0123456789", rng.randint(3, 5))
    return f"Sort: {' '.join(digits)}", " ".join(sorted(digits))


def _recall(rng: Random) -> _Drawn:
    colours = rng.sample(_COLOURS, 4)
    boxes = {colour: str(rng.randint(0, 9)) for colour in colours}
    listed = ", ".join(f"{colour} {number}" for colour, number in boxes.items())
    asked = rng.choice(colours)
    return f"Boxes: {listed}. Which number is {asked}?", boxes[asked]


def _home(rng: Random) -> _Drawn:
    room, kind = rng.choice(_ROOMS), rng.randrange(3)
    if kind == 0:
        degrees = rng.randint(12, 28)
        return f"Heat the {room} to {degrees} degrees.", ("set_heat", {"room": room, "degrees": degrees})
    if kind == 1:
        on = rng.random() < 0.5
        return f"Turn the light in the {room} {'on' if on else 'off'}.", ("set_light", {"room": room, "on": on})
    return f"Lock the {room}.", ("lock_door", {"room": room})


_KINDS: dict[str, Callable[[Random], _Drawn]] = {
    "add": _add,
    "reverse": _reverse,
    "sort": _sort,
    "recall": _recall,
    "home": _home,
}
_SYSTEMS = {"home": "You run a house. Use the tools."}
TRAINED = tuple(_KINDS)
"""Skills that the shipped policy was trained on."""
KINDS = ("add", "reverse", "sort", "home")
"""Skills that are measured. `recall` is not: the policy never learned it well, so it could not show forgetting."""


def item(kind: str, name: str) -> SkillItem:
    question, answer = _KINDS[kind](Random(f"skills/{kind}/{name}"))
    tools = HOME_TOOLS if kind == "home" else "[]"
    return SkillItem(f"skill-{kind}-{name}", kind, _SYSTEMS.get(kind, "Answer."), question, answer, tools)


def items(n: int, seed: int) -> list[SkillEpisode]:
    """`n` questions, the skills in turn; the same arguments give the same questions."""
    return [SkillEpisode(item(KINDS[i % len(KINDS)], f"{seed}-{i}")) for i in range(n)]
