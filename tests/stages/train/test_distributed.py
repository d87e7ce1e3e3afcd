"""Two processes train what one does; real ones, over gloo, started by `pivotrl train --nproc 2`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import four_processes
import pytest
import torch
from learn_models import KINDS
from safetensors.torch import load_file, save_file
from tables import candidate, read, says, user, write
from training import MACHINE, TORCHRUN, in_two, run_process

from pivotrl_cli.configs import TrainConfig
from pivotrl_cli.errors import ConfigError, InputError
from pivotrl_cli.rows import StepMetrics, TrainRollout
from pivotrl_cli.stages.train import launch
from pivotrl_cli.stages.train import run as train
from pivotrl_cli.stages.train.run_folder import Checkpoint

VERIFIERS = """
import os
import signal

from pivotrl_cli.errors import InputError
from pivotrl_cli.verifiers import Verdict

def yes(candidate, action):
    return Verdict(float(action.content == "yes"), "said")

def fails(candidate, action):
    if os.environ["RANK"] == "1":
        raise InputError("the second process fails", "as it should")
    return yes(candidate, action)

left = 60

def mortal(candidate, action):
    global left
    left -= 1
    if left == 0 and os.environ.get("MORTAL") == os.environ.get("RANK", ""):
        os.kill(os.getpid(), signal.SIGKILL)
    return yes(candidate, action)
"""


@pytest.fixture
def config(tmp_path, talker) -> TrainConfig:
    """Five states, so that the two processes' shares differ; one of them is too long."""
    (tmp_path / "mine.py").write_text(VERIFIERS)
    rows = [
        candidate(f"q{i}-0", state=[user(question)], tools="[]", expected_action=says("yes"))
        for i, question in enumerate(["Question 1?", "Question 2?", "Question 3?", "Question 4, or 5?", "x" * 600])
    ]
    return TrainConfig(
        pivots=str(write(tmp_path / "questions.parquet", rows)),
        output=str(tmp_path / "one"),
        model=str(talker),
        verifier=f"{tmp_path / 'mine.py'}:yes",
        steps=4,
        prompts_per_step=5,
        group_size=8,
        learning_rate=2e-3,
        max_new_tokens=8,
        device="cpu",
    )


def metrics_of(folder: str | Path) -> list[dict[str, object]]:
    rows = read(Path(folder) / "metrics.parquet", StepMetrics)
    return [row.model_dump(exclude=MACHINE | {"prefix_reuse"}, exclude_none=True) for row in rows]


def assert_same(one: str | Path, other: str | Path) -> None:
    """The same metrics to six digits, the same rollouts and, to what AdamW makes of the sixth digit, weights."""
    for expected, actual in zip(metrics_of(one), metrics_of(other), strict=True):
        assert actual == pytest.approx(expected, rel=1e-6, abs=2e-6)
    rollouts = [read(Path(folder) / "rollouts.parquet", TrainRollout) for folder in (one, other)]
    assert [row.model_dump(exclude={"advantage"}) for row in rollouts[0]] == [
        row.model_dump(exclude={"advantage"}) for row in rollouts[1]
    ]
    before, after = (load_file(Path(folder) / "model.safetensors") for folder in (one, other))
    assert before.keys() == after.keys()
    assert max((before[name] - after[name]).abs().max().item() for name in before) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"kl_coef": 0.1, "updates_per_batch": 2},
        {"method": "sft", "token_budget": 40},
        {"kl_coef": 0.1, "loss": "gspo", "lora_rank": 4},
    ],
    ids=["grpo", "sft", "adapters, shared rows"],
)
def test_two_processes_train_what_one_does(config, tmp_path, changes):
    one = config.model_copy(update=changes)
    train.run(one)
    n_sharing = 2 if one.loss == "gspo" else 1
    two = one.model_copy(update={"output": str(tmp_path / "two"), "sequence_parallel": n_sharing})
    done = in_two(two, "--json", outside=one.method == "sft")
    assert (done.returncode, done.stderr) == (0, "")
    summary = json.loads(done.stdout)
    assert (summary["steps"], summary["rows_unusable"]) == (4, sum(row["n_unusable"] for row in metrics_of(two.output)))
    assert_same(one.output, two.output)


@pytest.mark.slow
def test_a_killed_process_ends_the_other_and_both_go_on_from_the_checkpoint(config, tmp_path):
    config = config.model_copy(update={"verifier": f"{tmp_path / 'mine.py'}:mortal", "checkpoint_every": 1})
    train.run(config)
    two = config.model_copy(update={"output": str(tmp_path / "two")})
    killed = in_two(two, MORTAL="1")
    assert killed.returncode == 1
    assert killed.stderr == (
        "error: process 1 of 2 was ended by SIGKILL\n"
        "hint: run the same command again to resume from the last checkpoint\n"
    )
    kept = sorted(int(folder.name) for folder in (tmp_path / "two.partial" / "checkpoints").iterdir())
    copy = tmp_path / "alone.partial"
    shutil.copytree(tmp_path / "two.partial", copy)
    assert train.run(two.model_copy(update={"output": str(tmp_path / "alone")})).resumed_after == kept[-1] > 0
    assert_same(config.output, tmp_path / "alone")
    done = in_two(two, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["resumed_after"] == kept[-1]
    assert_same(config.output, two.output)
    assert not list(Path(two.output).glob("checkpoints"))


@pytest.mark.slow
def test_what_fails_in_one_process_ends_all_with_one_message(config, tmp_path):
    failed = in_two(config.model_copy(update={"verifier": f"{tmp_path / 'mine.py'}:fails"}))
    assert (failed.returncode, failed.stdout) == (2, "")
    assert failed.stderr == "error: the second process fails\nhint: as it should\n"


@pytest.mark.slow
def test_every_kind_of_model_is_updated_as_by_one_process():
    """float32 to six digits in what is measured; weights to what AdamW makes of the last digits of small gradients."""
    found = measured_by("two_processes.py", "2")
    assert found.pop("skips") == "[True, True]"
    assert len(found) == len(KINDS) + 3
    for name, gaps in found.items():
        assert_small(name, gaps)


def measured_by(script: str, n_processes: str, *arguments: str) -> dict[str, str]:
    """The lines that a script in several processes prints."""
    done = run_process(*TORCHRUN, n_processes, str(Path(four_processes.__file__).parent / script), *arguments)
    assert done.returncode == 0, done.stderr
    return dict(line.split(": ") for line in done.stdout.splitlines())


def assert_small(name: str, gaps: str) -> None:
    measured, weights = map(float, gaps.split())
    assert measured < 2e-5, name
    assert weights < 1e-4, name


@pytest.mark.slow
def test_four_processes_hold_two_copies_or_share_rows_and_any_number_reads_their_checkpoint(tmp_path):
    found = measured_by("four_processes.py", "4", str(tmp_path))
    for name in ("replicated", "qwen3", "gemma3"):
        assert_small(name, found.pop(name))
    assert found == dict.fromkeys(four_processes.MODELS, "[True, True, True]")
    for name in four_processes.MODELS:
        alone = four_processes.opened(name)
        alone.load_checkpoint(Checkpoint(tmp_path / name))
        assert four_processes.same(four_processes.state(alone), torch.load(tmp_path / f"{name}.pt"))


def test_a_checkpoint_that_cannot_be_read_is_named(tmp_path):
    alone = four_processes.opened("half")
    (tmp_path / "000002").mkdir()
    save_file({"another": torch.zeros(1)}, tmp_path / "000002" / "shard-00001-model-00001-of-00001.safetensors")
    with pytest.raises(InputError, match=r"000002: the checkpoint lacks lm_head\.weight"):
        alone.load_checkpoint(Checkpoint(tmp_path / "000002"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pivots": "-"}, "several processes cannot all read standard input"),
        ({"replicas": 2, "nproc": 3}, "--replicas 2 does not divide 3 processes"),
        ({"sequence_parallel": 2, "nproc": 3}, "--sequence-parallel 2 does not divide 3 processes"),
    ],
)
def test_what_several_processes_cannot_do_is_refused_before_they_start(config, changes, message):
    with pytest.raises(ConfigError, match=message):
        launch.launch(config.model_copy(update={"nproc": 2, **changes}), [])
