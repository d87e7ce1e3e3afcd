"""Names only: the same functions are called, whatever the arguments.

The paper's rule for software engineering (arXiv 2603.21383, appendix A.2), coarse on purpose: what a command should say
is seldom unique, which tool comes next often is. Arguments are not even parsed, malformed ones pass. Several calls are
a multiset of names; where a message was demonstrated, the rule is the default's.
"""

from __future__ import annotations

from collections import Counter

from pivotrl_cli.rows import Candidate, Message
from pivotrl_cli.verifiers import Verdict
from pivotrl_cli.verifiers.compare.basis import Basis
from pivotrl_cli.verifiers.compare.differences import Category, Difference, listed
from pivotrl_cli.verifiers.compare.messages import call_count_difference, message_difference


def verify(candidate: Candidate, action: Message) -> Verdict:
    expected = candidate.expected_action
    if not expected.tool_calls:
        return Verdict.of_messages(message_difference, expected, action)
    difference = call_count_difference(expected, action)
    want, got = (Counter(call.name for call in side.tool_calls) for side in (expected, action))
    if difference is None and want != got:
        missing, surplus = sorted((want - got).elements()), sorted((got - want).elements())
        difference = Difference(Category.UNEXPECTED_TOOL, f"expected {listed(missing)}, got {listed(surplus)}")
    return Verdict.of(difference, expected, basis=Basis.SIMILAR)
