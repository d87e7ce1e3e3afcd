"""Where rollouts and their rewards come from: one turn at a pivot, or a whole episode of a task.

The episodes of a group start alike and diverge; all episodes of a round advance together, one turn at a time, as in
`eval`. Every assistant turn is a sample at the very prompt that the policy was given there, so nothing is tokenised
again, and the prefix tree finds the prefixes that the turns of a task share.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from pivotrl_cli.configs import TrainConfig
from pivotrl_cli.engines import Completion, Engine, Group, Request, Sampling, each_group
from pivotrl_cli.environments import Environment
from pivotrl_cli.rows import Candidate
from pivotrl_cli.stages.shared.episodes import Reply, Run
from pivotrl_cli.stages.shared.scoring import score_group
from pivotrl_cli.stages.train.groups import ScoredGroup, ScoredRollout, Turn
from pivotrl_cli.stages.train.penalties import penalty
from pivotrl_cli.stages.train.stopwatch import Stopwatch
from pivotrl_cli.verifiers import Verifier


@dataclass(frozen=True, slots=True)
class PivotRollouts:
    """One-turn rollouts at pivots, scored by verifiers."""

    verifiers: dict[str, Verifier]
    config: TrainConfig

    def sample(self, drawn: dict[str, Candidate], engine: Engine, watch: Stopwatch) -> list[ScoredGroup | None]:
        """A group per pivot, in the order drawn, so that the update does not depend on batching."""
        requests = [Request(key=key, state=c.state, tools=c.tools) for key, c in drawn.items()]
        with watch("sample"):
            sampled = each_group(engine, requests, _sampling(self.config, n=self.config.group_size))
            groups = {group.request.key: group for group in sampled}
        with watch("score"):
            return [self._score(candidate, groups[key]) for key, candidate in drawn.items()]

    def _score(self, candidate: Candidate, group: Group) -> ScoredGroup | None:
        if group.status != "ok":
            return None
        verifier = self.verifiers[self.config.verifier or candidate.verifier]
        scored = score_group(candidate, group.completions, verifier, self.config.truncated)
        rollouts = [
            ScoredRollout([_turn(group, completion, self.config)], r.reward, r.verdict, r.error)
            for completion, r in zip(group.completions, scored, strict=True)
        ]
        return ScoredGroup(candidate.candidate_id, rollouts)


@dataclass(frozen=True, slots=True)
class EpisodeRollouts:
    """Whole episodes of tasks, scored by their outcome: end-to-end RL, the baseline of PivotRL."""

    environments: dict[str, Environment]
    config: TrainConfig

    def sample(self, drawn: dict[str, Candidate], engine: Engine, watch: Stopwatch) -> list[ScoredGroup | None]:
        """A group of episodes per row's task, in the order drawn."""
        groups = []
        for key, candidate in drawn.items():
            make = self.environments[self.config.environment or candidate.domain]
            groups.append([_Episode(Run(key, g, make(candidate))) for g in range(self.config.group_size)])
        _play([episode for group in groups for episode in group], engine, self.config, watch)
        pairs = zip(drawn.values(), groups, strict=True)
        return [self._score(candidate.task_id, group) for candidate, group in pairs]

    def _score(self, task_id: str, episodes: list[_Episode]) -> ScoredGroup | None:
        """The group; null where the first state, which all share, does not fit or cannot be rendered."""
        if not any(episode.turns for episode in episodes):
            return None
        return ScoredGroup(task_id, [episode.to_rollout(self.config.truncated) for episode in episodes])


@dataclass(frozen=True, slots=True)
class _Episode:
    """An episode and the turns that were sampled for it."""

    run: Run
    turns: list[Turn] = field(default_factory=list)

    def step(self, group: Group, config: TrainConfig) -> None:
        """Act as the policy has sampled."""
        self.turns.extend(_turn(group, completion, config) for completion in group.completions)
        self.run.apply(Reply.of(group), config.max_turns)

    def to_rollout(self, truncated: Literal["exclude", "zero"]) -> ScoredRollout:
        """The rollout; an episode cut by the token limit has no reward, or 0 if the config says so."""
        score, status, error = self.run.outcome()
        reward = None if status == "truncated" and truncated == "exclude" else score
        return ScoredRollout(self.turns, reward, status, error if score is None else None)


def _play(episodes: list[_Episode], engine: Engine, config: TrainConfig, watch: Stopwatch) -> None:
    """Advance all episodes until each has ended; each turn's prefix cache serves the next turn."""
    with watch("score"):
        for episode in episodes:
            episode.run.begin()
    prefix_cache: Literal["start", "continue"] = "start"
    while active := {f"{one.run.key}/{one.run.n_turns}": one for one in episodes if one.run.status is None}:
        states = {key: one.run.episode for key, one in active.items()}
        requests = [Request(key=key, state=state.state, tools=state.tools) for key, state in states.items()]
        with watch("sample"):
            groups = list(each_group(engine, requests, _sampling(config, prefix_cache=prefix_cache)))
        with watch("score"):
            for group in groups:
                active[group.request.key].step(group, config)
        prefix_cache = "continue"


def _sampling(config: TrainConfig, n: int = 1, prefix_cache: Literal["off", "start", "continue"] = "off") -> Sampling:
    return Sampling(
        n=n,
        temperature=config.temperature,
        max_new_tokens=config.max_new_tokens,
        seed=config.seed,
        prefix_cache=prefix_cache,
    )


def _turn(group: Group, completion: Completion, config: TrainConfig) -> Turn:
    return Turn(group.prompt_ids, completion, penalty(completion, config))
