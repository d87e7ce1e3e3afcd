"""Which rows are still worth drawing: re-profiling while the policy learns.

A pivot is one for the policy that profiled it. As the policy learns, some pivots become easy for it and some hopeless;
either way their groups have no variance (paper, Prop. 3.1) and cost rollouts for nothing. So from time to time all rows
are judged by their latest rollouts since the last time: the training's own, and fresh ones at the rows that have waited
longest for any, among them those that were retired before. Equal rewards retire a row, different ones bring it back.
Without `--reprofile-every` and `--reprofile-below` nobody is ever retired.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pivotrl_cli.configs import TrainConfig

RECENT_STEPS = 5
"""Steps over which the mixed share is taken, and which must pass between two times that it can call for."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What one re-profiling did."""

    n_retired_right: int = 0
    n_retired_wrong: int = 0
    n_readmitted: int = 0


class Roster:
    """Keeps what the rows' rollouts say; rows go by their numbers in the table."""

    def __init__(self, rows: Sequence[int], config: TrainConfig) -> None:
        self.enabled = config.reprofile_every is not None or config.reprofile_below is not None
        self.retired: set[int] = set()
        self._rows, self._config = [int(row) for row in rows], config
        self._last_step = 0
        self._shares: list[float] = []
        self._seen: dict[int, list[float]] = {}
        self._measured: dict[int, int] = {}

    @property
    def n_active(self) -> int:
        """Rows that are drawn from."""
        return len(self._rows) - len(self.retired)

    def note(self, row: int, rewards: Sequence[float]) -> None:
        """Take in the scored rewards of a group; those of the row's last two groups count, since the policy moves."""
        if self.enabled and rewards:
            self._seen[row] = [*self._seen.get(row, []), *rewards][-2 * self._config.group_size :]

    def note_share(self, n_mixed: int, n_groups: int) -> None:
        """Take in how many of a step's groups had variance."""
        if self.enabled and n_groups:
            self._shares.append(n_mixed / n_groups)

    def due(self, step: int) -> bool:
        """Whether to re-profile before this step."""
        every, below = self._config.reprofile_every, self._config.reprofile_below
        if every is not None and step - 1 - self._last_step >= every:
            return True
        recent = self._shares[-RECENT_STEPS:]
        return below is not None and len(recent) == RECENT_STEPS and float(np.mean(recent)) < below

    def stale(self, step: int) -> list[int]:
        """Rows to sample afresh: of those without a rollout since the last time the longest waiting, at random."""
        unseen = [row for row in self._rows if row not in self._seen]
        shuffled = np.random.default_rng([self._config.seed, step]).permutation(unseen).tolist()
        return sorted(shuffled, key=lambda row: self._measured.get(row, 0))[: self._config.reprofile_pivots]

    def settle(self, step: int) -> Changes:
        """Judge the rows by what was noted since the last time, and begin anew. A row with few rewards stays."""
        enough = max(2, self._config.group_size // 2)
        judged = {row: rewards for row, rewards in self._seen.items() if len(rewards) >= enough}
        equal = {row for row, rewards in judged.items() if len(set(rewards)) == 1}
        newly = equal - self.retired
        back = self.retired & (judged.keys() - equal)
        self.retired = (self.retired | newly) - back
        n_right = sum(judged[row][0] == 1.0 for row in newly)
        self._measured |= dict.fromkeys(judged, step)
        self._seen, self._shares, self._last_step = {}, [], step - 1
        return Changes(n_right, len(newly) - n_right, len(back))

    def state(self) -> dict[str, Any]:
        """As JSON values, for a checkpoint."""
        return {
            "last_step": self._last_step,
            "shares": self._shares,
            "retired": sorted(self.retired),
            "seen": [[row, rewards] for row, rewards in self._seen.items()],
            "measured": [list(pair) for pair in self._measured.items()],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Stand where `state` says."""
        self._last_step, self._shares, self.retired = state["last_step"], state["shares"], set(state["retired"])
        self._seen = dict(state["seen"])
        self._measured = dict(state["measured"])
