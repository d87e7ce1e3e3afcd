"""Whether two texts say the same, without a model: each content word of one is in the other, in its role.

Content words are compared by stem, by short lists of words that mean the same, and as numbers and names
(`language.py`, `words.toml`). A text that negates more often, that exchanges the parts of two words, or that has a
content word of its own says something else. From `LONG` content words on, one word in `ROOM` may stand on one side
alone, if it is no number, no name, no opposite and nothing stands in its place on the other side.

What is left is refused, although much of it would be a paraphrase: a judge is the verifier that knows.
Costs are bounded: a text many times as long as the other is another text without being read, and beyond
`MAX_CHARACTERS` only equality counts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from pivotrl_cli.verifiers.compare.basis import note_likeness
from pivotrl_cli.verifiers.compare.differences import Category, Difference, listed
from pivotrl_cli.verifiers.compare.language import Token, characters, content, language_of, lexicon, particles

MAX_CHARACTERS = 200_000
"""Longest text that is taken apart into words."""

LONG, ROOM = 12, 10
"""Content words from which a text may have some of its own, and one of how many."""

_MAX_RATIO, _FREE = 16, 4_096
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
# Chinese and Japanese have no spaces, so each character is a word; 12.50, 10:30 and 2024-05-15 stay whole.
_WORD = re.compile(rf"[{_CJK}]|[^\W{_CJK}]+(?:(?<=\d)[.,:/-](?=\d)[^\W{_CJK}]+)*")
_LIST_MARKER = re.compile(r"^[ \t]*\d{1,3}[.)][ \t]", re.MULTILINE)


def prose_difference(expected: str, actual: str) -> Difference | None:
    """Whether two texts say the same; symmetric. Texts that are equal are accepted even where they hold no words."""
    if expected.strip() == actual.strip():
        return None
    if other_size(expected, actual):
        reason = f"expected {len(expected)} characters, got {len(actual)}"
        return Difference(Category.MESSAGE_DIFFERENT, reason)
    if max(len(expected), len(actual)) > MAX_CHARACTERS:
        return Difference(Category.COMPARISON_BEYOND_LIMITS, f"differs, and is longer than {MAX_CHARACTERS} characters")
    language = language_of(expected, actual)
    compare = _characters_difference if language in ("zh", "ja") else _words_difference
    difference = compare(expected, actual, language)
    if difference is None:
        note_likeness()
    return difference


def _words_difference(expected: str, actual: str, language: str) -> Difference | None:
    (want, wanted_not), (got, given_not) = content(expected, language), content(actual, language)
    if wanted_not != given_not:
        return Difference(Category.MESSAGE_DIFFERENT, f"expected {wanted_not} negations, got {given_not}")
    if not want or not got:
        same = want == got and words(expected) == words(actual) != []
        return None if same else Difference(Category.MESSAGE_DIFFERENT, "has no word of content to compare")
    left, right = Counter(t.key for t in want), Counter(t.key for t in got)
    only_left, only_right = list((left - right).elements()), list((right - left).elements())
    only_left, only_right = _without_variants(only_left, only_right)
    return _unmatched_difference(want, got, only_left, only_right, language) or _roles_difference(want, got, language)


def _without_variants(left: list[str], right: list[str]) -> tuple[list[str], list[str]]:
    """What is left when forms of one word, with five letters or more in common at the beginning, are paired."""
    rest = list(right)
    alone = []
    for word in left:
        twin = next((other for other in rest if _variants(word, other)), None)
        if twin is None:
            alone.append(word)
        else:
            rest.remove(twin)
    return alone, rest


def _variants(left: str, right: str) -> bool:
    if any(c.isdigit() for c in left + right):
        return False
    shared = next((i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))
    return shared >= 5 and max(len(left), len(right)) - shared <= 3


def _unmatched_difference(
    want: Sequence[Token], got: Sequence[Token], left: list[str], right: list[str], language: str
) -> Difference | None:
    missing = [word for word in left if any(c.isdigit() for c in word)]
    if missing:
        return Difference(Category.MESSAGE_FACTS_MISSING, f"does not mention {listed(missing)}")
    if not left and not right:
        return None
    names = {token.key for token in [*want, *got] if token.is_name}
    turning = lexicon(language).opposites | names
    free = min(len(want), len(got)) // ROOM if min(len(want), len(got)) >= LONG else 0
    fatal = [word for word in left + right if word in turning or any(c.isdigit() for c in word)]
    if not fatal and not (left and right) and len(left) + len(right) <= free:
        return None
    parts = [f"lacks {listed(left)}"] * bool(left) + [f"adds {listed(right)}"] * bool(right)
    return Difference(Category.MESSAGE_DIFFERENT, " and ".join(parts))


def _roles_difference(want: Sequence[Token], got: Sequence[Token], language: str) -> Difference | None:
    """Whether words have another role word before them, or two words have exchanged their places."""
    links, shared = lexicon(language).links, {token.key for token in want} & {token.key for token in got}
    wanted, given = ({t.key: t.role for t in side if t.key in shared} for side in (want, got))
    pairs = [(key, {wanted[key], given[key]}) for key in sorted(shared) if wanted[key] != given[key]]
    moved = [key for key, roles in pairs if not roles <= {"", *links} or "" not in roles]
    if moved:
        return Difference(Category.MESSAGE_DIFFERENT, f"has {listed(moved)} in another role")
    left, right = [token for token in want if token.key in shared], [token for token in got if token.key in shared]
    if len(left) != len(right):
        return None
    places = [i for i, (a, b) in enumerate(zip(left, right, strict=True)) if a.key != b.key]
    if len(places) < 2 or sorted(t.key for t in left) != sorted(t.key for t in right):
        return None
    first, last = places[0], places[-1]
    exchanged = left[first].key == right[last].key and left[last].key == right[first].key
    if all(token.is_listed for side in (left, right) for token in side[first + 1 : last + 1]):
        return None  # a list in another order
    if exchanged and last - first > 1 and not (left[first].role and left[last].role):
        return Difference(Category.MESSAGE_DIFFERENT, f"exchanges {listed([left[first].key, left[last].key])}")
    names = [[t.key for t in side if t.is_name and not t.role] for side in (left, right)]
    if names[0] != names[1] and sorted(names[0]) == sorted(names[1]) and exchanged:
        return Difference(Category.MESSAGE_DIFFERENT, f"has {listed(names[1])} in another order")
    return None


def _characters_difference(expected: str, actual: str, language: str) -> Difference | None:
    """By the characters that carry content; a block may move, two blocks may not change places around a third."""
    (want, wanted_not), (got, given_not) = characters(expected, language), characters(actual, language)
    if wanted_not != given_not:
        return Difference(Category.MESSAGE_DIFFERENT, f"expected {wanted_not} negations, got {given_not}")
    left, right = Counter(want.replace("&", "")), Counter(got.replace("&", ""))
    numbers = [re.findall(r"\d+(?:\.\d+)?", side) for side in (want, got)]
    if sorted(numbers[0]) != sorted(numbers[1]):
        return Difference(
            Category.MESSAGE_FACTS_MISSING, f"expected numbers {listed(numbers[0])}, got {listed(numbers[1])}"
        )
    if left != right or not left:
        parts = [f"lacks {listed(sorted(left - right))}", f"adds {listed(sorted(right - left))}"]
        return Difference(Category.MESSAGE_DIFFERENT, " and ".join(parts))
    if language == "ja" and particles(expected) != particles(actual):
        return Difference(Category.MESSAGE_DIFFERENT, "has the same words in other roles")
    if want.replace("&", "") == got.replace("&", "") or _block_moved(want.replace("&", ""), got.replace("&", "")):
        return None
    if Counter(want.split("&")) == Counter(got.split("&")):
        return None
    return Difference(Category.MESSAGE_DIFFERENT, "has the same characters in another order")


def _block_moved(left: str, right: str) -> bool:
    """Whether one text is the other with two neighboring blocks exchanged, at least two characters each."""
    head = next((i for i, (a, b) in enumerate(zip(left, right, strict=True)) if a != b), len(left))
    tail = next((i for i, (a, b) in enumerate(zip(left[::-1], right[::-1], strict=True)) if a != b), 0)
    left, right = left[head : len(left) - tail], right[head : len(right) - tail]
    return len(left) <= 2_000 and any(left[i:] + left[:i] == right for i in range(2, len(left) - 1))


def other_size(left: str, right: str) -> bool:
    """Whether one text is so much longer that it cannot say the same."""
    shorter, longer = sorted((len(left), len(right)))
    return longer > _MAX_RATIO * shorter + _FREE


def words(text: str) -> list[str]:
    """Case-folded words; markers of numbered lists are not words."""
    return _WORD.findall(_LIST_MARKER.sub("", text).casefold())
