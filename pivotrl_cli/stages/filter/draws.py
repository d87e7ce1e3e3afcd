"""Random draws that depend on a seed, a purpose and a name alone, never on the order or number of rows."""

from __future__ import annotations

import hashlib

import numpy as np
import polars as pl


def draws(names: pl.Series, seed: int, purpose: str) -> pl.Series:
    """A uniform 64-bit draw per name, its BLAKE2b digest; another seed or purpose draws independently."""
    start = hashlib.blake2b(f"{seed}/{purpose}/".encode(), digest_size=8)

    def digest(name: bytes) -> bytes:
        hashed = start.copy()
        hashed.update(name)
        return hashed.digest()

    digests = b"".join(map(digest, names.cast(pl.Binary)))
    return pl.Series("draw", np.frombuffer(digests, "<u8"), pl.UInt64)
