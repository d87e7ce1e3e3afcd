"""Values of one JSON document, cut out as text while it streams by.

Only brackets, commas and strings are looked at on the way. The requested values are handed over as bytes for a strict
parser, and everything else passes unparsed; so a broken element costs itself alone, and the parser, not this module,
refuses numbers of thousands of digits or brackets ten thousand deep. ijson, used before, was left out because its C
code dies of such numbers and its paths take memory quadratic in the depth.

Not checked: the grammar of the text that is passed over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

EACH = "*"
"""In a path: every element of an array."""

CUT_OFF = "the file ends inside a record"
"""The fault of a document that does not end."""

_CHUNK = 1 << 19
_NESTING = 8
_STRING = re.compile(rb'(?>[^"\\]+|\\.)*+', re.DOTALL)
_LEVEL = re.compile(rb'["\[\]{}:,]')
_TOKEN = re.compile(rb'"(?>[^"\\]+|\\.)*+"|["\[\]{}:,]|[^\s"\[\]{}:,]+', re.DOTALL)


def _passage(nesting: int) -> bytes:
    """Pattern of everything up to an unmatched bracket, a string's or bracket's end that is not here, or the end."""
    inner = rb'[^"\[\]{}]+|"(?>[^"\\]+|\\.)*+"'
    return inner if not nesting else inner + rb"|[\[{](?>" + _passage(nesting - 1) + rb")*+[\]}]"


_PASSAGE = re.compile(rb"(?>" + _passage(_NESTING) + rb")*+", re.DOTALL)


@dataclass(slots=True)
class _Frame:
    """An open array or object on the path."""

    is_object: bool
    key: str | None = None
    """Key of the current value."""
    wants_key: bool = True
    """Whether a string would be a key."""


class Splitter:
    """One pass over one document; `keys` are those of the last object on the path, `fault` is the error at the end.

    Example: `list(Splitter(("a", EACH)).values(BytesIO(b'{"a": [1, {}]}'))) == [b"1", b"{}"]`
    """

    def __init__(self, path: tuple[str, ...]) -> None:
        self.path = path
        self.keys: list[str] = []
        self.fault: str | None = None
        self._frames: list[_Frame] = []
        self._depth = 0
        self._ended = self._in_string = self._escaped = False
        self._key: bytearray | None = None
        self._value: bytearray | None = None

    def values(self, file: BinaryIO) -> Iterator[bytes]:
        """The values at the path; a last one that the end of the file cuts off is left in `rest`."""
        while chunk := file.read(_CHUNK):
            yield from self._feed(chunk)
        if not self._ended:
            self.fault = CUT_OFF

    @property
    def rest(self) -> bytes:
        """The part of a value that had been read when the file ended."""
        return bytes(self._value or b"").strip()

    def _feed(self, chunk: bytes) -> Iterator[bytes]:
        position, begin = 0, 0
        while position < len(chunk):
            if self._in_string:
                position = self._through_string(chunk, position)
                continue
            if self._ended:
                self.fault = self.fault or ("something stands behind the end" if chunk[position:].strip() else None)
                return
            passed = _PASSAGE.match(chunk, position) if self._depth else None
            match = _LEVEL.search(chunk, passed.end() if passed else position)
            if match is None:
                break
            position = match.end()
            taking = self._value
            if self._step(match[0]) and taking is not None:
                text = bytes(taking + chunk[begin : match.start()]).strip()
                if text or match[0] == b",":
                    yield text
            if self._value is not taking:
                begin = position
        if self._value is not None:
            self._value += chunk[begin:]

    def _through_string(self, chunk: bytes, begin: int) -> int:
        """Position behind the string, or behind the chunk if the string does not end in it."""
        match = _STRING.match(chunk, begin + self._escaped)
        end = match.end() if match else len(chunk)
        self._escaped = chunk[end : end + 1] == b"\\"
        closed = chunk[end : end + 1] == b'"'
        if self._key is not None:
            self._key += chunk[begin : end + self._escaped]
            if closed:
                key = self._frames[-1].key = _text(bytes(self._key))
                self._key = None
                if len(self._frames) == len(self.path) and key is not None:
                    self.keys.append(key)
        self._in_string = not closed
        return end + closed if closed or not self._escaped else len(chunk)

    def _step(self, token: bytes) -> bool:
        """Process one structural byte; True if it ends a value at the path's level."""
        frame = self._frames[-1] if self._frames else None
        match token:
            case b'"':
                self._in_string = True
                if not self._depth and frame and frame.is_object and frame.wants_key:
                    self._key = bytearray()
            case b"[" | b"{":
                leaves = frame and not (self._matches(frame) and len(self._frames) < len(self.path))
                if self._depth or leaves:
                    self._depth += 1
                else:
                    self._frames.append(_Frame(token == b"{"))
                    self._begin()
            case b"]" | b"}" if self._depth:
                self._depth -= 1
            case b"]" | b"}":
                self._value, self._frames = None, self._frames[:-1]
                self._ended = not self._frames
                return True
            case b":" if frame and frame.is_object:
                frame.wants_key = False
                self._begin()
            case b"," if frame:
                self._value, frame.wants_key = None, True
                self._begin()
                return True
        return False

    def _begin(self) -> None:
        """A value may begin here: collect it if it is at the path."""
        frame = self._frames[-1]
        expected = not frame.is_object or not frame.wants_key
        if expected and len(self._frames) == len(self.path) and self._matches(frame):
            self._value = bytearray()

    def _matches(self, frame: _Frame) -> bool:
        """Whether the value at the current position of the innermost frame is on the path."""
        part = self.path[len(self._frames) - 1]
        return part == frame.key if frame.is_object else part == EACH


def close_brackets(text: bytes) -> bytes:
    """JSON that was cut off somewhere, cut behind its last whole value and with its brackets closed.

    Example: `close_brackets(b'{"a": [1, {"b') == b'{"a": [1, {}]}'`
    """
    closers, safe, key = bytearray(), 0, False
    for match in _TOKEN.finditer(text):
        token = match[0]
        if token in (b"[", b"{"):
            closers += b"]" if token == b"[" else b"}"
            key = token == b"{"
        elif token in (b"]", b"}") and closers:
            closers.pop()
        elif token in (b":", b","):
            key = token == b"," and closers[-1:] == b"}"
            continue
        elif token == b'"':
            break  # a string without its end
        elif key or (match.end() == len(text) and token[:1] != b'"'):
            continue  # a key without its value, or a number that may continue
        safe = match.end()
    return text[:safe] + bytes(reversed(closers))


def _text(raw: bytes) -> str | None:
    """The key, or None where it is not a JSON string."""
    try:
        key = json.loads(b'"' + raw + b'"')
    except ValueError:
        return None
    return key if isinstance(key, str) else None
