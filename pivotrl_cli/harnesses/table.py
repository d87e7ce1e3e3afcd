"""What `harnesses.toml` may say of a harness."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    tasks: str = ".*"
    """Regular expression of the tasks that this is for."""

    def is_for(self, task: str) -> bool:
        return re.fullmatch(self.tasks, task) is not None


class Command(_Entry):
    """One command."""

    line: str
    """Template of the shell's line."""


class Requirement(_Entry):
    """Something that has to be there."""

    kind: Literal["program", "module", "docker", "hub", "variable", "option", "note"]
    name: str = ""
    hint: str = ""
    """How to get it; for a variable, what it is for."""
    options: list[str] = []
    """Options that have to be given."""
    when: str = ""
    """Condition as in the templates."""


class Refusal(BaseModel):
    """Options that a harness does not have."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    options: list[str]
    message: str
    hint: str


class Harness(BaseModel):
    """One harness."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    importer: str
    """Format of its results, for `import-eval`."""
    commands: list[Command]
    needs: list[Requirement]
    per_task: bool = False
    """Whether the commands are run for each task; else once for all."""
    calls_tools: bool = False
    """Whether the model must call tools, which a server has to parse."""
    resumes: bool = False
    """Whether it resumes what an earlier run left in its folder; else that would be imported twice."""
    package: str = ""
    """Package of tasks that are named without one, and not as a file."""
    subsets: list[str] = []
    """The tasks that it has; any other is a file. Empty where tasks are not files."""
    refuses: Refusal | None = None


_TABLE = tomllib.loads(Path(__file__).with_name("harnesses.toml").read_text())

HARNESSES: dict[str, Harness] = {name: Harness.model_validate(one) for name, one in _TABLE["harness"].items()}
SUITES: dict[str, list[str]] = _TABLE["suites"]
ALSO: dict[str, list[str]] = _TABLE["also"]
"""A suite's task -> the same task in other harnesses."""
