"""Whether two texts say the same, without a model: words in common, and no number or identifier left out.

Costs are bounded: a text many times as long as the other is another text without being read, and beyond
`MAX_CHARACTERS` only equality counts.

Left out: synonyms, negation, word order. A judge is the verifier that knows them.
"""

from __future__ import annotations

import re
from collections import Counter

from pivotrl_cli.verifiers.compare.basis import note_likeness
from pivotrl_cli.verifiers.compare.differences import Category, Difference, listed

MIN_OVERLAP = 0.5
"""Word overlap from which two pieces of prose count as saying the same."""

MAX_CHARACTERS = 2_000_000
"""Longest text that is taken apart into words."""

_MAX_RATIO, _FREE = 16, 4_096
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
# Chinese and Japanese have no spaces, so each character is a word; 12.50, 10:30 and 2024-05-15 stay whole.
_WORD = re.compile(rf"[{_CJK}]|[^\W{_CJK}]+(?:(?<=\d)[.,:/-](?=\d)[^\W{_CJK}]+)*")
_LIST_MARKER = re.compile(r"^[ \t]*\d{1,3}[.)][ \t]", re.MULTILINE)
_DIGIT = re.compile(r"\d")


def prose_difference(expected: str, actual: str) -> Difference | None:
    """Whether two texts say the same: enough words in common, and no number or identifier left out.

    Overlap is the Dice coefficient of the multisets of case-folded words, `2 |E & A| / (|E| + |A|)`: 1 for the same
    words in any order, 0 for none in common. Texts that are equal are accepted even where they hold no words.
    """
    if expected.strip() == actual.strip():
        return None
    if other_size(expected, actual):
        reason = f"expected {len(expected)} characters, got {len(actual)}"
        return Difference(Category.MESSAGE_DIFFERENT, reason)
    if max(len(expected), len(actual)) > MAX_CHARACTERS:
        return Difference(Category.COMPARISON_BEYOND_LIMITS, f"differs, and is longer than {MAX_CHARACTERS} characters")
    expected_words, actual_words = Counter(words(expected)), Counter(words(actual))
    overlap = dice(expected_words, actual_words)
    if overlap < MIN_OVERLAP:
        return Difference(Category.MESSAGE_DIFFERENT, f"word overlap {overlap:.2f} is below {MIN_OVERLAP}")
    missing = [word for word in expected_words if _DIGIT.search(word) and word not in actual_words]
    if missing:
        return Difference(Category.MESSAGE_FACTS_MISSING, f"does not mention {listed(missing)}")
    note_likeness()
    return None


def other_size(left: str, right: str) -> bool:
    """Whether one text is so much longer that it cannot say the same."""
    shorter, longer = sorted((len(left), len(right)))
    return longer > _MAX_RATIO * shorter + _FREE


def words(text: str) -> list[str]:
    """Case-folded words; markers of numbered lists are not words."""
    return _WORD.findall(_LIST_MARKER.sub("", text).casefold())


def dice(left: Counter[str], right: Counter[str]) -> float:
    """`2 |L & R| / (|L| + |R|)`; 0 where both are empty."""
    total = left.total() + right.total()
    return 2 * (left & right).total() / total if total else 0.0
