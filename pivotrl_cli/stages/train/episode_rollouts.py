"""Whole episodes of a task, scored by their outcome: end-to-end reinforcement learning, the method's baseline.

The episodes of a group start alike and go their own ways; all episodes of a round advance together, a turn at a time,
as in `eval`. Every assistant turn is a sample at the prompt that the policy really met there, so nothing is tokenised
again, and the prefix tree finds what the turns of a task share.
"""

from __future__ import annotations

from typing import Literal

from pivotrl_cli.configs import TrainConfig
from pivotrl_cli.engines import Engine, Group, Request, Sampling, each_group
from pivotrl_cli.environments import Environment
from pivotrl_cli.stages.shared.episodes import Reply, Run
from pivotrl_cli.stages.train.groups import Drawn, ScoredGroup, ScoredRollout, Source, Turn
from pivotrl_cli.stages.train.stopwatch import Stopwatch


def episode_source(environments: dict[str, Environment], config: TrainConfig) -> Source:
    """A group of episodes of each row's task."""

    def sample(drawn: Drawn, engine: Engine, watch: Stopwatch) -> list[ScoredGroup | None]:
        groups = []
        for key, candidate in drawn.items():
            make = environments[config.environment or candidate.domain]
            groups.append([_Rollout(Run(key, g, make(candidate))) for g in range(config.group_size)])
        _play([one for group in groups for one in group], engine, config, watch)
        pairs = zip(drawn.values(), groups, strict=True)
        return [_scored(candidate.task_id, group, config) for candidate, group in pairs]

    return sample


class _Rollout:
    """An episode on its way, with the turns that were sampled for it."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.turns: list[Turn] = []

    def take(self, group: Group, max_turns: int) -> None:
        """Take the turn that was sampled."""
        self.turns += [Turn(group.prompt_ids, completion) for completion in group.completions]
        self.run.take(Reply.of(group), max_turns)

    def scored(self, config: TrainConfig) -> ScoredRollout:
        """As it ended; an episode that was cut by the token limit has no reward, or 0 if the config says so."""
        score, status, error = self.run.outcome()
        reward = None if status == "truncated" and config.truncated == "exclude" else score
        return ScoredRollout(self.turns, reward, status, error if score is None else None)


def _play(rollouts: list[_Rollout], engine: Engine, config: TrainConfig, watch: Stopwatch) -> None:
    """Advance all episodes until each has ended; what earlier turns left in a prefix cache serves the next ones."""
    with watch("score"):
        for one in rollouts:
            one.run.begin()
    prefix_cache: Literal["start", "continue"] = "start"
    while active := {f"{one.run.key}/{one.run.n_turns}": one for one in rollouts if one.run.status is None}:
        requests = [Request(key=k, state=o.run.episode.state, tools=o.run.episode.tools) for k, o in active.items()]
        sampling = Sampling(
            temperature=config.temperature,
            max_new_tokens=config.max_new_tokens,
            seed=config.seed,
            prefix_cache=prefix_cache,
        )
        with watch("sample"):
            groups = list(each_group(engine, requests, sampling))
        with watch("score"):
            for group in groups:
                active[group.request.key].take(group, config.max_turns)
        prefix_cache = "continue"


def _scored(task_id: str, rollouts: list[_Rollout], config: TrainConfig) -> ScoredGroup | None:
    """The group; null where the first state does not fit or cannot be rendered, which all of them share."""
    if not any(one.turns for one in rollouts):
        return None
    return ScoredGroup.of(task_id, [one.scored(config) for one in rollouts], config)
