"""Running counts of a profile, for the progress line and for the limit on errors.

The speed counts this run only; the pass rate and the errors are of all rollouts so far, those of earlier runs
included.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable

from pivotrl_cli.engines import Engine, notes
from pivotrl_cli.progress import Progress, short
from pivotrl_cli.stages.profile.samples import Samples

_BARS = "▁▂▃▄▅▆▇█"
_BINS = 8


class Meter:
    """Counts rollouts and moves the progress bar; `n` is the number of rollouts asked for beside each `Samples`."""

    def __init__(self, bar: Progress, n: int) -> None:
        self.n_rollouts = self.n_failed = self.retries = 0
        self.first_error = ""
        self._bar = bar
        self._n = n
        self._n_left = 0
        """Rollouts of the present window that the bar has not counted."""
        self._n_candidates = self._n_tokens = 0
        self._started = time.monotonic()
        self._n_scored, self._reward_sum = 0, 0.0
        self._histogram: Counter[int] = Counter()

    def start_clock(self) -> None:
        """Start timing now, when the engine is open."""
        self._started = time.monotonic()
        self._bar.restart()

    def start_window(self, n_candidates: int) -> None:
        """Call before the first round of a window."""
        self._n_left = n_candidates * self._n

    def end_window(self) -> None:
        """Call after the last round: the bar skips the rollouts that the strategy did not need."""
        self._bar.skip(self._n_left)

    def add_sampled(self, samples: Iterable[tuple[Samples, int]], engine: Engine | None) -> None:
        """Count a batch that was just sampled."""
        samples = list(samples)
        for one, n in samples:
            self._add(one)
            self._n_left -= n
        self._n_candidates += len(samples)
        self._n_tokens += sum(r.n_tokens for one, _ in samples for r in one.rollouts)
        self._bar.advance(sum(n for _, n in samples), self.figures(engine))

    def add_recorded(self, samples: Iterable[tuple[Samples, int]]) -> None:
        """Count what an earlier run sampled."""
        for one, n in samples:
            self._add(one)
            self._n_left -= n
            self._bar.skip(n)

    def replace(self, before: Samples, after: Samples) -> None:
        """Count samples that were retried."""
        self._add(before, -1)
        self._add(after)

    def figures(self, engine: Engine | None) -> str:
        """Figures beside the rollouts per second; without the engine's own if it is in another process."""
        seconds = max(time.monotonic() - self._started, 1e-9)
        rate = f"{self._reward_sum / self._n_scored:.2f}" if self._n_scored else "-"
        figures = [
            f"{short(self._n_candidates / seconds)} candidates/s",
            f"{short(self._n_tokens / seconds)} tokens/s",
            f"pass rate {rate} {sparkline([self._histogram[i] for i in range(_BINS)])}",
            f"{self.n_failed:,} errors",
        ]
        of_engine = notes(engine) if engine else {}
        return ", ".join(figures + [f"{name.replace('_', ' ')} {value:.2f}" for name, value in of_engine.items()])

    def _add(self, samples: Samples, sign: int = 1) -> None:
        rewards = [r.reward for r in samples.rollouts if r.reward is not None]
        errors = [r.error for r in samples.rollouts if r.error is not None]
        self.n_rollouts += sign * len(samples.rollouts)
        self.n_failed += sign * len(errors)
        self.first_error = self.first_error or next(iter(errors), "")
        self._n_scored += sign * len(rewards)
        self._reward_sum += sign * sum(rewards)
        if rewards:
            self._histogram[min(int(_BINS * sum(rewards) / len(rewards)), _BINS - 1)] += sign


def sparkline(counts: list[int]) -> str:
    """One character per count, as high as its share of the largest; a count of 0 is a dot.

    Example: `sparkline([9, 0, 1, 4])` is `"█·▁▄"`.
    """
    top = max(counts, default=0)
    return "".join(_BARS[max(0, -(-len(_BARS) * n // top) - 1)] if n else "·" for n in counts)
