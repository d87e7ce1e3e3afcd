"""Training runs in this process and in others, and what is in their folders."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from tables import read, user

from pivotrl_cli.configs import EngineConfig, TrainConfig
from pivotrl_cli.engines import Request, Sampling, each_group, hf
from pivotrl_cli.rows import StepMetrics, TrainRollout

VERIFIERS = """
import os
import signal

from pivotrl_cli.verifiers import Verdict

def yes(candidate, action):
    return Verdict(float(action.content == "yes"), "said")

def always(candidate, action):
    return Verdict(1.0, "said")

turns = []

def mortal(candidate, action):
    if "LEFT" in os.environ:
        os.environ["LEFT"] = str(int(os.environ["LEFT"]) - 1)
        if os.environ["LEFT"] == "-1":
            os.kill(os.getpid(), signal.SIGKILL)
    return yes(candidate, action)

def in_turn(candidate, action):
    turns.append(1)
    return Verdict(float(len(turns) % 2), "said")

def broken(candidate, action):
    raise RuntimeError("no judge")
"""


MODEL_FOLDER = [
    "README.md",
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "metrics.parquet",
    "model.safetensors",
    "pivotrl.json",
    "rollouts.parquet",
    "tokenizer.json",
    "tokenizer_config.json",
]
"""Files of a finished run."""


def metrics_of(config: TrainConfig) -> list[StepMetrics]:
    return read(Path(config.output) / "metrics.parquet", StepMetrics)


def rollouts_of(config: TrainConfig) -> list[TrainRollout]:
    return read(Path(config.output) / "rollouts.parquet", TrainRollout)


def says_yes(folder: str | Path, n: int = 64) -> float:
    """Share of samples at the six states that say yes."""
    engine = hf.open_engine(EngineConfig(model=str(folder), device="cpu", sample_token_budget=100_000))
    requests = [Request(key=str(i), state=[user(f"Question {i}?")], tools="[]") for i in range(6)]
    groups = each_group(engine, requests, Sampling(n=n, max_new_tokens=8, seed=9))
    return float(np.mean([c.text == "yes" for group in groups for c in group.completions]))


MACHINE = {name for name in StepMetrics.model_fields if "second" in name} | {"peak_memory"}
"""Columns that differ from run to run."""


def without_seconds(metrics: list[StepMetrics]) -> list[StepMetrics]:
    return [m.model_copy(update=dict.fromkeys(MACHINE, 0.0)) for m in metrics]


def command(config: TrainConfig, *flags: str) -> list[str]:
    """Arguments of Python that run this configuration from the command line."""
    given = config.model_dump(mode="json", exclude={"pivots", "json_summary"}, exclude_defaults=True)
    options = [word for name, value in given.items() for word in ("--" + name.replace("_", "-"), str(value))]
    return ["-m", "pivotrl_cli", "train", config.pivots, *options, *flags]


def run_process(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Python with these arguments, to its end."""
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
    )


def kill(config: TrainConfig, n: int) -> None:
    """Run the command in a process that its verifier (or its world) kills at the `n`-th verdict (or step)."""
    killed = run_process(*command(config), LEFT=str(n))
    assert killed.returncode == -9, killed.stderr


def weights_of(config: TrainConfig) -> bytes:
    return (Path(config.output) / "model.safetensors").read_bytes()


TORCHRUN = ["-W", "ignore", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]


def in_two(
    config: TrainConfig, *flags: str, outside: bool = False, **environment: str
) -> subprocess.CompletedProcess[str]:
    """The command in two processes, by a torchrun of its own or by one from outside."""
    launched = [*TORCHRUN, "2", *command(config, *flags)] if outside else command(config, *flags, "--nproc", "2")
    return run_process(*launched, **environment)
