"""Which format a model writes, proved: actions that its own template renders must be read back as they were.

The tokenizer's own response template is tried first, then the known formats. What a template cannot say (two calls at
once, text beside a call, reasoning) is a limitation of the template, not a failure.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pivotrl_cli.model.formats import Format, Reading, read
from pivotrl_cli.model.formats.known import KNOWN, MESSAGES
from pivotrl_cli.model.shape import Arguments, Ids, MessageShape
from pivotrl_cli.model.target import NoTarget, Turn, body, end
from pivotrl_cli.rows import Message, ToolCall

Reader = Callable[[Format, str, str, str], Reading]
"""`read`, or what knows the tokenizer's own response template too."""
Renderer = Callable[[list[dict[str, Any]], str, bool], str]
"""Messages in the template's shape, the tools, and whether a reply is opened; raises `ValueError`."""

TOOLS = json.dumps(
    [
        {
            "type": "function",
            "function": {
                "name": "probe_write",
                "description": "Write a note.",
                "parameters": {
                    "type": "object",
                    "properties": {
                        "text": {"type": "string", "description": "the text"},
                        "count": {"type": "integer", "description": "how often"},
                        "labels": {"type": "object", "description": "more", "additionalProperties": {"type": "string"}},
                        "parts": {"type": "array", "description": "parts", "items": {"type": "string"}},
                    },
                    "required": ["text"],
                    "additionalProperties": False,
                },
            },
        },
        {
            "type": "function",
            "function": {
                "name": "probe_ping",
                "description": "Say that you are there.",
                "parameters": {"type": "object", "properties": {}, "required": [], "additionalProperties": False},
            },
        },
    ]
)
STATE = [Message(role="user", content="Question")]


def _write(**arguments: Any) -> ToolCall:
    return ToolCall(id="call_1", name="probe_write", arguments=json.dumps(arguments, ensure_ascii=False))


_PING = ToolCall(id="call_2", name="probe_ping", arguments="{}")
_PLAIN = _write(text="Alpha", count=3)


def _says(content: str, *calls: ToolCall, reasoning: str | None = None) -> Message:
    return Message(role="assistant", content=content, reasoning=reasoning, tool_calls=list(calls))


PROBES: dict[str, Message] = {
    "message": _says("Answer"),
    "call": _says("", _PLAIN),
    "nested arguments": _says("", _write(text="Alpha", labels={"deep": [1, {"a": True}]}, parts=["x", "y z"])),
    "unicode": _says("", _write(text="Zürich 東京 🌸\nsecond line")),
    "quotes": _says("", _write(text="it's \"so\", isn't it? {a: [b], c=1}")),
    "call without arguments": _says("", _PING),
    "two calls": _says("", _PLAIN, _PING),
    "text beside a call": _says("Wait.", _PLAIN),
    "reasoning and message": _says("Answer", reasoning="Thought"),
    "reasoning and call": _says("", _PLAIN, reasoning="Thought"),
}
"""`own tags` comes with them, once the format is known; `call` is the one that must come back."""


@dataclass(frozen=True)
class Marks:
    """A tokenizer's tokens that are marks, and those at which generation is known to stop, its own first."""

    tokens: tuple[str, ...]
    stops: tuple[str, ...]
    endings: tuple[str, ...] = ()
    """Ends of a turn that the template writes and the vocabulary lacks: plain text, behind which a stop follows."""

    def without_end(self, text: str) -> str:
        """A reply without the marks at its end that are not tokens."""
        return text.rstrip().removesuffix(self.endings[0]) if self.endings else text


@dataclass(frozen=True)
class Found:
    """How a model writes, as its template showed."""

    format: Format
    shape: MessageShape
    marks: Marks
    """With the stops that the template showed."""
    probes: dict[str, str]
    """Each probe: empty where it came back, else why it did not."""
    appends: bool = False
    """Whether the template ends every render with something of its own."""
    wrote: str = ""
    """What the template wrote for a plain call, or why it refused, where no format reads it back."""

    @property
    def limits(self) -> dict[str, str]:
        """The probes that did not come back."""
        return {name: why for name, why in self.probes.items() if why}


def find_format(render: Renderer, marks: Marks, formats: Sequence[Format] = KNOWN, reader: Reader = read) -> Found:
    """The format that reads back a plain call and most of the other probes; `MESSAGES` where none does."""
    shape, best, wrote = _content_shape(render), None, ""
    for one, turn in _shapes_that_call(render, shape):
        wrote = wrote or _attempt(turn, marks.tokens)
        for form in formats:
            if _calls(reader, form, turn, marks) != [("probe_write", {"text": "Alpha", "count": 3})]:
                continue
            found = _examine(render, reader, form, one, marks)
            if not found.probes["call"] and (best is None or len(found.limits) < len(best.limits)):
                best = found
        if best is not None:
            return best
    found = _examine(render, reader, _messages_only(render, shape), shape, marks)
    return replace(found, wrote=wrote or _refusal(render, shape))


def _calls(reader: Reader, form: Format, turn: Turn, marks: Marks) -> list[tuple[Any, Any]]:
    try:
        text = body(turn, _marks(form, marks), form.reasoning)
        reading = reader(form, text, turn.prompt, TOOLS)
    except ValueError:
        return []
    return [(call.get("name"), call.get("arguments")) for call in reading.calls]


def _marks(form: Format, marks: Marks) -> tuple[str, ...]:
    return (*marks.tokens, *(mark.strip() for mark in form.reasoning or ()))


def _messages_only(render: Renderer, shape: MessageShape) -> Format:
    """A format without calls, with the marks of the family whose channels the template writes."""
    text = _attempt(make_turn(render, shape, STATE, PROBES["message"], "[]"))
    for form in KNOWN:
        if form.blank and re.search(form.blank, text):
            return replace(MESSAGES, blank=form.blank, reasoning=form.reasoning)
    return MESSAGES


def _refusal(render: Renderer, shape: MessageShape) -> str:
    """Why the template refuses a call; empty where it drops it in silence."""
    try:
        return make_turn(render, shape, STATE, PROBES["call"], TOOLS).full and ""
    except ValueError as error:
        return f"refused: {error}"


def _examine(render: Renderer, reader: Reader, form: Format, shape: MessageShape, marks: Marks) -> Found:
    """All probes in one format, with the stops and the key of reasoning that they show."""
    shape = _reasoning_shape(render, shape)
    stops = [one for one in form.stops if one in marks.tokens]
    marks = replace(marks, stops=tuple(dict.fromkeys((*marks.stops, *stops))))
    calls = form.body != "none"
    probes = {name: one for name, one in PROBES.items() if calls or not one.tool_calls}
    tools = TOOLS if calls else "[]"
    for name in ("message", "call") if calls else ("message",):
        marks = _with_stop(reader, form, make_turn(render, shape, STATE, probes[name], tools), probes[name], marks)
    if calls:
        tags = _own_tags(_attempt(make_turn(render, shape, STATE, probes["call"], tools), ()), marks)
        probes["own tags"] = _says("", _write(text=f"Alpha {tags} omega"))
    turns = {name: make_turn(render, shape, STATE, one, tools) for name, one in probes.items()}
    given = {name: _fault(reader, form, turns[name], marks, probes[name]) for name in probes}
    return Found(form, shape, marks, given, appends=_appends(turns["message"], marks))


def _appends(turn: Turn, marks: Marks) -> bool:
    try:
        return end(turn, turn.full, marks.stops) != end(turn, turn.full, marks.stops, appends=False)
    except ValueError:
        return False


def _own_tags(text: str, marks: Marks) -> str:
    """The marks of a format as text, with words between: what a document about it would say."""
    found = dict.fromkeys(re.findall(r"<[^<>\n]{1,40}>|\[/?[A-Z_]+\]", text.rsplit("Alpha", 1)[-1]))
    ends = " ".join(marks.stops)  # a stop as text is a stop
    return " and ".join(one for one in found if one not in ends) or "none"


def _with_stop(reader: Reader, form: Format, turn: Turn, action: Message, marks: Marks) -> Marks:
    """The marks, with the token that the template writes behind an action where none of the stops is there."""
    try:
        text = body(turn, _marks(form, marks), form.reasoning)
        reading = reader(form, text, turn.prompt, TOOLS)
    except ValueError:
        return marks
    behind = reading.rest if reading.calls else reading.content.partition(action.content)[2]
    behind = (re.sub(form.blank, "", behind) if form.blank else behind).strip()
    if behind.startswith(marks.stops) or (not behind and text.rstrip().endswith(marks.stops)):
        return marks
    written = _first_mark(behind, marks.tokens) if behind else _first_mark(turn.after, marks.tokens)
    if written:
        return replace(marks, stops=(*marks.stops, written)) if written not in marks.stops else marks
    ending = re.match(r"<[^<>\s]{1,40}>", behind)
    return replace(marks, endings=(ending[0],)) if ending else marks


def make_turn(render: Renderer, shape: MessageShape, state: list[Message], action: Message, tools: str) -> Turn:
    """An action at a state in the template's shape."""
    shaped = shape.messages([*state, action])
    return Turn(lambda messages, opened: render(messages, tools, opened), shaped[:-1], shaped[-1])


def _content_shape(render: Renderer) -> MessageShape:
    for shape in (MessageShape(), MessageShape(content="blocks")):
        for tools in ("[]", TOOLS):
            text = _attempt(make_turn(render, shape, STATE, PROBES["message"], tools))
            if "Answer" in text and "Question" in text:
                return shape
    return MessageShape()


def _shapes_that_call(render: Renderer, shape: MessageShape) -> Iterator[tuple[MessageShape, Turn]]:
    """Shapes in which the template writes a call, each with the turn of a plain one."""
    said = _attempt(make_turn(render, shape, STATE, PROBES["message"], TOOLS)).count("probe_write")
    for arguments, ids in itertools.product(_ARGUMENTS, _IDS):
        one = replace(shape, arguments=arguments, ids=ids)
        turn = make_turn(render, one, STATE, PROBES["call"], TOOLS)
        text = _attempt(turn)
        if text.count("probe_write") <= said or "Alpha" not in text:
            continue
        if ids == "recorded" and ("call_1" in text or not _takes_no_id(render, one)):
            one = replace(one, ids="given")
        yield one, turn


_ARGUMENTS: tuple[Arguments, ...] = ("object", "text")
_IDS: tuple[Ids, ...] = ("recorded", "alphanumeric", "functions")


def _takes_no_id(render: Renderer, shape: MessageShape) -> bool:
    call = ToolCall(name="probe_ping", arguments="{}")
    history = [*STATE, _says("", call), Message(role="tool", content="ok", name="probe_ping")]
    try:
        return bool(render(shape.messages(history), TOOLS, True))
    except ValueError:
        return False


def _reasoning_shape(render: Renderer, shape: MessageShape) -> MessageShape:
    """The shape with the key under which the template reads reasoning; as it was where it reads none."""
    best, most = shape, 0
    for key in ("reasoning_content", "reasoning", "thinking", "thought", "blocks"):
        one, seen = replace(shape, reasoning=key), 0
        for name in ("reasoning and message", "reasoning and call"):
            text = _attempt(make_turn(render, one, STATE, PROBES[name], TOOLS))
            seen += "Thought" in text and not re.search("[\"']thinking[\"']", text)  # else blocks, printed
        if seen > most:
            best, most = one, seen
    return best


def _attempt(turn: Turn, tokens: tuple[str, ...] | None = None) -> str:
    """What the template writes; empty where it refuses. With `tokens` only the action."""
    try:
        return turn.full if tokens is None else body(turn, tokens, None)
    except ValueError:
        return ""


def _first_mark(text: str, tokens: tuple[str, ...]) -> str:
    return max((one for one in tokens if text.lstrip().startswith(one)), key=len, default="")


def _fault(reader: Reader, form: Format, turn: Turn, marks: Marks, action: Message) -> str:
    """Why an action does not come back; empty where it does."""
    try:
        text = body(turn, _marks(form, marks), form.reasoning)
        text = end(turn, text, marks.stops, marks.endings, reader(form, text, turn.prompt, TOOLS).rest)
    except NoTarget as error:
        return str(error)
    except ValueError as error:
        return f"the template refuses it: {error}"
    inside = text.removesuffix(next((one for one in marks.stops if text.endswith(one)), ""))
    early = next((one for one in marks.stops if one in inside), None)
    if early is not None:
        return f"generation would stop in the middle, at {early}"
    reading = reader(form, marks.without_end(inside), turn.prompt, TOOLS)
    return reading.problem or difference(reading, action)


def difference(reading: Reading, action: Message) -> str:
    """What a reading lacks of an action, or has too much."""
    calls = [(one.get("name"), one.get("arguments")) for one in reading.calls]
    if calls != [(call.name, json.loads(call.arguments)) for call in action.tool_calls]:
        return f"the calls came back as {json.dumps(calls, ensure_ascii=False)[:120]}"
    if reading.content.strip() != action.content:
        return f"the text came back as {reading.content.strip()[:60]!r}"
    if (reading.reasoning or "") != (action.reasoning or ""):
        return f"the reasoning came back as {reading.reasoning!r}"
    return ""
