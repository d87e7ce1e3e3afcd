"""The default verifiers on pairs of actions that an engineer labelled; the table is in docs/verifiers.md."""

from __future__ import annotations

import pytest

from perf.verdicts import PAIRS, Errors, default_accepts, errors, read_pairs, word_overlap_accepts

LISTED = (PAIRS / "errors.txt").read_text().split()
"""Ids of the pairs on which a default verifier still errs."""


@pytest.fixture(scope="module")
def found() -> Errors:
    return errors(read_pairs(), default_accepts)


def test_the_set_is_balanced_and_names_its_pairs() -> None:
    pairs = read_pairs()
    n_equivalent = sum(pair.equivalent for pair in pairs)
    assert len(pairs) >= 800
    assert abs(2 * n_equivalent - len(pairs)) <= 0.01 * len(pairs)
    assert len({pair.id for pair in pairs}) == len(pairs)
    assert [pair.id for pair in pairs if not pair.reason or pair.id.rpartition("-")[0] != pair.kind] == []


def test_every_error_is_listed(found: Errors) -> None:
    assert sorted({*found.accepts, *found.rejects} - set(LISTED)) == []


def test_word_overlap_errs_on_what_looks_alike() -> None:
    found = errors(read_pairs(), word_overlap_accepts)
    assert {"sql-02", "shell-02", "english-02"} <= set(found.accepts)
    assert {"chinese-01", "dates-01"} <= set(found.rejects)
