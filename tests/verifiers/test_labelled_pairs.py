"""The default verifiers on pairs of actions that an engineer labelled; the table is in docs/verifiers.md."""

from __future__ import annotations

import pytest

from perf.verdicts import LISTED, Pair, default_accepts, errors, listing, read_pairs, word_overlap_accepts

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
    assert set(listing(pairs).splitlines()) <= set(LISTED.read_text().splitlines())


def test_the_defaults_rarely_err(pairs: list[Pair]) -> None:
    scored = [pair for pair in pairs if pair.candidate.verifier in ("swe", "terminal", "search")]
    found, n_equivalent = errors(scored, default_accepts), sum(pair.equivalent for pair in scored)
    assert len(found.accepts) <= MOST_FALSE_ACCEPTS * (len(scored) - n_equivalent)
    assert len(found.rejects) <= MOST_FALSE_REJECTS * n_equivalent


def test_word_overlap_errs_on_what_looks_alike(pairs: list[Pair]) -> None:
    found = errors(pairs, word_overlap_accepts)
    assert {"sql-02", "shell-02", "english-02"} <= set(found.accepts)
    assert {"chinese-01", "dates-01"} <= set(found.rejects)
