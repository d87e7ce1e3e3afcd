"""The order in which a run draws its rows."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np

from pivotrl_cli.rows import Candidate
from pivotrl_cli.storage.table import Table


class PivotSampler:
    """Rows of a table in an endless shuffled order: each once per epoch, or in proportion to its weight."""

    def __init__(self, table: Table[Candidate], rows: np.ndarray, weights: np.ndarray, seed: int) -> None:
        self.rows = rows
        self._table = table
        self._expected = weights * len(weights) / weights.sum()
        self._seed = seed
        self._order = self._shuffle()
        self.n_drawn = 0
        """Places of the order that were passed, those of excluded rows included."""

    def at(self, row: int) -> Candidate:
        """The row with this number in the table."""
        return self._table.at(row)

    def draw(self, n: int, exclude: Collection[int] = ()) -> list[int]:
        """Numbers of the next `n` rows; none where all rows are excluded."""
        drawn: list[int] = []
        while len(drawn) < n and len(exclude) < len(self.rows):
            row = next(self._order)
            self.n_drawn += 1
            if row not in exclude:
                drawn.append(row)
        return drawn

    def skip(self, n: int) -> None:
        """Pass `n` places of the order, to resume behind them."""
        for _ in range(n):
            next(self._order)
        self.n_drawn += n

    def _shuffle(self) -> Iterator[int]:
        epoch = 0
        while True:
            rng = np.random.default_rng([self._seed, epoch])
            copies = np.floor(self._expected + rng.random(len(self.rows))).astype(int)
            yield from rng.permutation(np.repeat(self.rows, copies)).tolist()
            epoch += 1
