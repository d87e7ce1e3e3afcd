"""Names only: the same functions are called, whatever the arguments.

The paper's rule for software engineering (arXiv 2603.21383, appendix A.2), coarse on purpose: what a command should say
is seldom unique, which tool comes next often is. Arguments are not even parsed, malformed ones pass. Several calls are
a multiset of names; where a message was demonstrated, the rule is the default's.
"""

from __future__ import annotations

from collections import Counter

from pivotrl_cli.rows import Candidate, Message
from pivotrl_cli.verifiers import Verdict
from pivotrl_cli.verifiers.compare import Category, Difference, call_count_difference, listed, message_difference


def verify(candidate: Candidate, action: Message) -> Verdict:
    expected = candidate.expected_action
    if not expected.tool_calls:
        return Verdict.of(message_difference(expected, action), expected)
    difference = call_count_difference(expected, action) or _names_difference(expected, action)
    return Verdict.of(difference, expected)


def _names_difference(expected: Message, action: Message) -> Difference | None:
    want = Counter(call.name for call in expected.tool_calls)
    got = Counter(call.name for call in action.tool_calls)
    if want == got:
        return None
    missing, surplus = sorted((want - got).elements()), sorted((got - want).elements())
    return Difference(Category.UNEXPECTED_TOOL, f"expected {listed(missing)}, got {listed(surplus)}")
