"""Small helpers for texts."""

from __future__ import annotations

import os
from typing import Any


def shorten(text: str, limit: int) -> str:
    """The text, cut to `limit` characters where it is longer; it then ends with `...`."""
    return text if len(text) <= limit else text[: limit - 3] + "..."


def plural(n: int, noun: str) -> str:
    """Example: `plural(2, "rollout")` is `2 rollouts`."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def common_prefix_length(sequences: list[Any]) -> int:
    """Elements with which all of these strings, or lists of token ids, begin."""
    return len(os.path.commonprefix(sequences))  # noqa: RUF071 not paths
