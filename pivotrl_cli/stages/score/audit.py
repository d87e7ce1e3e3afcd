"""Audit: which wrong actions would the verifiers of a candidates table accept?

A policy finds whatever its reward accepts. So each demonstration is scored against itself (it must be accepted), and
against actions that are wrong on purpose: another turn's action, the demonstration without one of its arguments, with
one value replaced, a message that does nothing, and all declared tools called at once; then, by kind of value, with one
detail turned round (`changed_values`). The shares accepted are what a policy could exploit; a few are honest (another
turn may well do the same).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from pivotrl_cli.rows import Candidate, Message, ToolCall
from pivotrl_cli.stages.score.changed_values import changed_texts, kind_of
from pivotrl_cli.stages.score.summary import AcceptedAction, AuditSummary, ProbeCount, action_text
from pivotrl_cli.storage.table import Table
from pivotrl_cli.verifiers import Verifier
from pivotrl_cli.verifiers.compare.terminus import guess_harness, is_valid, json_object, spoken_text

NO_OP = "OK, I will look into it."
"""A message that is polite and does nothing."""

Probe = Callable[[Candidate, Message | None], Message | None]
"""(candidate, the action of the turn before) -> the wrong action, or None where the probe does not apply."""


def other_turn(candidate: Candidate, previous: Message | None) -> Message | None:
    """The action of the turn before, unless it is the same."""
    return None if previous is None or _same(previous, candidate.expected_action) else previous


def dropped_argument(candidate: Candidate, previous: Message | None) -> Message | None:
    """The demonstration without the first argument that its tool requires."""
    return _with_arguments(candidate, _drop_argument)


def changed_value(candidate: Candidate, previous: Message | None) -> Message | None:
    """The demonstration with its first argument's value changed."""
    return _with_arguments(candidate, lambda arguments, required: _change_value(arguments))


def no_op(candidate: Candidate, previous: Message | None) -> Message | None:
    return Message(role="assistant", content=NO_OP)


def every_tool(candidate: Candidate, previous: Message | None) -> Message | None:
    """All declared tools at once, the demonstrated calls among them."""
    demonstrated = candidate.expected_action.tool_calls
    names = [tool["function"]["name"] for tool in json.loads(candidate.tools)]
    others = [ToolCall(name=name, arguments="{}") for name in names if name not in {c.name for c in demonstrated}]
    return Message(role="assistant", tool_calls=[*demonstrated, *others]) if demonstrated and others else None


class Slot(NamedTuple):
    """A text of an action."""

    kind: str | None
    text: str
    put: Callable[[str], Message]
    """The action with another text in its place."""


PROBES: dict[str, Probe] = {
    "another turn's action": other_turn,
    "a required argument dropped": dropped_argument,
    "a value changed": changed_value,
    "a message that does nothing": no_op,
    "all tools at once": every_tool,
}


def slots(action: Message) -> Iterator[Slot]:
    """The texts of an action: its message, what it types (Terminus), or the arguments of its calls."""
    harness = None if action.tool_calls else guess_harness(action.content)
    typed = json_object(spoken_text(action.content)) if harness else None
    if harness and typed and is_valid(typed, harness):
        for i, command in enumerate(typed["commands"]):
            yield Slot("command", command["keystrokes"], partial(_with_keystrokes, action, typed, i))
    elif not action.tool_calls:
        yield Slot("message", action.content, lambda text: action.model_copy(update={"content": text}))
    for i, call in enumerate(action.tool_calls):
        arguments = _arguments(call)
        for key, value in arguments.items() if isinstance(arguments, dict) else ():
            if isinstance(value, str):
                yield Slot(kind_of(key, value), value, partial(_with_argument, action, i, arguments, key))


def _with_keystrokes(action: Message, typed: dict[str, Any], i: int, text: str) -> Message:
    commands = [command | {"keystrokes": text} if i == j else command for j, command in enumerate(typed["commands"])]
    return action.model_copy(update={"content": json.dumps(typed | {"commands": commands})})


def _with_argument(action: Message, i: int, arguments: dict[str, Any], key: str, text: str) -> Message:
    return _with_call(action, i, arguments | {key: text})


def _with_call(action: Message, i: int, arguments: dict[str, Any]) -> Message:
    """The action with other arguments of its call `i`."""
    changed = action.tool_calls[i].model_copy(update={"arguments": json.dumps(arguments)})
    return action.model_copy(update={"tool_calls": [*action.tool_calls[:i], changed, *action.tool_calls[i + 1 :]]})


def audit(table: Table[Candidate], verifiers: dict[str, Verifier], override: str | None = None) -> AuditSummary:
    """Score every probe at every candidate, by the candidate's verifier or the one that overrides it."""
    counts = {name: _Count() for name in PROBES}
    refused: list[str] = []
    previous: Candidate | None = None
    for candidate in table.rows():
        verify = verifiers[override or candidate.verifier]
        if verify(candidate, candidate.expected_action).reward < 1.0:
            refused.append(candidate.candidate_id)
        follows = previous is not None and previous.trajectory_id == candidate.trajectory_id
        before = previous.expected_action if previous is not None and follows else None
        for name, wrong in wrong_actions(candidate, before):
            counts.setdefault(name, _Count()).add(candidate, wrong, verify(candidate, wrong).reward)
        previous = candidate
    return AuditSummary(
        verifiers=list(verifiers),
        candidates=table.n_rows,
        demonstrations_refused=len(refused),
        refused_examples=refused[:3],
        probes={name: counts[name].summary() for name in [*PROBES, *sorted(counts.keys() - PROBES.keys())]},
    )


@dataclass(slots=True)
class _Count:
    tried: int = 0
    partial: int = 0
    accepted: list[str] = field(default_factory=list)
    first: AcceptedAction | None = None

    def add(self, candidate: Candidate, wrong: Message, reward: float) -> None:
        self.tried += 1
        self.partial += 0.0 < reward < 1.0
        if reward >= 1.0:
            self.accepted.append(candidate.candidate_id)
            self.first = self.first or AcceptedAction(
                candidate_id=candidate.candidate_id,
                expected=action_text(candidate.expected_action),
                accepted=action_text(wrong),
            )

    def summary(self) -> ProbeCount:
        return ProbeCount(
            tried=self.tried,
            accepted=len(self.accepted),
            partial=self.partial,
            examples=self.accepted[:3],
            first_accepted=self.first,
        )


def wrong_actions(candidate: Candidate, previous: Message | None) -> Iterator[tuple[str, Message]]:
    """The wrong action of each probe that applies; a change of a kind of value is made at its first place."""
    for name, probe in PROBES.items():
        wrong = probe(candidate, previous)
        if wrong is not None:
            yield name, wrong
    changed: dict[str, Message] = {}
    for slot in slots(candidate.expected_action):
        for change, text in changed_texts(slot.text, slot.kind):
            changed.setdefault(f"{slot.kind}: {change}", slot.put(text))
    yield from changed.items()


def _same(first: Message, second: Message) -> bool:
    def essence(message: Message) -> Any:
        return message.content.strip(), [(c.name, _arguments(c)) for c in message.tool_calls]

    return bool(essence(first) == essence(second))


def _arguments(call: ToolCall) -> Any:
    try:
        return json.loads(call.arguments)
    except (ValueError, RecursionError):
        return call.arguments


Change = Callable[[dict[str, Any], list[str]], dict[str, Any] | None]


def _with_arguments(candidate: Candidate, change: Change) -> Message | None:
    """The demonstration with its first call's arguments changed."""
    calls = candidate.expected_action.tool_calls
    arguments = _arguments(calls[0]) if calls else None
    if not isinstance(arguments, dict) or not arguments:
        return None
    changed = change(arguments, _required_names(candidate, calls[0].name))
    if changed is None:
        return None
    return _with_call(candidate.expected_action, 0, changed)


def _required_names(candidate: Candidate, name: str) -> list[str]:
    for tool in json.loads(candidate.tools):
        function = tool["function"]
        if function["name"] == name:
            required = (function.get("parameters") or {}).get("required")
            return required if isinstance(required, list) else []
    return []


def _drop_argument(arguments: dict[str, Any], required: list[str]) -> dict[str, Any] | None:
    droppable = [key for key in arguments if not required or key in required]
    return {k: v for k, v in arguments.items() if k != droppable[0]} if droppable else None


def _change_value(arguments: dict[str, Any]) -> dict[str, Any]:
    key, value = next(iter(arguments.items()))
    match value:
        case bool():
            other: Any = not value
        case int() | float():
            other = value + 1
        case str():
            other = "something else entirely"
        case list():
            other = [*value, "one more"]
        case _:
            other = "something else entirely"
    return arguments | {key: other}
