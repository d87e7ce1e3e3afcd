"""Re-profiling in the loop: who retires, who comes back, and that a resumed run knows it all."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from training import kill, metrics_of, rollouts_of, weights_of, without_seconds

from pivotrl_cli.configs import TrainConfig
from pivotrl_cli.errors import ConfigError
from pivotrl_cli.stages.train import run as train
from pivotrl_cli.stages.train.curriculum import RECENT_STEPS, Changes, Curriculum

VERIFIERS = """
import os
import signal

from pivotrl_cli.verifiers import Verdict

seen = {}

def solved(candidate, action):
    if "LEFT" in os.environ:
        os.environ["LEFT"] = str(int(os.environ["LEFT"]) - 1)
        if os.environ["LEFT"] == "-1":
            os.kill(os.getpid(), signal.SIGKILL)
    key = candidate.candidate_id
    if key in ("q1-0", "q2-0"):
        return Verdict(float(key == "q1-0"), "fixed")
    return Verdict(float(action.content == "yes"), "said")

def until_late(candidate, action):
    n = seen[candidate.candidate_id] = seen.get(candidate.candidate_id, 0) + 1
    if candidate.candidate_id == "q0-0" and n <= 8:
        return Verdict(1.0, "fixed")
    return Verdict(float(n % 2), "in turn")

def always(candidate, action):
    return Verdict(1.0, "said")
"""


@pytest.fixture
def verifiers(tmp_path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(VERIFIERS)
    return path


def settings(**changes) -> TrainConfig:
    return TrainConfig(pivots="p", output="o", group_size=4, **changes)


def test_equal_rewards_retire_and_different_ones_bring_back():
    curriculum = Curriculum([3, 5, 7, 9], settings(reprofile_every=2))
    for row, rewards in {3: [1.0] * 4, 5: [0.0] * 4, 7: [1.0, 0.0], 9: [1.0]}.items():
        curriculum.add_rewards(row, rewards)
    curriculum.add_rewards(9, [])
    assert [curriculum.should_update(step) for step in (1, 2, 3)] == [False, False, True]
    assert curriculum.update(3) == Changes(n_retired_right=1, n_retired_wrong=1)
    assert (curriculum.retired, curriculum.n_active) == ({3, 5}, 2)
    assert [curriculum.should_update(step) for step in (3, 4, 5)] == [False, False, True]
    curriculum.add_rewards(3, [1.0, 0.0, 1.0, 1.0])
    curriculum.add_rewards(5, [0.0] * 4)
    curriculum.add_rewards(7, [0.5, 0.5])
    curriculum.add_rewards(7, [0.5, 1.0])
    assert curriculum.update(5) == Changes(n_readmitted=1)
    assert curriculum.retired == {5}


def test_the_last_two_groups_decide():
    curriculum = Curriculum([3], settings(reprofile_every=1))
    for rewards in ([1.0, 0.0, 0.0, 0.0], [1.0] * 4):
        curriculum.add_rewards(3, rewards)
    assert curriculum.update(2) == Changes()
    for rewards in ([1.0, 0.0, 0.0, 0.0], [1.0] * 4, [1.0] * 4):
        curriculum.add_rewards(3, rewards)
    assert curriculum.update(3) == Changes(n_retired_right=1)


def test_fresh_rollouts_go_to_those_that_have_waited_longest():
    curriculum = Curriculum(range(8), settings(reprofile_every=1, reprofile_pivots=3))
    for row in (0, 1):
        curriculum.add_rewards(row, [1.0, 0.0])
    first = curriculum.least_recent(2)
    assert len(first) == 3
    assert not {0, 1} & set(first)
    for row in first:
        curriculum.add_rewards(row, [1.0] * 4)
    curriculum.update(2)
    second = curriculum.least_recent(3)
    assert set(second) == set(range(2, 8)) - set(first), "unmeasured rows come before measured ones"
    for row in second:
        curriculum.add_rewards(row, [1.0, 0.0])
    curriculum.update(3)
    assert set(curriculum.least_recent(4)) <= set(first) | {0, 1}
    assert curriculum.least_recent(4) == curriculum.least_recent(4)


def test_a_low_mixed_share_calls_for_it_but_not_twice_in_a_row():
    curriculum = Curriculum(range(4), settings(reprofile_below=0.5))
    for n_mixed in (4, 4, 1, 1, 5):
        assert not curriculum.should_update(9)
        curriculum.add_step(n_mixed, 5)
    assert not curriculum.should_update(9)
    curriculum.add_step(1, 5)
    assert curriculum.should_update(9)
    curriculum.update(9)
    for _ in range(RECENT_STEPS):
        assert not curriculum.should_update(10)
        curriculum.add_step(0, 5)
    assert curriculum.should_update(10)


def test_its_state_survives_json():
    curriculum = Curriculum(range(6), settings(reprofile_every=3))
    rng = np.random.default_rng(0)
    for step in range(2, 7):
        for row in rng.choice(6, 3).tolist():
            curriculum.add_rewards(row, [1.0, 1.0] if row < 3 else [1.0, 0.25])
        curriculum.add_step(1, 3)
        if step == 4:
            curriculum.update(step)
    again = Curriculum(range(6), settings(reprofile_every=3))
    again.load_state_dict(json.loads(json.dumps(curriculum.state_dict())))
    assert again.state_dict() == curriculum.state_dict()
    assert again.retired == curriculum.retired != set()
    assert again.least_recent(7) == curriculum.least_recent(7)
    assert again.update(7) == curriculum.update(7)


def test_solved_and_hopeless_pivots_retire_and_are_counted(config, verifiers):
    config = config.model_copy(
        update={"verifier": f"{verifiers}:solved", "steps": 5, "reprofile_every": 2, "reprofile_pivots": 6}
    )
    summary = train.run(config)
    metrics, rollouts = metrics_of(config), rollouts_of(config)
    assert [(m.n_retired_right, m.n_retired_wrong, m.n_active) for m in metrics[:3]] == [
        (0, 0, 6),
        (0, 0, 6),
        (1, 1, 4),
    ]
    assert {r.candidate_id for r in rollouts if r.step >= 3 and r.purpose == "train"} <= {
        f"q{i}-0" for i in (0, 3, 4, 5)
    }
    assert (summary.rows_retired_right, summary.rows_retired_wrong) >= (1, 1)
    assert metrics[-1].rollout_turns == len(rollouts)
    fresh = [r for r in rollouts if r.purpose == "reprofile"]
    assert {r.step for r in fresh} == {5}, "at step 3 the first two steps had told of every row"
    assert {r.candidate_id for r in fresh} >= {"q1-0", "q2-0"}
    assert {r.advantage for r in fresh} == {None}
    for m in metrics:
        mine = [r for r in rollouts if r.step == m.step and r.purpose == "train"]
        assert m.reward_mean == pytest.approx(np.mean([r.reward for r in mine]))


def test_a_retired_pivot_comes_back_when_its_rewards_differ_again(config, verifiers):
    config = config.model_copy(
        update={
            "verifier": f"{verifiers}:until_late",
            "steps": 4,
            "prompts_per_step": 6,
            "max_refills": 0,
            "reprofile_every": 1,
            "reprofile_pivots": 2,
        }
    )
    train.run(config)
    metrics = metrics_of(config)
    assert [(m.n_retired_right, m.n_readmitted, m.n_active) for m in metrics] == [
        (0, 0, 6),
        (1, 0, 5),
        (0, 1, 6),
        (0, 0, 6),
    ]


def test_when_all_pivots_are_retired_training_stops_and_says_so(config, verifiers):
    config = config.model_copy(
        update={"verifier": f"{verifiers}:always", "steps": 9, "reprofile_every": 1, "reprofile_pivots": 0}
    )
    summary = train.run(config)
    assert summary.stopped == "step 2: all pivots are retired"
    assert metrics_of(config)[-1].n_active == 0
    assert summary.rows_retired_right == 6


@pytest.mark.slow
def test_a_killed_run_goes_on_with_what_it_knew(config, verifiers, tmp_path):
    config = config.model_copy(update={"verifier": f"{verifiers}:solved", "steps": 6, "checkpoint_every": 1})
    config = config.model_copy(update={"reprofile_every": 2, "reprofile_pivots": 2, "prompts_per_step": 3})
    whole = config.model_copy(update={"output": str(tmp_path / "whole")})
    train.run(whole)
    assert sum(m.n_retired_right + m.n_retired_wrong for m in metrics_of(whole)) > 0
    kill(config, 8 * 16)
    assert train.run(config).resumed_after >= 2
    assert without_seconds(metrics_of(config)) == without_seconds(metrics_of(whole))
    assert rollouts_of(config) == rollouts_of(whole)
    assert weights_of(config) == weights_of(whole)


def test_imitation_has_nothing_to_re_profile_with(config):
    with pytest.raises(ConfigError, match="no rollouts to re-profile with"):
        train.run(config.model_copy(update={"method": "sft", "reprofile_every": 2}))
