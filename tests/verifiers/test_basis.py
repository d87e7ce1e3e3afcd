"""What an accepting verdict rests on."""

from __future__ import annotations

import pytest
from verifiers_actions import call, calls, candidate, says

from pivotrl_cli.rows import Message
from pivotrl_cli.verifiers import load_verifier
from pivotrl_cli.verifiers.compare.basis import Basis


@pytest.mark.parametrize(
    ("name", "expected", "actual", "basis"),
    [
        ("tool_call", calls(call("get", x=5)), calls(call("get", x=5)), Basis.EQUAL),
        ("tool_call", calls(call("get", x=5)), calls(call("get", x=5.0)), Basis.PARSED_EQUAL),
        ("tool_call", says("It is done."), says("It is done. "), Basis.EQUAL),
        ("tool_call", says("Your refund is on its way."), says("Your refund is on the way!"), Basis.SIMILAR),
        ("tool_call", calls(call("get", x=5)), calls(call("get", x=6)), None),
        ("tool_call", calls(call("get", x=5)), calls(call("get", x=5), call("get", x=5)), None),
        ("exact", says("It is done."), says("It is done. "), Basis.EQUAL),
        ("tool_name", calls(call("get", x=5)), calls(call("get", x=6)), Basis.SIMILAR),
        ("tool_call+any_message", says("It is done."), says("No."), Basis.SIMILAR),
    ],
)
def test_a_verdict_says_what_it_rests_on(name: str, expected: Message, actual: Message, basis: Basis | None) -> None:
    assert load_verifier(name)(candidate(expected), actual).basis == basis
