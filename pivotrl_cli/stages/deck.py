"""The order in which a run meets its rows."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np

from pivotrl_cli.rows import Candidate
from pivotrl_cli.table import Table


class Deck:
    """Rows of a table in an endless shuffled order: every row once an epoch, more often with more weight."""

    def __init__(self, table: Table[Candidate], rows: np.ndarray, weights: np.ndarray, seed: int) -> None:
        self._table = table
        self._rows = rows
        self._expected = weights * len(weights) / weights.sum()
        self._seed = seed
        self._order = self._shuffled()
        self.n_drawn = 0

    def draw(self) -> Candidate:
        """The next row."""
        self.n_drawn += 1
        return self._table.at(next(self._order))

    def skip(self, n: int) -> None:
        """Go on as if `n` more rows had been drawn."""
        self.n_drawn += n
        next(islice(self._order, n, n), None)

    def _shuffled(self) -> Iterator[int]:
        epoch = 0
        while True:
            rng = np.random.default_rng([self._seed, epoch])
            copies = np.floor(self._expected + rng.random(len(self._rows))).astype(int)
            yield from rng.permutation(np.repeat(self._rows, copies)).tolist()
            epoch += 1
