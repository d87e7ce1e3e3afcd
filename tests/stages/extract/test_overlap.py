"""Overlap of prompts: equal words, or runs of 13 words in common, without what all prompts share."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pivotrl_cli.stages.extract.overlap import RUN, SHARE, Overlap, PromptSet, runs_of, words_of


def words(start: int, n: int) -> str:
    return " ".join(f"w{i}" for i in range(start, start + n))


def test_words_and_runs() -> None:
    assert words_of("What's 1+1?\n") == ["what", "s", "1", "1"]
    assert [len(runs_of(words_of(words(0, n)))) for n in (0, 12, 13, 14)] == [0, 0, 1, 2]
    assert (RUN, SHARE) == (13, 0.5)


def test_equal_texts_overlap_however_short_and_whatever_their_marks() -> None:
    prompts = PromptSet.from_texts(["What's 1+1?", "Name a bird."])
    assert prompts.overlap("  NAME a bird!!") == Overlap(1, 1.0, equal=True)
    assert prompts.overlap("Name a fish.") is None
    assert prompts.overlap("?!") is None


@pytest.mark.parametrize(("shared", "share"), [(99, 87 / 88), (57, 45 / 88), (56, 44 / 88), (55, None)])
def test_the_share_is_of_the_runs_of_the_one_that_has_fewer(shared: int, share: float | None) -> None:
    prompts = PromptSet.from_texts([words(0, 100)])
    text = words(0, shared) + " " + words(1000, 100 - shared)
    assert prompts.overlap(text) == (None if share is None else Overlap(0, share))


def test_a_prompt_is_found_inside_a_longer_one() -> None:
    prompts = PromptSet.from_texts([words(0, 20)])
    assert prompts.overlap(words(500, 300) + " " + words(0, 20)) == Overlap(0, 1.0)


def test_a_template_that_most_prompts_share_does_not_count() -> None:
    template = words(5000, 60)
    prompts = PromptSet.from_texts([f"{template} {words(100 * i, 30)}" for i in range(4)])
    assert prompts.overlap(f"{template} {words(9000, 30)}") is None
    found = prompts.overlap(f"{template} {words(200, 30)} and more")
    assert found is not None
    assert found.prompt == 2


def test_repeated_and_empty_prompts_count_once_or_not_at_all() -> None:
    assert PromptSet.from_texts(["a b", "A, B", "", "!"]).n_prompts == 1


@given(texts=st.lists(st.text(), max_size=5), text=st.text())
def test_any_text_can_be_compared(texts: list[str], text: str) -> None:
    prompts = PromptSet.from_texts([*texts, text])
    found = prompts.overlap(text)
    assert (found is not None and found.equal) == bool(words_of(text))
