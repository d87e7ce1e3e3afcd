"""What most tests of training start from: six questions, verifiers of their answers, a configuration."""

from __future__ import annotations

from pathlib import Path

import pytest
from tables import candidate, says, user, write
from training import VERIFIERS

from pivotrl_cli.configs import TrainConfig


@pytest.fixture
def verifiers(tmp_path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(VERIFIERS)
    return path


@pytest.fixture
def questions(tmp_path) -> Path:
    """Six states at which the talker says yes or never."""
    rows = [
        candidate(f"q{i}-0", state=[user(f"Question {i}?")], tools="[]", expected_action=says("yes"), verifier="exact")
        for i in range(6)
    ]
    return write(tmp_path / "questions.parquet", rows)


@pytest.fixture
def config(tmp_path, questions, talker) -> TrainConfig:
    return TrainConfig(
        pivots=str(questions),
        output=str(tmp_path / "trained"),
        model=str(talker),
        steps=3,
        prompts_per_step=4,
        group_size=8,
        learning_rate=2e-3,
        max_new_tokens=8,
        device="cpu",
    )
