"""What NVIDIA's harness verifier compares in the arguments of each tool, by harness.

The rules of `terminal_multi_harness` of NeMo Gym 0.6 and 0.7, as tables: `RULES[harness][tool]` takes the expected and
the actual arguments and a threshold. Values are compared as Python does (1 == True == 1.0), and one side's missing key
is None. A tool without a rule passes whatever its values."""

from __future__ import annotations

import json
from collections.abc import Callable
from enum import StrEnum
from typing import Any, NamedTuple

from pivotrl_cli.verifiers.compare.commands import normal
from pivotrl_cli.verifiers.compare.similarity import difflib_ratio

Arguments = dict[str, Any]


class HarnessCode(StrEnum):
    """Their categories, and one of ours."""

    NO_ACTION_FOUND = "no_action_found"
    ACTION_TYPE_MISMATCH = "action_type_mismatch"
    EMPTY_MESSAGE = "empty_message"
    EXPECTED_CHAT_MESSAGE_FOUND = "expected_chat_message_found"
    UNEXPECTED_TOOL = "unexpected_tool"
    ARGUMENTS_DECODE_ERROR = "arguments_decode_error"
    ARGUMENTS_NOT_OBJECT = "arguments_not_object"
    TOOL_SCHEMA_NOT_FOUND = "tool_schema_not_found"
    TOOL_SCHEMA_VALIDATION_FAILED = "tool_schema_validation_failed"
    UNEXPECTED_ARGUMENT_KEYS = "unexpected_argument_keys"
    ARGUMENT_VALUE_MISMATCH = "argument_value_mismatch"
    FUNCTION_CALL_BATCH_LENGTH_DIFFERENT = "function_call_batch_length_different"
    EXEC_COMMAND_MISSING_CMD = "exec_command_missing_cmd"
    EXEC_COMMAND_CMD_SIMILARITY_BELOW_THRESHOLD = "exec_command_cmd_similarity_below_threshold"
    BASH_MISSING_COMMAND = "bash_missing_command"
    BASH_COMMAND_SIMILARITY_BELOW_THRESHOLD = "bash_command_similarity_below_threshold"
    UPDATE_PLAN_EMPTY_PLAN = "update_plan_empty_plan"
    EXECUTE_PYTHON_CODE_SIMILARITY_BELOW_THRESHOLD = "execute_python_code_similarity_below_threshold"
    RETURN_RESULT_SIMILARITY_BELOW_THRESHOLD = "return_result_similarity_below_threshold"
    TODOWRITE_EMPTY_TODOS = "todowrite_empty_todos"
    WEB_SEARCH_QUERY_SIMILARITY_BELOW_THRESHOLD = "web_search_query_similarity_below_threshold"
    WEB_SEARCH_MISSING_QUERY = "web_search_missing_query"
    FETCH_WEB_PAGE_MISSING_URL = "fetch_web_page_missing_url"
    FETCH_WEB_PAGE_URLS_DO_NOT_MATCH = "fetch_web_page_urls_do_not_match"
    FINISH_MISSING_REASON = "finish_missing_reason"
    FINISH_MISSING_PATHS = "finish_missing_paths"
    FINISH_REASON_SIMILARITY_BELOW_THRESHOLD = "finish_reason_similarity_below_threshold"
    FINISH_PATHS_DO_NOT_MATCH = "finish_paths_do_not_match"
    EXPECTED_TOOL_CALL = "expected_tool_call"
    EXPECTED_TOOL_CALL_BATCH = "expected_tool_call_batch"
    COMPARISON_BEYOND_LIMITS = "comparison_beyond_limits"
    """Ours: the ratio cannot be told in bounded time."""


class Outcome(NamedTuple):
    """A category, and the similarity that led to it where one did."""

    code: HarnessCode
    similarity: float | None = None


ArgumentRule = Callable[[Arguments, Arguments, float], Outcome]

MATCH, MISMATCH = Outcome(HarnessCode.EXPECTED_TOOL_CALL), Outcome(HarnessCode.ARGUMENT_VALUE_MISMATCH)


def _compare_ratio(left: str, right: str, threshold: float, below: HarnessCode) -> Outcome:
    ratio = difflib_ratio(left, right, threshold)
    if ratio is None:
        return Outcome(HarnessCode.COMPARISON_BEYOND_LIMITS)
    return Outcome(below if ratio < threshold else HarnessCode.EXPECTED_TOOL_CALL, ratio)


def _alike(
    key: str,
    missing: HarnessCode,
    below: HarnessCode,
    clean: Callable[[str], str] = lambda text: text,
    sound: Callable[[str], bool] = lambda text: True,
) -> ArgumentRule:
    """One text, cleaned, by difflib's ratio; `missing` where a side has no sound one."""

    def rule(expected: Arguments, actual: Arguments, threshold: float) -> Outcome:
        want, got = expected.get(key), actual.get(key)
        if not isinstance(want, str) or not isinstance(got, str) or not sound(want) or not sound(got):
            return Outcome(missing)
        return _compare_ratio(clean(want), clean(got), threshold, below)

    return rule


def _same(*keys: str) -> ArgumentRule:
    """Equal values under some keys; the others are not looked at."""

    def rule(expected: Arguments, actual: Arguments, threshold: float) -> Outcome:
        return MATCH if all(expected.get(key) == actual.get(key) for key in keys) else MISMATCH

    return rule


def _web_text(text: str) -> str:
    return text.lower().strip()


def _edit(expected: Arguments, actual: Arguments, threshold: float) -> Outcome:
    """Same file and `replaceAll`, and any change at all."""
    if actual.get("oldString") == actual.get("newString"):
        return MISMATCH
    return _same("filePath", "replaceAll")(expected, actual, threshold)


def _todos(expected: Arguments, actual: Arguments, threshold: float) -> Outcome:
    """As many, with the same status and priority in order; not what they say."""
    want, got = expected.get("todos"), actual.get("todos")
    if want == []:
        return MATCH if got == [] else MISMATCH
    if not isinstance(want, list) or not isinstance(got, list):
        return Outcome(HarnessCode.TODOWRITE_EMPTY_TODOS)
    same = _same("status", "priority")
    if len(want) != len(got) or not all(isinstance(todo, dict) for todo in (*want, *got)):
        return MISMATCH
    return MATCH if all(same(w, g, threshold) == MATCH for w, g in zip(want, got, strict=True)) else MISMATCH


def _plan(expected: Arguments, actual: Arguments, threshold: float) -> Outcome:
    """Any plan that is not empty."""
    plan = actual.get("plan")
    content = plan.strip() if isinstance(plan, str) else plan
    empty = content is None or content in ("", [], {})
    return Outcome(HarnessCode.UPDATE_PLAN_EMPTY_PLAN) if empty else MATCH


def _result(expected: Arguments, actual: Arguments, threshold: float) -> Outcome:
    """The JSON texts of the results by difflib's ratio."""
    want, got = (json.dumps(side.get("result"), sort_keys=True) for side in (expected, actual))
    return _compare_ratio(want, got, threshold, HarnessCode.RETURN_RESULT_SIMILARITY_BELOW_THRESHOLD)


def _page(expected: Arguments, actual: Arguments, threshold: float) -> Outcome:
    """Whether two URLs are equal up to case and outer white space."""
    want, got = expected.get("url"), actual.get("url")
    if not (isinstance(want, str) and want and isinstance(got, str) and got):
        return Outcome(HarnessCode.FETCH_WEB_PAGE_MISSING_URL)
    return MATCH if _web_text(want) == _web_text(got) else Outcome(HarnessCode.FETCH_WEB_PAGE_URLS_DO_NOT_MATCH)


def _finish(expected: Arguments, actual: Arguments, threshold: float) -> Outcome:
    """Equal paths in any order, and a similar reason; here the actual reason comes first in difflib."""
    got, want = actual.get("reason"), expected.get("reason")
    if not (isinstance(got, str) and got and isinstance(want, str) and want):
        return Outcome(HarnessCode.FINISH_MISSING_REASON)
    got_paths, want_paths = _paths(actual), _paths(expected)
    if not got_paths or not want_paths:
        return Outcome(HarnessCode.FINISH_MISSING_PATHS)
    if got_paths != want_paths:
        return Outcome(HarnessCode.FINISH_PATHS_DO_NOT_MATCH)
    below = HarnessCode.FINISH_REASON_SIMILARITY_BELOW_THRESHOLD
    return _compare_ratio(_web_text(got), _web_text(want), threshold, below)


def _paths(arguments: Arguments) -> list[str]:
    """Sorted; none at all where they are not all strings."""
    paths = arguments.get("paths")
    if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
        return []
    return sorted(path.strip() for path in paths)


_EXEC_COMMAND = _alike(
    "cmd",
    HarnessCode.EXEC_COMMAND_MISSING_CMD,
    HarnessCode.EXEC_COMMAND_CMD_SIMILARITY_BELOW_THRESHOLD,
    clean=normal,
)

RULES: dict[str, dict[str, ArgumentRule]] = {
    "codex": {"exec_command": _EXEC_COMMAND, "update_plan": _plan},
    "agent006": {
        "execute_python": _alike(
            "code",
            HarnessCode.ARGUMENT_VALUE_MISMATCH,
            HarnessCode.EXECUTE_PYTHON_CODE_SIMILARITY_BELOW_THRESHOLD,
            sound=lambda code: bool(code.strip()),
        ),
        "return_result": _result,
    },
    "opencode": {
        "bash": _alike(
            "command",
            HarnessCode.BASH_MISSING_COMMAND,
            HarnessCode.BASH_COMMAND_SIMILARITY_BELOW_THRESHOLD,
            clean=normal,
        ),
        "todowrite": _todos,
        "read": _same("filePath"),
        "write": _same("filePath"),
        "edit": _edit,
        "glob": _same("pattern", "path"),
        "grep": _same("pattern", "path", "include"),
        "webfetch": _same("url", "format"),
        "skill": _same("name"),
        "task": _same("subagent_type"),
    },
    "stirrup": {
        "code_exec": _EXEC_COMMAND,
        "web_search": _alike(
            "query",
            HarnessCode.WEB_SEARCH_MISSING_QUERY,
            HarnessCode.WEB_SEARCH_QUERY_SIMILARITY_BELOW_THRESHOLD,
            clean=_web_text,
            sound=bool,
        ),
        "fetch_web_page": _page,
        "finish": _finish,
    },
}
