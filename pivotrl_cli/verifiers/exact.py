"""The strict ablation: the action is the demonstrated one, word for word.

The paper's strict reward `1[a = a*]` (arXiv 2603.21383, Eq. 6; Table 4 shows what it costs). Calls are compared in
order as canonical JSON, so key order and white space of the arguments do not matter but 5 is not 5.0; text must be
equal after stripping, also beside calls. Reasoning and call ids are ignored.
"""

from __future__ import annotations

import json
from typing import Any

from pivotrl_cli.rows import Candidate, Message
from pivotrl_cli.verifiers import Verdict
from pivotrl_cli.verifiers.compare import (
    Call,
    Category,
    Difference,
    call_count_difference,
    demonstrated_calls,
    read_object_call,
    require_demonstration,
    value_difference,
)


def verify(candidate: Candidate, action: Message) -> Verdict:
    expected = candidate.expected_action
    require_demonstration(expected)
    calls = demonstrated_calls(expected)
    if not calls:
        return Verdict.of(_message_difference(expected, action), expected)
    difference = (
        call_count_difference(expected, action)
        or _calls_difference(calls, [read_object_call(call) for call in action.tool_calls])
        or _text_difference(expected, action)
    )
    return Verdict.of(difference, expected)


def _message_difference(expected: Message, action: Message) -> Difference | None:
    if action.tool_calls:
        return Difference(Category.NO_EXPECTED_CHAT_MESSAGE, "expected a message, got a call")
    if not action.content.strip():
        return Difference(Category.NO_ACTION_FOUND, "expected a message, got nothing")
    return _text_difference(expected, action)


def _text_difference(expected: Message, action: Message) -> Difference | None:
    want, got = expected.content.strip(), action.content.strip()
    return None if want == got else value_difference(Category.MESSAGE_DIFFERENT, want, got)


def _calls_difference(expected: list[Call], actual: list[Call]) -> Difference | None:
    for want, got in zip(expected, actual, strict=True):
        if want.name != got.name:
            return value_difference(Category.UNEXPECTED_TOOL, want.name, got.name)
        difference = got.problem or _arguments_difference(want.arguments, got.arguments)
        if difference is not None:
            return difference
    return None


def _arguments_difference(expected: dict[str, Any], actual: dict[str, Any]) -> Difference | None:
    want, got = canonical(expected), canonical(actual)
    return None if want == got else value_difference(Category.ARGUMENT_VALUE_DIFFERENT, want, got)


def canonical(value: Any) -> str:
    """JSON text that is the same for equal values: sorted keys, no white space, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
