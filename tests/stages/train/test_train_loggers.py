from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from training import metrics_of

from pivotrl_cli.errors import ConfigError, MissingExtra
from pivotrl_cli.stages.train import run as train


def test_tensorboard_has_every_number_of_every_step(config):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = config.model_copy(update={"method": "sft", "steps": 2, "log_to": ["tensorboard"]})
    train.run(config)
    events = EventAccumulator(str(Path(config.output) / "tensorboard"))
    events.Reload()
    for name in ("loss", "grad_norm", "learning_rate", "n_completion_tokens", "seconds_train"):
        expected = [getattr(m, name) for m in metrics_of(config)]
        assert [e.step for e in events.Scalars(name)] == [1, 2]
        assert [e.value for e in events.Scalars(name)] == pytest.approx(expected, rel=1e-6)
    assert "reward_mean" not in events.Tags()["scalars"]


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_place_whose_package_is_missing_names_the_way_out(config, name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtra) as error:
        train.run(config.model_copy(update={"method": "sft", "log_to": [name]}))
    assert error.value.message == f"--log-to {name} needs the {name} extra"
    assert error.value.hint == f"pip install 'pivotrl[{name}]'"


def test_wandb_takes_a_run_without_a_network(config, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    train.run(config.model_copy(update={"method": "sft", "steps": 2, "log_to": ["wandb"]}))
    assert len(list(Path(config.output).glob("wandb/offline-run-*/*.wandb"))) == 1


TRAINING = """
import sys
from pivotrl_cli.configs import TrainConfig
from pivotrl_cli.stages.train.run import run
run(TrainConfig.model_validate_json(sys.argv[1]))
"""


@pytest.mark.slow
def test_trackio_has_every_step_in_a_local_database(config, tmp_path):
    pytest.importorskip("trackio")
    logged_to = config.model_copy(update={"method": "sft", "steps": 2, "log_to": ["trackio"]})
    done = subprocess.run(  # a process of its own, for trackio reads its folder when it is imported
        [sys.executable, "-c", TRAINING, logged_to.model_dump_json()],
        env={**os.environ, "TRACKIO_DIR": str(tmp_path / "trackio"), "PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    with sqlite3.connect(next((tmp_path / "trackio").glob("*.db"))) as database:
        rows = database.execute("select step, metrics from metrics order by step").fetchall()
    logged = [json.loads(metrics) for _, metrics in rows]
    assert [step for step, _ in rows] == [1, 2]
    assert [m["loss"] for m in logged] == pytest.approx([m.loss for m in metrics_of(config)])
    assert [m["n_completion_tokens"] for m in logged] == [m.n_completion_tokens for m in metrics_of(config)]


def test_an_unknown_place_is_refused(config):
    with pytest.raises(ConfigError) as error:
        train.run(config.model_copy(update={"method": "sft", "log_to": ["paper"]}))
    assert (error.value.message, error.value.hint) == (
        "--log-to paper: no such logger",
        "use one of tensorboard, trackio, wandb",
    )
