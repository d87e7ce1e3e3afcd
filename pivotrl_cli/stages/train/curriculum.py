"""Curriculum: re-profiling retires rows that have become too easy or hopeless, and readmits them.

A row is a pivot for the policy that profiled it. As the policy learns, some pivots become easy and some hopeless;
either way their groups have zero variance (paper, Prop. 3.1) and cost rollouts for nothing. So from time to time rows
are judged by their latest rollouts since the last update: those of training, and fresh ones at the rows that were
least recently sampled, retired rows included. Equal rewards retire a row, different ones readmit it. Without
`--reprofile-every` and `--reprofile-below` no row is ever retired.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pivotrl_cli.configs import TrainConfig

RECENT_STEPS = 5
"""Steps over which the share of mixed groups is averaged; also the minimum between two updates for that reason."""


@dataclass(frozen=True, slots=True)
class Changes:
    """Effect of one update."""

    n_retired_right: int = 0
    n_retired_wrong: int = 0
    n_readmitted: int = 0


class Curriculum:
    """Active and retired rows, by their numbers in the table, with their recent rewards."""

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
        """Rows that are not retired."""
        return len(self._rows) - len(self.retired)

    def add_rewards(self, row: int, rewards: Sequence[float]) -> None:
        """Record the rewards of a group; only those of a row's last two groups count, since the policy moves."""
        if self.enabled and rewards:
            self._seen[row] = [*self._seen.get(row, []), *rewards][-2 * self._config.group_size :]

    def add_step(self, n_mixed: int, n_groups: int) -> None:
        """Record how many groups of a step had variance."""
        if self.enabled and n_groups:
            self._shares.append(n_mixed / n_groups)

    def should_update(self, step: int) -> bool:
        """Whether to re-profile before this step."""
        every, below = self._config.reprofile_every, self._config.reprofile_below
        if every is not None and step - 1 - self._last_step >= every:
            return True
        recent = self._shares[-RECENT_STEPS:]
        return below is not None and len(recent) == RECENT_STEPS and float(np.mean(recent)) < below

    def least_recent(self, step: int) -> list[int]:
        """Rows to sample afresh: of those without a rollout since the last update the least recent, ties at random."""
        unseen = [row for row in self._rows if row not in self._seen]
        shuffled = np.random.default_rng([self._config.seed, step]).permutation(unseen).tolist()
        return sorted(shuffled, key=lambda row: self._measured.get(row, 0))[: self._config.reprofile_pivots]

    def update(self, step: int) -> Changes:
        """Retire and readmit rows by the rewards since the last update, and forget them. Too few change nothing."""
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

    def state_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "last_step": self._last_step,
            "shares": self._shares,
            "retired": sorted(self.retired),
            "seen": [[row, rewards] for row, rewards in self._seen.items()],
            "measured": [list(pair) for pair in self._measured.items()],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._last_step, self._shares, self.retired = state["last_step"], state["shares"], set(state["retired"])
        self._seen = dict(state["seen"])
        self._measured = dict(state["measured"])
