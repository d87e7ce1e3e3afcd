"""Groups of scored rollouts for one step: draw rows, sample, score, replace groups without variance.

A rollout is one turn at a pivot, or a whole episode of a task; the rest is the same for both. A group whose rewards are
all equal has no gradient (paper, Prop. 3.1), so it is counted and another takes its place (dynamic sampling), for at
most `max_refills` rounds. With several ranks all draw the same rows, each samples and scores its share, and all gather
all groups.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import NamedTuple, Protocol

import torch

from pivotrl_cli.configs import TrainConfig
from pivotrl_cli.engines import Completion, Engine
from pivotrl_cli.learn.distributed import gather_in_order, rank_slice
from pivotrl_cli.learn.grpo import GrpoBatch, advantages
from pivotrl_cli.rows import Candidate, TrainRollout
from pivotrl_cli.stages.train.pivot_order import PivotSampler
from pivotrl_cli.stages.train.stopwatch import Stopwatch


class Turn(NamedTuple):
    """One sampled assistant turn."""

    prompt_ids: list[int]
    completion: Completion
    penalty: float | None = None
    """Takes the place of the advantage; see `penalties`."""


@dataclass(frozen=True, slots=True)
class ScoredRollout:
    """One rollout with its reward."""

    turns: list[Turn]
    """One at a pivot."""
    reward: float | None
    """Null where it was not measured."""
    verdict: str
    """Verifier's category, or how the episode ended."""
    error: str | None = None
    """Why the measurement failed."""


@dataclass(frozen=True, slots=True)
class ScoredGroup:
    """The rollouts of one pivot or task."""

    name: str
    """Id of the pivot or of the task."""
    rollouts: list[ScoredRollout]

    @property
    def rewards(self) -> list[float]:
        """Of the scored rollouts."""
        return [r.reward for r in self.rollouts if r.reward is not None]

    @property
    def turns(self) -> list[Turn]:
        """Of all rollouts."""
        return [turn for r in self.rollouts for turn in r.turns]

    @property
    def n_penalised(self) -> int:
        """Turns of scored rollouts whose advantage is a penalty."""
        return sum(turn.penalty is not None for r in self.rollouts if r.reward is not None for turn in r.turns)

    @property
    def trains(self) -> bool:
        """Whether any turn has an advantage: rewards differ, or a turn is penalised."""
        return len(set(self.rewards)) > 1 or self.n_penalised > 0


TurnAdvantages = list[list[float]]
"""Advantages of a group: of each rollout [G] those of its turns."""


@dataclass(slots=True)
class StepGroups:
    """All groups that were sampled for one step."""

    groups: list[ScoredGroup] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    """Number of the row that each group was sampled at."""
    n_unusable: int = 0

    @property
    def varied(self) -> list[ScoredGroup]:
        """Groups to train on."""
        return [group for group in self.groups if group.trains]

    @property
    def turns(self) -> list[Turn]:
        """Of all groups."""
        return [turn for group in self.groups for turn in group.turns]

    def advantages(self, kind: str) -> list[TurnAdvantages]:
        """Advantages of the trained groups [P][G][turns]: every turn has that of its rollout, or its own penalty."""
        rewards = [[torch.nan if r.reward is None else r.reward for r in group.rollouts] for group in self.varied]
        if not rewards:
            return []
        of_groups = advantages(torch.tensor(rewards, dtype=torch.float64), kind).tolist()  # [P, G]
        return [
            [
                [advantage if turn.penalty is None or r.reward is None else turn.penalty for turn in r.turns]
                for r, advantage in zip(group.rollouts, of_group, strict=True)
            ]
            for group, of_group in zip(self.varied, of_groups, strict=True)
        ]

    def batch(self, advantages: Sequence[TurnAdvantages]) -> GrpoBatch:
        """The trained groups for the update: each distinct prompt with the completions of all turns that follow it."""
        batch = GrpoBatch(prompts=[], completions=[], sampler_logprobs=[], advantages=[], rollouts=[])
        assert batch.rollouts is not None
        numbers = count()
        for group, of_group in zip(self.varied, advantages, strict=True):
            places: dict[tuple[int, ...], int] = {}
            for rollout, of_turns in zip(group.rollouts, of_group, strict=True):
                if rollout.reward is None or not rollout.turns:
                    continue
                number = next(numbers)
                for turn, advantage in zip(rollout.turns, of_turns, strict=True):
                    p = places.setdefault(tuple(turn.prompt_ids), len(batch.prompts))
                    if p == len(batch.prompts):
                        batch.prompts.append(turn.prompt_ids)
                        for column in (batch.completions, batch.sampler_logprobs, batch.advantages, batch.rollouts):
                            column.append([])
                    batch.completions[p].append(turn.completion.token_ids)
                    batch.sampler_logprobs[p].append(turn.completion.logprobs)
                    batch.advantages[p].append(advantage)
                    batch.rollouts[p].append(number)
        return batch

    def table_rows(self, step: int, advantages: Sequence[TurnAdvantages] | None) -> Iterator[TrainRollout]:
        """Rows of the rollouts table, one per turn; without advantages the groups were sampled to re-profile."""
        of_groups = iter(advantages or [])
        for group in self.groups:
            of_group = next(of_groups) if group.trains and advantages is not None else None
            for sample, rollout in enumerate(group.rollouts):
                for number, turn in enumerate(rollout.turns):
                    trained = of_group is not None and rollout.reward is not None
                    yield TrainRollout(
                        step=step,
                        candidate_id=group.name,
                        sample=sample,
                        turn=number,
                        purpose="reprofile" if advantages is None else "train",
                        text=turn.completion.text,
                        reward=rollout.reward,
                        verdict=rollout.verdict,
                        error=rollout.error,
                        advantage=of_group[sample][number] if trained and of_group else None,
                        n_tokens=len(turn.completion.token_ids),
                        finish_reason=turn.completion.finish_reason,
                    )


class RolloutSource(Protocol):
    """Samples and scores rollouts, see `rollouts`."""

    def sample(self, drawn: dict[str, Candidate], engine: Engine, watch: Stopwatch) -> list[ScoredGroup | None]:
        """A scored group for each row, in order; null where a row cannot be used. Seeds derive from the keys."""
        ...


@dataclass(frozen=True, slots=True)
class GroupSampler:
    """Samples groups at the rows that come next."""

    order: PivotSampler
    source: RolloutSource
    engine: Engine
    config: TrainConfig

    def sample_step(self, step: int, retired: Collection[int], watch: Stopwatch) -> StepGroups:
        """Sample until `prompts_per_step` groups can be trained on, or the refills are spent."""
        result = StepGroups()
        for round_ in range(self.config.max_refills + 1):
            rows = self.order.draw(self.config.prompts_per_step - len(result.varied), retired)
            if not rows:
                break
            self.sample_rows(result, f"{step}/{round_}", rows, watch)
        return result

    def sample_rows(self, result: StepGroups, key: str, rows: list[int], watch: Stopwatch) -> None:
        """Sample a group at each of these rows; seeds derive from `key`. Collective: every rank must call it."""
        candidates = [self.order.at(row) for row in rows]
        drawn = {f"{key}/{i}/{c.candidate_id}": c for i, c in enumerate(candidates)}
        mine = {name: drawn[name] for name in rank_slice(list(drawn))}
        groups = gather_in_order(self.source.sample(mine, self.engine, watch))
        for row, group in zip(rows, groups, strict=True):
            if group is None:
                result.n_unusable += 1
            else:
                result.groups.append(group)
                result.rows.append(row)
