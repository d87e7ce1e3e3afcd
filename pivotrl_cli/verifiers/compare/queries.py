"""Whether two search queries ask for the same.

A query is its quoted phrases, its operators (`site:`, `filetype:`, `-word` and the like) and the set of its remaining
words. Phrases and operators have to be the same; words with a digit too (a year, a version, a model); of the others as
many must be shared as `MIN_OVERLAP` says. Order and repetition do not matter, nor do case and the commonest English
function words.

Left out: synonyms, inflection and boolean logic; two queries of different words can find the same page.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from pivotrl_cli.verifiers.compare.differences import Category, Difference, listed
from pivotrl_cli.verifiers.compare.prose import MAX_CHARACTERS, other_size, words

MIN_OVERLAP = 0.75
"""Dice coefficient of the sets of words from which two queries ask for the same."""

_PHRASE = re.compile(r'"([^"]*)"|\u201c([^\u201d]*)\u201d')
_OPERATOR = re.compile(
    r"(?<!\S)(-?(?:site|filetype|ext|intitle|inurl|intext|before|after|related|cache):\S+|-\w\S*)", re.IGNORECASE
)
_DIGIT = re.compile(r"\d")
_STOP_WORDS = frozenset(
    words(
        "a about an and are as at be by did do does for from had has have how in into is it its of on or that the "
        "their this to was were what when where which who whom whose why will with"
    )
)


class Query(NamedTuple):
    """Example: `Query({"deep sea"}, {"site:noaa.gov"}, {"fish", "2021"})` of `2021 fish "deep sea" site:NOAA.gov/`."""

    phrases: frozenset[str]
    operators: frozenset[str]
    words: frozenset[str]


def read_query(text: str) -> Query:
    phrases = (" ".join(words(first or second)) for first, second in _PHRASE.findall(text))
    rest = _PHRASE.sub(" ", text)
    operators = set()
    for found in _OPERATOR.findall(rest):
        name, colon, value = found.casefold().partition(":")
        if name.endswith("site"):
            value = value.removeprefix("https://").removeprefix("http://").removeprefix("www.").rstrip("/")
        operators.add(name + colon + value)
    bare = frozenset(words(_OPERATOR.sub(" ", rest)))
    return Query(frozenset(filter(None, phrases)), frozenset(operators), (bare - _STOP_WORDS) or bare)


def query_difference(expected: str, actual: str) -> Difference | None:
    """Whether phrases, operators and numbers are equal and enough words are shared."""
    if " ".join(expected.split()) == " ".join(actual.split()):
        return None
    if other_size(expected, actual) or max(len(expected), len(actual)) > MAX_CHARACTERS:
        return _different(f"expected {len(expected)} characters, got {len(actual)}")
    want, got = read_query(expected), read_query(actual)
    fixed = want.phrases ^ got.phrases | want.operators ^ got.operators
    fixed |= {word for word in want.words ^ got.words if _DIGIT.search(word)}
    if fixed:
        return _different(f"one of them lacks {listed(sorted(fixed))}")
    overlap = 2 * len(want.words & got.words) / ((len(want.words) + len(got.words)) or 1)
    if overlap >= MIN_OVERLAP or want == got:
        return None
    return _different(f"word overlap {overlap:.2f} is below {MIN_OVERLAP}")


def _different(reason: str) -> Difference:
    return Difference(Category.QUERY_DIFFERENT, reason)
