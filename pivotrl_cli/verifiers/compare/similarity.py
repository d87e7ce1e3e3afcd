"""How alike two long texts are, from 0 to 1, in bounded time.

`difflib_ratio` is the ratio of Python's `difflib.SequenceMatcher`, which peers use, computed by a compiled equivalent
(equality is a property test). It is odd on long texts: from 200 characters on, those that make up more than one per
cent are ignored, so that two alike files can come out below 0.01.

`indel_ratio` is the default's measure: twice the longest common subsequence over the sum of the lengths, which is one
minus the share of characters that have to be deleted or inserted. It has no such threshold, is symmetric, never less
than difflib's ratio, and some ten to a hundred times faster.

Both cost the product of the lengths, difflib's in the worst case far more, so a pair beyond a limit is not measured:
the result is `None`, unless equality or a cheap bound decides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from cydifflib import SequenceMatcher
from rapidfuzz.distance import Indel

MAX_DIFFLIB = 4 * 10**8
"""Product of the lengths (20,000 characters each) beyond which difflib's ratio may take more than some seconds."""

MAX_INDEL = 4 * 10**10
"""Product of the lengths (200,000 characters each, common ends aside) beyond which Indel may take a second."""


def difflib_ratio(left: str, right: str, enough: float) -> float | None:
    """`SequenceMatcher(None, left, right).ratio()`: twice the matched characters over all characters.

    `enough` is the value that the caller asks for: beyond the limit an upper bound below it is returned as it stands.
    """
    if left == right:
        return 1.0
    if len(left) * len(right) <= MAX_DIFFLIB:
        return float(SequenceMatcher(None, left, right).ratio())
    bound = 2 * min(len(left), len(right)) / (len(left) + len(right))
    if bound >= enough:
        bound = 2 * (Counter(left) & Counter(right)).total() / (len(left) + len(right))
    return bound if bound < enough else None


def indel_ratio(left: str, right: str, enough: float) -> float | None:
    """`2 * LCS(left, right) / (len(left) + len(right))`, or 0 where that is below `enough`."""
    if left == right:
        return 1.0
    if 2 * min(len(left), len(right)) < enough * (len(left) + len(right)):
        return 0.0
    if len(left) * len(right) > MAX_INDEL and _core(left, right) > MAX_INDEL:
        return None
    return float(Indel.normalized_similarity(left, right, score_cutoff=enough))


def _core(left: str, right: str) -> int:
    """Product of the lengths without the common beginning and end, by bisection."""
    shorter = min(len(left), len(right))
    head = _common(lambda n: left[:n] == right[:n], shorter)
    tail = _common(lambda n: left[len(left) - n :] == right[len(right) - n :], shorter - head)
    return (len(left) - head - tail) * (len(right) - head - tail)


def _common(agrees: Callable[[int], bool], most: int) -> int:
    """The largest number up to `most` at which two texts agree."""
    least = 0
    while least < most:
        middle = (least + most + 1) // 2
        least, most = (middle, most) if agrees(middle) else (least, middle - 1)
    return least
