"""Terminal work: what is typed or called has to do the same, whichever harness carries it.

One verifier for both of NVIDIA's (`terminus_compat`, `terminal_compat`), with what can be exploited in them mended:

- A demonstrated Terminus message: the same form, completion declared or not as demonstrated, the same command lines and
  keys (`compare/commands.py`), entered or not, and a similar wait (total time within a factor of four or ten seconds;
  the last command awaited or not).
- Demonstrated calls: the same name; arguments by the rule of the tool's key in `RULES`, of `edit` and `write` by
  `compare/edits.py`, else functionally equal in the light of the schema. Several calls are scored by f1.
- Any other demonstrated message says the same.

Left out: other commands with the same effect. A judge is the verifier that knows them.
"""

from __future__ import annotations

from typing import Any

from pivotrl_cli.rows import Candidate, Message
from pivotrl_cli.verifiers import Verdict, compare_calls
from pivotrl_cli.verifiers.compare.arguments import Rule, ignored, value_difference_at
from pivotrl_cli.verifiers.compare.batches import Credit, call_credit, credit_of
from pivotrl_cli.verifiers.compare.calls import Call
from pivotrl_cli.verifiers.compare.coding import Kind, kind_of
from pivotrl_cli.verifiers.compare.commands import command_difference
from pivotrl_cli.verifiers.compare.differences import Category, Difference, value_difference
from pivotrl_cli.verifiers.compare.edits import TEXTS, edit_difference, same_code
from pivotrl_cli.verifiers.compare.messages import message_mismatch
from pivotrl_cli.verifiers.compare.prose import prose_difference
from pivotrl_cli.verifiers.compare.queries import query_difference
from pivotrl_cli.verifiers.compare.terminus import (
    blocks,
    guess_harness,
    is_valid,
    json_object,
    says_complete,
    seconds,
    spoken_text,
    typed_difference,
)
from pivotrl_cli.verifiers.compare.urls import url_difference

WAIT_FACTOR, WAIT_SECONDS = 4.0, 10.0
"""Waits are alike within this factor or this many seconds."""


def verify(candidate: Candidate, action: Message) -> Verdict:
    expected = candidate.expected_action
    harness = None if expected.tool_calls else guess_harness(expected.content)
    wanted = json_object(spoken_text(expected.content)) if harness else None
    if harness is None or wanted is None or not is_valid(wanted, harness):
        return compare_calls(candidate, action, lambda want, got: _credit(want, got, candidate.tools))
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
    difference = typed_difference(*([one["keystrokes"] for one in side["commands"]] for side in (wanted, given)))
    if difference is not None:
        return difference
    if blocks(wanted) != blocks(given):
        return value_difference(Category.WAIT_DIFFERENT, blocks(wanted), blocks(given))
    shorter, longer = sorted((seconds(wanted), seconds(given)))
    if longer <= max(WAIT_FACTOR * shorter, shorter + WAIT_SECONDS):
        return None
    return value_difference(Category.WAIT_DIFFERENT, seconds(wanted), seconds(given))


# --- calls


def _credit(expected: Call, actual: Call, tools: str) -> Credit:
    kind = kind_of(expected.name)
    credit = call_credit(expected, actual, tools, RULES.get(expected.name, _KIND_RULES.get(kind)))
    if credit.difference is not None or kind != Kind.EDIT:
        return credit
    return credit_of(edit_difference(expected.arguments, actual.arguments))


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


def _compared_as_edit(expected: Any, actual: Any) -> Difference | None:
    """The texts of an edit need its path, so they are compared all together, if they are texts."""
    return None if isinstance(expected, str) and isinstance(actual, str) else value_difference_at(expected, actual)


def _code_difference(expected: str, actual: str) -> Difference | None:
    return (
        None if same_code("code.py", expected, actual) else value_difference(Category.EDIT_DIFFERENT, expected, actual)
    )


_COMMAND, _CODE = _typed_keys(command_difference), _typed_keys(_code_difference)
_KEYS = _typed_keys(lambda want, got: typed_difference([want], [got]))
_PROSE, _QUERY, _URL = _typed_keys(prose_difference), _typed_keys(query_difference), _typed_keys(url_difference)

RULES: dict[str, dict[str, Rule]] = {
    "exec_command": {
        "cmd": _COMMAND,
        "justification": ignored,
        "yield_time_ms": ignored,
        "max_output_tokens": ignored,
    },
    "write_stdin": {"chars": _KEYS, "yield_time_ms": ignored, "max_output_tokens": ignored},
    "update_plan": {"explanation": ignored},
    "execute_python": {"code": _CODE},
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

_KIND_RULES: dict[Kind, dict[str, Rule]] = {
    Kind.BASH: {"command": _COMMAND, "cmd": _COMMAND, "description": ignored, "timeout": ignored},
    Kind.EDIT: dict.fromkeys(TEXTS, _compared_as_edit),
}
"""The same, of any other tool that runs a command (`execute_bash`) or edits a file (`write`, `edit`)."""
