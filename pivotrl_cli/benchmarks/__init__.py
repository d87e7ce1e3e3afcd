"""Benchmarks: a name, a list of episodes, and whether they are in the domain that is trained on.

A benchmark is a function `(argument, split, limit) -> episodes`; the argument is what stands after the colon in
`pivots:holdout.parquet`. Episodes are made anew for every trial. A new benchmark is a new file here and a line in
`BENCHMARKS`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from pivotrl_cli.environments import Episode
from pivotrl_cli.errors import ConfigError
from pivotrl_cli.registry import load
from pivotrl_cli.verifiers import Judge

Benchmark = Callable[[str, str, int | None], Sequence[Episode]]
MakeEpisodes = Callable[[str, int | None], Sequence[Episode]]
"""A benchmark with its argument: split and limit to episodes."""

BENCHMARKS = {
    "desk": "pivotrl_cli.benchmarks.desk:episodes",
    "skills": "pivotrl_cli.benchmarks.skills:episodes",
    "pivots": "pivotrl_cli.benchmarks.pivots:episodes",
}

OUT_OF_DOMAIN = frozenset(
    ["skills", "ifbench", "aime25", "math-500", "livecodebench", "scicode", "mmlu-pro", "mmlu-prox", "wmt24pp"]
)
"""Benchmarks that measure what training elsewhere has done to a policy: ours, and the paper's (Table 2) by the names
that NeMo-Skills has for them."""


DO_NOTHING = {
    "desk": 0.0,
    "skills": 0.0,
    "tau2_airline": 23 / 50,
    "tau2_retail": 11 / 114,
    "tau2_telecom": 20 / 114,
}
"""Where known: the score, over all tasks, of an agent that refuses once and calls no tool. Of tau2's base split by its
final database; a judge of what was said can only lower it."""


def open_benchmark(spec: str, judge: Judge | None = None) -> tuple[str, MakeEpisodes]:
    """Name of the benchmark in `name` or `name:argument`, and how to make its episodes for a split and a limit.

    `judge` is for `pivots` alone, whose table names verifiers that may ask it.
    """
    name, _, argument = spec.partition(":") if spec.partition(":")[0] in BENCHMARKS else (spec, "", "")
    opened: Any = load("benchmark", name, BENCHMARKS)
    if name == "pivots" and not argument:
        raise ConfigError("benchmark pivots needs a table", "write pivots:profile.parquet")
    benchmark: Benchmark = partial(opened, judge=judge) if name == "pivots" else opened
    return name, lambda split, limit: benchmark(argument, split, limit)
