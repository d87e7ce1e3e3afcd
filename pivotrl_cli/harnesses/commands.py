"""One harness's share of a run, and its commands: templates of `harnesses.toml` with the job's values filled in."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pivotrl_cli.configs import HarnessConfig
from pivotrl_cli.errors import ConfigError
from pivotrl_cli.harnesses.table import Harness
from pivotrl_cli.model.folder import local_folder

NO_SERVER = "SERVER_URL"
"""Stands in commands for an address that was not given."""

_OPTIONAL = re.compile(r"\[(?:([\w !-]+)\? )?([^\[\]]*)\]")
_PLACEHOLDER = re.compile(r"\{(\w+)")
_ASSIGNMENT = re.compile(r"([A-Z_]\w*)=(.*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One harness's share of a run."""

    harness: str
    tasks: tuple[str, ...]
    """By the harness's names."""
    config: HarnessConfig
    environment: Path | None
    """The harness's virtual environment; PATH where there is none."""
    args: tuple[str, ...]
    """Further words of its command line."""

    @property
    def output(self) -> Path:
        """Folder of its results, absolute."""
        return (self.config.output / self.harness).resolve()

    @property
    def url(self) -> str | None:
        """Address of the model's server, up to and including `/v1`."""
        if self.config.serve:
            return f"http://127.0.0.1:{self.config.serve_port}/v1"
        return self.config.endpoint.rstrip("/") if self.config.endpoint else None

    def program_path(self, name: str) -> str | None:
        """A program in the harness's environment, else on PATH; None where it is not there."""
        folder = None if self.environment is None else str(self.environment / "bin")
        return shutil.which(name, path=folder)


@dataclass(frozen=True, slots=True)
class Step:
    """One command. A value `$NAME` of the environment is what NAME has when the command runs, or `none`."""

    words: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    folder: Path | None = None
    """Where it runs."""

    def __str__(self) -> str:
        """As one would type it."""
        line = " ".join([*(f"{k}={_quote(v)}" for k, v in self.environment.items()), *map(shlex.quote, self.words)])
        return line if self.folder is None else f"cd {shlex.quote(str(self.folder))} && {line}"

    def variables(self) -> dict[str, str]:
        own = {k: os.environ.get(v[1:], "none") if v[:1] == "$" else v for k, v in self.environment.items()}
        return os.environ | own


def _quote(value: str) -> str:
    return f'"{value}"' if value[:1] == "$" else shlex.quote(value)


def steps_of(harness: Harness, job: Job) -> list[Step]:
    """The commands, in order; raises `ConfigError` where the harness cannot do what the job asks."""
    _refuse(harness, job)
    steps = []
    for task in job.tasks if harness.per_task else [""]:
        values = job_values(job, harness, task)
        steps += [_step(command.line, values, job) for command in harness.commands if command.is_for(task)]
    return steps


def _refuse(harness: Harness, job: Job) -> None:
    refusal, defaults = harness.refuses, HarnessConfig.model_fields
    if refusal and any(getattr(job.config, option) != defaults[option].default for option in refusal.options):
        raise ConfigError(refusal.message, refusal.hint)
    for task in job.tasks if harness.subsets else ():
        if task not in harness.subsets and not Path(task).is_file():
            raise ConfigError(
                f"{job.harness}:{task} is neither a subset nor a file",
                f"known: {', '.join(harness.subsets)}, or a file of predictions",
            )


def job_values(job: Job, harness: Harness, task: str = "") -> dict[str, Any]:
    """What stands for the names in a template: the options and what follows from them, of one task where named."""
    config = job.config
    simulations = Path(os.environ.get("TAU2_DATA_DIR", ".")).resolve() / "simulations"
    return config.model_dump() | {
        "output": job.output,
        "model": config.model if job.url else local_folder(config.model),
        "url": job.url,
        "server": job.url or NO_SERVER,
        "key": f"${config.endpoint_key_variable}",  # the shell's word: the key itself never stands in a plan
        "tokenizer": config.tokenizer and config.tokenizer.resolve(),
        "is_sampled": config.temperature > 0.0,
        "args": job.args,
        "tasks": tuple(_with_package(harness.package, name) for name in job.tasks),
        "task_list": ",".join(job.tasks),
        "trial_list": ",".join(name if config.trials == 1 else f"{name}:{config.trials}" for name in job.tasks),
        "task": task,
        "task_file": Path(task).resolve(),
        "task_name": Path(task).stem,
        "task_file_name": task.removesuffix("/config").replace("/", "_"),
        "tau2_simulation": os.path.relpath(job.output / task, simulations),
    }


def _with_package(package: str, task: str) -> str:
    return f"{package}/{task}" if package and "/" not in task and not task.endswith(".py") else task


def holds(condition: str, values: Mapping[str, Any]) -> bool:
    """Whether all names of a condition are there, or not there where they begin with `!`."""
    return all(_is_there(name.lstrip("!"), values) != name.startswith("!") for name in condition.split())


def _is_there(name: str, values: Mapping[str, Any]) -> bool:
    return name in values["args"] if name.startswith("-") else values[name] is not None


def _step(template: str, values: Mapping[str, Any], job: Job) -> Step:
    """A template as a command: optional parts first, then words, then values, so that no value is ever split."""
    line = _OPTIONAL.sub(lambda part: _part(part[1], part[2], values), template)
    words = [word for each in shlex.split(line) for word in _fill(each, values)]
    folder = None
    if words[0] == "cd":
        folder, words = Path(words[1]), words[3:]
    environment = {}
    while assignment := _ASSIGNMENT.fullmatch(words[0]):
        environment[assignment[1]] = assignment[2]
        words = words[1:]
    return Step([job.program_path(words[0]) or words[0], *words[1:]], environment, folder)


def _part(condition: str | None, text: str, values: Mapping[str, Any]) -> str:
    return text if holds(condition or " ".join(_PLACEHOLDER.findall(text)), values) else ""


def _fill(word: str, values: Mapping[str, Any]) -> tuple[str, ...]:
    """The word with its values; several words where it is a name of several."""
    value = values.get(word.strip("{}"))
    return value if isinstance(value, tuple) else (word.format_map(values),)
