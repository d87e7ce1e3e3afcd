"""The message form of the Terminus harnesses: a JSON object with an analysis, a plan and commands to type.

Two versions are known. Both refuse keys that they do not name; commands and keystrokes are what counts.

    terminus_1  state_analysis, explanation, commands [keystrokes, is_blocking, timeout_sec], is_task_complete
    terminus_2  analysis, plan, commands [keystrokes, (duration)], (task_complete)            ( ) = optional
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from pivotrl_cli.verifiers.compare.calls import read_json
from pivotrl_cli.verifiers.compare.commands import command_difference
from pivotrl_cli.verifiers.compare.differences import Category, Difference, value_difference


class Form(NamedTuple):
    """Keys and JSON types of the object and of its commands; the optional keys are named again."""

    keys: dict[str, str]
    command_keys: dict[str, str]
    optional: frozenset[str]


HARNESSES = {
    "terminus_1": Form(
        {"state_analysis": "string", "explanation": "string", "commands": "list", "is_task_complete": "boolean"},
        {"keystrokes": "string", "is_blocking": "boolean", "timeout_sec": "number"},
        frozenset(),
    ),
    "terminus_2": Form(
        {"analysis": "string", "plan": "string", "commands": "list", "task_complete": "boolean"},
        {"keystrokes": "string", "duration": "number"},
        frozenset({"duration", "task_complete"}),
    ),
}


_KEY = re.compile(r"(?:[CMS]-)+\S|Enter|Escape|Tab|BTab|BSpace|Space|Up|Down|Left|Right|Home|End|[PN]Page|F\d{1,2}")
_SAME_KEYS = {
    "Enter": "\n",
    "C-m": "\n",
    "C-j": "\n",
    "Space": " ",
    "Tab": "\t",
    "C-i": "\t",
    "Escape": "\x1b",
    "C-[": "\x1b",
}
_CONTROL = re.compile(r"([\x01-\x08\x0b\x0c\x0e-\x1f\x7f])")


def spoken_text(text: str) -> str:
    """What follows the last closing tag of a thought."""
    return text.strip().rpartition("</think>")[2].strip()


def json_object(text: str) -> dict[str, Any] | None:
    """A JSON object, or None for any other text."""
    value, problem = read_json(text, "commands")
    return value if problem is None and isinstance(value, dict) else None


def guess_harness(text: str) -> str | None:
    """The harness whose analysis the object has, else None."""
    found = json_object(spoken_text(text)) or {}
    return next((name for name, form in HARNESSES.items() if next(iter(form.keys)) in found), None)


def is_valid(value: dict[str, Any], harness: str) -> bool:
    form = HARNESSES[harness]
    return _has_form(value, form.keys, form.optional) and all(
        isinstance(command, dict) and _has_form(command, form.command_keys, form.optional)
        for command in value["commands"]
    )


def _has_form(value: dict[str, Any], keys: dict[str, str], optional: frozenset[str]) -> bool:
    known = value.keys() <= keys.keys() and keys.keys() - optional <= value.keys()
    return known and all(_TYPES[keys[key]](item) for key, item in value.items())


_TYPES = {
    "string": lambda value: isinstance(value, str),
    "list": lambda value: isinstance(value, list),
    "boolean": lambda value: isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
}


def keystrokes(value: dict[str, Any]) -> str:
    """All that is typed, as the terminal receives it."""
    return "".join(command["keystrokes"] for command in value["commands"])


def typed(pieces: Iterable[str]) -> list[str]:
    """Text and keys as the terminal receives them, alternately: `["ls", "Enter", "C-c"]` is `["ls\\n", "\\x03"]`.

    A piece that is the name of a key is that key, as in tmux.
    """
    named = (
        _key(piece) if _KEY.fullmatch(piece) else piece.replace("\r\n", "\n").replace("\r", "\n") for piece in pieces
    )
    joined = "\x00".join(named)
    parts = (part.replace("\x00", "") for part in _CONTROL.split(joined))
    return [part for part in parts if part]


def _key(name: str) -> str:
    """The character of a key, else its name between two characters that nobody types."""
    if len(name) == 3 and name[:2] == "C-" and name[2].isalpha():
        return _SAME_KEYS.get(name.lower().replace("c-", "C-"), chr(ord(name[2].upper()) - 64))
    return _SAME_KEYS.get(name, f"\x1f{name}\x1f")


def typed_difference(expected: Iterable[str], actual: Iterable[str]) -> Difference | None:
    """Whether something else is typed: other keys, another command line, or one of them not entered."""
    wanted, given = typed(expected), typed(actual)
    if len(wanted) != len(given):
        return value_difference(Category.COMMAND_DIFFERENT, "".join(wanted), "".join(given))
    return next(filter(None, map(_text_difference, wanted, given)), None)


def _text_difference(expected: str, actual: str) -> Difference | None:
    """Only what is entered is a command line; in an editor or a debugger, each character counts."""
    if expected == actual:
        return None
    indents = [text[: len(text) - len(text.lstrip())] for text in (expected, actual)]
    if indents[0] == indents[1] and all(text.strip() and text.endswith("\n") for text in (expected, actual)):
        return command_difference(expected, actual)
    return value_difference(Category.COMMAND_DIFFERENT, expected, actual)


def says_complete(value: dict[str, Any]) -> bool:
    """Whether the task is declared done."""
    return bool(value.get("task_complete") or value.get("is_task_complete"))


def seconds(value: dict[str, Any]) -> float:
    """How long the terminal is waited for in all; a terminus_2 command waits 1 second unless it says."""
    waits = (command.get("timeout_sec", command.get("duration", 1.0)) for command in value["commands"])
    return sum(float(max(0, min(wait, 10**9))) if wait == wait else 0.0 for wait in waits)  # 0 for NaN


def blocks(value: dict[str, Any]) -> bool:
    """Whether the output of the last command is awaited; always in terminus_2."""
    return not value["commands"] or bool(value["commands"][-1].get("is_blocking", True))
