"""End-to-end training: whole episodes of the rows' tasks, in the same loop as pivots."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tables import candidate, read, says, user, write
from training import in_two, kill, metrics_of, rollouts_of, weights_of

from pivotrl_cli.configs import DeskConfig, ExtractConfig, ScoreConfig, TrainConfig
from pivotrl_cli.environments import desk
from pivotrl_cli.errors import ConfigError, InputError
from pivotrl_cli.learn.grpo import GrpoBatch
from pivotrl_cli.rows import Candidate, StepMetrics
from pivotrl_cli.stages import desk as desk_stage
from pivotrl_cli.stages.extract import run as extract
from pivotrl_cli.stages.score import run as score
from pivotrl_cli.stages.train import run as train

WORLD = '''
import os
import signal

from pivotrl_cli.rows import Message


class Twice:
    """Asks two times; right is to say yes both times."""

    def __init__(self, candidate):
        self.task_id = self.cluster = candidate.task_id
        self.category, self.tools, self.done = "", "[]", False
        self.state = [candidate.state[0]]

    def step(self, action):
        if "LEFT" in os.environ:
            os.environ["LEFT"] = str(int(os.environ["LEFT"]) - 1)
            if os.environ["LEFT"] == "-1":
                os.kill(os.getpid(), signal.SIGKILL)
        self.state.append(action)
        self.done = len(self.state) == 4
        if not self.done:
            self.state.append(Message(role="user", content="Question 2?"))

    def score(self):
        return float([m.content for m in self.state if m.role == "assistant"] == ["yes", "yes"])


class Ends(Twice):
    """Right is to say yes, where a second turn comes only after another answer."""

    def step(self, action):
        super().step(action)
        self.done = self.done or action.content == "yes"

    def score(self):
        return float(len(self.state) == 2)
'''


@pytest.fixture
def config(tmp_path, talker) -> TrainConfig:
    """Six tasks of two rows each, one of them held out."""
    rows = [
        candidate(
            f"t{i}-{turn}",
            task_id=f"t{i}",
            state=[user(f"Question {i}?")],
            tools="[]",
            expected_action=says("yes"),
            split="holdout" if i == 5 else "train",
        )
        for i in range(6)
        for turn in range(2)
    ]
    (tmp_path / "world.py").write_text(WORLD)
    return TrainConfig(
        pivots=str(write(tmp_path / "c.parquet", rows)),
        output=str(tmp_path / "trained"),
        model=str(talker),
        method="e2e",
        environment=f"{tmp_path / 'world.py'}:Twice",
        steps=3,
        prompts_per_step=4,
        group_size=8,
        learning_rate=2e-3,
        max_new_tokens=8,
        device="cpu",
    )


def test_every_turn_is_counted_and_has_the_advantage_of_its_episode(config):
    summary = train.run(config)
    rollouts, turns = rollouts_of(config), 0
    assert {r.candidate_id for r in rollouts} == {f"t{i}" for i in range(5)}
    for m in metrics_of(config):
        mine = [r for r in rollouts if r.step == m.step]
        turns += len(mine)
        assert [r.turn for r in mine] == [0, 1] * (len(mine) // 2)
        episodes = [mine[i : i + 2] for i in range(0, len(mine), 2)]
        for episode in episodes:
            assert {(r.reward, r.advantage) for r in episode} == {(episode[0].reward, episode[0].advantage)}
            assert episode[0].reward == float([r.text for r in episode] == ["yes", "yes"])
            assert {r.verdict for r in episode} == {"ok"}
        groups = [episodes[i : i + 8] for i in range(0, len(episodes), 8)]
        rewards = np.array([[episode[0].reward for episode in group] for group in groups])
        assert m.reward_mean == pytest.approx(rewards.mean())
        assert (m.n_groups, m.n_all_right, m.n_all_wrong) == (
            int((rewards.std(axis=1) > 0).sum()),
            int((rewards.mean(axis=1) == 1).sum()),
            int((rewards.mean(axis=1) == 0).sum()),
        )
        assert m.n_completion_tokens == sum(r.n_tokens for r in mine if r.advantage is not None)
        assert m.rollout_turns == turns
        assert m.logprob_gap < 1e-4
        for group, values in zip(groups, rewards, strict=True):
            expected = (values - values.mean()) / (values.std() + 1e-6) if values.std() else [None] * 8
            advantages = [episode[0].advantage for episode in group]
            assert advantages == (pytest.approx(expected) if values.std() else expected)
    assert summary.rollout_turns == turns
    assert (summary.rows, summary.holdout_rows_left_out) == (5, 2)


def test_its_rollouts_are_not_scored_by_verifiers(config):
    train.run(config.model_copy(update={"steps": 1}))
    rollouts = f"{config.output}/rollouts.parquet"
    with pytest.raises(InputError, match="turns of whole episodes, which their environment scored"):
        score.run(ScoreConfig(rollouts=rollouts, candidates=Path(config.pivots)))


def test_it_learns_what_only_the_outcome_tells(config):
    config = config.model_copy(update={"steps": 10})
    train.run(config)
    rewards = [m.reward_mean for m in metrics_of(config)]
    assert np.mean(rewards[-3:]) > np.mean(rewards[:3]) + 0.2


def test_episodes_of_different_lengths_end_each_by_itself(config):
    config = config.model_copy(update={"environment": config.environment.replace("Twice", "Ends"), "steps": 1})
    train.run(config)
    (metrics,), rollouts = metrics_of(config), rollouts_of(config)
    assert {r.turn for r in rollouts} == {0, 1}
    assert metrics.rollout_turns == len(rollouts)
    assert all(r.text == "yes" for r in rollouts if r.turn == 0 and r.reward == 1.0)


def test_an_episode_that_was_cut_is_left_out_or_wrong(config):
    """Three tokens are enough for `yes` and its end, not for `never`."""
    for truncated, reward in (("exclude", None), ("zero", 0.0)):
        run = config.model_copy(
            update={"max_new_tokens": 3, "steps": 1, "truncated": truncated, "output": f"{config.output}-{truncated}"}
        )
        train.run(run)
        cut = {(r.candidate_id, r.sample) for r in rollouts_of(run) if r.finish_reason == "length"}
        assert len(cut) > 0
        for r in rollouts_of(run):
            if r.verdict == "truncated":
                assert r.reward == reward


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_bytes(config, tmp_path):
    config = config.model_copy(update={"steps": 4, "checkpoint_every": 1})
    whole = config.model_copy(update={"output": str(tmp_path / "whole")})
    train.run(whole)
    kill(config, 150)
    assert train.run(config).resumed_after >= 1
    assert rollouts_of(config) == rollouts_of(whole)
    assert weights_of(config) == weights_of(whole)


def test_rows_of_an_unknown_domain_need_an_environment(config):
    with pytest.raises(ConfigError, match="no environment is known for ''") as error:
        train.run(config.model_copy(update={"environment": None}))
    assert "path/to/file.py:function" in error.value.hint
    with pytest.raises(ConfigError, match="--environment is for whole episodes"):
        train.run(config.model_copy(update={"method": "grpo"}))
    with pytest.raises(InputError, match="the desk has no task 't"):
        train.run(config.model_copy(update={"environment": "desk"}))


def test_the_desk_is_played_again_from_the_rows_of_its_demonstrations(tmp_path):
    desk_stage.run(DeskConfig(n=6, output=str(tmp_path / "t.jsonl")))
    extract.run(ExtractConfig(sources=[str(tmp_path / "t.jsonl")], output=str(tmp_path / "c.parquet")))
    rows: list[Candidate] = read(tmp_path / "c.parquet", Candidate)
    by_task = {row.task_id: [r for r in rows if r.task_id == row.task_id] for row in rows}
    assert len(by_task) == 6
    for turns in by_task.values():
        episode = desk.episode_for_row(turns[0])
        assert episode.task_id == turns[0].task_id
        assert json.loads(episode.tools) == json.loads(turns[0].tools)
        for row in turns:
            assert [(m.role, m.content) for m in episode.state] == [(m.role, m.content) for m in row.state]
            episode.step(row.expected_action)
        assert episode.score() == 1.0


def test_turns_of_a_rollout_weigh_as_one_sequence():
    """Rollout 0 has turns of 1 and 3 tokens, rollout 1 one of 2: by sequence 1/(2*4) and 1/(2*2) a token."""
    batch = GrpoBatch(
        prompts=[[1], [1, 2]],
        completions=[[[5], [6, 7]], [[8, 9, 10]]],
        sampler_logprobs=[[[0.0], [0.0, 0.0]], [[0.0, 0.0, 0.0]]],
        advantages=[[1.0, -1.0], [1.0]],
        rollouts=[[0, 1], [0]],
    )
    assert batch.with_token_weights("sequence").weights == [[1 / 8, 1 / 4], [1 / 8]]
    assert batch.with_token_weights("token").weights == [[1 / 6, 1 / 6], [1 / 6]]
    assert batch.with_token_weights("constant", 10).weights == [[1 / 20, 1 / 20], [1 / 20]]


@pytest.mark.slow
def test_two_processes_play_and_re_profile_as_one_does(config, tmp_path):
    config = config.model_copy(update={"steps": 3, "reprofile_every": 1, "reprofile_pivots": 2, "prompts_per_step": 2})
    train.run(config)
    two = config.model_copy(update={"output": str(tmp_path / "two")})
    assert in_two(two).returncode == 0
    for one, other in zip(metrics_of(config), metrics_of(two), strict=True):
        counts = {name for name in StepMetrics.model_fields if name.startswith("n_")} | {"reward_mean", "rollout_turns"}
        assert one.model_dump(include=counts) == other.model_dump(include=counts)
        assert one.loss == pytest.approx(other.loss, rel=1e-5, abs=1e-7)
    assert [(r.text, r.reward) for r in rollouts_of(config)] == [(r.text, r.reward) for r in rollouts_of(two)]
    assert {r.purpose for r in rollouts_of(two)} == {"train", "reprofile"}
