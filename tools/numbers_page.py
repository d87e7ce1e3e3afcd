"""The numbers of docs/numbers.md, computed by the functions that the program uses; `cog` calls these."""

from __future__ import annotations

import numpy as np

from pivotrl_cli.stats import (
    Beta,
    Floats,
    clustered_mean,
    fit_beta,
    paired_difference,
    pass_at_k,
    pass_hat_k,
    rate_interval,
)

GROUPS = (4, 8, 16, 32)
WORLD = Beta(0.4, 0.4)
"""True pass rates of the simulated candidates: most turns are nearly always right or nearly always wrong."""
TURNS = 200_000


def intervals() -> str:
    """95 % intervals of a pass rate, by rollouts and successes."""
    rows = [(n, s) for n in GROUPS for s in (0, 1, n // 2, n)]
    cells = [(f"{s} of {n}", *rate_interval(s / n, n)) for n, s in rows]
    return _table(["right", "95 % interval"], [[name, f"{low:.3f} to {high:.3f}"] for name, low, high in cells])


def hidden() -> str:
    """How often a turn that is sometimes right is never right in a group."""
    rates = (0.02, 0.05, 0.08, 0.12, 0.25, 0.5)
    rows = [[f"{p:.2f}", *(f"{100 * (1 - p) ** n:.0f} %" for n in GROUPS)] for p in rates]
    half = ["rate at which it is even odds", *(f"{1 - 0.5 ** (1 / n):.3f}" for n in GROUPS)]
    return _table(["true pass rate", *(f"K = {n}" for n in GROUPS)], [*rows, half])


def selected() -> str:
    """What the mean of the kept says, and what is true, when turns are kept for a low noisy mean."""
    rows = []
    for n in GROUPS:
        rng = np.random.default_rng(n)
        rates = rng.beta(WORLD.a, WORLD.b, TURNS)
        means = rng.binomial(n, rates) / n
        kept = (means > 0) & (means < 0.6)
        seen, prior = means[kept], _fitted(means, n)
        again = rng.binomial(n, rates[kept]) / n
        expected = prior.posterior(seen, np.full(len(seen), float(n))).mean
        rows.append(
            [
                f"{n}",
                f"{kept.sum():,}",
                f"{seen.mean():.3f}",
                f"{rates[kept].mean():.3f}",
                f"{expected.mean():.3f}",
                f"{100 * (((again > 0) & (again < 1)).mean()):.0f} %",
            ]
        )
    return _table(["K", "kept", "mean as profiled", "true mean", "posterior expectation", "mixed again"], rows)


def shrunk() -> str:
    """Single turns: the raw mean, and what is to be expected given all the other turns."""
    rng = np.random.default_rng(0)
    means = rng.binomial(8, rng.beta(WORLD.a, WORLD.b, TURNS)) / 8
    prior, some = _fitted(means, 8), np.array([0, 1, 4, 7, 8]) / 8
    found = prior.posterior(some, np.full(len(some), 8.0)).mean
    rows = [[f"{round(8 * m)} of 8", f"{m:.3f}", f"{e:.3f}"] for m, e in zip(some, found, strict=True)]
    return _table(["right", "mean", "expected"], rows)


def coverage() -> str:
    """How often an interval of 100 rows holds the truth, with and without clusters."""
    rows = []
    for trials in (1, 4, 10):
        rng = np.random.default_rng(trials)
        plain = clustered = 0
        draws = 2_000
        for _ in range(draws):
            rates = rng.beta(1.0, 1.0, 100 // trials)
            scores = (rng.random((100 // trials, trials)) < rates[:, None]).astype(np.float64)
            tasks = [str(task) for task in range(100 // trials) for _ in range(trials)]
            plain += _holds(*rate_interval(float(scores.mean()), scores.size))
            estimate = clustered_mean(scores.ravel(), tasks)
            clustered += _holds(estimate.low, estimate.high)
        rows.append(
            [f"{100 // trials} tasks x {trials}", f"{100 * plain / draws:.1f} %", f"{100 * clustered / draws:.1f} %"]
        )
    return _table(["rows", "every row for itself", "by task"], rows)


def paired() -> str:
    """One comparison of 200 tasks, read in two ways."""
    first, second = _two_models()
    tasks = [str(task) for task in range(len(first))]
    a, b = clustered_mean(first, tasks), clustered_mean(second, tasks)
    found = paired_difference(first, second, tasks, 10000, 0)
    rows = [
        ["base", f"{100 * a.mean:.1f}", f"{100 * a.low:.1f} to {100 * a.high:.1f}"],
        ["tuned", f"{100 * b.mean:.1f}", f"{100 * b.low:.1f} to {100 * b.high:.1f}"],
        [
            f"paired difference, {found.wins} won, {found.losses} lost, p = {found.p:.3f}",
            f"{100 * found.mean:+.1f}",
            f"{100 * found.low:+.1f} to {100 * found.high:+.1f}",
        ],
    ]
    return _table(["200 tasks", "mean", "95 % interval"], rows)


def tries() -> str:
    """pass@k and pass^k from 8 trials of one task."""
    rows = [
        [f"{c} of 8", *(f"{pass_at_k(8, c, k):.2f}, {pass_hat_k(8, c, k):.2f}" for k in (1, 2, 4, 8))]
        for c in (1, 4, 6, 8)
    ]
    return _table(["right", *(f"k = {k}: pass@k, pass^k" for k in (1, 2, 4, 8))], rows)


def conventions() -> str:
    """One evaluation in which not everything could be measured."""
    right, wrong, errors = 60, 30, 10
    left_out, as_zero = right / (right + wrong), right / (right + wrong + errors)
    best = (right + errors) / (right + wrong + errors)
    return _table(
        ["100 rows: 60 right, 30 wrong, 10 errors", "mean"],
        [
            ["errors left out (what every table of ours shows)", f"{100 * left_out:.1f}"],
            ["errors as 0 (shown beside it)", f"{100 * as_zero:.1f}"],
            ["what the truth can be at most, had they all been right", f"{100 * best:.1f}"],
        ],
    )


def _fitted(means: Floats, n: int) -> Beta:
    values, counts = np.unique(means, return_counts=True)
    return fit_beta(values, np.full(len(values), float(n)), counts.astype(np.float64))


def _holds(low: float, high: float) -> bool:
    return low <= 0.5 <= high


def _two_models() -> tuple[Floats, Floats]:
    """Scores of two models on 200 tasks: the first has half of them right, the second wins 16 and loses 4."""
    first = np.repeat([1.0, 0.0], 100)
    second = first.copy()
    second[:4], second[100:116] = 0.0, 1.0
    return first, second


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
