"""What one process knows of shared rows; `test_distributed` shares them."""

from __future__ import annotations

import pytest
from learn_models import KINDS

from pivotrl_cli.learn.ulysses import local_span, pad_to_span, sequence_parallel_obstacle


@pytest.mark.parametrize(
    ("kind", "n_processes", "reason"),
    [
        ("qwen3", 2, None),
        ("gemma3", 4, None),
        ("qwen3", 3, "its 4 attention heads do not divide by 3"),
        ("hybrid", 2, "the linear attention of qwen3_5_text runs along the row"),
    ],
)
def test_models_whose_rows_cannot_be_shared_are_known(kind, n_processes, reason):
    found = sequence_parallel_obstacle(KINDS[kind](), n_processes)
    assert found is None if reason is None else found is not None and found.startswith(reason)


def test_a_stretch_is_filled_up_with_zeros():
    assert local_span(5) == range(5)
    assert [pad_to_span([7, 8, 9, 10, 11], range(first, first + 2)) for first in (0, 2, 4, 6)] == [
        [7, 8],
        [9, 10],
        [11, 0],
        [0, 0],
    ]
