"""Texts for a terminal."""

from __future__ import annotations


def shorten(text: str, limit: int) -> str:
    """The text, cut to `limit` characters where it is longer; it then ends with `...`."""
    return text if len(text) <= limit else text[: limit - 3] + "..."


def plural(n: int, noun: str) -> str:
    """Example: `plural(2, "rollout")` is `2 rollouts`."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
