"""What the adapters share: the job, the commands that do it, and what these need."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

NO_SERVER = "SERVER_URL"
"""Stands in commands for an address that was not given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One harness's share of a run."""

    harness: str
    """Its name here."""
    tasks: tuple[str, ...]
    """By the harness's names."""
    output: Path
    """Folder of its results, absolute."""
    model: str
    """By the server's name; a folder where there is no server."""
    url: str | None = None
    """Address up to and including `/v1`."""
    key_variable: str = "OPENAI_API_KEY"
    user_model: str | None = None
    user_url: str | None = None
    judge_model: str | None = None
    judge_url: str | None = None
    registry_model: str | None = None
    """The model's name in the harness's own registry."""
    tokenizer: Path | None = None
    environment: Path | None = None
    """The harness's virtual environment; PATH where there is none."""
    limit: int | None = None
    trials: int = 1
    seed: int = 0
    temperature: float = 0.0
    max_new_tokens: int | None = None
    concurrency: int = 8
    words: tuple[str, ...] = ()
    """Further words of its command line."""

    def program(self, name: str) -> str:
        """Path of a program of the harness; its bare name where it is not there."""
        return self.found(name) or name

    def found(self, name: str) -> str | None:
        """Path of a program in the harness's environment, else on PATH."""
        folder = None if self.environment is None else str(self.environment / "bin")
        return shutil.which(name, path=folder)

    def server(self) -> str:
        """The server's address, for harnesses that talk to a server alone; a word in its place where there is none."""
        return (self.url or NO_SERVER).rstrip("/")

    def key(self) -> str:
        """The shell's word for the model server's key, which never stands in a plan."""
        return f"${self.key_variable}"


@dataclass(frozen=True, slots=True)
class Step:
    """One command. A value `$NAME` of the environment is what NAME has when the command runs, or `none`."""

    words: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    folder: Path | None = None
    """Where it runs."""

    def __str__(self) -> str:
        """As one would type it."""
        line = " ".join([*(f"{k}={_quoted(v)}" for k, v in self.environment.items()), *map(shlex.quote, self.words)])
        return line if self.folder is None else f"cd {shlex.quote(str(self.folder))} && {line}"

    def variables(self) -> dict[str, str]:
        """The environment of the process."""
        own = {k: os.environ.get(v[1:], "none") if v[:1] == "$" else v for k, v in self.environment.items()}
        return os.environ | own


def _quoted(value: str) -> str:
    return f'"{value}"' if value[:1] == "$" else shlex.quote(value)


@dataclass(frozen=True, slots=True)
class Need:
    """Something that has to be there: `Need("docker", False, "start Docker")`."""

    what: str
    there: bool | None
    """None where it cannot be told from here."""
    hint: str = ""


def program(job: Job, name: str, package: str) -> Need:
    """A program of the harness."""
    found = job.found(name)
    what = f"program {name}" + (f" ({found})" if found else "")
    return Need(what, found is not None, _install(job, package))


def module(job: Job, name: str, package: str) -> Need:
    """A package that its Python can import."""
    python = job.found("python")
    look = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({name!r}) is None)"
    tried = subprocess.run([python, "-c", look], capture_output=True, check=False) if python else None
    return Need(f"package {name}", tried is not None and tried.returncode == 0, _install(job, package))


def _install(job: Job, package: str) -> str:
    return f"{package}, in an environment of its own that --env {job.harness}=FOLDER names"


def docker() -> Need:
    """The client, and its socket."""
    there = shutil.which("docker") is not None and (
        Path("/var/run/docker.sock").exists() or "DOCKER_HOST" in os.environ
    )
    return Need("Docker", there, "the tasks run in containers: install Docker, or work on a machine that has it")


def hub(what: str) -> Need:
    """Data sets that come from the hub, which are there or not when the harness asks."""
    return Need(
        f"data from the Hugging Face hub ({what})", None, "or a warm HF_HOME; HF_HUB_OFFLINE=1 stays off the net"
    )


def variable(name: str, purpose: str) -> Need:
    """An environment variable."""
    return Need(f"variable {name} ({purpose})", bool(os.environ.get(name)), f"export {name}=...")


def given(what: str, value: object, option: str) -> Need:
    """Something that an option names."""
    return Need(what, value is not None, f"add {option}")
