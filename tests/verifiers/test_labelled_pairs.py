"""The default verifiers on pairs of actions that an engineer labelled; the table is in docs/verifiers.md."""

from __future__ import annotations

from pathlib import Path

import pytest

from perf.verdicts import LISTED, Pair, default_accepts, errors, listing, read_pairs, table, word_overlap_accepts

DOCS = Path(__file__).parents[2] / "docs" / "verifiers.md"
MOST_FALSE_ACCEPTS, MOST_FALSE_REJECTS = 0.02, 0.10


@pytest.fixture(scope="module")
def pairs() -> list[Pair]:
    return read_pairs()


def test_the_set_is_balanced_and_names_its_pairs(pairs: list[Pair]) -> None:
    n_equivalent = sum(pair.equivalent for pair in pairs)
    assert len(pairs) >= 900
    assert abs(2 * n_equivalent - len(pairs)) <= 0.03 * len(pairs)
    assert len({pair.id for pair in pairs}) == len(pairs)
    assert [pair.id for pair in pairs if not pair.reason or pair.id.rpartition("-")[0] != pair.kind] == []


def test_every_error_is_listed(pairs: list[Pair]) -> None:
    """After a change of the rules: `python -m perf.verdicts --update`, and read what is new in the list."""
    assert LISTED.read_text().splitlines() == listing(pairs).splitlines()


def test_the_documentation_has_the_table(pairs: list[Pair]) -> None:
    """`make fix` writes it."""
    assert table(pairs) in DOCS.read_text()


def test_the_defaults_rarely_err(pairs: list[Pair]) -> None:
    found, n_equivalent = errors(pairs, default_accepts), sum(pair.equivalent for pair in pairs)
    assert len(found.accepts) <= MOST_FALSE_ACCEPTS * (len(pairs) - n_equivalent)
    assert len(found.rejects) <= MOST_FALSE_REJECTS * n_equivalent


def test_word_overlap_errs_on_what_looks_alike(pairs: list[Pair]) -> None:
    found = errors(pairs, word_overlap_accepts)
    assert {"sql-02", "shell-02", "english-02"} <= set(found.accepts)
    assert {"chinese-01", "dates-01"} <= set(found.rejects)
