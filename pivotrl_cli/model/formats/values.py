"""Values inside calls: JSON, Python literals, Gemma's notation, and raw text that the tool's schema gives a type.

Every reader returns the value and the place where it ends, so that a closing tag inside a string does not end a call.
"""

from __future__ import annotations

import ast
import json
import re
from typing import Any

Schema = dict[str, Any]


class Malformed(ValueError):
    """Text that should be a call and is not."""


_JSON = json.JSONDecoder()
_SPACE = re.compile(r"\s*")
_STRING = re.compile(r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'', re.DOTALL)
_WORD = re.compile(r"-?[\w.+-]+")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_CONSTANTS = {"true": True, "false": False, "null": None, "none": None}


def skip_space(text: str, at: int) -> int:
    """The place of the next character that is not white space."""
    match = _SPACE.match(text, at)
    assert match is not None
    return match.end()


def read_json(text: str, at: int) -> tuple[Any, int]:
    """The JSON value that begins at or after `at`, and where it ends."""
    rest = text[at:]
    try:
        value, end = _JSON.raw_decode(rest, skip_space(rest, 0))
    except (ValueError, RecursionError) as error:
        raise Malformed(f"a tool call is not JSON: {str(error)[:80]}") from error
    return value, at + end


def read_literal(text: str, at: int, quote: str = "") -> tuple[Any, int]:
    """A Python or JSON literal; with `quote`, strings stand between that mark and keys need no quotes (Gemma 4)."""
    at = skip_space(text, at)
    if quote and text.startswith(quote, at):
        begin = at + len(quote)
        end = text.find(quote, begin)
        if end < 0:
            raise Malformed("a string in a tool call does not end")
        return text[begin:end], end + len(quote)
    first = text[at : at + 1]
    if first in ("{", "["):
        return _read_items(text, at, quote)
    if first in ('"', "'"):
        return _read_string(text, at)
    word = _WORD.match(text, at)
    if word is None:
        raise Malformed(f"a value is expected at {text[at : at + 20]!r}")
    if word[0].lower() in _CONSTANTS:
        return _CONSTANTS[word[0].lower()], word.end()
    number = _NUMBER.match(text, at)
    if number is None:
        raise Malformed(f"not a value: {word[0]!r}")
    return json.loads(number[0]), number.end()


def _read_items(text: str, at: int, quote: str) -> tuple[Any, int]:
    """A list or an object; commas may be missing, since one public template forgets them."""
    keyed = text[at] == "{"
    closing = "}" if keyed else "]"
    keys: list[str] = []
    values: list[Any] = []
    at = skip_space(text, at + 1)
    while not text.startswith(closing, at):
        if keyed:
            key, at = _read_key(text, at, quote)
            keys.append(key)
        value, at = read_literal(text, at, quote)
        values.append(value)
        at = skip_space(text, at)
        at = skip_space(text, at + 1) if text.startswith(",", at) else at
    return (dict(zip(keys, values, strict=True)) if keyed else values), at + 1


def _read_key(text: str, at: int, quote: str) -> tuple[str, int]:
    if text[at : at + 1] in ('"', "'") or (quote and text.startswith(quote, at)):
        key, at = read_literal(text, at, quote)
        colon = skip_space(text, at)
    else:
        colon = text.find(":", at)
        key = text[at:colon].strip()
    if colon < 0 or not text.startswith(":", colon):
        raise Malformed("a key without a value in a tool call")
    return str(key), colon + 1


def _read_string(text: str, at: int) -> tuple[str, int]:
    match = _STRING.match(text, at)
    if match is None:
        raise Malformed("a string in a tool call does not end")
    try:
        value = json.loads(match[0]) if match[0][0] == '"' else ast.literal_eval(match[0])
    except (ValueError, SyntaxError):
        try:
            value = ast.literal_eval(match[0].replace("\n", "\\n"))
        except (ValueError, SyntaxError) as error:
            raise Malformed(f"not a string: {match[0][:40]}") from error
    return str(value), match.end()


def schema_types(schema: Schema) -> set[str]:
    """The JSON types that a schema admits; none where it does not say."""
    declared = schema.get("type")
    types = {declared} if isinstance(declared, str) else set(declared or ())
    for union in ("anyOf", "oneOf"):
        for choice in schema.get(union) or ():
            types |= schema_types(choice) if isinstance(choice, dict) else set()
    return types | ({"null"} if schema.get("nullable") else set())


def cast(raw: str, schema: Schema) -> Any:
    """A value that is written without quotes, in the type that the tool's schema asks for."""
    types = schema_types(schema)
    word = raw.strip()
    if "null" in types and word.lower() in ("null", "none"):
        return None
    if "string" in types or not word:
        return raw
    try:
        value, end = read_json(word, 0)
    except Malformed:
        try:
            value, end = read_literal(word, 0)
        except (Malformed, RecursionError):
            return raw
    return value if end == len(word) and (types or not isinstance(value, str)) else raw


def retype(value: Any, schema: Schema) -> Any:
    """A string where the schema asks for something else, read as that (templates that put all values in quotes)."""
    types = schema_types(schema)
    return cast(value, schema) if isinstance(value, str) and types and "string" not in types else value
