"""Progress on stderr: a bar with rate and remaining time on a terminal, a line every so often elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

LOG_SECONDS = 30.0
"""Seconds between two lines where there is no terminal."""


class Progress:
    """Counts towards a total; use as a context manager.

    Example: `with Progress("profile", 600, "rollouts") as bar: bar.advance(16, "pass rate 0.41")`
    """

    def __init__(self, title: str, total: int, unit: str, log_seconds: float = LOG_SECONDS) -> None:
        self._title, self._total, self._unit = title, total, unit
        self._log_seconds = log_seconds
        self._done = 0
        self._started = self._logged = time.monotonic()
        self._bar: RichProgress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            self._start_bar()
        return self

    def advance(self, n: int, note: str = "") -> None:
        """Count `n` more and show `note` beside the rate."""
        self._done += n
        rate = self._done / max(time.monotonic() - self._started, 1e-9)
        text = f"{rate:.3g} {self._unit}/s" + (f", {note}" if note else "")
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self._done, note=text)
        elif time.monotonic() - self._logged >= self._log_seconds:
            self._logged = time.monotonic()
            left = f", {(self._total - self._done) / rate:.0f} s left" if rate else ""
            line = f"{self._title}: {self._done}/{self._total} {self._unit}, {text}{left}"
            print(line, file=sys.stderr, flush=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _start_bar(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        self._bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task(self._title, total=self._total, note="")
        self._bar.start()
