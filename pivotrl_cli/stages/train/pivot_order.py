"""The order in which a run meets its rows."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np

from pivotrl_cli.rows import Candidate
from pivotrl_cli.storage.table import Table


class Deck:
    """Rows of a table in an endless shuffled order: every row once an epoch, more often with more weight."""

    def __init__(self, table: Table[Candidate], rows: np.ndarray, weights: np.ndarray, seed: int) -> None:
        self.rows = rows
        self._table = table
        self._expected = weights * len(weights) / weights.sum()
        self._seed = seed
        self._order = self._shuffled()
        self.n_dealt = 0
        """Places in the order that were passed, those of rows that were left out included."""

    def at(self, row: int) -> Candidate:
        """The row with this number in the table."""
        return self._table.at(row)

    def draw(self, n: int, without: Collection[int] = ()) -> list[int]:
        """Numbers of the next `n` rows; none where all rows are left out."""
        drawn: list[int] = []
        while len(drawn) < n and len(without) < len(self.rows):
            row = next(self._order)
            self.n_dealt += 1
            if row not in without:
                drawn.append(row)
        return drawn

    def skip(self, n: int) -> None:
        """Go on as if `n` more places had been passed."""
        for _ in range(n):
            next(self._order)
        self.n_dealt += n

    def _shuffled(self) -> Iterator[int]:
        epoch = 0
        while True:
            rng = np.random.default_rng([self._seed, epoch])
            copies = np.floor(self._expected + rng.random(len(self.rows))).astype(int)
            yield from rng.permutation(np.repeat(self.rows, copies)).tolist()
            epoch += 1
