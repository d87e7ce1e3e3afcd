"""What a harness needs, and whether that is there."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from pivotrl_cli.harnesses.commands import Job, holds, job_values
from pivotrl_cli.harnesses.table import Harness, Requirement


@dataclass(frozen=True, slots=True)
class Need:
    """Something that has to be there: `Need("Docker", False, "start Docker")`."""

    what: str
    there: bool | None
    """None where it cannot be told from here."""
    hint: str = ""


def needs_of(harness: Harness, job: Job) -> list[Need]:
    values = job_values(job, harness)
    wanted = [one for one in harness.needs if holds(one.when, values) and any(map(one.is_for, job.tasks))]
    return [_check(one, job) for one in wanted]


def _check(wanted: Requirement, job: Job) -> Need:
    name, hint = wanted.name, wanted.hint
    match wanted.kind:
        case "program":
            path = job.program_path(name)
            return Need(f"program {name}" + (f" ({path})" if path else ""), path is not None, _install(job, hint))
        case "module":
            return Need(f"package {name}", _can_import(job, name), _install(job, hint))
        case "docker":
            hint = "the tasks run in containers: install Docker, or work on a machine that has it"
            return Need("Docker", _has_docker(), hint)
        case "hub":
            hint = "or a warm HF_HOME; HF_HUB_OFFLINE=1 stays off the net"
            return Need(f"data from the Hugging Face hub ({name})", None, hint)
        case "variable":
            return Need(f"variable {name} ({hint})", bool(os.environ.get(name)), f"export {name}=...")
        case "option":
            there = all(getattr(job.config, option) is not None for option in wanted.options)
            return Need(name, there, f"add {hint}")
        case "note":
            return Need(name, None, hint)


def _install(job: Job, package: str) -> str:
    return f"{package}, in an environment of its own that --env {job.harness}=FOLDER names"


def _can_import(job: Job, module: str) -> bool:
    """Whether the Python of the harness's environment finds a module."""
    python = job.program_path("python")
    look = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"
    return python is not None and subprocess.run([python, "-c", look], capture_output=True, check=False).returncode == 0


def _has_docker() -> bool:
    """The client, and its socket."""
    socket = Path("/var/run/docker.sock").exists() or "DOCKER_HOST" in os.environ
    return socket and shutil.which("docker") is not None
