"""A cursor over parsed JSON that knows its own path, so that every error names the place.

Readers take a record apart with it: `record["messages"].list()[2]["role"].text()` either gives text or raises
`RecordError("messages.2.role: expected text, got a number")`. An absent key and an explicit null are equal, since
recorded data mixes the two. Left out: schemas per format; a reader touches a dozen fields, and its lines say which.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any


class RecordError(ValueError):
    """A record lacks a field or has a wrong type; the message begins with the field's path."""


@dataclass(frozen=True, slots=True)
class Json:
    """One value of a record and its path.

    Example: `Json({"a": [1]})["a"].list()[0] == Json(1, "a.0")`
    """

    value: Any
    path: str = ""

    def __getitem__(self, key: str) -> Json:
        """Field of an object; null where it is absent."""
        return Json(self.object().get(key), f"{self.path}.{key}" if self.path else key)

    def first(self, *keys: str) -> Json:
        """The first of these fields that is not null, else the first one."""
        found = [self[key] for key in keys]
        return next((field for field in found if field), found[0])

    def __bool__(self) -> bool:
        """False for null alone."""
        return self.value is not None

    def object(self) -> dict[str, Any]:
        if not isinstance(self.value, dict):
            raise self.error("expected an object")
        return self.value

    def fields(self) -> Json:
        """The value as an object, an empty one where it is null."""
        return self if self else Json({}, self.path)

    def required_list(self) -> list[Json]:
        if not isinstance(self.value, list):
            raise self.error("expected a list")
        return [Json(value, f"{self.path}.{i}" if self.path else str(i)) for i, value in enumerate(self.value)]

    def list(self) -> list[Json]:
        """The elements of a list; none where the field is null."""
        return self.required_list() if self else []

    def text(self) -> str:
        if not isinstance(self.value, str):
            raise self.error("expected text")
        return self.value

    def text_or_none(self) -> str | None:
        return self.text() if self else None

    def label(self) -> str:
        """An identifier, text or integer, as text; empty where the field is null."""
        if isinstance(self.value, int) and not isinstance(self.value, bool):
            return str(self.value)
        return self.text() if self else ""

    def number_or_none(self) -> float | None:
        """A number or a truth value as a float."""
        if self.value is None:
            return None
        if not isinstance(self.value, int | float):
            raise self.error("expected a number")
        try:
            number = float(self.value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise self.error("expected a finite number")
        return number

    def json_text(self) -> Json:
        """The value itself or, where it is JSON text, the parsed value; the path stays."""
        if not isinstance(self.value, str):
            return self
        try:
            return Json(json.loads(self.value) if self.value.strip() else None, self.path)
        except (ValueError, RecursionError) as error:
            raise RecordError(f"{self.path}: not JSON text: {error}") from error

    def error(self, expected: str) -> RecordError:
        return RecordError(f"{self.path or 'record'}: {expected}, got {_kind(self.value)}")


def compact(value: Any) -> str:
    """JSON text without spaces, keys in their order; raises `RecordError` on values that JSON cannot express."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise RecordError(f"cannot be written as JSON: {error}") from error


def provenance(**fields: Json) -> str:
    """A trajectory's provenance: the labels that are not null, as JSON text."""
    return compact({name: field.label() for name, field in fields.items() if field})


_KINDS = {
    type(None): "nothing",
    bool: "a truth value",
    int: "a number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "an object",
}


def _kind(value: Any) -> str:
    if isinstance(value, str) and len(value) <= 20:
        return f"'{value}'"
    return _KINDS.get(type(value), type(value).__name__)
