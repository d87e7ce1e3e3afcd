"""Filter: CPU seconds and peak memory of `pivotrl filter` on a large profile, beside a naive polars script.

    python -m perf.filter [--rows 1000000] [--rollouts 8] [--folder FOLDER]

The profile is synthetic: trajectories of four turns with short states, eight rollouts at each, pass rates such that
some two thirds of the turns are without variance. `decision` is `--dry-run`, the funnel alone; `with copy` writes
the pivots too; the naive script reads the whole file, filters by mean and spread, and writes what is left, with no
check, provenance, reasons or ranks. Each runs in a process of its own, start-up included, on all cores.
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from perf.peak import cost_of_python
from pivotrl_cli.configs import ProfileConfig
from pivotrl_cli.rows import Message, Profile, ProfileStatus, Rollout, ToolCall
from pivotrl_cli.stats import mean_and_std, rate_interval
from pivotrl_cli.storage.arrow import rows_to_table
from pivotrl_cli.storage.provenance import Provenance
from pivotrl_cli.storage.table_writer import TableWriter

_TURNS = 4
_TEMPLATE_TRAJECTORIES = 4_096
"""Trajectories that are made row by row; the others repeat them under ids of their own."""
_TOOLS = ["look", "search", "book", "cancel", "refund", "add_credit", "log_case"]
_NAIVE = """
import sys, polars as pl
frame = pl.read_parquet(sys.argv[1])
frame.filter(pl.col("reward_std") > 0, pl.col("reward_mean") < 0.6).write_parquet(sys.argv[2], compression="zstd")
"""


def words(rng: random.Random, n: int) -> str:
    """Text that does not compress to nothing."""
    return " ".join(f"{rng.randrange(16**6):06x}"[: rng.randint(2, 6)] for _ in range(n))


def action(rng: random.Random) -> Message:
    """A message, or a call of one of the tools."""
    if rng.random() < 0.3:
        return Message(role="assistant", content=words(rng, 12))
    call = ToolCall(id=None, name=rng.choice(_TOOLS), arguments=f'{{"query": "{words(rng, 5)}"}}')
    return Message(role="assistant", tool_calls=[call])


def rollouts(rng: random.Random, n: int) -> list[Rollout]:
    """A group whose pass rate is 0, 1, or anything between."""
    rate = rng.choice([0.0, 0.0, 1.0, rng.random(), rng.betavariate(0.3, 0.6)])
    sampled = [action(rng) for _ in range(n)]
    return [
        Rollout(
            sample=i,
            text=act.content or act.tool_calls[0].arguments,
            action=act,
            reward=reward,
            verdict="match" if reward else "different",
            n_tokens=30,
            logprob=-rng.random(),
            finish_reason="stop",
            seed=rng.randrange(2**62),
        )
        for i, act in enumerate(sampled)
        for reward in [float(rng.random() < rate)]
    ]


def trajectory(rng: random.Random, number: int, n: int) -> Iterator[Profile]:
    """The profiled turns of one trajectory."""
    state = [
        Message(role="system", content="You are a service desk. " * 10),
        Message(role="user", content=words(rng, 30)),
    ]
    for turn in range(_TURNS):
        demonstrated, group = action(rng), rollouts(rng, n)
        rewards = [r.reward for r in group if r.reward is not None]
        mean, std = mean_and_std(rewards)
        low, high = rate_interval(mean or 0.0, n)
        yield Profile(
            candidate_id="",
            trajectory_id="",
            task_id=f"task-{number}",
            source=f"part-{number % 20}.jsonl",
            turn=turn,
            n_turns=_TURNS,
            domain=["airline", "retail", "telecom"][number % 3],
            verifier="tool_call",
            state=list(state),
            tools="[]",
            expected_action=demonstrated,
            outcome=1.0,
            split="holdout" if number % 10 == 0 else "train",
            provenance="{}",
            rollouts=group,
            n_scored=n,
            n_error=0,
            n_truncated=0,
            prompt_tokens=200,
            reward_mean=mean,
            reward_std=std,
            pass_rate_low=low,
            pass_rate_high=high,
            status=ProfileStatus.OK,
            status_detail="",
            template_fault="",
        )
        state += [demonstrated, Message(role="tool", content=words(rng, 15))]


def write_profile(path: Path, n_rows: int, n_rollouts: int) -> None:
    """The synthetic profile."""
    rng = random.Random(0)
    rows = [row for t in range(_TEMPLATE_TRAJECTORIES) for row in trajectory(rng, t, n_rollouts)]
    template = rows_to_table(Profile, rows)
    ids = np.random.default_rng(0)
    config = ProfileConfig.model_validate({"candidates": "candidates.parquet", "n": n_rollouts})
    with TableWriter(path, Profile, Provenance.of("profile", Profile, config, [])) as out:
        for first in range(0, n_rows, len(rows)):
            part = template.slice(0, min(len(rows), n_rows - first))
            names = [f"{x:016x}" for x in ids.integers(2**63, size=-(-len(part) // _TURNS))]
            trajectories = [names[i // _TURNS] for i in range(len(part))]
            part = with_text(part, "trajectory_id", trajectories)
            part = with_text(part, "candidate_id", [f"{t}-{i % _TURNS}" for i, t in enumerate(trajectories)])
            for start in range(0, len(part), 2048):
                out.write_table(part.slice(start, 2048))


def with_text(table: pa.Table, name: str, values: list[str]) -> pa.Table:
    """The table with another text column of that name."""
    i = table.schema.get_field_index(name)
    return table.set_column(i, table.schema.field(i), pa.array(values, pa.string()))


def measure(name: str, *arguments: str) -> None:
    """Print what Python with these arguments costs."""
    found = cost_of_python(*arguments)
    print(f"  {name:<28}{found.cpu:8.2f} CPU s{found.seconds:8.2f} s{found.mb:10,.0f} MB", flush=True)


def main() -> None:
    """Make the profile unless the folder has it, and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rollouts", type=int, default=8)
    parser.add_argument("--folder", type=Path, help="keep the profile here, and use the one that is there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        profile, pivots = (
            folder / f"profile-{options.rows}-{options.rollouts}.parquet",
            Path(temporary) / "pivots.parquet",
        )
        if not profile.exists():
            write_profile(profile, options.rows, options.rollouts)
        size = profile.stat().st_size / 1e6
        print(f"{options.rows:,} rows with {options.rollouts} rollouts, {size:,.0f} MB, {os.cpu_count()} cores")
        run = ["-m", "pivotrl_cli", "filter", str(profile)]
        written = [*run, "-o", str(pivots), "--force"]
        measure("decision", *run, "--dry-run")
        measure("decision, --rule posterior", *run, "--dry-run", "--rule", "posterior")
        measure("decision, all limits", *run, "--dry-run", *_ALL_LIMITS)
        measure("with copy, --limit 20000", *written, "--limit", "20000")
        measure("with copy", *written)
        measure("naive polars", "-c", _NAIVE, str(profile), str(pivots))


_ALL_LIMITS = [
    *("--rule", "signal", "--keep-all-zero", "0.1", "--where", "turn > 0", "--max-per-trajectory", "2"),
    *("--max-per-task", "100", "--max-message-ratio", "0.2", "--balance", "domain", "--limit", "50000"),
    *("--select", "stratified"),
]


if __name__ == "__main__":
    main()
