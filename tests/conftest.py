"""Models and tables that several test files share. No test depends on the shipped policy."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings
from tables import CUT, FAILED, RIGHT, TALK, WRONG, calls, candidate, says, script, user, write
from tiny_models import save_tiny_model

settings.register_profile("always", deadline=None, suppress_health_check=list(HealthCheck))
settings.register_profile("same", settings.get_profile("always"), derandomize=True, database=None)
settings.register_profile("search", settings.get_profile("always"), max_examples=1000, print_blob=True)
settings.load_profile("same")  # the same examples every time; `make search` has new ones and more of them

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: tiny models lose by a second thread


def built_once(folders: pytest.TempPathFactory, name: str, build: Callable[[Path], object]) -> Path:
    """A folder that the first of pytest's workers to ask for it builds, for all of them; nobody may write in it."""
    own = folders.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    folder, done = shared / name, shared / f"{name}.done"
    with FileLock(shared / f"{name}.lock"):
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            build(folder)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random Qwen3 whose distributions are far from uniform."""
    return built_once(tmp_path_factory, "tiny", save_tiny_model)


@pytest.fixture(scope="session")
def talker(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the tiny model after imitation of `yes` and `never`, which it then says about equally often."""

    def build(folder: Path) -> None:
        from pivotrl_cli.configs import TrainConfig
        from pivotrl_cli.stages.train import run as train

        rows = [
            candidate(f"{answer}-{i}", state=[user(f"Question {i}?")], tools="[]", expected_action=says(answer))
            for i in range(8)
            for answer in ("yes", "never")
        ]
        config = TrainConfig(
            pivots=str(write(folder / "c.parquet", rows)),
            output=str(folder / "talker"),
            model=str(tiny_model),
            method="sft",
            steps=60,
            prompts_per_step=16,
            learning_rate=1e-2,
            device="cpu",
        )
        train.run(config)

    return built_once(tmp_path_factory, "imitation", build) / "talker"


@pytest.fixture(scope="session")
def chain_inputs(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the inputs of every command; link it, never write in it."""
    from chain import inputs

    return built_once(tmp_path_factory, "inputs", lambda folder: inputs(folder, tiny_model))


@pytest.fixture
def candidates_file(tmp_path: Path) -> Path:
    """Six candidates of three trajectories; the fourth demonstrates a message, the last is held out."""
    rows = [
        candidate("a-0"),
        candidate("a-1"),
        candidate("b-0"),
        candidate("b-1", expected_action=says("Which order, please?")),
        candidate("c-0", expected_action=calls("look", '{"order": 8}')),
        candidate("c-1", split="holdout"),
    ]
    return write(tmp_path / "candidates.parquet", rows)


@pytest.fixture
def replay_file(tmp_path: Path) -> Path:
    """Four completions for each of them: rewards 1 0 - 1, 1 1 1 1, 0 0 0 0, 1 1 0 0, 0 1 0 0, - - - -."""
    completions = {
        "a-0": [RIGHT, WRONG, CUT, RIGHT],
        "a-1": [RIGHT] * 4,
        "b-0": [WRONG, TALK, "", "<tool_call>"],
        "b-1": [TALK, "Which order, please?", RIGHT, WRONG],
        "c-0": [RIGHT, WRONG, TALK, RIGHT],
        "c-1": [FAILED] * 4,
    }
    return script(tmp_path / "replay.jsonl", completions)


@pytest.fixture
def profile_file(tmp_path: Path, candidates_file: Path, replay_file: Path) -> Path:
    """The profile of both."""
    from pivotrl_cli.configs import ProfileConfig
    from pivotrl_cli.stages.profile import run as profile

    output = tmp_path / "profile.parquet"
    profile.run(
        ProfileConfig(candidates=str(candidates_file), engine="replay", replay=replay_file, n=4, output=str(output))
    )
    return output
