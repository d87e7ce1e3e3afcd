"""The measures of likeness: difflib's ratio to the last bit, and bounds on what is computed."""

from __future__ import annotations

import difflib
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from search import examples

from pivotrl_cli.verifiers.compare.arguments import value_difference_at
from pivotrl_cli.verifiers.compare.commands import command_difference
from pivotrl_cli.verifiers.compare.similarity import MAX_DIFFLIB, difflib_ratio, indel_ratio
from pivotrl_cli.verifiers.nvidia.tool_call_compat import arguments_difference

texts = st.text(max_size=80) | st.text("ab c\n", max_size=120)
# from 200 characters on, difflib drops what makes up more than a hundredth
popular = st.builds(
    lambda parts, filler, times: "".join(parts) + filler * times,
    st.lists(st.text(st.characters(codec="utf-8"), max_size=12) | st.text("abcxyz 01\n", max_size=60), max_size=12),
    st.text("abcdefghijklmnopqrstuvwxyz0123456789 ", min_size=1, max_size=40),
    st.integers(0, 20),
)
quick = examples(150)


@quick
@given(texts | popular, texts | popular)
def test_the_ratio_is_difflibs(left: str, right: str) -> None:
    assert difflib_ratio(left, right, 1.0) == difflib.SequenceMatcher(None, left, right).ratio()


@quick
@given(popular, st.integers(0, 400), st.text(max_size=8))
def test_the_ratio_is_difflibs_for_alike_texts(text: str, place: int, put: str) -> None:
    other = text[:place] + put + text[place + len(put) // 2 :]
    assert difflib_ratio(text, other, 1.0) == difflib.SequenceMatcher(None, text, other).ratio()


def test_what_difflib_makes_of_long_texts() -> None:
    """All characters are popular, so only what is alike from the first character on counts."""
    text = "abcdefghij" * 30
    assert difflib_ratio(text, "x" + text[1:], 1.0) == 0.0
    assert difflib_ratio(text, text[:-1] + "x", 1.0) == 299 / 300
    assert indel_ratio(text, "x" + text[1:], 0.0) == 299 / 300


@quick
@given(texts, texts, st.floats(0, 1))
def test_indel_is_symmetric_and_never_less_than_difflib(left: str, right: str, enough: float) -> None:
    ratio = indel_ratio(left, right, 0.0)
    assert ratio == indel_ratio(right, left, 0.0)
    assert ratio is not None
    assert ratio >= difflib.SequenceMatcher(None, left, right).ratio() - 1e-12
    assert indel_ratio(left, right, enough) == (ratio if ratio >= enough else 0.0)


def lcs(left: str, right: str) -> int:
    row = [0] * (len(right) + 1)
    for a in left:
        last = 0
        for i, b in enumerate(right):
            last, row[i + 1] = row[i + 1], last + 1 if a == b else max(row[i + 1], row[i])
    return row[-1]


@quick
@given(st.text("abcd", max_size=30), st.text("abcd", max_size=30))
def test_indel_is_twice_the_longest_common_subsequence(left: str, right: str) -> None:
    both = len(left) + len(right)
    assert indel_ratio(left, right, 0.0) == pytest.approx(2 * lcs(left, right) / both if both else 1.0)


def alphabet(size: int) -> str:
    return "".join(chr(0x4E00 + i) for i in range(size))


@pytest.mark.parametrize(
    ("left", "right", "enough", "ratio"),
    [
        ("ab" * 50_000, "ab" * 50_000, 0.9, 1.0),
        ("ab" * 50_000, "ab" * 5, 0.9, 2 * 10 / 100_010),
        ("ab" * 50_000, "cd" * 50_000, 0.9, 0.0),
        ("ab" * 50_000, "ba" * 50_000, 0.9, None),
        ("", "ab" * 5_000_000, 0.9, 0.0),
    ],
)
def test_difflib_beyond_its_limit(left: str, right: str, enough: float, ratio: float | None) -> None:
    """Equality and upper bounds decide, or nothing does."""
    assert difflib_ratio(left, right, enough) == ratio


@pytest.mark.slow
def test_the_worst_case_of_difflib_within_its_limit_ends() -> None:
    """Its worst case: no character is popular, and the text is read backwards."""
    text = alphabet(150) * 133
    assert len(text) ** 2 <= MAX_DIFFLIB
    difflib_ratio(text, text[::-1], 0.9)


def test_indel_of_long_texts_ends() -> None:
    text = "x = compute(1)\n" * 20_000
    assert indel_ratio(text, text[:150_000] + "y" + text[150_000:], 0.9) == 600_000 / 600_001
    assert indel_ratio(text, text[::-1], 0.9) is None
    assert indel_ratio(text, text * 100, 0.9) == 0.0


def test_commands_with_other_line_ends_are_equal() -> None:
    assert command_difference("a\r\nb\n", " a\nb") is None


@quick
@given(st.text("ab \u00a0\nC\u03a3", max_size=30), st.text("ab \u00a0\nc\u03c3", max_size=30), st.floats(0, 0.6))
def test_the_word_rule_of_compat_is_the_plain_formula(left: str, right: str, threshold: float) -> None:
    want, got = Counter(left.lower().split()), Counter(right.lower().split())
    several = min(want.total(), got.total()) >= 2
    alike = several and (want & got).total() / (want.total() + got.total()) >= threshold
    assert (arguments_difference(left, right, threshold) is None) == (alike if several else left == right)


def test_prose_of_another_size_is_not_read() -> None:
    text = "please tell the customer about order 12"
    difference = value_difference_at(text, text + " and" * 10_000)
    assert difference is not None
    assert difference.category == "argument_value_different"
    assert value_difference_at("a b c d e f " * 300_000, "a b c d e f " * 300_000) is None
    beyond = value_difference_at("a b c d e f " * 300_000, "f e d c b a " * 300_000)
    assert beyond is not None
    assert beyond.category == "comparison_beyond_limits"
