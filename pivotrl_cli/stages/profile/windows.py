"""Which candidates a profile samples, in which windows, and which of these are a shard's.

A window is a run of whole trajectories: the pool that the engine is given at once, and a row group of the profile. The
windows follow from the candidates and the config alone, never from the shard, so a shard samples in the company in
which the whole run would have, and the shards' row groups one after another are the whole table.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from pivotrl_cli.configs import ProfileConfig
from pivotrl_cli.errors import ConfigError, InputError
from pivotrl_cli.rows import Candidate
from pivotrl_cli.storage.table import Table


@dataclass(frozen=True, slots=True)
class Plan:
    """Row numbers of the candidates to profile."""

    windows: list[np.ndarray]
    """Of this shard."""
    n_left_out: int
    """Candidates of the file that no shard profiles."""

    @classmethod
    def of(cls, candidates: Table[Candidate], config: ProfileConfig) -> Plan:
        """The plan of a run; raises where there is nothing to do or ids do not tell candidates apart."""
        narrow = candidates.frame(["candidate_id", "trajectory_id", "split"])
        selected = selection(candidates.name, narrow["split"].to_numpy(), config)
        chosen = narrow[selected]
        _refuse_repeated_ids(candidates.name, chosen["candidate_id"])
        windows = [selected[w] for w in windows_of(chosen["trajectory_id"].to_list(), config.window)]
        return cls(_shard(windows, config), narrow.height - len(selected))

    @property
    def n_candidates(self) -> int:
        """How many this run profiles."""
        return sum(map(len, self.windows))


def selection(name: str, split: np.ndarray, config: ProfileConfig) -> np.ndarray:
    """Numbers of the rows to profile: those of the split, thinned evenly to the limit."""
    if not len(split):
        raise InputError(f"{name}: no candidates", "see its rejects table for the reasons")
    selected: np.ndarray = np.flatnonzero(np.full(len(split), True) if config.split == "all" else split == config.split)
    if not len(selected):
        raise InputError(f"{name}: no candidates in the {config.split} split", "use --split all")
    if config.limit is not None:
        selected = selected[np.linspace(0, len(selected) - 1, min(config.limit, len(selected))).round().astype(int)]
    return selected


def windows_of(trajectories: list[str], size: int) -> list[np.ndarray]:
    """Positions in windows of at most `size`, in order; what has one trajectory and stands together stays together.

    A trajectory that is larger by itself is a window of its own.

    Example: `windows_of(["a", "a", "b", "c", "c"], 3)` is `[0, 1, 2], [3, 4]`.
    """
    starts = [i for i, name in enumerate(trajectories) if i == 0 or name != trajectories[i - 1]]
    cuts = [0]
    for start, end in zip(starts, [*starts[1:], len(trajectories)], strict=True):
        if start > cuts[-1] and end - cuts[-1] > size:
            cuts.append(start)
    return np.split(np.arange(len(trajectories)), cuts[1:])


def _shard(windows: list[np.ndarray], config: ProfileConfig) -> list[np.ndarray]:
    """The windows of this shard: neighbours, about as many candidates as in every other shard."""
    if config.shard is None:
        return windows
    number, count = parse_shard(config.shard)
    if count > len(windows):
        n = sum(map(len, windows))
        raise ConfigError(
            f"--shard {config.shard}: {n} candidates make only {len(windows)} windows",
            f"take fewer shards, or add --window {max(1, n // count)} to all of them (a trajectory is never divided)",
        )
    return [window for window, shard in zip(windows, shards_of(windows, count), strict=True) if shard == number]


def shards_of(windows: list[np.ndarray], count: int) -> list[int]:
    """The shard of each window: that of its middle, moved where a shard would else be left without one."""
    sizes = np.array([len(window) for window in windows])
    middles = np.cumsum(sizes) - sizes / 2
    shards = np.minimum((middles * count / sizes.sum()).astype(int), count - 1)
    for i in range(len(shards)):  # at most one ahead of the window before, and few enough left for the rest
        before = int(shards[i - 1]) if i else -1
        shards[i] = min(max(int(shards[i]), count - (len(shards) - i)), before + 1)
    return [int(shard) for shard in shards]


def parse_shard(text: str) -> tuple[int, int]:
    """`I/N` as two numbers."""
    first, slash, second = text.partition("/")
    if not (slash and first.isdecimal() and second.isdecimal() and int(first) < int(second)):
        raise ConfigError(f"--shard {text}: not I/N with I below N", "such as --shard 0/4; the last is then 3/4")
    return int(first), int(second)


def _refuse_repeated_ids(name: str, ids: pl.Series) -> None:
    if repeated := ids.filter(ids.is_duplicated()).head(1).to_list():
        raise InputError(f"{name}: candidate_id {repeated[0]!r} stands there twice", "make the ids differ")
