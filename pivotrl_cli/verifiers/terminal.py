"""Terminal work: what is typed or called has to do the same, whichever harness carries it.

One verifier for both of NVIDIA's (`terminus_compat`, `terminal_compat`), with what can be exploited in them mended:

- A demonstrated Terminus message: the same form, completion declared or not as demonstrated, similar keystrokes with
  the same programs, paths and numbers, and a similar wait (total time within a factor of four or ten seconds; the
  last command awaited or not).
- Demonstrated calls: the same name; arguments by the rule of the tool's key in `RULES`, else functionally equal in the
  light of the schema. Several calls are scored by f1.
- Any other demonstrated message says the same.

A similarity (`indel_ratio`) of 0.9 is accepted, where no program, path or number differs.

Left out: commands that do the same in other words. A judge is the verifier that knows them.
"""

from __future__ import annotations

from typing import Any

from pivotrl_cli.rows import Candidate, Message
from pivotrl_cli.verifiers import Verdict, compare_calls
from pivotrl_cli.verifiers.compare.arguments import Rule, ignored, value_difference_at
from pivotrl_cli.verifiers.compare.batches import call_credit
from pivotrl_cli.verifiers.compare.commands import code_difference, command_difference, text_difference
from pivotrl_cli.verifiers.compare.differences import Category, Difference, value_difference
from pivotrl_cli.verifiers.compare.messages import message_mismatch
from pivotrl_cli.verifiers.compare.prose import prose_difference
from pivotrl_cli.verifiers.compare.queries import query_difference
from pivotrl_cli.verifiers.compare.terminus import (
    blocks,
    guess_harness,
    is_valid,
    json_object,
    keystrokes,
    says_complete,
    seconds,
    spoken_text,
)
from pivotrl_cli.verifiers.compare.urls import url_difference

THRESHOLD = 0.9
"""Similarity from which commands and file contents are the same."""

WAIT_FACTOR, WAIT_SECONDS = 4.0, 10.0
"""Waits are alike within this factor or this many seconds."""


def verify(candidate: Candidate, action: Message) -> Verdict:
    expected = candidate.expected_action
    harness = None if expected.tool_calls else guess_harness(expected.content)
    wanted = json_object(spoken_text(expected.content)) if harness else None
    if harness is None or wanted is None or not is_valid(wanted, harness):
        return compare_calls(
            candidate, action, lambda want, got: call_credit(want, got, candidate.tools, RULES.get(want.name))
        )
    return Verdict.of_messages(
        lambda want, got: message_mismatch(want, got) or _typed_difference(wanted, got.content, harness),
        expected,
        action,
    )


# --- Terminus messages


def _typed_difference(wanted: dict[str, Any], said: str, harness: str) -> Difference | None:
    given = json_object(spoken_text(said))
    if given is None or not is_valid(given, harness):
        return Difference(Category.HARNESS_FORMAT, f"not in the form of {harness}")
    if says_complete(wanted) != says_complete(given):
        return value_difference(Category.TASK_COMPLETE_DIFFERENT, says_complete(wanted), says_complete(given))
    difference = command_difference(keystrokes(wanted), keystrokes(given), THRESHOLD)
    if difference is not None:
        return difference
    if blocks(wanted) != blocks(given):
        return value_difference(Category.WAIT_DIFFERENT, blocks(wanted), blocks(given))
    shorter, longer = sorted((seconds(wanted), seconds(given)))
    if longer <= max(WAIT_FACTOR * shorter, shorter + WAIT_SECONDS):
        return None
    return value_difference(Category.WAIT_DIFFERENT, seconds(wanted), seconds(given))


# --- calls


def _typed_keys(compare: Rule) -> Rule:
    """For strings; values of other types are compared as values."""

    def rule(expected: Any, actual: Any) -> Difference | None:
        if isinstance(expected, str) and isinstance(actual, str):
            return compare(expected, actual)
        return value_difference_at(expected, actual)

    return rule


def _exactly(expected: Any, actual: Any) -> Difference | None:
    return None if expected == actual else value_difference(Category.ARGUMENT_VALUE_DIFFERENT, expected, actual)


def _any_order(expected: Any, actual: Any) -> Difference | None:
    want, got = (sorted(value, key=str) if isinstance(value, list) else value for value in (expected, actual))
    return value_difference_at(want, got)


_COMMAND = _typed_keys(lambda want, got: command_difference(want, got, THRESHOLD))
_CODE = _typed_keys(lambda want, got: code_difference(want, got, THRESHOLD))
_TEXT = _typed_keys(lambda want, got: text_difference(want, got, THRESHOLD))
_PROSE, _QUERY, _URL = _typed_keys(prose_difference), _typed_keys(query_difference), _typed_keys(url_difference)

RULES: dict[str, dict[str, Rule]] = {
    "exec_command": {
        "cmd": _COMMAND,
        "justification": ignored,
        "yield_time_ms": ignored,
        "max_output_tokens": ignored,
    },
    "write_stdin": {"chars": _COMMAND, "yield_time_ms": ignored, "max_output_tokens": ignored},
    "update_plan": {"explanation": ignored},
    "execute_python": {"code": _CODE},
    "bash": {"command": _COMMAND, "description": ignored, "timeout": ignored},
    "write": {"content": _TEXT},
    "edit": {"oldString": _TEXT, "newString": _TEXT},
    "glob": {"pattern": _exactly},
    "grep": {"pattern": _exactly},
    "webfetch": {"url": _URL, "timeout": ignored},
    "task": {"description": ignored},
    "code_exec": {"cmd": _COMMAND},
    "web_search": {"query": _QUERY},
    "fetch_web_page": {"url": _URL},
    "finish": {"reason": _PROSE, "paths": _any_order},
}
"""Arguments that are not compared as plain values, by tool."""
