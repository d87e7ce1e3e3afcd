"""Adaptive profiling against fixed K: rollouts used, and the pivots found with them.

    python perf/adaptive.py [--replays 200] [--tolerance 0.015625] [--levels 0.85,0.88,0.95] [--rounds 4,2]

Each replay draws 16 rewards of every candidate; a fixed K takes the first K of them, the adaptive rule as many as it
asks for. A true pivot has a rate of at least `--tolerance` and below lambda. The worlds:

- `desk`, `desk partial`: 480 candidates of the embedded desk with some 256 recorded rewards each, right or wrong and
  with partial credit (`partial_credit`); drawn without replacement, and the mean of all is the true rate.
- mixtures of Betas, 1,000 fresh candidates for each replay, fitted to what is published: 71 % of turns without variance
  (the K is not; taken as 16) or 55 % at K = 8; of those with a mean of 0.6 or less at K = 16, 44.7 % all wrong and a
  mean of 0.163. Two kinds, since the facts do not tell them apart: `masses` has rates of exactly 0 and 1 beside one
  Beta, `smooth` has two Betas.

Columns: rollouts and rounds per candidate; recall of the true pivots, and over that of K = 16 on the same rewards; the
mean of the kept as `seen`, its posterior expectation (Jeffreys), and its `true` value. Errors are those of the replays;
the desk's candidates are the same in all of them.

The rewards were recorded with the policy whose weights have a sha256 of 06a516be6320...

    pivotrl desk -n 128 --seed 7 -o trajectories.jsonl
    pivotrl extract trajectories.jsonl -o candidates.parquet
    pivotrl profile candidates.parquet -n 256 --max-new-tokens 64 --limit 480 --seed 7 -o right.parquet
    pivotrl score right.parquet --verifier perf/adaptive.py:partial_credit -o partial.parquet
    python perf/adaptive.py --record right.parquet partial.parquet
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.stats import betabinom

from pivotrl_cli.rows import Candidate, Message
from pivotrl_cli.stages.profile.adaptive import AdaptiveRule, is_pivot
from pivotrl_cli.verifiers import Verdict
from pivotrl_cli.verifiers.tool_call import verify

Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator], tuple[Floats, Floats]]
"""Draws a replay: true rates [candidates] and rewards [candidates, K]."""

RECORDED = Path(__file__).parent / "data" / "desk_rewards.parquet"
K = 16
LAMBDAS = (0.6, 0.9)
COLUMNS = (
    *("world", "lambda", "profile", "rollouts", "of K = 16", "rounds", "recall", "of K = 16's", "precision"),
    *("seen", "expected", "true"),
)


# ---- the desk's rewards -------------------------------------------------------------------------------------------


def partial_credit(candidate: Candidate, action: Message) -> Verdict:
    """What `tool_call` says, but the right tool with other arguments earns half, and a share for those that agree."""
    verdict = verify(candidate, action)
    expected = candidate.expected_action.tool_calls
    if verdict.reward == 1.0 or len(expected) != 1 or len(action.tool_calls) != 1:
        return verdict
    want, got = expected[0], action.tool_calls[0]
    try:
        wanted, given = json.loads(want.arguments), json.loads(got.arguments)
    except ValueError:
        return verdict
    if want.name != got.name or not isinstance(given, dict):
        return verdict
    agree = sum(key in given and given[key] == value for key, value in wanted.items())
    return Verdict(0.5 + 0.5 * agree / max(len(wanted.keys() | given.keys()), 1), verdict.category, verdict.detail)


def record(profiles: Sequence[Path]) -> None:
    """Keep the rewards of each profile as counts by value; rollouts without a reward are dropped."""
    tables = [
        pl.scan_parquet(path)
        .select("candidate_id", pl.col("rollouts").list.eval(pl.element().struct.field("reward")).alias("reward"))
        .explode("reward")
        .drop_nulls()
        .group_by("candidate_id", "reward")
        .len("count")
        .sort("candidate_id", "reward")
        .group_by("candidate_id", maintain_order=True)
        .agg("reward", "count")
        .drop("candidate_id")
        .with_columns(pl.lit(name).alias("world"))
        .collect()
        for name, path in zip(("desk", "desk partial"), profiles, strict=True)
    ]
    pl.concat(tables).write_parquet(RECORDED, compression="zstd")


def recorded(world: str, most: int = K) -> Draw:
    """Replays of one profile's rewards without replacement."""
    table = pl.read_parquet(RECORDED).filter(pl.col("world") == world)
    rewards = [np.repeat(row["reward"], row["count"]) for row in table.iter_rows(named=True)]
    size = max(map(len, rewards))
    padded = np.stack([np.pad(values, (0, size - len(values)), constant_values=np.nan) for values in rewards])
    rates = np.nanmean(padded, axis=1)

    def draw(rng: np.random.Generator) -> tuple[Floats, Floats]:
        keys = np.where(np.isnan(padded), 2.0, rng.random(padded.shape))
        return rates, np.take_along_axis(padded, np.argsort(keys, axis=1)[:, :most], axis=1)

    return draw


# ---- mixtures -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Mixture:
    """Rates: masses at 0 and 1, and Betas as (weight, a, b)."""

    zero: float
    one: float
    betas: tuple[tuple[float, float, float], ...]

    def pmf(self, k: int) -> Floats:
        """Probabilities of 0 to k successes in k trials."""
        found = np.zeros(k + 1)
        found[0], found[-1] = self.zero, self.one
        for weight, a, b in self.betas:
            found += weight * betabinom.pmf(np.arange(k + 1), k, a, b)
        return found

    def draw(self, rng: np.random.Generator, size: int = 1000) -> tuple[Floats, Floats]:
        """Fresh candidates and their rewards."""
        weights = np.array([self.zero, self.one, *(weight for weight, _, _ in self.betas)])
        kind = rng.choice(len(weights), size=size, p=weights / weights.sum())
        draws = [np.zeros(size), np.ones(size), *(rng.beta(a, b, size) for _, a, b in self.betas)]
        rates = np.choose(kind, draws)
        return rates, (rng.random((size, K)) < rates[:, None]).astype(np.float64)

    def __str__(self) -> str:
        masses = [f"{w:.3f} at {at}" for w, at in ((self.zero, 0), (self.one, 1)) if w]
        return " + ".join([*masses, *(f"{w:.3f} Beta({a:.3f}, {b:.3f})" for w, a, b in self.betas)])


def masses(x: Floats) -> Mixture:
    """Two masses and a Beta, of four free parameters."""
    weights = np.exp([x[0], x[1], 0.0]) / np.exp([x[0], x[1], 0.0]).sum()
    return Mixture(weights[0], weights[1], ((weights[2], *np.exp(x[2:])),))


def smooth(x: Floats) -> Mixture:
    """Two Betas, of five free parameters."""
    weight = 1.0 / (1.0 + np.exp(-x[0]))
    a, b, c, d = np.exp(x[1:])
    return Mixture(0.0, 0.0, ((weight, a, b), (1.0 - weight, c, d)))


STARTS: dict[Callable[[Floats], Mixture], list[float]] = {
    masses: [-1.0, 0.0, 0.0, 0.0],
    smooth: [0.0, -1.0, 0.7, 1.0, -1.0],
}
ALL_WRONG, HARD_MEAN = 0.447, 0.163


def facts(mixture: Mixture, k: int) -> Floats:
    """Share without variance at k; all wrong, and mean, of those whose mean at K = 16 is 0.6 or less."""
    pmf, at_k = mixture.pmf(K), mixture.pmf(k)
    means = np.arange(K + 1) / K
    hard = pmf[means <= 0.6]
    return np.array([at_k[0] + at_k[-1], hard[0] / hard.sum(), hard @ means[means <= 0.6] / hard.sum()])


def fitted(kind: Callable[[Floats], Mixture], no_variance: float, k: int) -> tuple[Mixture, Floats]:
    """The mixture that has the facts, of the many nearest to `STARTS`; and how far off it is."""
    target, start = np.array([no_variance, ALL_WRONG, HARD_MEAN]), np.array(STARTS[kind])

    def residuals(x: Floats) -> Floats:
        return np.concatenate([facts(kind(x), k) - target, 1e-3 * (x - start)])

    mixture = kind(least_squares(residuals, start).x)
    return mixture, facts(mixture, k) - target


def worlds() -> Iterator[tuple[str, Draw]]:
    """Every world, described on the way."""
    for name in ("desk", "desk partial"):
        yield name, recorded(name)
    for no_variance, k in ((0.71, 16), (0.55, 8)):
        for kind in (masses, smooth):
            mixture, residual = fitted(kind, no_variance, k)
            name = f"{no_variance:.0%} {kind.__name__}"
            print(f"{name}: {mixture}; residuals {np.array2string(residual, precision=4, suppress_small=True)}")
            yield name, mixture.draw


# ---- replays ------------------------------------------------------------------------------------------------------


def taken(rule: AdaptiveRule, rewards: list[float]) -> tuple[int, int]:
    """Rollouts that the rule asks for, and in how many rounds."""
    n = rounds = 0
    while more := rule.more(rewards[:n]):
        n, rounds = n + more, rounds + 1
    return n, rounds


def measure(
    stop: Callable[[list[float]], tuple[int, int]], rates: Floats, rewards: Floats, max_mean: float, tolerance: float
) -> Floats:
    """One replay: rollouts, rounds, recall, precision; mean seen of the kept, its expectation, its true value."""
    groups = rewards.tolist()
    stops = [stop(group) for group in groups]
    seen = [group[:n] for group, (n, _) in zip(groups, stops, strict=True)]
    kept = np.array([is_pivot(group, max_mean) for group in seen])
    true = (rates >= tolerance) & (rates > 0) & (rates < max_mean)
    sums, sizes = np.array([sum(group) for group in seen]), np.array([len(group) for group in seen])
    means, expected = sums / sizes, (sums + 0.5) / (sizes + 1)
    found = (kept & true).sum()
    of_kept = [values[kept].mean() for values in (means, expected, rates)]
    return np.array([*np.mean(stops, axis=0), found / true.sum(), found / kept.sum(), *of_kept])


def fixed_strategy(k: int) -> Callable[[list[float]], tuple[int, int]]:
    """The stop of a fixed K."""
    return lambda _: (k, 1)


def compared(drawn: list[tuple[Floats, Floats]], rules: list[AdaptiveRule], tolerance: float) -> dict[str, Floats]:
    """Replays [replays, figures] by each rule, by K = 16 and 8, and by the fixed K nearest to each rule's rollouts."""
    max_mean = rules[0].max_mean

    def over(stop: Callable[[list[float]], tuple[int, int]]) -> Floats:
        return np.array([measure(stop, rates, rewards, max_mean, tolerance) for rates, rewards in drawn])

    ways = {f"K = {K}": over(fixed_strategy(K)), f"K = {K // 2}": over(fixed_strategy(K // 2))}
    for rule in rules:
        found = over(partial(taken, rule))
        equal = max(2, round(found[:, 0].mean()))
        ways |= {f"level {rule.level:g}": found, f"K = {equal}": over(fixed_strategy(equal))}
    return ways


def lines(world: str, max_mean: float, ways: dict[str, Floats]) -> Iterator[str]:
    """One line per way of profiling: means over the replays, after ± their standard errors."""
    full = ways[f"K = {K}"]
    for name, found in ways.items():
        ratio, error = found[:, 2] / full[:, 2], len(found) ** -0.5
        n, rounds, recall, precision, seen, expected, true = found.mean(axis=0)
        yield (
            f"| {world} | {max_mean} | {name} | {n:.1f} | {n / K:.0%} | {rounds:.1f} | {recall:.3f} "
            f"| {ratio.mean():.3f} ± {ratio.std() * error:.3f} | {precision:.3f} ± {found[:, 3].std() * error:.3f} "
            f"| {seen:.3f} | {expected:.3f} | {true:.3f} |"
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--replays", type=int, default=200)
    parser.add_argument("--tolerance", type=float, default=1 / 64)
    parser.add_argument("--levels", default="0.85,0.88,0.95")
    parser.add_argument("--rounds", default="4,2", help="first round, and those after it")
    parser.add_argument("--record", type=Path, nargs=2, metavar="PROFILE")
    options = parser.parse_args()
    if options.record:
        record(options.record)
        return
    levels = [float(level) for level in options.levels.split(",")]
    first, size = map(int, options.rounds.split(","))
    named = list(worlds())
    print(f"\n| {' | '.join(COLUMNS)} |\n|{' --- |' * len(COLUMNS)}")
    for max_mean in LAMBDAS:
        for name, draw in named:
            drawn = [draw(np.random.default_rng(seed)) for seed in range(options.replays)]
            rules = [AdaptiveRule(max_mean, K, first, size, level) for level in levels]
            print(*lines(name, max_mean, compared(drawn, rules, options.tolerance)), sep="\n", flush=True)


if __name__ == "__main__":
    main()
