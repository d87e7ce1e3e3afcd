"""Benchmarks: a name, a list of episodes, and whether they are in the domain that is trained on.

A benchmark is a function `setting -> episodes`, called once per trial. `benchmark:argument` on the command line
hands it an argument, as in `pivots:holdout.parquet`. A new benchmark is a new file here and a line in `BENCHMARKS`; a
user's own is named as `module:function`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from pivotrl_cli.environments import Episode, SimulatedUser
from pivotrl_cli.errors import ConfigError
from pivotrl_cli.registry import load
from pivotrl_cli.storage.provenance import source_fingerprint
from pivotrl_cli.verifiers import Judge

TAU = ("tau2_airline", "tau2_retail", "tau2_telecom")

BENCHMARKS = {
    "desk": "pivotrl_cli.benchmarks.desk:episodes",
    "skills": "pivotrl_cli.benchmarks.skills:episodes",
    "pivots": "pivotrl_cli.benchmarks.recorded_turns:pivots",
    "next-action": "pivotrl_cli.benchmarks.recorded_turns:next_action",
    "reasoning-gym": "pivotrl_cli.benchmarks.reasoning_gym:episodes",
} | {name: f"pivotrl_cli.benchmarks.tau2:{name.partition('_')[2]}" for name in TAU}

OUT_OF_DOMAIN = frozenset(
    [
        *("skills", "reasoning-gym"),
        *("ifbench", "aime25", "math-500", "livecodebench", "scicode", "mmlu-pro", "mmlu-prox", "wmt24pp"),
        *("livecodebench_v6_2408_2505", "mmlu_pro", "mmlu_prox"),
    ]
)
"""Benchmarks outside the trained domain, to measure forgetting: ours, and the paper's (Table 2) as NeMo-Skills and NeMo
Gym name them."""


DO_NOTHING = {
    "desk": 0.0,
    "skills": 0.0,
    "tau2_airline": 19 / 50,
    "tau2_retail": 7 / 114,
    "tau2_telecom": 0.0,
}
"""Where known: the score, over all tasks, of an agent that refuses once and calls no tool. For tau2: the base split of
inspect-evals 0.26, without the judge of the conversation, who can only lower it."""

PACKAGES = {"reasoning-gym": "reasoning-gym"} | dict.fromkeys(TAU, "inspect-evals")
"""Benchmark -> the package that its tasks come from."""

TABLES = frozenset(["pivots", "next-action"])
"""Benchmarks whose argument is a candidates, profile or pivots table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Arguments of a benchmark."""

    argument: str = ""
    """Text after the colon."""
    split: str = "test"
    """`test`, `val` or `all`."""
    limit: int | None = None
    """Maximum number of tasks."""
    trial: int = 0
    """Repetition, from 0; the tasks are the same in each."""
    seed: int = 0
    """Seed of the run, for worlds that sample."""
    judge: Judge | None = None
    """For verifiers that ask one."""
    user: SimulatedUser | None = None
    """For worlds with a user to talk to."""


Benchmark = Callable[[Setting], Sequence[Episode]]


@dataclass(frozen=True, slots=True)
class Opened:
    """A benchmark that was named on the command line."""

    name: str
    """In the table: `tau2_airline:test` is not `tau2_airline`, which is all of it."""
    argument: str
    make: Benchmark
    package: str | None = None
    """Package that its tasks come from."""

    def version(self) -> str | None:
        """Version of the tasks where another package or a user's module has them; ours are of this program's."""
        if self.package is not None:
            try:
                return f"{self.package} {version(self.package)}"
            except PackageNotFoundError:
                return None  # the benchmark's own error names the missing extra
        return None if self.name in BENCHMARKS else source_fingerprint(self.make)


def open_benchmark(spec: str) -> Opened:
    """The benchmark in `name` or `name:argument`."""
    name, _, argument = spec.partition(":") if spec.partition(":")[0] in BENCHMARKS else (spec, "", "")
    if name in TABLES and not argument:
        raise ConfigError(f"benchmark {name} needs a table", f"write {name}:candidates.parquet")
    shown = f"{name}:{argument}" if name in ("desk", *TAU) and argument else name
    return Opened(shown, argument, load("benchmark", name, BENCHMARKS), PACKAGES.get(name))


def require_split(name: str, setting: Setting) -> str:
    """The split of a benchmark that has `test` and `val` alone."""
    if setting.split == "all":
        raise ConfigError(f"benchmark {name} has the splits test and val", "leave out --split all")
    return setting.split
