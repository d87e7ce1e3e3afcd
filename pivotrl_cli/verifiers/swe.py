"""Software engineering: the same kind of tool, on the same target, with a similar edit or command.

The levels of NVIDIA's public verifier (`swe_compat`) with what can be exploited in it mended. Names of tools are alike
by kind (`bash`, `execute_bash`), then each kind has its rule:

| kind           | compared                                                                                          |
|----------------|---------------------------------------------------------------------------------------------------|
| edit           | sub-command; last two parts of the path; 80 % of the lines viewed, ends included and -1 meaning   |
|                | the last; what is replaced and what is written, the lesser likeness                               |
| bash           | first program (after a leading `cd`) and a shared path; likeness of the whole and of all that is  |
|                | quoted in it                                                                                      |
| search         | last two parts of the path; likeness of the pattern                                               |
| read           | last two parts of the path                                                                        |
| think, finish  | the text says the same                                                                            |
| planning, else | the same name, and functionally equal arguments                                                   |

A likeness (`indel_ratio`) of 0.8 is accepted. In continuous mode 0.4 earns half, rising to all at 0.8, and an edit that
is longer than the demonstrated one loses up to a tenth. Several calls are scored by f1. A demonstrated message is
compared as a message. Malformed arguments are never accepted, and what the demonstration names has to be named.

Left out: whether an edit is right in another way, and lines of `read`.
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
    FULL_CREDIT,
    HALF_CREDIT,
    PATH_KEYS,
    TEXT_KEYS,
    UNCOMPARED_KEYS,
    Kind,
    credit_share,
    first_program,
    kind_of,
    same_tool,
    text_under,
)
from pivotrl_cli.verifiers.compare.commands import path_end, paths, quoted
from pivotrl_cli.verifiers.compare.differences import Category, Difference, shown, value_difference
from pivotrl_cli.verifiers.compare.parameters import shape_of
from pivotrl_cli.verifiers.compare.prose import prose_difference
from pivotrl_cli.verifiers.compare.similarity import indel_ratio

COVERED = 0.8
"""Share of the demonstrated range of lines that has to be viewed."""

PATH_PARTS = 2
"""Last components of a path that count: one may be relative, and roots differ between machines."""

MAX_LINE = 10**9
"""Lines beyond are this one."""

MAX_PENALTY, FULL_PENALTY_CHARACTERS = 0.1, 500
"""What an edit loses in continuous mode, in full where it is so many characters longer than the demonstrated one."""


def verify(candidate: Candidate, action: Message) -> Verdict:
    """All or nothing for each call."""
    return compare_calls(candidate, action, lambda want, got: call_credit(want, got, candidate.tools, False))


def verify_continuous(candidate: Candidate, action: Message) -> Verdict:
    """Part of the reward for a likeness below full credit, and a penalty for longer edits."""
    return compare_calls(candidate, action, lambda want, got: call_credit(want, got, candidate.tools, True))


def call_credit(expected: Call, actual: Call, tools: str, continuous: bool) -> Credit:
    """Kind, target, then likeness."""
    if not same_tool(expected.name, actual.name):
        return credit_of(value_difference(Category.UNEXPECTED_TOOL, expected.name, actual.name))
    kind = kind_of(expected.name)
    if kind in (Kind.PLANNING, Kind.UNKNOWN):
        if expected.name.lower() != actual.name.lower():
            return credit_of(value_difference(Category.UNEXPECTED_TOOL, expected.name, actual.name))
        shape = shape_of(tools, expected.name)
        return credit_of(arguments_difference(expected.arguments, actual.arguments, shape))
    want, got = _texts_of(expected.arguments), _texts_of(actual.arguments)
    if kind in (Kind.THINK, Kind.FINISH):
        # all that is said, under whatever keys; nothing said means that anything may be
        wanted, given = (" ".join(text for _, text in sorted(side.items())) for side in (want, got))
        return credit_of(prose_difference(wanted, given) if wanted.strip() else None)
    difference = _target_difference(kind, want, got)
    credit = credit_of(difference) if difference else _likeness_credit(kind, want, got, continuous)
    if kind != Kind.BASH or credit.value == 0.0:
        return credit
    # the costliest check, so the last
    wanted, given = text_under(want, COMMAND_KEYS), text_under(got, COMMAND_KEYS)
    wanted_paths = paths(wanted)
    if not wanted_paths or wanted_paths & paths(given):
        return credit
    return credit_of(Difference(Category.TARGET_DIFFERENT, f"no path of {shown(wanted)} in {shown(given)}"))


def _texts_of(arguments: dict[str, Any]) -> dict[str, str]:
    """Every argument as text; values that are not strings as JSON."""
    return {
        key: value if isinstance(value, str) else json.dumps(value, sort_keys=True) for key, value in arguments.items()
    }


# --- target


def _target_difference(kind: Kind, want: dict[str, str], got: dict[str, str]) -> Difference | None:
    if kind == Kind.BASH:
        return _program_difference(text_under(want, COMMAND_KEYS), text_under(got, COMMAND_KEYS))
    wanted, given = text_under(want, PATH_KEYS), text_under(got, PATH_KEYS)
    if path_end(wanted, PATH_PARTS) != path_end(given, PATH_PARTS):
        return value_difference(Category.TARGET_DIFFERENT, wanted, given)
    return _view_difference(want, got) if kind == Kind.EDIT else None


def _program_difference(wanted: str, given: str) -> Difference | None:
    if wanted == given:
        return None
    if 2 * min(len(wanted), len(given)) < HALF_CREDIT * (len(wanted) + len(given)):
        reason = f"expected {len(wanted)} characters, got {len(given)}"
        return Difference(Category.SIMILARITY_BELOW_THRESHOLD, reason)
    wanted_program, given_program = first_program(_after_cd(wanted)), first_program(_after_cd(given))
    if wanted_program != given_program:
        return value_difference(Category.TARGET_DIFFERENT, wanted_program, given_program)
    return None


def _after_cd(command: str) -> str:
    """Without the `cd somewhere &&` that many harnesses put first."""
    head, joint, rest = command.partition("&&")
    return rest if joint and first_program(head) == "cd" else command


def _view_difference(want: dict[str, str], got: dict[str, str]) -> Difference | None:
    for key in ("command", "insert_line"):
        if want.get(key) != got.get(key):
            return value_difference(Category.TARGET_DIFFERENT, want.get(key), got.get(key))
    wanted, given = want.get("view_range", ""), got.get("view_range", "")
    if want.get("command") != "view" or _covers(_lines(wanted), _lines(given)):
        return None
    return value_difference(Category.TARGET_DIFFERENT, wanted, given)


def _lines(text: str) -> tuple[float, float]:
    """First and last line; the whole file where the text is not a range of two whole numbers."""
    match read_json(text, "lines")[0]:
        case [int(first), int(last)]:
            return min(max(first, 1), MAX_LINE), float("inf") if last < 0 else min(last, MAX_LINE)
    return 1, float("inf")


def _covers(wanted: tuple[float, float], given: tuple[float, float]) -> bool:
    """Whether enough of the wanted lines are seen; an open end is covered by an open end alone."""
    if wanted[1] == float("inf"):
        return given[1] == float("inf") and given[0] <= wanted[0]
    seen = max(0.0, min(wanted[1], given[1]) - max(wanted[0], given[0]) + 1)
    return seen >= COVERED * (wanted[1] - wanted[0] + 1)


# --- likeness


def _likeness_credit(kind: Kind, want: dict[str, str], got: dict[str, str], continuous: bool) -> Credit:
    enough = HALF_CREDIT if continuous else FULL_CREDIT
    likeness = 1.0
    for wanted_text, given_text in _texts(kind, want, got):
        found = indel_ratio(wanted_text, given_text, enough)
        if found is None:
            reason = f"differs, in {len(given_text)} characters"
            return credit_of(Difference(Category.COMPARISON_BEYOND_LIMITS, reason))
        if bool(wanted_text.strip()) != bool(given_text.strip()):
            found = 0.0
        likeness = min(likeness, found)
    value = credit_share(likeness, continuous)
    if kind == Kind.EDIT and continuous:
        wanted, given = (sum(len(text_under(side, keys)) for keys in TEXT_KEYS[Kind.EDIT]) for side in (want, got))
        value *= 1 - MAX_PENALTY * min(max(given - wanted, 0) / FULL_PENALTY_CHARACTERS, 1.0)
    if value == 1.0:
        return FULL
    reason = f"similarity {likeness:.2f} is below {FULL_CREDIT}" if likeness < FULL_CREDIT else "a longer edit"
    return Credit(value, Difference(Category.SIMILARITY_BELOW_THRESHOLD, reason))


def _texts(kind: Kind, want: dict[str, str], got: dict[str, str]) -> list[tuple[str, str]]:
    """The pairs of texts that have to be alike; all arguments but the target where none has a known key."""
    groups = [keys for keys in TEXT_KEYS.get(kind, ()) if any(key in want for key in keys)]
    pairs = [(text_under(want, keys), text_under(got, keys)) for keys in groups]
    if kind == Kind.BASH and pairs:
        return [*pairs, (quoted(pairs[0][0]), quoted(pairs[0][1]))]
    if pairs:
        return pairs
    if kind == Kind.READ:
        return []
    other = (*PATH_KEYS, *UNCOMPARED_KEYS)
    wanted, given = ("\n".join(t for key, t in sorted(side.items()) if key not in other) for side in (want, got))
    return [(wanted, given)]
