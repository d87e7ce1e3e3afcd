"""The figures of a profile on its way, for the progress line and for the limit on errors.

Rates are of what this run samples; the pass rate and the errors are of all rollouts so far, those that an earlier run
left included.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from pivotrl_cli.engines import Engine, notes
from pivotrl_cli.progress import Progress, short

if TYPE_CHECKING:
    from pivotrl_cli.stages.profile.sampler import Sampled

_BARS = "▁▂▃▄▅▆▇█"
_BINS = 8


class Meter:
    """Running counts; also moves the progress bar, which counts rollouts."""

    def __init__(self, bar: Progress, n: int) -> None:
        self.n_rollouts = self.n_failed = self.retries = 0
        self.first_error = ""
        self._bar = bar
        self._n = n
        self._left = 0
        """Rollouts of the present window that the bar has not counted."""
        self._candidates = self._tokens = 0
        self._started = time.monotonic()
        self._n_scored, self._reward_sum = 0, 0.0
        self._histogram: Counter[int] = Counter()

    def start(self) -> None:
        """When the engine is open: what came before does not count for the rates."""
        self._started = time.monotonic()
        self._bar.restart()

    def begin_window(self, n_candidates: int) -> None:
        """Before the first round."""
        self._left = n_candidates * self._n

    def end_window(self) -> None:
        """After the last round: what the strategy did not need is done too."""
        self._bar.skip(self._left)

    def new(self, parts: Iterable[Sampled], n: int, engine: Engine | None) -> None:
        """A batch that was just sampled, `n` samples asked for at each."""
        parts = list(parts)
        for part in parts:
            self._add(part)
        self._candidates += len(parts)
        self._tokens += sum(r.n_tokens for part in parts for r in part.rollouts)
        self._left -= n * len(parts)
        self._bar.advance(n * len(parts), self.note(engine))

    def old(self, parts: Iterable[tuple[Sampled, int]]) -> None:
        """What an earlier run sampled, with how many were asked for."""
        for part, n in parts:
            self._add(part)
            self._left -= n
            self._bar.skip(n)

    def replace(self, before: Sampled, after: Sampled) -> None:
        """Samples that were tried again."""
        self._add(before, -1)
        self._add(after)

    def note(self, engine: Engine | None) -> str:
        """Beside the rollouts per second; without what the engine tells where it is in another process."""
        seconds = max(time.monotonic() - self._started, 1e-9)
        rate = f"{self._reward_sum / self._n_scored:.2f}" if self._n_scored else "-"
        figures = [
            f"{short(self._candidates / seconds)} candidates/s",
            f"{short(self._tokens / seconds)} tokens/s",
            f"pass rate {rate} {sparkline([self._histogram[i] for i in range(_BINS)])}",
            f"{self.n_failed:,} errors",
        ]
        told = [f"{name.replace('_', ' ')} {value:.2f}" for name, value in (notes(engine) if engine else {}).items()]
        return ", ".join(figures + told)

    def _add(self, part: Sampled, sign: int = 1) -> None:
        rewards = [r.reward for r in part.rollouts if r.reward is not None]
        errors = [r.error for r in part.rollouts if r.error is not None]
        self.n_rollouts += sign * len(part.rollouts)
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
