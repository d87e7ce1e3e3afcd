"""Software engineering: the same kind of tool doing the same, whatever the harness calls the tool and its arguments.

| kind           | compared                                                                                          |
|----------------|---------------------------------------------------------------------------------------------------|
| bash           | the command line by its grammar (`compare/commands.py`)                                           |
| edit           | the file and what is replaced and written, by the grammar of the file (`compare/edits.py`)        |
| search         | the folder and the pattern; a search for text is none for files                                   |
| read, view     | the file; four fifths of the lines of both sides, ends included and -1 meaning the last           |
| think, finish  | the text says the same                                                                            |
| planning, else | the same name, and functionally equal arguments                                                   |

All other arguments are functionally equal in the light of the schema; one that is false is as good as left out. In
continuous mode commands with the same first program and edits of the same file that are not equal but alike
(`indel_ratio`) earn a part: half at 0.4, up to `MOST_PARTIAL`; an edit that is longer than the demonstrated one loses
up to a tenth. Several calls are scored by f1. A demonstrated message is compared as a message. Malformed arguments are
never accepted, and what the demonstration names has to be named.

Left out: whether an edit or a command is right in another way.
"""

from __future__ import annotations

import json
from typing import Any

from pivotrl_cli.rows import Candidate, Message
from pivotrl_cli.verifiers import Verdict, compare_calls
from pivotrl_cli.verifiers.compare.arguments import arguments_difference
from pivotrl_cli.verifiers.compare.batches import FULL, Credit, credit_of
from pivotrl_cli.verifiers.compare.calls import Call, read_json
from pivotrl_cli.verifiers.compare.coding import (
    COMMAND_KEYS,
    HALF_CREDIT,
    PATTERN_KEYS,
    UNCOMPARED_KEYS,
    Kind,
    credit_share,
    first_program,
    kind_of,
    same_work,
    text_under,
)
from pivotrl_cli.verifiers.compare.commands import command_difference
from pivotrl_cli.verifiers.compare.differences import Category, Difference, value_difference
from pivotrl_cli.verifiers.compare.edits import (
    CONTENT_KEYS,
    NEW_KEYS,
    OLD_KEYS,
    PATCH_KEYS,
    PATH_KEYS,
    TEXTS,
    edit_difference,
    same_path,
)
from pivotrl_cli.verifiers.compare.parameters import Shape, shape_of
from pivotrl_cli.verifiers.compare.prose import prose_difference
from pivotrl_cli.verifiers.compare.similarity import indel_ratio

COVERED = 0.8
"""Share of the lines that each side views which the other has to view too."""

MAX_LINE = 10**9
"""Lines beyond are this one."""

MOST_PARTIAL = 0.9
"""What an action that does not do the same earns at most, in continuous mode."""

MAX_PENALTY, FULL_PENALTY_CHARACTERS = 0.1, 500
"""What an edit loses in continuous mode, in full where it is so many characters longer than the demonstrated one."""

_LINE_KEYS = frozenset({"view_range", "offset", "limit", "start_line", "end_line", "line_start", "line_end"})
_KNOWN_KEYS = {
    Kind.BASH: frozenset(COMMAND_KEYS),
    Kind.SEARCH: frozenset((*PATH_KEYS, *PATTERN_KEYS)),
    Kind.READ: frozenset((*PATH_KEYS, *_LINE_KEYS, "command")),
    Kind.EDIT: TEXTS | {"command", "edits"},
}
"""Arguments that the rule of a kind compares; the others are compared as values."""


def verify(candidate: Candidate, action: Message) -> Verdict:
    """All or nothing for each call."""
    return compare_calls(candidate, action, lambda want, got: call_credit(want, got, candidate.tools, False))


def verify_continuous(candidate: Candidate, action: Message) -> Verdict:
    """Part of the reward for what is alike, and a penalty for longer edits."""
    return compare_calls(candidate, action, lambda want, got: call_credit(want, got, candidate.tools, True))


def call_credit(expected: Call, actual: Call, tools: str, continuous: bool) -> Credit:
    """Kind, then what the kind compares, then the other arguments."""
    kind = _kind(expected)
    if kind != _kind(actual) or not (kind == Kind.READ or same_work(expected.name, actual.name)):
        return credit_of(value_difference(Category.UNEXPECTED_TOOL, expected.name, actual.name))
    shape = shape_of(tools, expected.name)
    if kind in (Kind.PLANNING, Kind.UNKNOWN):
        if expected.name.lower() != actual.name.lower():
            return credit_of(value_difference(Category.UNEXPECTED_TOOL, expected.name, actual.name))
        return credit_of(arguments_difference(expected.arguments, actual.arguments, shape))
    want, got = _texts_of(expected.arguments), _texts_of(actual.arguments)
    if kind in (Kind.THINK, Kind.FINISH):
        # all that is said, under whatever keys; nothing said means that anything may be
        wanted, given = (" ".join(text for _, text in sorted(side.items())) for side in (want, got))
        return credit_of(prose_difference(wanted, given) if wanted.strip() else None)
    difference = _others_difference(kind, expected.arguments, actual.arguments, shape)
    if difference is not None:
        return credit_of(difference)
    match kind:
        case Kind.BASH:
            difference = command_difference(text_under(want, COMMAND_KEYS), text_under(got, COMMAND_KEYS))
        case Kind.EDIT:
            difference = edit_difference(expected.arguments, actual.arguments)
        case Kind.SEARCH:
            difference = _search_difference(want, got)
        case _:
            difference = _view_difference(want, got)
    if difference is None or not continuous or kind not in (Kind.BASH, Kind.EDIT):
        return _longer_edit(kind, want, got) if difference is None and continuous else credit_of(difference)
    return _partial(kind, want, got, difference)


def _kind(call: Call) -> Kind:
    """An editor that views a file reads it."""
    kind = kind_of(call.name)
    return Kind.READ if kind == Kind.EDIT and call.arguments.get("command") == "view" else kind


def _texts_of(arguments: dict[str, Any]) -> dict[str, str]:
    """Every argument as text; values that are not strings as JSON."""
    return {
        key: value if isinstance(value, str) else json.dumps(value, sort_keys=True) for key, value in arguments.items()
    }


def _others_difference(kind: Kind, want: dict[str, Any], got: dict[str, Any], shape: Shape) -> Difference | None:
    known = _KNOWN_KEYS[kind] | UNCOMPARED_KEYS
    wanted, given = (
        {key: value for key, value in side.items() if key not in known and value not in (None, False, "", "false")}
        for side in (want, got)
    )
    return arguments_difference(wanted, given, shape) if wanted or given else None


def _search_difference(want: dict[str, str], got: dict[str, str]) -> Difference | None:
    wanted, given = text_under(want, PATH_KEYS), text_under(got, PATH_KEYS)
    if not same_path(wanted, given):
        return value_difference(Category.TARGET_DIFFERENT, wanted, given)
    wanted, given = text_under(want, PATTERN_KEYS), text_under(got, PATTERN_KEYS)
    return None if wanted == given else value_difference(Category.ARGUMENT_VALUE_DIFFERENT, wanted, given)


# --- views


def _view_difference(want: dict[str, str], got: dict[str, str]) -> Difference | None:
    wanted, given = text_under(want, PATH_KEYS), text_under(got, PATH_KEYS)
    if not same_path(wanted, given):
        return value_difference(Category.TARGET_DIFFERENT, wanted, given)
    if _covers(_lines(want), _lines(got)) and _covers(_lines(got), _lines(want)):
        return None
    return value_difference(Category.TARGET_DIFFERENT, *(f"lines {_lines(side)}" for side in (want, got)))


def _lines(arguments: dict[str, str]) -> tuple[float, float]:
    """First and last line; the whole file where nothing says so."""
    match read_json(arguments.get("view_range", ""), "lines")[0]:
        case [int(first), int(last)]:
            return _range(first, last)
    numbers = [
        next((value for key in keys if isinstance(value := read_json(arguments.get(key, ""), key)[0], int)), None)
        for keys in (("offset", "start_line", "line_start"), ("end_line", "line_end"), ("limit",))
    ]
    start, end, count = 1 if numbers[0] is None else numbers[0], numbers[1], numbers[2]
    if end is None:
        end = -1 if count is None else start + count - 1
    return _range(start, end)


def _range(first: int, last: int) -> tuple[float, float]:
    return min(max(first, 1), MAX_LINE), float("inf") if last < 0 else min(last, MAX_LINE)


def _covers(wanted: tuple[float, float], given: tuple[float, float]) -> bool:
    """Whether enough of the wanted lines are seen; an open end is covered by an open end alone."""
    if wanted[1] == float("inf"):
        return given[1] == float("inf") and given[0] <= wanted[0]
    seen = max(0.0, min(wanted[1], given[1]) - max(wanted[0], given[0]) + 1)
    return seen >= COVERED * (wanted[1] - wanted[0] + 1)


# --- continuous mode


def _longer_edit(kind: Kind, want: dict[str, str], got: dict[str, str]) -> Credit:
    share = _length_share(want, got) if kind == Kind.EDIT else 1.0
    return FULL if share == 1.0 else Credit(share, Difference(Category.SIMILARITY_BELOW_THRESHOLD, "a longer edit"))


def _length_share(want: dict[str, str], got: dict[str, str]) -> float:
    """What is left of the reward of an edit that is longer than the demonstrated one."""
    wanted, given = (sum(map(len, _edited(side))) for side in (want, got))
    return 1 - MAX_PENALTY * min(max(given - wanted, 0) / FULL_PENALTY_CHARACTERS, 1.0)


def _edited(arguments: dict[str, str]) -> list[str]:
    """The texts of an edit: what is replaced, what is written."""
    return [text_under(arguments, keys) for keys in (OLD_KEYS, NEW_KEYS, CONTENT_KEYS, PATCH_KEYS, ("edits",))]


def _partial(kind: Kind, want: dict[str, str], got: dict[str, str], difference: Difference) -> Credit:
    """Part of the reward for the least likeness of the texts, where the target is the same."""
    if difference.category == Category.TARGET_DIFFERENT:
        return credit_of(difference)
    if kind == Kind.BASH:
        pairs = [(text_under(want, COMMAND_KEYS), text_under(got, COMMAND_KEYS))]
        if first_program(pairs[0][0]) != first_program(pairs[0][1]):
            return credit_of(difference)
    else:
        pairs = list(zip(_edited(want), _edited(got), strict=True))
    likeness = 1.0
    for wanted, given in pairs:
        found = indel_ratio(wanted, given, HALF_CREDIT)
        if found is None:
            return credit_of(Difference(Category.COMPARISON_BEYOND_LIMITS, f"differs, in {len(given)} characters"))
        likeness = min(likeness, found if bool(wanted) == bool(given) else 0.0)
    value = min(credit_share(likeness, True), MOST_PARTIAL)
    if kind == Kind.EDIT:
        value *= _length_share(want, got)
    return Credit(
        value, Difference(Category.SIMILARITY_BELOW_THRESHOLD, f"similarity {likeness:.2f}: {difference.reason}")
    )
