"""NVIDIA's public verifier for software engineering pivots, reproduced reward by reward and code by code.

It follows `swe_pivot` of NeMo Gym 0.7 in its two reward modes, and as `swe_compat@0.6` that of 0.4 to 0.6, whose
verdict differs where one of two commands, or of two editor's commands, is missing or empty: 0 from 0.7 on, before that
no difference. `swe` lists what the default does otherwise. Four levels: 0 the kind of tool, 1 the target (file, lines,
program), 2 the likeness of the edit or command by difflib's ratio on the first 2,000 characters, 4 a penalty for long
edits (continuous mode only). Left out: their options that switch single levels off.

Faults that are kept: a view of `[1, -1]` does not cover itself; malformed arguments and other absent keys pass; search
patterns, `think` and `finish` are never read; only the first call counts. Its own demonstration is accepted unless it
is a message, several calls, or such a view; in continuous mode an edit loses some reward even against itself.

Difference, where their parser would go on: arguments nested more than 200 levels deep (some 1,000 there) or longer than
16 million characters are an `unknown_error`.
"""

from __future__ import annotations

import json
import re
from enum import StrEnum
from typing import Any, NamedTuple

from pivotrl_cli.rows import Candidate, Message, ToolCall
from pivotrl_cli.verifiers import Verdict
from pivotrl_cli.verifiers.compare.calls import read_call
from pivotrl_cli.verifiers.compare.coding import Kind, credit_share, first_program, kind_of, same_tool
from pivotrl_cli.verifiers.compare.commands import path_end
from pivotrl_cli.verifiers.compare.differences import Category
from pivotrl_cli.verifiers.compare.similarity import difflib_ratio
from pivotrl_cli.verifiers.nvidia.hints import is_batch

MAX_COMPARED = 2_000
"""Characters of each text that the similarity sees."""

MAX_PENALTY, FULL_PENALTY_CHARACTERS = 0.1, 500
"""Share of the reward that an edit loses in continuous mode, in full from so many characters on."""


class SweCode(StrEnum):
    """Their failure codes."""

    NONE = "none"
    """Accepted."""
    EXPECTED_ACTION_INVALID = "expected_action_invalid"
    """The demonstration is not a single call."""
    MODEL_OUTPUT_INVALID = "model_output_invalid"
    """The action has no call."""
    TOOL_NAME_MISMATCH = "tool_name_mismatch"
    """Level 0: another kind of tool."""
    TARGET_MISMATCH = "target_mismatch"
    """Level 1: another file, range of lines or program."""
    SIMILARITY_BELOW_THRESHOLD = "similarity_below_threshold"
    """Level 2: the edit or command is too unlike."""
    UNKNOWN_ERROR = "unknown_error"
    """Their code throws and catches, for example on arguments that are not an object."""


class Rules(NamedTuple):
    """Reward mode and release of their server."""

    continuous: bool = False
    lost_command_passes: bool = False
    """Whether a command that one side lacks is no difference: so it was before 0.7."""


class SweScore(NamedTuple):
    """What their server reports; None where a level was not reached."""

    reward: float
    code: SweCode
    tool_name_match: bool = False
    target_match: bool | None = None
    similarity: float | None = None
    penalty: float | None = None


def verify(candidate: Candidate, action: Message) -> Verdict:
    """Score `action` as NVIDIA's server does with its defaults: binary."""
    return _verdict(candidate, action, Rules())


def verify_continuous(candidate: Candidate, action: Message) -> Verdict:
    """Score `action` with partial credit and the penalty for long edits."""
    return _verdict(candidate, action, Rules(continuous=True))


def verify_0_6(candidate: Candidate, action: Message) -> Verdict:
    return _verdict(candidate, action, Rules(lost_command_passes=True))


def verify_continuous_0_6(candidate: Candidate, action: Message) -> Verdict:
    return _verdict(candidate, action, Rules(continuous=True, lost_command_passes=True))


def _verdict(candidate: Candidate, action: Message, rules: Rules) -> Verdict:
    score = compare_actions(candidate.expected_action, action, rules, batch=is_batch(candidate))
    detail = "" if score.similarity is None else f"similarity {score.similarity:.3f}"
    return Verdict(score.reward, str(score.code), detail)


def compare_actions(expected: Message, actual: Message, rules: Rules, batch: bool = False) -> SweScore:
    """The demonstrated call, if it is not a batch, against the first call of the action, level by level."""
    if len(expected.tool_calls) != 1 or batch:
        return SweScore(0.0, SweCode.EXPECTED_ACTION_INVALID)
    want = expected.tool_calls[0]
    try:
        wanted = parse_arguments(want)
        if not actual.tool_calls:
            return SweScore(0.0, SweCode.MODEL_OUTPUT_INVALID)
        given = parse_arguments(actual.tool_calls[0])
    except OverflowError:
        return SweScore(0.0, SweCode.UNKNOWN_ERROR)
    if not same_tool(actual.tool_calls[0].name, want.name):
        return SweScore(0.0, SweCode.TOOL_NAME_MISMATCH)
    return _compare(kind_of(want.name), given, wanted, rules)


def parse_arguments(call: ToolCall) -> Any:
    """Any JSON value; nothing at all for what is not JSON. Beyond the parser's limits it throws, as theirs does."""
    parsed = read_call(call)
    if parsed.problem is None:
        return parsed.arguments
    if parsed.problem.category == Category.ARGUMENTS_DECODE_ERROR:
        return {}
    raise OverflowError(parsed.problem.detail)


def _compare(kind: Kind, given: Any, wanted: Any, rules: Rules) -> SweScore:
    score = SweScore(0.0, SweCode.UNKNOWN_ERROR, tool_name_match=True)
    try:
        score = score._replace(target_match=target_match(kind, given, wanted, rules.lost_command_passes))
        if not score.target_match:
            return score._replace(code=SweCode.TARGET_MISMATCH)
        likeness = argument_similarity(kind, given, wanted)
        score = score._replace(similarity=likeness)
        reward = credit_share(likeness, rules.continuous)
        if reward == 0.0:
            return score._replace(code=SweCode.SIMILARITY_BELOW_THRESHOLD)
        penalty = diff_size_penalty(kind, given) if rules.continuous else None
    except (TypeError, AttributeError, OverflowError, RecursionError):  # arguments of another type than an object
        return score
    return score._replace(reward=reward * (1.0 - (penalty or 0.0)), code=SweCode.NONE, penalty=penalty)


def file_path(arguments: Any) -> str:
    """The file that a tool works on; empty where there is none."""
    return _first(arguments, "path", "file", "file_path", "filename", "file_name")


def command_of(arguments: Any) -> str:
    """The command that a shell tool runs; empty where there is none."""
    return _first(arguments, "command", "cmd")


def _first(arguments: Any, *keys: str) -> str:
    return next((str(arguments[key]).strip() for key in keys if key in arguments), "")


def edit_text(arguments: Any) -> str:
    """The text that an edit writes, with what it replaces."""
    if "new_str" in arguments:
        return f"{arguments.get('old_str', '')}\n{arguments['new_str']}"
    return next((str(arguments[key]) for key in ("patch", "diff", "content", "file_text") if key in arguments), "")


def target_match(kind: Kind, given: Any, wanted: Any, lost_command_passes: bool = False) -> bool:
    """Whether both work on the same file, range of lines or program; a file or range that one lacks, matches."""
    if kind == Kind.EDIT:
        given_verb, wanted_verb = str(given.get("command", "")), str(wanted.get("command", ""))
        if given_verb != wanted_verb and not (lost_command_passes and not (given_verb and wanted_verb)):
            return False
        if not _same_path(file_path(given), file_path(wanted), 2):
            return False
        if given_verb == wanted_verb == "view":
            return _covers(_lines(given.get("view_range")), _lines(wanted.get("view_range")))
        return True
    if kind == Kind.BASH:
        given_command, wanted_command = command_of(given), command_of(wanted)
        if not given_command or not wanted_command:
            return lost_command_passes or given_command == wanted_command
        return _same_bash_target(given_command, wanted_command)
    if kind in (Kind.SEARCH, Kind.READ):
        return _same_path(file_path(given), file_path(wanted), 3)
    return True


def _same_path(given: str, wanted: str, parts: int) -> bool:
    return not given or not wanted or path_end(given, parts) == path_end(wanted, parts)


def _covers(given: tuple[int, int] | None, wanted: tuple[int, int] | None) -> bool:
    """Whether four fifths of the expected range are seen; lengths are ends minus starts, so -1 is not the last line."""
    if given is None or wanted is None:
        return True
    seen = max(0, min(given[1], wanted[1]) - max(given[0], wanted[0]))
    return seen / max(1, wanted[1] - wanted[0]) >= 0.8


def _lines(value: Any) -> tuple[int, int] | None:
    try:
        pair = json.loads(value) if isinstance(value, str) else value
        return (int(pair[0]), int(pair[1])) if isinstance(pair, list) and len(pair) == 2 else None
    except (ValueError, TypeError):
        return None


_PATH = re.compile(r"""(?:^|[\s='"(])((?:/[\w.-]+)+|\.{1,2}/[\w./-]+|[\w.-]+/[\w./-]+)""")


def _same_bash_target(given: str, wanted: str) -> bool:
    """The first words, one path where both have some, and a likeness of 0.3."""
    programs = first_program(given), first_program(wanted)
    if all(programs) and programs[0] != programs[1]:  # a folder alone, such as `bin/`, has no program
        return False
    given_ends, wanted_ends = _path_ends(given), _path_ends(wanted)
    if given_ends and wanted_ends and not given_ends & wanted_ends:
        return False
    return similarity(given, wanted) >= 0.3


def _path_ends(command: str) -> set[str]:
    paths = (path for path in _PATH.findall(command) if len(path) > 2 and not path.startswith("--"))
    return {path_end(path, 3) for path in paths} - {""}


def similarity(given: str, wanted: str) -> float:
    """difflib's ratio of the beginnings; the order of the arguments matters to it."""
    ratio = difflib_ratio(given[:MAX_COMPARED], wanted[:MAX_COMPARED], 0.0)
    assert ratio is not None  # the beginnings are within its limit
    return ratio


def argument_similarity(kind: Kind, given: Any, wanted: Any) -> float:
    """Edits by what they replace and by what they write, the lesser; commands as a whole; all else is alike."""
    if kind == Kind.EDIT:
        sides = [(str(given.get(key, "")), str(wanted.get(key, ""))) for key in ("old_str", "new_str")]
        if any(side[0] for side in sides) and any(side[1] for side in sides):
            return min(_alike(*side) for side in sides)
        return _alike(edit_text(given), edit_text(wanted))
    if kind == Kind.BASH:
        given_command, wanted_command = command_of(given), command_of(wanted)
        return similarity(given_command, wanted_command) if given_command and wanted_command else 1.0
    return 1.0


def _alike(given: str, wanted: str) -> float:
    return similarity(given, wanted) if given and wanted else float(given == wanted)


def diff_size_penalty(kind: Kind, given: Any) -> float:
    """Grows with the length of an edit's text."""
    return MAX_PENALTY * min(len(edit_text(given)) / FULL_PENALTY_CHARACTERS, 1.0) if kind == Kind.EDIT else 0.0
