"""Faults of a chat template: what a rendered state lost of the messages and tools that it was rendered from.

Templates fail silently: some drop the calls of the history, some write arguments as JSON inside a JSON string, some
leave out the tools. A policy that samples at such a prompt sees another history than the recorded one, so each
candidate records the fault of its rendering.

The check searches for the contents in order, once from the front and once from the back. The calls of a message must
stand between the contents around it, so a call does not count as present because a schema or a later turn names it. A
value counts in every form that a reader of the prompt can take for it: as it is, or escaped once as a JSON or Python
string. Templates may change whitespace at its ends. Searches never go back where the order holds, so the time is linear
in the text.

Not checked: reasoning, which templates rightly strip from the history, ids of calls, and text that a template adds.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from textwrap import shorten
from typing import Any, NamedTuple

from pivotrl_cli.rows import Message, ToolCall


class FaultKind(StrEnum):
    """Ways in which a template can misrender a state."""

    DROPPED_CALL = "dropped_call"
    """A call of the history does not occur."""
    DROPPED_ARGUMENT = "dropped_argument"
    """A call occurs without one of its arguments' names or values."""
    ESCAPED_ARGUMENT = "escaped_argument"
    """Arguments are a JSON string, all their quotes escaped."""
    DROPPED_CONTENT = "dropped_content"
    """A message's text does not occur."""
    LITERAL_NONE = "literal_none"
    """The word None stands in the place of an empty text."""
    MISSING_TOOLS = "missing_tools"
    """The name of a tool or of one of its parameters does not occur outside the messages."""


@dataclass(frozen=True, slots=True)
class TemplateFault:
    """One fault.

    Example: `TemplateFault(FaultKind.DROPPED_CALL, "message 2: look")`
    """

    kind: FaultKind
    detail: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.detail}"


def faults(text: str, state: Sequence[Message], tools: str) -> list[TemplateFault]:
    """The first fault of each kind in `text`, the rendering of the state and the tools."""
    search = _Search(text)
    places = _Places.of(search, state)
    calls = _Calls(search, places, state)
    found = [*places.faults, *calls.faults]
    found += _literal_nones(text, places, calls, state)
    found += _missing_tools(text, state, tools, lossless=not found)
    first: dict[FaultKind, TemplateFault] = {}
    for fault in found:
        first.setdefault(fault.kind, fault)
    return sorted(first.values(), key=lambda fault: list(FaultKind).index(fault.kind))


class _Span(NamedTuple):
    start: int
    end: int


_PATIENCE = 32
"""Budget of the search, in lengths of the text. Contents in order cost less than ten; a template that changes the order
may exhaust the budget, and the remaining parts are then not checked."""


def _as_is(value: str) -> str:
    return value


def _json(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)[1:-1]


def _ascii(value: str) -> str:
    return json.dumps(value)[1:-1]


def _python(value: str) -> str:
    return repr(value)[1:-1]


_FORMS = (_as_is, _json, _ascii, _python)


class _Search:
    """Finds values in a text. The form in which the same place of the template was found last is tried first."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._form: dict[str, int] = {}
        self._left = _PATIENCE * len(text) + 100_000

    @property
    def gave_up(self) -> bool:
        return self._left <= 0

    def exact(self, needle: str, start: int, end: int) -> _Span | None:
        """The first occurrence of these very characters."""
        at = self.text.find(needle, start, end)
        self._left -= max(0, (end if at < 0 else at) - start)
        return None if at < 0 else _Span(at, at + len(needle))

    def value(self, value: str, place: str, start: int, end: int) -> _Span | None:
        """The first occurrence of a string in the first form that occurs."""
        for form, needle in self._needles(value, place):
            if found := self.exact(needle, start, end):
                self._form[place] = form
                return found
        return None

    def unescaped(self, value: str, start: int, end: int) -> tuple[_Span | None, bool]:
        """The first occurrence that does not follow an escaped quote, and whether others were skipped on the way.

        Every form is tried: the value may occur in one form inside another text, and in another form as the argument.
        """
        skipped = False
        for form, needle in self._needles(value, "argument"):
            found = self.exact(needle, start, end)
            while found and self.text[found.start - 2 : found.start] == '\\"' and not self.gave_up:
                skipped = True
                found = self.exact(needle, found.start + 1, end)
            if found:
                self._form["argument"] = form
                return found, skipped
        return None, skipped

    def _needles(self, value: str, place: str) -> Iterator[tuple[int, str]]:
        """The distinct forms of a value, the one that this place had last first."""
        tried = set()
        known = self._form.get(place, 0)
        for form in sorted(range(len(_FORMS)), key=lambda form: form != known):
            needle = _FORMS[form](value)
            if needle not in tried and not self.gave_up:
                tried.add(needle)
                yield form, needle


@dataclass
class _Places:
    """Positions of the contents: the earliest possible, and the latest possible."""

    earliest: dict[int, _Span]
    latest: dict[int, int]
    """Start of each content, searched from the back."""
    in_order: bool
    faults: list[TemplateFault]

    @classmethod
    def of(cls, search: _Search, state: Sequence[Message]) -> _Places:
        """Search for all contents. System prompts may be anywhere: some templates move them to the last user turn."""
        places, cursor, end = cls({}, {}, True, []), 0, len(search.text)
        for i, message in enumerate(state):
            content = message.content.strip()
            if not content or search.gave_up:
                continue
            system = message.role == "system"
            found = search.value(content, message.role, 0 if system else cursor, end)
            if found and not system:
                places.earliest[i] = found
                cursor = found.end
            elif not found and search.value(content, message.role, 0, end):
                places.in_order = False
            elif not found and not search.gave_up:
                places.faults.append(TemplateFault(FaultKind.DROPPED_CONTENT, f"message {i}: {_short(content)}"))
        places._from_the_back(search.text)
        return places

    def _from_the_back(self, text: str) -> None:
        backwards, cursor = text[::-1], 0
        for i, (start, end) in reversed(self.earliest.items()):
            needle = text[start:end][::-1]
            cursor = backwards.index(needle, cursor) + len(needle)
            self.latest[i] = len(text) - cursor


class _Calls:
    """Positions of the calls, each between the contents around its message."""

    def __init__(self, search: _Search, places: _Places, state: Sequence[Message]) -> None:
        self.first: dict[int, int] = {}
        """Earliest start of a message's calls."""
        self.faults: list[TemplateFault] = []
        self._search = search
        begin = cursor = 0
        ends = _ends(places, len(state), len(search.text))
        for i, message in enumerate(state):
            begin = places.earliest[i].end if i in places.earliest else begin
            window = _Span(begin, ends[i]) if places.in_order else _Span(0, len(search.text))
            for call in message.tool_calls:
                if search.gave_up:
                    return
                cursor = max(cursor, self._check(i, call, window, cursor))

    def _check(self, i: int, call: ToolCall, window: _Span, cursor: int) -> int:
        """Search for a call after the previous one; returns where it ends."""
        start = max(window.start, cursor)
        name = self._search.value(call.name, "name", start, window.end)
        name = name or self._search.value(call.name, "name", *window)
        if name is None:
            self._fault(FaultKind.DROPPED_CALL, i, call.name)
            return cursor
        self.first[i] = min(self.first.get(i, name.start), name.start)
        end = start
        for leaf in _leaves(call.arguments):
            end = self._argument(i, call, leaf, window, end)
        return max(name.end, end)

    def _argument(self, i: int, call: ToolCall, leaf: Any, window: _Span, cursor: int) -> int:
        """Search for one name or value, first after the previous one; returns where it ends."""
        escaped = False
        for start in (cursor, window.start):
            found, skipped = self._find(leaf, start, window.end)
            escaped = escaped or skipped
            if found:
                self.first[i] = min(self.first[i], found.start)
                return found.end
        if not self._search.gave_up:
            twice = isinstance(leaf, str) and self._search.value(_json(leaf), "twice", *window)
            kind = FaultKind.ESCAPED_ARGUMENT if escaped or twice else FaultKind.DROPPED_ARGUMENT
            self._fault(kind, i, f"{call.name}: {_short(leaf if isinstance(leaf, str) else json.dumps(leaf))}")
        return cursor

    def _find(self, leaf: Any, start: int, end: int) -> tuple[_Span | None, bool]:
        if isinstance(leaf, str):
            return self._search.unescaped(leaf.strip(), start, end)
        spelled = (json.dumps(leaf), str(leaf))  # templates that write Python spell True and None
        return next(filter(None, (self._search.exact(text, start, end) for text in spelled)), None), False

    def _fault(self, kind: FaultKind, i: int, detail: str) -> None:
        if all(fault.kind != kind for fault in self.faults):
            self.faults.append(TemplateFault(kind, f"message {i}: {detail}"))


def _ends(places: _Places, n: int, end: int) -> list[int]:
    """For each message, the latest start of the next content."""
    ends = [end] * n
    for i in range(n - 2, -1, -1):
        ends[i] = places.latest.get(i + 1, ends[i + 1])
    return ends


def _leaves(arguments: str) -> Iterator[Any]:
    """Names and values of a call's arguments in the order of their text; invalid JSON is one string."""
    try:
        stack = [json.loads(arguments)]
    except (ValueError, RecursionError):
        stack = [arguments]
    while stack:
        match stack.pop():
            case dict() as value:
                stack += [part for key in reversed(value) for part in (value[key], key)]
            case list() as value:
                stack += reversed(value)
            case leaf:
                yield leaf


_NONE = re.compile(r"\bNone\b")
_NONE_OR_NULL = re.compile(r"None|null")


def _literal_nones(text: str, places: _Places, calls: _Calls, state: Sequence[Message]) -> Iterator[TemplateFault]:
    """Messages without text before whose end the word None occurs more often than in all messages up to there.

    A message that contains the word None can therefore hide the fault in its state; other states still show it.
    """
    if not places.in_order:
        return
    starts = [*_starts(places, calls, len(state)), len(text)]
    following = len(text)
    for i in range(len(state), -1, -1):
        starts[i] = following = min(following, starts[i])
    said = sum(message.content.count("None") for message in state if message.role == "system")
    begin = 0
    for i, message in enumerate(state):
        silent = i > 0 and message.role in ("assistant", "tool") and not message.content.strip()
        if silent and len(_NONE.findall(text, begin, starts[i])) > said:
            yield TemplateFault(FaultKind.LITERAL_NONE, f"message {i}")
            return
        if i in places.earliest:
            begin = places.earliest[i].end
            said += message.content.count("None")
        said += sum(len(_NONE_OR_NULL.findall(f"{call.name} {call.arguments}")) for call in message.tool_calls)


def _starts(places: _Places, calls: _Calls, n: int) -> Iterator[int]:
    """Start of the first part of each message."""
    for i in range(n):
        content = places.earliest[i].start if i in places.earliest else sys.maxsize
        yield min(content, calls.first.get(i, sys.maxsize))


_ESCAPE = re.compile(r'\\[nrt"\\/]')
_WORD = re.compile(r"\w+")


def _words(text: str) -> list[str]:
    return _WORD.findall(_ESCAPE.sub(" ", text))


def _missing_tools(text: str, state: Sequence[Message], tools: str, *, lossless: bool) -> Iterator[TemplateFault]:
    """Names of tools and parameters, one of whose words occurs no more often than in the messages themselves."""
    named = [(name, part) for name, parts in _declared_names(tools) for part in parts]
    if not named:
        return
    there = Counter(_words(text))
    said = Counter(chain.from_iterable(map(_words, _rendered_texts(state)))) if lossless else Counter[str]()
    for name, part in named:
        if any(word.isascii() and there[word] <= said[word] for word in _words(part)):
            of = name if part == name else f"parameter {part} of {name}"
            yield TemplateFault(FaultKind.MISSING_TOOLS, _short(of))
            return


def _rendered_texts(state: Sequence[Message]) -> Iterator[str]:
    """All text of the messages that a template must render."""
    for message in state:
        yield message.content
        for call in message.tool_calls:
            yield call.name
            yield from (leaf for leaf in _leaves(call.arguments) if isinstance(leaf, str))


def _declared_names(tools: str) -> Iterator[tuple[str, list[str]]]:
    """Each tool's name, with the names that must occur: its own and those of its parameters."""
    for tool in json.loads(tools):
        name, schema = tool["function"]["name"], tool["function"].get("parameters")
        properties = schema.get("properties") if isinstance(schema, dict) else None
        yield name, [name, *(properties if isinstance(properties, dict) else ())]


def _short(value: str) -> str:
    return shorten(value[:200], 80, placeholder="...")
