"""Whether two search queries ask for the same.

A query is its quoted phrases, its operators (`site:`, `filetype:`, `-word`, `OR` and the like) and the set of its
remaining words; all of them have to be the same. Order, repetition, case, plurals and the endings -ed and -ing do not
matter, nor do the commonest English function words. Two that matter as far as both queries have them: what is asked
(who, when, where, why, how), and what follows a word of direction (`Oslo to Rome`, `Rome to Oslo`).

Left out: synonyms, spelling and boolean logic; two queries of different words can find the same page.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import NamedTuple

from pivotrl_cli.verifiers.compare.differences import Category, Difference, listed
from pivotrl_cli.verifiers.compare.prose import MAX_CHARACTERS, other_size, words

_PHRASE = re.compile(r'"([^"]*)"|\u201c([^\u201d]*)\u201d')
_OPERATOR = re.compile(
    r"(?<!\S)(-?(?:site|filetype|ext|intitle|inurl|intext|before|after|related|cache):\S+|-\w\S*|(?-i:OR|NOT)(?!\S)|\|)",
    re.IGNORECASE,
)
_SIGNED = re.compile(r"\w+(?:\+\+|#)(?!\w)")
_INITIALS = re.compile(r"\b(?:[^\W\d_]\.){2,}")
_QUESTIONS = frozenset(words("who whom whose when where why how"))
_DIRECTIONS = frozenset(words("to from into by than"))
_STOP_WORDS = (_QUESTIONS | _DIRECTIONS - {"than"}) | frozenset(
    words("a about an and are as at be did do does for had has have i in is it its me my on or s that the their this "
          "was were what which will with you your of の 的")
)  # fmt: skip
_ENDING = re.compile(r"(?<=ss|sh|ch)es$|(?<=[xz])es$|(?<=[^\W\d]{2}[^\W\ds])s$|(?<=[^\W\d]{4})(?:ed|ing)$")
_IES = re.compile(r"(?<=[^\W\d]{2})ies$")


class Query(NamedTuple):
    """Example: `Query({"deep sea"}, {"site:a.org"}, {"fish", "2021"}, {}, {})` of `2021 fish "deep sea" site:A.org`."""

    phrases: frozenset[str]
    operators: frozenset[str]
    words: frozenset[str]
    asked: frozenset[str]
    """Who, when, where, why, how."""
    directions: dict[str, frozenset[str]]
    """A word of direction -> the words that follow it."""


def read_query(text: str) -> Query:
    phrases = (" ".join(words(first or second)) for first, second in _PHRASE.findall(text))
    rest = _INITIALS.sub(lambda found: found[0].replace(".", ""), _PHRASE.sub(" ", text))
    operators = set()
    for found in (*_OPERATOR.findall(rest), *_SIGNED.findall(rest)):
        name, colon, value = found.casefold().partition(":")
        if name.endswith("site"):
            value = value.removeprefix("https://").removeprefix("http://").removeprefix("www.").rstrip("/")
        operators.add(name + colon + value)
    bare = [_stem(word) for word in words(_OPERATOR.sub(" ", rest))]
    told = [word for word in bare if word not in _STOP_WORDS or word in _DIRECTIONS]
    directions: dict[str, frozenset[str]] = {}
    for word, following in pairwise(told):
        if word in _DIRECTIONS and following not in _DIRECTIONS:
            directions[word] = directions.get(word, frozenset()) | {following}
    return Query(
        frozenset(filter(None, phrases)),
        frozenset(operators),
        (frozenset(bare) - _STOP_WORDS) or frozenset(bare),
        frozenset(bare) & _QUESTIONS,
        directions,
    )


def _stem(word: str) -> str:
    return _ENDING.sub("", _IES.sub("y", word))


def query_difference(expected: str, actual: str) -> Difference | None:
    """Whether phrases, operators and the words that are no function words differ."""
    if " ".join(expected.split()) == " ".join(actual.split()):
        return None
    if other_size(expected, actual) or max(len(expected), len(actual)) > MAX_CHARACTERS:
        return _different(f"expected {len(expected)} characters, got {len(actual)}")
    want, got = read_query(expected), read_query(actual)
    other = want.phrases ^ got.phrases | want.operators ^ got.operators | want.words ^ got.words
    if want.asked and got.asked:
        other |= want.asked ^ got.asked
    for word in want.directions.keys() & got.directions.keys():
        other |= want.directions[word] ^ got.directions[word]
    return _different(f"one of them lacks {listed(sorted(other))}") if other else None


def _different(reason: str) -> Difference:
    return Difference(Category.QUERY_DIFFERENT, reason)
