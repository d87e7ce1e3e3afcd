"""What eval rows say together: means with intervals and in both conventions, pass@k, further measurements."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from pivotrl_cli.benchmarks import DO_NOTHING
from pivotrl_cli.benchmarks.next_action import by_trajectory
from pivotrl_cli.rows import EvalResult
from pivotrl_cli.stages.shared.judge import cost_row
from pivotrl_cli.stats import clustered_mean, pass_at_k, pass_hat_k

if TYPE_CHECKING:
    from rich.console import RenderableType


def summarise(rows: list[EvalResult]) -> dict[str, Any]:
    """Per benchmark: mean with its interval, statuses, means by category, and what else is known of it."""
    names = dict.fromkeys(r.benchmark for r in rows)
    return {name: _summarise_one(name, [r for r in rows if r.benchmark == name]) for name in names}


def _summarise_one(name: str, rows: list[EvalResult]) -> dict[str, Any]:
    scored = [(r.score, r.cluster) for r in rows if r.score is not None]
    values = np.array([score for score, _ in scored], dtype=np.float64)
    turns = [r.n_turns for r in rows if r.n_turns is not None]
    estimate = clustered_mean(values, [c for _, c in scored]) if scored else None
    further = {"pass_at_k": _by_k(rows, pass_at_k), "pass_hat_k": _by_k(rows, pass_hat_k), "metrics": _metrics(rows)}
    if name == "next-action":
        further["trajectories"] = by_trajectory(rows)
    return {
        "n": len(rows),
        "n_unscored": len(rows) - len(scored),
        "first_unscored": next((_failure(r) for r in rows if r.score is None), None),
        "mean": None if estimate is None else estimate.mean,
        "low": None if estimate is None else estimate.low,
        "high": None if estimate is None else estimate.high,
        "mean_errors_as_zero": float(values.sum()) / len(rows),
        "do_nothing": DO_NOTHING.get(name),
        "status": dict(sorted(Counter(r.status for r in rows).items())),
        "turns_per_episode": None if not turns else sum(turns) / len(turns),
        "by_category": _by_category(rows),
    } | {key: value for key, value in further.items() if value}


def _failure(row: EvalResult) -> str:
    """In one line: other harnesses record whole tracebacks."""
    return f"{row.task_id}: {' '.join(str(row.error).split())[:300]}"


def _by_category(rows: list[EvalResult]) -> dict[str, dict[str, Any]]:
    scores: dict[str, list[float]] = {}
    for row in rows:
        if row.score is not None:
            scores.setdefault(row.category, []).append(row.score)
    return {name: {"n": len(s), "mean": float(np.mean(s))} for name, s in sorted(scores.items())}


def _by_k(rows: list[EvalResult], estimate: Callable[[int, int, int], float]) -> dict[str, dict[str, Any]]:
    """Means over tasks for k = 2, 4, 8, ... and the most trials of a task, where scores are 0 or 1; k = 1 is the mean.

    A task with fewer than k measured trials says nothing about k, so each k has its own number of tasks.
    """
    trials: dict[str, list[float]] = {}
    for row in rows:
        if row.score is not None:
            trials.setdefault(row.task_id, []).append(row.score)
    most = max(map(len, trials.values()), default=0)
    if most < 2 or any(score not in (0.0, 1.0) for scores in trials.values() for score in scores):
        return {}
    found: dict[str, dict[str, Any]] = {}
    for k in sorted({2**i for i in range(1, most.bit_length())} | {most}):
        tasks = [estimate(len(s), int(sum(s)), k) for s in trials.values() if len(s) >= k]
        found[str(k)] = {"n": len(tasks), "mean": float(np.mean(tasks))}
    return found


def _metrics(rows: list[EvalResult]) -> dict[str, dict[str, Any]]:
    found: dict[str, list[float]] = {}
    for row in rows:
        for name, value in json.loads(row.metrics).items():
            found.setdefault(name, []).append(value)
    return {name: {"n": len(values), "mean": float(np.mean(values))} for name, values in sorted(found.items())}


def failures(summary: dict[str, Any]) -> tuple[int, int, str]:
    """Rows, those without a score, and the first of these."""
    ones = [(name, one) for name, one in summary.items() if isinstance(one, dict) and "n_unscored" in one]
    first = next((f"{name} {one['first_unscored']}" for name, one in ones if one["n_unscored"]), "")
    return sum(one["n"] for _, one in ones), sum(one["n_unscored"] for _, one in ones), first


def describe(summary: dict[str, Any]) -> RenderableType:
    """The scores for a terminal."""
    from rich.table import Table as RichTable

    ones = {name: one for name, one in summary.items() if isinstance(one, dict) and "n_unscored" in one}
    table = RichTable(title="eval", title_justify="left", box=None, pad_edge=False)
    for column in ("benchmark", "n", "mean", "95 % interval", "turns", "status"):
        left = column in ("benchmark", "status")
        table.add_column(column, justify="left" if left else "right", no_wrap=not left, overflow="fold")
    for name, one in ones.items():
        table.add_row(*_headline(name, one))
        for what, n, mean in _parts(one):
            table.add_row(f"  {what}", n, mean)
    for what, n, more in cost_row(summary):
        table.add_row(what, n, "", "", "", more)
    return table


def _headline(name: str, one: dict[str, Any]) -> list[str]:
    status = ", ".join(f"{key} {n:,}" for key, n in one["status"].items())
    interval = "-" if one["mean"] is None else f"{one['low']:.3f}-{one['high']:.3f}"
    turns = "-" if one["turns_per_episode"] is None else f"{one['turns_per_episode']:.1f}"
    return [name, f"{one['n']:,}", _rate(one["mean"]), interval, turns, status]


def _parts(one: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Lines below a benchmark's own: name, number of rows or tasks, mean."""
    if one["n_unscored"]:
        yield f"{one['n_unscored']:,} errors as 0", f"{one['n']:,}", _rate(one["mean_errors_as_zero"])
    if one["do_nothing"] is not None:
        yield "an agent that does nothing", "", _rate(one["do_nothing"])
    for label, parts in (("", "by_category"), ("pass@", "pass_at_k"), ("pass^", "pass_hat_k"), ("", "metrics")):
        for name, part in one.get(parts, {}).items():
            yield f"{label}{name}", f"{part['n']:,}", _rate(part["mean"])
    if whole := one.get("trajectories"):
        n, unknown = f"{whole['n']:,}", f", {whole['n_unknown']:,} unknown" if whole["n_unknown"] else ""
        yield f"trajectories all right{unknown}", n, _rate(whole["success"])
        yield "right turns before an error", n, "-" if whole["prefix"] is None else f"{whole['prefix']:.2f}"
        yield "  as a share of the turns", n, _rate(whole["prefix_share"])


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
