"""The formulas of docs/scaling.md against counted bytes, on shapes that the page does not show."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from perf.train_memory import Shape, activations, cache, optimiser
from perf.train_step import Case

SHAPE = Shape(3, 96, 320, 6, 3, 16, 4096)
PAGE = (Path(__file__).parents[2] / "docs" / "scaling.md").read_text()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_counted_bytes_are_what_the_formulas_say(dtype):
    found, predicted = activations(SHAPE, dtype, Case([200, 300], 4, 16, []))
    assert predicted == pytest.approx(found, rel=0.03)
    found, predicted = optimiser(SHAPE, dtype)
    assert predicted == pytest.approx(found, rel=0.001)
    found, predicted = cache(SHAPE, dtype)
    assert predicted == found


def test_the_page_has_the_numbers_of_the_formulas():
    layers, hidden, inner, heads, keys, head, vocabulary = 28, 2048, 6144, 16, 8, 128, 151936
    parameters = 1.72e9
    per_position = layers * (16 * hidden + 8 * inner + 10 * head * (heads + keys)) + 6 * hidden
    assert f"{per_position / 1e6:.1f} MB" in PAGE
    assert f"{20 * parameters / 1e9:.0f} GB" in PAGE
    assert f"{2 * layers * keys * head * 2 / 1e3:.0f} kB" in PAGE
    assert re.search(rf"{4 * vocabulary / 1e6:.1f} MB", PAGE)
