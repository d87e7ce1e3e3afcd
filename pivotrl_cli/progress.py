"""Progress on stderr: a bar with rate and remaining time on a terminal, a line every so often elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.live import Live
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID
    from rich.text import Text

LOG_SECONDS = 30.0
"""Seconds between two lines without a terminal."""


class Progress:
    """Counts towards a total; use as a context manager.

    Example: `with Progress("profile", 600, "rollouts") as bar: bar.advance(16, "pass rate 0.41")`
    """

    def __init__(self, title: str, total: int, unit: str, log_seconds: float | None = None) -> None:
        self._title, self._total, self._unit = title, total, unit
        self._log_seconds = LOG_SECONDS if log_seconds is None else log_seconds
        self._done = 0
        self._started = self._logged = time.monotonic()
        self._skipped = 0
        self._live: Live | None = None
        self._bar: RichProgress
        self._task: TaskID
        self._note: Text

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            self._start_bar()
        return self

    def restart(self) -> None:
        """Measure the rate from now on, leaving out the preparation."""
        self._started = time.monotonic()

    def skip(self, n: int) -> None:
        """Count `n` from an earlier run, which do not enter the rate."""
        self._done += n
        self._skipped += n

    def advance(self, n: int, note: str = "") -> None:
        """Count `n` more and show `note` beside the rate."""
        self._done += n
        rate = (self._done - self._skipped) / max(time.monotonic() - self._started, 1e-9)
        text = f"{short(rate)} {self._unit}/s" + (f", {note}" if note else "")
        left = (self._total - self._done) / rate if rate else None
        if self._live is not None:
            self._bar.update(self._task, completed=self._done, left="" if left is None else f"{clock(left)} left")
            self._note.plain = text
        elif time.monotonic() - self._logged >= self._log_seconds:
            self._logged = time.monotonic()
            line = f"{self._title}: {self._done}/{self._total} {self._unit}, {text}"
            line += "" if left is None else f", {clock(left)} left"
            print(line, file=sys.stderr, flush=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def _start_bar(self) -> None:
        """Show the bar, and the figures on a line below, where a narrow terminal has room for them."""
        from rich.console import Console, Group
        from rich.live import Live
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as RichProgress
        from rich.text import Text

        columns = (TextColumn("{task.description}"), BarColumn(bar_width=20), MofNCompleteColumn())
        self._bar = RichProgress(*columns, TextColumn("{task.fields[left]}"))
        self._task = self._bar.add_task(self._title, total=self._total, left="")
        self._note = Text()
        self._live = Live(Group(self._bar, self._note), console=Console(stderr=True), transient=True)
        self._live.start()


def clock(seconds: float) -> str:
    """`95` is `1:35`, `7265` is `2:01:05`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def short(rate: float) -> str:
    """Three digits: 0.52, 8.1, 312, 5.1k."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if rate >= 0.9995 * size:
            return f"{rate / size:.3g}{unit}"
    return f"{rate:.3g}"
