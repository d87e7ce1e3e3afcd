"""Where the time of a step goes."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Adds up seconds by phase.

    Example: `with watch("sample"): ...` and then `watch.seconds == {"sample": 1.7}`.
    """

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._started = time.monotonic()

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """Time a block."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[phase] += time.monotonic() - started

    @property
    def total(self) -> float:
        """Seconds since it was made."""
        return time.monotonic() - self._started

    def columns(self) -> dict[str, float]:
        """As columns of the metrics table."""
        return {f"seconds_{phase}": seconds for phase, seconds in self.seconds.items()}
