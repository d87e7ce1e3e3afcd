"""The strict ablation: the action is the demonstrated one, word for word.

The paper's strict reward `1[a = a*]` (arXiv 2603.21383, Eq. 6; Table 4 shows what it costs). Calls are compared in
order as canonical JSON, so key order and white space of the arguments do not matter but 5 is not 5.0; text must be
equal after stripping, also beside calls. Reasoning and call ids are ignored.
"""

from __future__ import annotations

from pivotrl_cli.rows import Candidate, Message
from pivotrl_cli.verifiers import Verdict
from pivotrl_cli.verifiers.compare.basis import Basis
from pivotrl_cli.verifiers.compare.calls import Call, canonical, demonstrated_calls, read_object_call
from pivotrl_cli.verifiers.compare.differences import Category, Difference, value_difference
from pivotrl_cli.verifiers.compare.messages import call_count_difference, require_demonstration


def verify(candidate: Candidate, action: Message) -> Verdict:
    expected = candidate.expected_action
    require_demonstration(expected)
    calls = demonstrated_calls(expected)
    return Verdict.of(
        _calls_difference(calls, expected, action) or _text_difference(expected, action), expected, basis=Basis.EQUAL
    )


def _calls_difference(calls: list[Call], expected: Message, action: Message) -> Difference | None:
    if not calls and action.tool_calls:
        return Difference(Category.NO_EXPECTED_CHAT_MESSAGE, "expected a message, got a call")
    if calls and (difference := call_count_difference(expected, action)):
        return difference
    for want, call in zip(calls, action.tool_calls, strict=True):
        got = read_object_call(call)
        if want.name != got.name:
            return value_difference(Category.UNEXPECTED_TOOL, want.name, got.name)
        if got.problem:
            return got.problem
        wanted, given = canonical(want.arguments), canonical(got.arguments)
        if wanted != given:
            return value_difference(Category.ARGUMENT_VALUE_DIFFERENT, wanted, given)
    return None


def _text_difference(expected: Message, action: Message) -> Difference | None:
    want, got = expected.content.strip(), action.content.strip()
    if not got and not expected.tool_calls:
        return Difference(Category.NO_ACTION_FOUND, "expected a message, got nothing")
    return None if want == got else value_difference(Category.MESSAGE_DIFFERENT, want, got)
