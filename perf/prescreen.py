"""Prescreen: the pivots that it keeps and the rollouts that it saves, over policies, lambdas and shares.

    python perf/prescreen.py [--replays 200] [--level 0.93]

Each replay draws 16 rewards of every candidate. A true pivot has a rate of at least 1/64 and below lambda; recall is
that of the prescreen (and of the adaptive rule after it) over that of K = 16 on the same rewards. `rollouts` is their
share of K = 16's.

The policies are those of the study (`desk` ships with the package; study/bases/b and c) and desk at temperatures 0.6
and 1.4. To record them, for each policy:

    pivotrl desk -n 128 --seed 7 -o trajectories.jsonl
    pivotrl extract trajectories.jsonl -o candidates.parquet
    pivotrl profile candidates.parquet --model MODEL --temperature T -n 64 --max-new-tokens 64 --limit 480 --seed 7 \\
      --prescreen 0.5 --prescreen-audit 1 -o desk.parquet
    python perf/prescreen.py --record desk.parquet b.parquet ...
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pivotrl_cli.stages.profile.adaptive import AdaptiveRule, is_pivot

Floats = NDArray[np.float64]

RECORDED = Path(__file__).parent / "data" / "prescreen.parquet"
K = 16
LAMBDAS = (0.6, 0.9)
SHARES = (0.0, 0.2, 0.3, 0.4, 0.5, 0.6)
COLUMNS = (
    "policy",
    "lambda",
    "left out",
    "recall, K = 16 after it",
    "rollouts",
    "recall, adaptive after it",
    "rollouts",
)
TOLERANCE = 1 / 64


def record(profiles: Sequence[Path]) -> None:
    """Keep entropy and rewards of each candidate of each profile."""
    tables = [
        pl.read_parquet(path)
        .select(
            pl.lit(path.stem).alias("policy"),
            "entropy",
            pl.col("n_scored").alias("n"),
            (pl.col("reward_mean") * pl.col("n_scored")).round().cast(pl.Int64).alias("right"),
        )
        .drop_nulls("entropy")
        for path in profiles
    ]
    pl.concat(tables).write_parquet(RECORDED, compression="zstd")


def replay(table: pl.DataFrame, rng: np.random.Generator) -> Floats:
    """16 rewards [candidates, 16] of each candidate, without replacement."""
    n, right = table["n"].to_numpy(), table["right"].to_numpy()
    draws = [rng.permutation(np.arange(a) < b)[:K] for a, b in zip(n, right, strict=True)]
    return np.array(draws, dtype=np.float64)


def row(table: pl.DataFrame, max_mean: float, share: float, rule: AdaptiveRule, n_replays: int) -> str:
    """Recalls and rollouts of one share, means over the replays."""
    rates = (table["right"] / table["n"]).to_numpy()
    true = (rates >= TOLERANCE) & (rates < max_mean)
    kept = np.ones(len(table), dtype=bool)
    kept[np.argsort(table["entropy"].to_numpy(), kind="stable")[: int(share * len(table))]] = False
    figures = []
    for seed in range(n_replays):
        rewards = replay(table, np.random.default_rng(seed)).tolist()
        pivots = np.array([is_pivot(group, max_mean) for group in rewards])
        taken = [_stop(rule, group) for group in rewards]
        adaptive = np.array([is_pivot(group[:n], max_mean) for group, n in zip(rewards, taken, strict=True)])
        full = (pivots & true).sum()
        used = np.array(taken) * kept
        figures.append(((pivots & true & kept).sum() / full, (adaptive & true & kept).sum() / full, used.mean() / K))
    recall, adaptive_recall, rollouts = np.mean(figures, axis=0)
    cells = (f"{share:.0%}", f"{recall:.3f}", f"{kept.mean():.0%}", f"{adaptive_recall:.3f}", f"{rollouts:.0%}")
    return f"| {table['policy'][0]} | {max_mean} | {' | '.join(cells)} |"


def _stop(rule: AdaptiveRule, rewards: list[float]) -> int:
    n = 0
    while more := rule.more(rewards[:n]):
        n += more
    return n


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--replays", type=int, default=200)
    parser.add_argument("--level", type=float, default=0.93)
    parser.add_argument("--record", type=Path, nargs="+", metavar="PROFILE")
    options = parser.parse_args()
    if options.record:
        record(options.record)
        return
    print(f"| {' | '.join(COLUMNS)} |\n|{' --- |' * len(COLUMNS)}")
    for max_mean in LAMBDAS:
        rule = AdaptiveRule(max_mean, K, level=options.level)
        for (_,), table in pl.read_parquet(RECORDED).group_by("policy", maintain_order=True):
            for share in SHARES:
                print(row(table, max_mean, share, rule, options.replays), flush=True)


if __name__ == "__main__":
    main()
