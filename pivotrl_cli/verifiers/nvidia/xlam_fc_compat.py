"""NVIDIA's public verifier for single-turn function calling, reproduced reward by reward.

It follows the behaviour of `xlam_fc` of NeMo Gym 0.6 and 0.7, faults included; `tool_call` is the default's rule. Each
demonstrated call takes the first given call, not taken yet, of the same name whose arguments hold every demonstrated
key with an equal value; the reward is 1 if all are taken and as many calls were given, else 0.

Surplus arguments are free, and so are arguments that are not JSON where none were demonstrated. Values are equal as in
Python: 1 is 1.0 and `true`, NaN is nothing. Because the first match is taken, two calls of one name can be right in one
order and wrong in the other. Where a message was demonstrated, anything but a call is right.

They name no categories; those of `tool_call_compat` are used. Their server scores all calls of a rollout, tools run
between them; here it is those of one action.

Difference, where their server answers with an error: given arguments that are not an object, or beyond the
limits, hold no key.
"""

from __future__ import annotations

from typing import Any

from pivotrl_cli.rows import Candidate, Message
from pivotrl_cli.verifiers import Verdict
from pivotrl_cli.verifiers.compare.calls import Call, read_call
from pivotrl_cli.verifiers.compare.differences import Category, Difference, listed, value_difference


def verify(candidate: Candidate, action: Message) -> Verdict:
    expected = [read_call(call) for call in candidate.expected_action.tool_calls]
    given = [read_call(call) for call in action.tool_calls]
    if not expected:
        category = Category.NO_EXPECTED_CHAT_MESSAGE if given else Category.EXPECTED_CHAT_MESSAGE_FOUND
        return Verdict(float(not given), str(category))
    return Verdict.of(_difference(expected, given), candidate.expected_action)


def _difference(expected: list[Call], given: list[Call]) -> Difference | None:
    if not given:
        return Difference(Category.NO_EXPECTED_TOOL_CALL, f"expected {len(expected)} calls, got none")
    if len(given) != len(expected):
        reason = f"expected {len(expected)} calls, got {len(given)}"
        return Difference(Category.FUNCTION_CALL_BATCH_LENGTH_DIFFERENT, reason)
    free = list(given)
    for want in expected:
        found = next((i for i, got in enumerate(free) if call_difference(want, got) is None), None)
        if found is None:
            return call_difference(want, next((got for got in free if got.name == want.name), free[0]))
        del free[found]
    return None


def call_difference(expected: Call, actual: Call) -> Difference | None:
    """Same name, and every demonstrated argument equal."""
    if expected.name != actual.name:
        return value_difference(Category.UNEXPECTED_TOOL, expected.name, actual.name)
    want, got = _object(expected.arguments), _object(actual.arguments)
    if missing := sorted(want.keys() - got.keys()):
        return actual.problem or Difference(Category.ARGUMENT_OBJECT_KEYS_DIFFERENT, f"lacks {listed(missing)}")
    key = next((key for key, value in want.items() if got[key] != value), None)
    if key is None:
        return None
    return value_difference(Category.ARGUMENT_VALUE_DIFFERENT, want[key], got[key]).below(key)


def _object(arguments: Any) -> dict[str, Any]:
    return arguments if isinstance(arguments, dict) else {}
