"""Search and browsing: the same query or page, though written otherwise.

Names must be equal. Of the arguments, those under a key of `QUERY_KEYS` are compared as search queries (words shared,
quoted phrases, `site:` and other operators, numbers), URLs as addresses of pages (whatever the key), lists of either in
any order, and the rest as functionally equal values in the light of the schema. Several calls are scored by f1; a
demonstrated message says the same.

The paper's verifier for its search domain is not described, and NVIDIA's configuration for it is their general one with
a threshold of 0.3 (`tool_call_compat`). Left out: whether two queries find the same, which needs a search engine.
"""

from __future__ import annotations

from typing import Any

from pivotrl_cli.rows import Candidate, Message
from pivotrl_cli.verifiers import Verdict, compare_calls
from pivotrl_cli.verifiers.compare.arguments import Rule, value_difference_at
from pivotrl_cli.verifiers.compare.batches import Credit, call_credit
from pivotrl_cli.verifiers.compare.calls import Call
from pivotrl_cli.verifiers.compare.differences import Difference
from pivotrl_cli.verifiers.compare.matching import maximum_matching
from pivotrl_cli.verifiers.compare.queries import query_difference
from pivotrl_cli.verifiers.compare.urls import is_url, url_difference

QUERY_KEYS = frozenset({"keyword", "keywords", "q", "queries", "query", "search", "search_query", "search_term"})
"""Names of arguments that hold search queries."""

MAX_LIST = 64
"""Longest list of queries or pages that is compared in any order."""


def verify(candidate: Candidate, action: Message) -> Verdict:
    def credit(want: Call, got: Call) -> Credit:
        rules = {key: rule for key, value in want.arguments.items() if (rule := _rule(key, value))}
        return call_credit(want, got, candidate.tools, rules)

    return compare_calls(candidate, action, credit)


def _rule(key: str, value: Any) -> Rule | None:
    """The rule of an argument by its key and its demonstrated value; none where it is compared as a value."""
    items = value if isinstance(value, list) and value else [value]
    if all(is_url(item) for item in items):
        return _each(url_difference)
    if key.casefold() in QUERY_KEYS and all(isinstance(item, str) for item in items):
        return _each(query_difference)
    return None


def _each(compare: Rule) -> Rule:
    """For a string, or for a list of strings in any order."""

    def rule(expected: Any, actual: Any) -> Difference | None:
        if isinstance(expected, str) and isinstance(actual, str):
            return compare(expected, actual)
        texts = isinstance(actual, list) and all(isinstance(item, str) for item in actual)
        if not isinstance(expected, list) or not texts or len(expected) != len(actual) or len(expected) > MAX_LIST:
            return value_difference_at(expected, actual)
        edges = [[i for i, got in enumerate(actual) if compare(want, got) is None] for want in expected]
        pairs = maximum_matching(edges)
        left_over = next((i for i in range(len(expected)) if i not in pairs), None)
        if left_over is None:
            return None
        return compare(expected[left_over], next(text for i, text in enumerate(actual) if i not in pairs.values()))

    return rule
