"""docs/training.md says all that a reader of the metrics or of the options would look for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

from pivotrl_cli.configs import TrainConfig
from pivotrl_cli.learn.advantage import ADVANTAGES
from pivotrl_cli.learn.loss import LOSSES
from pivotrl_cli.rows import StepMetrics

DOCS = (Path(__file__).parents[2] / "docs" / "training.md").read_text()
NAMED = set(re.findall(r"`([^`]+)`", DOCS))


def test_every_column_loss_and_method_is_explained():
    assert set(StepMetrics.model_fields) | set(LOSSES) | set(ADVANTAGES) <= NAMED
    assert set(get_args(TrainConfig.model_fields["method"].annotation)) <= NAMED


def test_every_option_that_is_named_exists():
    flags = {"--" + name.replace("_", "-") for name in TrainConfig.model_fields}
    assert set(re.findall(r"--[a-z][a-z-]+", DOCS)) <= flags
