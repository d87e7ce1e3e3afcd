"""Scores of eval rows: means with intervals and in both conventions for errors, pass@k, further measurements."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from pivotrl_cli.benchmarks import DO_NOTHING
from pivotrl_cli.benchmarks.recorded_turns import by_trajectory
from pivotrl_cli.rows import EvalResult, Summary, SummaryPart
from pivotrl_cli.stages.shared.judge import JudgeUsage, usage_rows
from pivotrl_cli.stats import clustered_mean, pass_at_k, pass_hat_k

if TYPE_CHECKING:
    from rich.console import RenderableType


class Mean(SummaryPart):
    """A mean and the number of rows or tasks behind it."""

    n: int
    mean: float


class TrajectoryScores(SummaryPart):
    """Scores of whole trajectories, by their turns; see `benchmarks.recorded_turns.by_trajectory`."""

    n: int
    n_unknown: int
    success: float | None
    prefix: float | None
    prefix_share: float | None


class BenchmarkScores(SummaryPart):
    """Scores on one benchmark."""

    n: int
    """Rows: tasks times trials."""
    n_unscored: int
    """Rows that could not be measured."""
    first_unscored: str | None
    """Task and error of the first of these."""
    mean: float | None
    """Mean score of the measured rows, with its 95 % interval."""
    low: float | None
    high: float | None
    mean_errors_as_zero: float
    """Mean score with errors counted as 0."""
    do_nothing: float | None
    """Score of an agent that does nothing, where it is known."""
    status: dict[str, int]
    """Rows by how the episode ended."""
    turns_per_episode: float | None
    by_category: dict[str, Mean]
    pass_at_k: dict[str, Mean]
    """By k, over tasks with at least k measured trials; empty unless scores are 0 or 1."""
    pass_hat_k: dict[str, Mean]
    metrics: dict[str, Mean]
    """Further measurements of the benchmark."""
    trajectories: TrajectoryScores | None
    """`next-action` only."""


class EvalSummary(Summary):
    """Summary of `eval`."""

    THIS_RUN: ClassVar[frozenset[str]] = frozenset({"cached", "resumed", "judge"})

    benchmarks: dict[str, BenchmarkScores]
    resumed: int = 0
    """Turns that an earlier run had sampled."""
    judge: JudgeUsage | None = None
    """Requests of this run to the judge."""

    @property
    def n(self) -> int:
        """Rows of all benchmarks."""
        return sum(one.n for one in self.benchmarks.values())

    @property
    def n_unscored(self) -> int:
        """Rows that could not be measured."""
        return sum(one.n_unscored for one in self.benchmarks.values())

    @property
    def first_unscored(self) -> str:
        """The first of these."""
        return next((f"{name} {one.first_unscored}" for name, one in self.benchmarks.items() if one.n_unscored), "")


def summarize(rows: list[EvalResult]) -> EvalSummary:
    """Scores on each benchmark."""
    names = dict.fromkeys(r.benchmark for r in rows)
    return EvalSummary(benchmarks={name: _scores(name, [r for r in rows if r.benchmark == name]) for name in names})


def _scores(name: str, rows: list[EvalResult]) -> BenchmarkScores:
    scored = [(r.score, r.cluster) for r in rows if r.score is not None]
    values = np.array([score for score, _ in scored], dtype=np.float64)
    turns = [r.n_turns for r in rows if r.n_turns is not None]
    estimate = clustered_mean(values, [c for _, c in scored]) if scored else None
    return BenchmarkScores(
        n=len(rows),
        n_unscored=len(rows) - len(scored),
        first_unscored=next((_failure(r) for r in rows if r.score is None), None),
        mean=estimate.mean if estimate else None,
        low=estimate.low if estimate else None,
        high=estimate.high if estimate else None,
        mean_errors_as_zero=float(values.sum()) / len(rows),
        do_nothing=DO_NOTHING.get(name),
        status=dict(sorted(Counter(r.status for r in rows).items())),
        turns_per_episode=sum(turns) / len(turns) if turns else None,
        by_category=_means((r.category, r.score) for r in rows if r.score is not None),
        pass_at_k=_by_k(rows, pass_at_k),
        pass_hat_k=_by_k(rows, pass_hat_k),
        metrics=_means(item for r in rows for item in json.loads(r.metrics).items()),
        trajectories=TrajectoryScores(**by_trajectory(rows)) if name == "next-action" else None,
    )


def _failure(row: EvalResult) -> str:
    """In one line: other harnesses record whole tracebacks."""
    return f"{row.task_id}: {' '.join(str(row.error).split())[:300]}"


def _means(items: Iterable[tuple[str, float]]) -> dict[str, Mean]:
    values: dict[str, list[float]] = {}
    for name, value in items:
        values.setdefault(name, []).append(value)
    return {name: Mean(n=len(some), mean=float(np.mean(some))) for name, some in sorted(values.items())}


def _by_k(rows: list[EvalResult], estimate: Callable[[int, int, int], float]) -> dict[str, Mean]:
    """Means over tasks for k = 2, 4, 8, ... and the largest number of trials, if scores are 0 or 1; k = 1 is the mean.

    A task with fewer than k measured trials says nothing about k, so each k has its own number of tasks.
    """
    trials: dict[str, list[float]] = {}
    for row in rows:
        if row.score is not None:
            trials.setdefault(row.task_id, []).append(row.score)
    largest = max(map(len, trials.values()), default=0)
    if largest < 2 or any(score not in (0.0, 1.0) for scores in trials.values() for score in scores):
        return {}
    by_k: dict[str, Mean] = {}
    for k in sorted({2**i for i in range(1, largest.bit_length())} | {largest}):
        tasks = [estimate(len(s), int(sum(s)), k) for s in trials.values() if len(s) >= k]
        by_k[str(k)] = Mean(n=len(tasks), mean=float(np.mean(tasks)))
    return by_k


def describe(summary: EvalSummary) -> RenderableType:
    """The scores for a terminal."""
    from rich.table import Table as RichTable

    table = RichTable(title="eval", title_justify="left", box=None, pad_edge=False)
    for column in ("benchmark", "n", "mean", "95 % interval", "turns", "status"):
        left = column in ("benchmark", "status")
        table.add_column(column, justify="left" if left else "right", no_wrap=not left, overflow="fold")
    for name, one in summary.benchmarks.items():
        table.add_row(*_headline(name, one))
        for what, n, mean in _parts(one):
            table.add_row(f"  {what}", n, mean)
    for what, n, more in usage_rows(summary.judge):
        table.add_row(what, n, "", "", "", more)
    return table


def _headline(name: str, one: BenchmarkScores) -> list[str]:
    status = ", ".join(f"{key} {n:,}" for key, n in one.status.items())
    interval = "-" if one.mean is None else f"{one.low:.3f}-{one.high:.3f}"
    turns = "-" if one.turns_per_episode is None else f"{one.turns_per_episode:.1f}"
    return [name, f"{one.n:,}", _rate(one.mean), interval, turns, status]


def _parts(one: BenchmarkScores) -> Iterator[tuple[str, str, str]]:
    """Lines below a benchmark's own: name, number of rows or tasks, mean."""
    if one.n_unscored:
        yield f"{one.n_unscored:,} errors as 0", f"{one.n:,}", _rate(one.mean_errors_as_zero)
    if one.do_nothing is not None:
        yield "an agent that does nothing", "", _rate(one.do_nothing)
    parts = (("", one.by_category), ("pass@", one.pass_at_k), ("pass^", one.pass_hat_k), ("", one.metrics))
    for label, means in parts:
        for name, part in means.items():
            yield f"{label}{name}", f"{part.n:,}", _rate(part.mean)
    if whole := one.trajectories:
        unknown = f", {whole.n_unknown:,} unknown" if whole.n_unknown else ""
        yield f"trajectories all right{unknown}", f"{whole.n:,}", _rate(whole.success)
        yield "right turns before an error", f"{whole.n:,}", "-" if whole.prefix is None else f"{whole.prefix:.2f}"
        yield "  as a share of the turns", f"{whole.n:,}", _rate(whole.prefix_share)


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
