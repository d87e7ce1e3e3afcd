"""Random draws that depend on a seed, a purpose and a name alone, never on the order or number of rows."""

from __future__ import annotations

import hashlib

import numpy as np
import polars as pl
from numpy.typing import NDArray

Draws = NDArray[np.uint64]

_CHUNK = 65_536
"""Names that are spread to the width of their longest at a time."""


def draws(names: pl.Series, seed: int, purpose: str) -> pl.Series:
    """A uniform 64-bit draw per name; another seed or purpose draws independently.

    The 8-byte words of each name go through the SplitMix64 finaliser in turn, all names at once.
    """
    start = np.uint64(int.from_bytes(hashlib.sha256(f"{seed}/{purpose}".encode()).digest()[:8], "big"))
    encoded = names.cast(pl.Binary).to_list()
    parts = [_hashed(encoded[i : i + _CHUNK], start) for i in range(0, len(encoded), _CHUNK)]
    return pl.Series("draw", np.concatenate(parts) if parts else np.empty(0, np.uint64))


def _hashed(names: list[bytes], start: np.uint64) -> Draws:
    longest = max(map(len, names))
    words = np.array(names, dtype=f"S{max(8, -longest % 8 + longest)}").view("<u8").reshape(len(names), -1)
    state = np.full(len(names), start)
    for word in words.T:  # no word is 0 but what fills up a shorter name
        state = np.where(word == 0, state, _mixed(state ^ word))
    return state


def _mixed(state: Draws) -> Draws:
    state = state + np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
