"""The study as data: bases, arms and settings, and the commands that each result needs.

    base, data seed ──> candidates ──> profiles ──> pivots of each kind ──> one model per arm ──> its evaluation

A job is one `pivotrl` command with one output. Its inputs are the outputs of other jobs, so what a result needs is
found by going back from it. A command sees by its provenance that its output is up to date.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

HERE = Path(__file__).parent
FRESH = 1_000
"""Added to the data seed where rollouts must differ from those that selected the turns."""


class Arm(BaseModel):
    """One way to train."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    table: Literal["candidates", "pivots", "random", "strict", "posterior", "adaptive"]
    """The table it trains on."""
    method: Literal["grpo", "sft", "e2e"]
    steps: int | None = None
    """Maximum number of optimizer steps. Tuning may choose half of them; an arm that is `like` another takes all."""
    grid: tuple[float, ...] = ()
    """Learning rates to choose from."""
    like: str | None = None
    """Arm whose learning rate it takes, and whose steps if it has none. It is trained on the first base alone."""
    copy_of: str | None = None
    """Arm of which it is the copy kept after `steps` steps: nothing is trained for it. It is scored on all bases."""
    flags: dict[str, str | int | float] = {}
    """Further options of `pivotrl train`."""


class Study(BaseModel):
    """The whole study, as `study.toml` holds it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seeds: int
    variant_seeds: int
    """Data seeds of what is measured on the first base alone: arms that are like another one, curves, rates."""
    tuning_seed: int
    min_turns: int
    """Minimum number of turns that the expert takes for a task."""
    trajectories: int
    tasks: int
    val_tasks: int
    k: int
    max_mean: float
    bases: dict[str, str]
    """Name -> model folder, or `desk`."""
    common: dict[str, str | int | float]
    arms: dict[str, Arm]

    @classmethod
    def read(cls, path: Path = HERE / "study.toml") -> Study:
        """From its file."""
        return cls.model_validate(tomllib.loads(path.read_text()))

    @property
    def first_base(self) -> str:
        """Where arms are tuned, and where curves and variants are measured."""
        return next(iter(self.bases))

    @property
    def desk(self) -> str:
        """The benchmark in domain."""
        return f"desk:{self.min_turns}"

    @property
    def tuned(self) -> list[str]:
        """The arms that are tuned."""
        return [name for name, arm in self.arms.items() if arm.like is None and arm.copy_of is None]

    @property
    def copies(self) -> list[str]:
        """The arms that are an earlier copy of another one."""
        return [name for name, arm in self.arms.items() if arm.copy_of is not None]

    @property
    def variants(self) -> list[str]:
        """The arms that are like another one."""
        return [name for name, arm in self.arms.items() if arm.like is not None]


@dataclass(frozen=True)
class Setting:
    """What tuning chooses for an arm."""

    learning_rate: float
    steps: int

    def of(self, arm: Arm) -> Setting:
        """The setting of an arm that is `like` the one it was chosen for, or a copy of it."""
        return Setting(self.learning_rate, arm.steps or self.steps) if arm.like or arm.copy_of else self


@dataclass(frozen=True)
class Job:
    """One command and the file or folder that it makes."""

    output: Path
    command: tuple[str, ...]
    needs: tuple[Job, ...] = ()


class Jobs:
    """The jobs of a study, in a folder."""

    def __init__(self, study: Study, folder: Path) -> None:
        self.study, self.folder = study, folder

    def place(self, base: str, seed: int) -> Path:
        """Folder of one base and one data seed."""
        return self.folder / base / str(seed)

    def table(self, name: str, base: str, seed: int) -> Job:
        """A table that an arm trains on."""
        place, k = self.place(base, seed), str(self.study.k)
        if name == "trajectories":
            size = ("-n", str(self.study.trajectories), "--min-turns", str(self.study.min_turns), "--seed", str(seed))
            return _job("desk", (), place / "trajectories.jsonl", size)
        if name == "candidates":
            return _job("extract", [self.table("trajectories", base, seed)], place / f"{name}.parquet", ())
        if name == "profile-strict":  # the same rollouts, scored again
            return _job(
                "score", [self.table("profile", base, seed)], place / f"{name}.parquet", ("--verifier", "exact")
            )
        if name in ("profile", "profile-adaptive"):
            how = self._adaptive() if name == "profile-adaptive" else ()
            options = ("--model", self.study.bases[base], "-n", k, "--max-new-tokens", self._longest(), *how)
            source = self.table("candidates", base, seed)
            return _job("profile", [source], place / f"{name}.parquet", (*options, "--seed", str(seed)))
        if name == "again":  # the selected turns, measured afresh
            return self.measured(
                self.table("pivots", base, seed), self.study.bases[base], place / f"{name}.parquet", seed
            )
        profile = f"profile-{name}" if name in ("strict", "adaptive") else "profile"
        how = {"random": ("--control", "random-tools"), "posterior": ("--rule", "posterior")}.get(name, ())
        options = ("--max-mean", str(self.study.max_mean), "--seed", str(seed), *how)
        return _job("filter", [self.table(profile, base, seed)], place / f"{name}.parquet", options)

    def measured(self, source: Job, model: Job | str, output: Path, seed: int) -> Job:
        """Pass rates of a table's turns by fresh rollouts of a model, twice as many as select."""
        folder, needs = (model, ()) if isinstance(model, str) else (str(model.output), (model,))
        options = ("--model", folder, "-n", str(2 * self.study.k), "--max-new-tokens", self._longest())
        job = _job("profile", [source], output, (*options, "--seed", str(seed + FRESH)))
        return replace(job, needs=(*job.needs, *needs))

    def _adaptive(self) -> tuple[str, ...]:
        return ("--adaptive", "--adaptive-max-mean", str(self.study.max_mean))

    def _longest(self) -> str:
        return str(self.study.common["max_new_tokens"])

    def model(self, arm: str, base: str, seed: int, setting: Setting, name: str | None = None) -> Job:
        """A trained model."""
        chosen = self.study.arms[arm]
        options: dict[str, Any] = {**self.study.common, **chosen.flags}
        options |= {"learning_rate": setting.learning_rate, "steps": setting.steps, "seed": seed}
        flags = [text for key, value in options.items() for text in (f"--{key.replace('_', '-')}", str(value))]
        source = self.table(chosen.table, base, seed)
        known = ("--model", self.study.bases[base], "--method", chosen.method)
        return _job("train", [source], self.place(base, seed) / (name or arm), (*known, *flags))

    def evaluation(self, model: Job | str, output: Path, split: Literal["test", "val"], step: int | None = None) -> Job:
        """Desk and skills of a base, of a trained model, or of the copy that it saved after a step."""
        needs = () if isinstance(model, str) else (model,)
        folder = Path(model) if isinstance(model, str) else model.output
        folder = folder / "steps" / f"{step:06d}" if step else folder
        n_tasks = self.study.tasks if split == "test" else self.study.val_tasks
        command = ("eval", self.study.desk, "skills", "--model", str(folder), "--split", split, "--limit", str(n_tasks))
        return Job(output, (*command, "--max-new-tokens", self._longest(), "-o", str(output)), needs)

    def scored(self, arm: str, base: str, seed: int, chosen: dict[str, Setting]) -> Job:
        """The test scores of a trained model, or of the copy that another arm saved during training."""
        output = self.place(base, seed) / f"eval-{arm}.parquet"
        kept = self.study.arms[arm].copy_of
        if kept is None:
            return self.evaluation(self.model(arm, base, seed, chosen[arm]), output, "test")
        whole = self.model(kept, base, seed, chosen[kept])
        steps = chosen[arm].steps
        return self.evaluation(whole, output, "test", None if steps == chosen[kept].steps else steps)


def _job(command: str, needs: list[Job] | tuple[()], output: Path, options: tuple[str, ...]) -> Job:
    return Job(output, (command, *(str(job.output) for job in needs), *options, "-o", str(output)), tuple(needs))
