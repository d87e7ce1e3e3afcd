"""Reads what a model wrote, by its format: reasoning, text, calls, and what is wrong with it.

An opened call that cannot be read is a problem, never text. What was read before it is kept for whoever looks.
"""

from __future__ import annotations

import html
import json
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from pivotrl_cli.model.formats.notation import Format
from pivotrl_cli.model.formats.values import (
    Malformed,
    Schema,
    cast,
    read_json,
    read_literal,
    retype,
    skip_space,
)

Call = dict[str, Any]
Read = tuple[list[Call], int]


@dataclass
class Reading:
    """The parts of a reply; with `problem` it is not an action."""

    content: str = ""
    reasoning: str | None = None
    calls: list[Call] = field(default_factory=list)
    problem: str = ""
    rest: str = ""
    """What stands behind the last call."""


def read(form: Format, text: str, tail: str = "", tools: str = "[]") -> Reading:
    """Read a reply. `tail` is the end of the prompt, which may have begun it; `tools` gives raw values their types."""
    if form.lead and (form.body == "harmony" or tail.rstrip().endswith(form.lead)):
        text = form.lead + text
    if form.body == "harmony":
        return _read_harmony(form, text)
    opened = form.reasoning is not None and tail.rstrip().endswith(form.reasoning[0].rstrip())
    reading = Reading()
    rest = _split_reasoning(form, text, opened, reading)
    if not reading.problem:
        _read_rest(form, rest, _schemas(tools), reading)
    return reading


def _split_reasoning(form: Format, text: str, opened: bool, reading: Reading) -> str:
    if form.reasoning is None:
        return text
    begin, end = form.reasoning
    body = text.lstrip()
    opened = opened or body.startswith(begin.lstrip())
    reasoning, found, rest = text.partition(end)
    implied = form.implied and not (form.open and re.search(form.open, reasoning))  # else it is text inside a call
    if found and (opened or implied):
        reading.reasoning = reasoning.strip().removeprefix(begin.strip()).strip() or None
        return rest
    if opened:
        reading.reasoning = body.removeprefix(begin.lstrip()).strip() or None
        reading.problem = "the reasoning does not end"
    return text


def _read_rest(form: Format, text: str, schemas: dict[str, Schema], reading: Reading) -> None:
    at, parts = 0, []
    section, close = form.section or ("(?!)", "(?!)")
    start = re.compile(f"(?P<section>{section})|{form.open or '(?!)'}")
    inside = False
    try:
        while match := start.search(text, at):
            between = text[at : match.start()]
            if inside and (end := re.search(close, between)):
                inside, at = False, at + end.end()
                continue
            parts.append("" if inside else between)
            at = match.end()
            if match["section"] is not None:
                inside, count = True, len(reading.calls)
                if (end := re.match(f"\\s*{close}", text[at:])) is not None:  # a section without calls
                    inside, at = False, at + end.end()
                continue
            at = _read_call(form, match, text, schemas, parts, reading)
        if inside:
            at = _end_of_section(close, text, at, len(reading.calls) - count)
    except (Malformed, RecursionError) as error:
        reading.problem, at = str(error), len(text)
    reading.rest = text[at:] if reading.calls else ""
    parts.append(text[at:])
    _finish(form, "".join(parts), reading)


def _end_of_section(close: str, text: str, at: int, calls: int) -> int:
    end = re.compile(close).search(text, at)
    if end is None:
        raise Malformed("the section of tool calls does not end")
    if not calls:
        raise Malformed("a section of tool calls without a call")
    return end.end()


def _read_call(
    form: Format,
    match: re.Match[str],
    text: str,
    schemas: dict[str, Schema],
    parts: list[str],
    reading: Reading,
) -> int:
    """Read the call that begins at `match`, and return where it ends; plain text where it only looks like one."""
    marked = form.anywhere or bool(match.groupdict().get("mark"))
    first = not "".join(parts).strip() and not reading.calls
    try:
        calls, end = _BODIES[form.body](form, match, text, schemas)
        closing = re.compile(form.close).match(text, end)
        if closing is None:
            extra = json.JSONDecodeError("Extra data", text[match.end() :], skip_space(text, end) - match.end())
            raise Malformed(f"a tool call is not JSON: {extra}")
    except Malformed as error:
        if marked and form.close and not re.compile(form.close).search(text, match.end()):
            raise Malformed(_PARTNER.format(match[0].strip())) from error
        if marked or first:
            raise
        calls = []
    named = all(isinstance(call.get("name"), str) for call in calls)
    if marked or (calls and named and (first or calls[0]["name"] in schemas or reading.calls)):
        reading.calls += calls
        return closing.end() if closing else end
    end = max(match.end(), match.start() + 1)
    parts.append(text[match.start() : end])
    return end


_PARTNER = "a {} tag without its partner"


def _finish(form: Format, content: str, reading: Reading) -> None:
    if form.blank:
        content = re.sub(form.blank, "", content)
    stray = re.search(form.stray, content) if form.stray else None
    if stray is not None:
        reading.problem = reading.problem or _PARTNER.format(stray[0].replace("</", "<"))
        content = content[: stray.start()]
    reading.content = content


# Bodies of calls: where they begin, the calls, where they end.


def _read_object(form: Format, match: re.Match[str], text: str, schemas: dict[str, Schema]) -> Read:
    value, end = read_json(text, match.end())
    if not isinstance(value, dict):
        raise Malformed("a tool call is not a JSON object")
    return [_call_of(value)], end


def _read_objects(form: Format, match: re.Match[str], text: str, schemas: dict[str, Schema]) -> Read:
    at, calls = skip_space(text, match.end()), []
    while text.startswith(("{", "["), at):
        try:
            value, at = read_json(text, at)
        except Malformed:
            if form.anywhere:
                raise
            value, at = read_literal(text, at)
        for item in value if isinstance(value, list) else [value]:
            if not isinstance(item, dict):
                raise Malformed("a tool call is not a JSON object")
            calls.append(_call_of(item))
        end, at = at, skip_space(text, at)
        at = skip_space(text, at + 1) if text.startswith((",", ";"), at) else at
    if not calls:
        raise Malformed(f"a tool call is not JSON: {text[at : at + 40]!r}")
    return calls, end


def _call_of(value: dict[str, Any]) -> Call:
    inner = value.get("function")
    value = inner if isinstance(inner, dict) else value
    name = next((value[key] for key in ("name", "tool_name", "function") if key in value), None)
    arguments: Any = next((value[key] for key in ("arguments", "parameters") if key in value), {})
    return {"name": name, "arguments": arguments}


def _read_keyed(form: Format, match: re.Match[str], text: str, schemas: dict[str, Schema]) -> Read:
    value, end = read_json(text, match.end())
    if not isinstance(value, list) or not all(isinstance(item, dict) and len(item) == 1 for item in value):
        raise Malformed("tool calls are not a list of {name: arguments}")
    return [{"name": name, "arguments": arguments} for item in value for name, arguments in item.items()], end


def _read_arguments(form: Format, match: re.Match[str], text: str, schemas: dict[str, Schema]) -> Read:
    value, end = read_json(text, match.end())
    if not isinstance(value, dict):
        raise Malformed("the arguments of a tool call are not a JSON object")
    return [{"name": match["name"], "arguments": value}], end


def _read_tags(form: Format, match: re.Match[str], text: str, schemas: dict[str, Schema]) -> Read:
    opening, ending, close = (re.compile(one, re.DOTALL) for one in (form.argument, form.argument_end, form.close))
    properties = _properties(schemas, match["name"])
    at = match.end()
    arguments: dict[str, Any] = {}
    while tag := opening.match(text, at):
        raw, at = _tagged_value(form, text, tag.end(), opening, ending, close)
        said = {name: value for name, value in tag.groupdict().items() if value is not None and name != "key"}
        schema = properties.get(tag["key"], {})
        if said.get("string") == "true" or said.get("type") == "string":
            value: Any = raw
        else:
            value = cast(raw, {"type": ["object", "null"]} if said else schema)
        arguments[html.unescape(tag["key"]) if "type" in said else tag["key"]] = value
    return [{"name": match["name"], "arguments": arguments}], at


def _tagged_value(
    form: Format,
    text: str,
    begin: int,
    opening: re.Pattern[str],
    ending: re.Pattern[str],
    close: re.Pattern[str],
) -> tuple[str, int]:
    """A value ends at the first close after which the call goes on as it should; the same letters before are text."""
    end = ending.search(text, begin)
    while end and not (opening.match(text, end.end()) or close.match(text, end.end())):
        end = ending.search(text, end.start() + 1)
    forgotten = re.compile(form.unclosed).search(text, begin) if form.unclosed else None
    if forgotten and (end is None or forgotten.start() < end.start()):
        end = forgotten
    if end is None:
        raise Malformed("an argument of a tool call does not end")
    return text[begin : end.start()], end.end()


def _read_elements(form: Format, match: re.Match[str], text: str, schemas: dict[str, Schema]) -> Read:
    value, end = _children(form.prefix, text, match.end(), _properties(schemas, match["name"]))
    return [{"name": match["name"], "arguments": value if isinstance(value, dict) else {}}], end


def _children(prefix: str, text: str, at: int, properties: dict[str, Schema]) -> tuple[Any, int]:
    """Elements from `at` on: a list where all are named `item`, else an object."""
    opening = re.compile(rf"\s*{re.escape(prefix)}<(?P<key>[^/<>\s][^<>]*)>")
    found: list[tuple[str, Any]] = []
    while tag := opening.match(text, at):
        close, schema = f"{prefix}</{tag['key']}>", properties.get(tag["key"], {})
        if opening.match(text, tag.end()):
            inner = schema.get("properties") or {"item": schema.get("items") or {}}
            value, at = _children(prefix, text, tag.end(), inner)
            at = skip_space(text, at)
        else:
            end = text.find(close, tag.end())
            value, at = cast(text[tag.end() : end], schema), end
        if at < 0 or not text.startswith(close, at):
            raise Malformed("an argument of a tool call does not end")
        found.append((tag["key"], value))
        at += len(close)
    listed = bool(found) and all(key == "item" for key, _ in found)
    return ([value for _, value in found] if listed else dict(found)), at


def _read_python(form: Format, match: re.Match[str], text: str, schemas: dict[str, Schema]) -> Read:
    at, calls = match.end(), []
    while head := _PYTHON_CALL.match(text, at):
        properties = _properties(schemas, head["name"])
        arguments: dict[str, Any] = {}
        at = head.end()
        while key := _PYTHON_KEY.match(text, at):
            value, at = read_literal(text, key.end())
            arguments[key["key"]] = retype(value, properties.get(key["key"], {}))
        at = skip_space(text, at)
        if not text.startswith(")", at):
            raise Malformed(f"a call of {head['name']} does not end")
        calls.append({"name": head["name"], "arguments": arguments})
        at += 1
    at = skip_space(text, at)
    if not calls or not text.startswith("]", at):
        raise Malformed("a list of tool calls does not end")
    return calls, at + 1


_PYTHON_CALL = re.compile(r"[\s,]*(?P<name>[A-Za-z_][\w.-]*)\(")
_PYTHON_KEY = re.compile(r"[\s,]*(?P<key>[A-Za-z_]\w*)\s*=")


def _read_gemma(form: Format, match: re.Match[str], text: str, schemas: dict[str, Schema]) -> Read:
    if not text.startswith("{", match.end()):
        raise Malformed("a tool call without its arguments")
    value, end = read_literal(text, match.end(), '<|"|>')
    return [{"name": match["name"], "arguments": value}], end


_BODIES = {
    "call": _read_object,
    "calls": _read_objects,
    "keyed": _read_keyed,
    "arguments": _read_arguments,
    "tags": _read_tags,
    "elements": _read_elements,
    "python": _read_python,
    "gemma": _read_gemma,
}


_HARMONY_HEAD = re.compile(
    r"<\|start\|>assistant(?: to=(?P<role>[^\s<]+))?\s*(?:<\|channel\|>(?P<channel>analysis|commentary|final)"
    r"(?: to=(?P<recipient>[^\s<]+))?)?\s*(?:<\|constrain\|>)?\w*\s*<\|message\|>"
)
_HARMONY_END = re.compile(r"\s*(?:(?:<\|end\|>|<\|call\|>|<\|return\|>)\s*)?(?=<\|start\|>assistant|\s*\Z)")


def _read_harmony(form: Format, text: str) -> Reading:
    """gpt-oss: messages with a channel and, for calls, a recipient in the header."""
    reading, at = Reading(), 0
    thoughts: list[str] = []
    said: list[str] = []
    while at < len(text) and not reading.problem:
        head = _HARMONY_HEAD.match(text, at)
        if head is None:
            reading.problem = f"not a message of the harmony format: {text[at : at + 60]!r}"
            break
        recipient, at = head["role"] or head["recipient"], head.end()
        end = _HARMONY_END.search(text, at)
        assert end is not None  # the end of the text is one
        if recipient is None:
            (thoughts if head["channel"] == "analysis" else said).append(text[at : end.start()])
        elif recipient.startswith("functions."):
            end = _read_harmony_call(text, at, recipient, reading) or end
        else:
            reading.problem = f"a call of {recipient}, which is not a tool of the table"
        at = end.end()
    reading.reasoning = "\n".join(thoughts).strip() or None
    reading.content = "\n".join(said)
    return reading


def _read_harmony_call(text: str, at: int, recipient: str, reading: Reading) -> re.Match[str] | None:
    try:
        value, after = read_json(text, at)
    except Malformed as error:
        reading.problem = str(error)
        return None
    end = _HARMONY_END.match(text, after)
    if end is None or not isinstance(value, dict):
        reading.problem = "the arguments of a tool call are not a JSON object"
        return None
    reading.calls.append({"name": recipient.removeprefix("functions."), "arguments": value})
    return end


@lru_cache(maxsize=64)
def _schemas(tools: str) -> dict[str, Schema]:
    """The parameters of each tool by name."""
    functions = [tool.get("function", tool) for tool in json.loads(tools) if isinstance(tool, dict)]
    return {one["name"]: one.get("parameters") or {} for one in functions if isinstance(one.get("name"), str)}


def _properties(schemas: dict[str, Schema], name: str) -> dict[str, Schema]:
    properties = schemas.get(name, {}).get("properties")
    found = properties if isinstance(properties, dict) else {}
    return {key: one for key, one in found.items() if isinstance(one, dict)}
