"""Strict JSON, and the head of a file: its packing and its first record, as far as the head goes.

Left out: the repair of anything; a head that was cut off is only closed far enough to tell the format by.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Literal, NoReturn

from pivotrl_cli.readers.split import EACH, Splitter, close_brackets

HEAD_BYTES = 1 << 20
"""Bytes of a file that detection reads."""

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


@dataclass(frozen=True, slots=True)
class Head:
    """The beginning of a document.

    Example: `Head("array", {"task_id": 0, "reward": 0.0, "traj": [{"role": "system"}]})`
    """

    container: Literal["lines", "array", "object", "rows", "zip", "text", "empty"]
    """How records are packed; `text` is not JSON at all."""
    record: Any
    """The first record, as far as it reaches into the head: keys and elements behind its end are missing. Of an
    archive, an object whose keys are its members."""

    @property
    def fields(self) -> dict[str, Any]:
        """The first record if it is an object, else an empty one."""
        return self.record if isinstance(self.record, dict) else {}

    @property
    def keys(self) -> list[str]:
        """Keys of the first record, if it is an object."""
        return list(self.fields)


def parse_head(data: bytes) -> Head:
    """Container and first record of a file from its first bytes."""
    data = data.lstrip()
    if not data:
        return Head("empty", None)
    first, _, rest = data.partition(b"\n")
    match data[:1]:
        case b"[" if not (is_json(first) and rest.strip()):
            splitter = Splitter((EACH,))
            element = next(splitter.values(BytesIO(data)), None)
            return Head("array", _partial(splitter.rest if element is None else element))
        # An object that the first line opens and the next ones continue, instead of a broken line.
        case b"{" if not is_json(first) and (first.strip() == b"{" or rest.lstrip()[:1] in (b'"', b"}")):
            return Head("object", _partial(data))
    whole = next((value for line in data.split(b"\n") if isinstance(value := _json_or_none(line), dict | list)), None)
    if whole is None and data[:1] == b"{":
        whole = _partial(first)
    return Head("text", None) if whole is None else Head("lines", whole)


def parse_json(raw: bytes) -> Any:
    """Strict JSON; raises `ValueError` with the fault in a few words."""
    try:
        text = raw.decode("utf-8")
        value = json.loads(text, parse_constant=_refuse)
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()  # half of an escaped pair can be written nowhere
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start + 1}") from error
    except UnicodeEncodeError as error:
        raise ValueError("half of a surrogate pair in an escape") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg} at column {min(error.pos, len(text.rstrip())) + 1}") from error
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return value


def is_json(raw: bytes) -> bool:
    """Whether these bytes are one JSON value other than null."""
    return _json_or_none(raw) is not None


def _json_or_none(raw: bytes) -> Any:
    try:
        return parse_json(raw)
    except ValueError:
        return None


def _partial(data: bytes) -> Any:
    """The value as far as it can be parsed; the part before the end of the head, or before a fault, is enough."""
    value = _json_or_none(data)
    if value is not None or not data:
        return value
    try:
        return json.loads(close_brackets(data))
    except json.JSONDecodeError as error:
        return _json_or_none(close_brackets(data[: error.pos]))
    except (ValueError, RecursionError):
        return None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
