"""What verifiers say of an action: a category, and the difference that led to it.

Categories are enumerated so that they can be counted; a difference adds the place and the reason, for a person. The
`*_compat` verifiers keep the codes of the peers they follow, beside themselves.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from pivotrl_cli.text import shorten

_MAX_SHOWN = 60
_MAX_DETAIL = 300


class Category(StrEnum):
    """What the verifiers say of an action. The first thirteen are the names of NVIDIA's verifier in lower case."""

    NO_ACTION_FOUND = "no_action_found"
    """Neither text nor a call."""
    NO_EXPECTED_TOOL_CALL = "no_expected_tool_call"
    """Talks where a call was expected."""
    EXPECTED_CHAT_MESSAGE_FOUND = "expected_chat_message_found"
    """Accepted: a message, as expected."""
    NO_EXPECTED_CHAT_MESSAGE = "no_expected_chat_message"
    """Calls where a message was expected."""
    UNEXPECTED_TOOL = "unexpected_tool"
    """Calls another function."""
    ARGUMENTS_DECODE_ERROR = "arguments_decode_error"
    """The arguments are not JSON."""
    ARGUMENT_VALUE_TYPE_DIFFERENT = "argument_value_type_different"
    """A value has another JSON type."""
    ARGUMENT_OBJECT_KEYS_DIFFERENT = "argument_object_keys_different"
    """An object lacks a key or has one too many."""
    ARGUMENT_LIST_LENGTH_DIFFERENT = "argument_list_length_different"
    """A list has another length."""
    ARGUMENT_VALUE_DIFFERENT = "argument_value_different"
    """A value differs."""
    EXPECTED_TOOL_CALL = "expected_tool_call"
    """Accepted: the expected call."""
    FUNCTION_CALL_BATCH_LENGTH_DIFFERENT = "function_call_batch_length_different"
    """NVIDIA's rule only: the number of calls differs."""
    EXPECTED_TOOL_CALL_BATCH = "expected_tool_call_batch"
    """Accepted: all the expected calls."""

    ARGUMENTS_NOT_OBJECT = "arguments_not_object"
    """The arguments are JSON but not an object."""
    ARGUMENTS_BEYOND_LIMITS = "arguments_beyond_limits"
    """The arguments are too long, nested too deeply or hold too long an integer."""
    COMPARISON_BEYOND_LIMITS = "comparison_beyond_limits"
    """Two long texts differ, and by how much cannot be told in bounded time."""
    MISSING_CALLS = "missing_calls"
    """Fewer calls than expected; those given match."""
    SURPLUS_CALLS = "surplus_calls"
    """More calls than expected; the expected ones are among them, or they are far too many to look."""
    MESSAGE_DIFFERENT = "message_different"
    """The message says something else."""
    MESSAGE_FACTS_MISSING = "message_facts_missing"
    """The message is alike but leaves out a number or an identifier."""

    TARGET_DIFFERENT = "target_different"
    """Works on another file, range of lines or kind of command."""
    SIMILARITY_BELOW_THRESHOLD = "similarity_below_threshold"
    """A long text (a command, an edit, a file) is too unlike the demonstrated one."""
    COMMAND_DIFFERENT = "command_different"
    """Runs something else."""
    EDIT_DIFFERENT = "edit_different"
    """Changes the file in another way."""
    TASK_COMPLETE_DIFFERENT = "task_complete_different"
    """Says that the task is done where it is not, or the reverse."""
    WAIT_DIFFERENT = "wait_different"
    """Waits for the terminal in another way."""
    HARNESS_FORMAT = "harness_format"
    """The message is not in the form that the terminal harness reads."""
    QUERY_DIFFERENT = "query_different"
    """Searches for something else."""
    URL_DIFFERENT = "url_different"
    """Opens another page."""


class Difference(NamedTuple):
    """Why two things do not match.

    Example: `Difference(Category.ARGUMENT_VALUE_DIFFERENT, "expected 'A17', got 'A71'", "order_id")`
    """

    category: Category
    reason: str
    path: str = ""

    def below(self, step: str | int) -> Difference:
        """This difference as seen from the object or list that holds it under `step`."""
        head = step if isinstance(step, str) and step.isidentifier() else f"[{shown(step)}]"
        dot = "." if self.path and not self.path.startswith("[") else ""
        return self._replace(path=head + dot + self.path)

    @property
    def detail(self) -> str:
        """Place and reason in one bounded line."""
        line = f"{self.path}: {self.reason}" if self.path else self.reason
        return shorten(line, _MAX_DETAIL)


def value_difference(category: Category, expected: Any, actual: Any) -> Difference:
    return Difference(category, f"expected {shown(expected)}, got {shown(actual)}")


def key_difference(expected: dict[str, Any], actual: dict[str, Any]) -> Difference | None:
    """Whether two objects have the same keys."""
    if expected.keys() == actual.keys():
        return None
    missing, surplus = sorted(expected.keys() - actual.keys()), sorted(actual.keys() - expected.keys())
    parts = [f"lacks {listed(missing)}"] * bool(missing) + [f"has unexpected {listed(surplus)}"] * bool(surplus)
    return Difference(Category.ARGUMENT_OBJECT_KEYS_DIFFERENT, " and ".join(parts))


def shown(value: Any) -> str:
    """A JSON value for a person: short, on one line, always encodable."""
    if isinstance(value, dict):
        return f"an object of {len(value)}"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, str):
        return repr(shorten(value, _MAX_SHOWN))
    return shorten(json.dumps(value), _MAX_SHOWN)


def listed(names: Sequence[str]) -> str:
    """The first few names."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(shown(name) for name in names[:3]) + more
