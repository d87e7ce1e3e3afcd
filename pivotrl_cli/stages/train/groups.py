"""Groups of scored rollouts for one optimizer step: draw, sample, score, replace the groups without variance.

A rollout is one turn at a pivot, or a whole episode of a task; what follows is the same for both. A group whose rewards
are all equal has no gradient (paper, Prop. 3.1), so it is counted and another takes its place; after `max_refills`
rounds the step goes on with what it has. Where several processes train, all draw the same rows, each samples and scores
its share, and all get to know all groups.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import NamedTuple

import torch

from pivotrl_cli.configs import TrainConfig
from pivotrl_cli.engines import Completion, Engine
from pivotrl_cli.learn.advantage import ADVANTAGES
from pivotrl_cli.learn.distributed import gather_in_order, rank_slice
from pivotrl_cli.learn.grpo import GrpoBatch
from pivotrl_cli.rows import Candidate, TrainRollout
from pivotrl_cli.stages.train.penalties import penalty
from pivotrl_cli.stages.train.pivot_order import Deck
from pivotrl_cli.stages.train.stopwatch import Stopwatch


class Turn(NamedTuple):
    """One sampled assistant turn."""

    prompt_ids: list[int]
    """Tokens of what the policy was given."""
    completion: Completion
    """What it made of it."""


@dataclass(frozen=True, slots=True)
class ScoredRollout:
    """What was sampled from one start to its end, and what it was worth."""

    turns: list[Turn]
    """At a pivot one."""
    reward: float | None
    """Null where it was not measured."""
    verdict: str
    """Verifier's category, or how the episode ended."""
    error: str | None = None
    """What failed in the measurement."""


@dataclass(frozen=True, slots=True)
class ScoredGroup:
    """The rollouts of one pivot or task."""

    name: str
    """Id of the pivot or of the task."""
    rollouts: list[ScoredRollout]
    advantages: list[list[float]] | None
    """Of each rollout [G] its turns'; null where the group has nothing to teach."""
    n_penalised: int
    """Turns whose advantage is a penalty."""

    @classmethod
    def of(cls, name: str, rollouts: list[ScoredRollout], config: TrainConfig) -> ScoredGroup:
        """With the advantages that the config asks for; every turn of an episode has that of the whole."""
        rewards = torch.tensor([[torch.nan if r.reward is None else r.reward for r in rollouts]], dtype=torch.float64)
        of_rollouts: list[float] = ADVANTAGES[config.advantage](rewards)[0].tolist()
        penalties = [
            [penalty(turn.completion, config) if r.reward is not None else None for turn in r.turns] for r in rollouts
        ]
        advantages = [
            [own if p is None else p for p in of_turns] for own, of_turns in zip(of_rollouts, penalties, strict=True)
        ]
        teaches = any(a for of_turns in advantages for a in of_turns)
        n_penalised = sum(p is not None for of_turns in penalties for p in of_turns)
        return cls(name, rollouts, advantages if teaches else None, n_penalised)

    @property
    def rewards(self) -> list[float]:
        """Those that were measured."""
        return [r.reward for r in self.rollouts if r.reward is not None]

    @property
    def turns(self) -> list[Turn]:
        """All that were sampled."""
        return [turn for r in self.rollouts for turn in r.turns]

    def scored_turns(self) -> Iterator[tuple[int, Turn, float]]:
        """Rollout, turn and advantage of all that trains."""
        for g, (rollout, advantages) in enumerate(zip(self.rollouts, self.advantages or [], strict=False)):
            if rollout.reward is not None:
                yield from ((g, turn, a) for turn, a in zip(rollout.turns, advantages, strict=True))

    def rows(self, step: int, *, fresh: bool = False) -> Iterator[TrainRollout]:
        """As rows of the rollouts table, one per turn; `fresh` ones were sampled to re-profile and did not train."""
        for sample, rollout in enumerate(self.rollouts):
            trained = self.advantages is not None and rollout.reward is not None and not fresh
            for number, (_, completion) in enumerate(rollout.turns):
                yield TrainRollout(
                    step=step,
                    candidate_id=self.name,
                    sample=sample,
                    turn=number,
                    purpose="reprofile" if fresh else "train",
                    text=completion.text,
                    reward=rollout.reward,
                    verdict=rollout.verdict,
                    error=rollout.error,
                    advantage=self.advantages[sample][number] if trained and self.advantages else None,
                    n_tokens=len(completion.token_ids),
                    finish_reason=completion.finish_reason,
                )


@dataclass(slots=True)
class StepGroups:
    """All that was sampled for one step."""

    groups: list[ScoredGroup] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    """Of each group the row that it was sampled at."""
    n_unusable: int = 0

    @property
    def trained(self) -> list[ScoredGroup]:
        """Groups with variance."""
        return [g for g in self.groups if g.advantages is not None]

    @property
    def turns(self) -> list[Turn]:
        """All that were sampled."""
        return [turn for group in self.groups for turn in group.turns]

    def batch(self) -> GrpoBatch:
        """What trains, as the learner takes it: a prompt with the completions of all the turns that began there."""
        batch = GrpoBatch(prompts=[], completions=[], sampler_logprobs=[], advantages=[], rollouts=[])
        assert batch.rollouts is not None
        numbers = count()
        for group in self.trained:
            places: dict[tuple[int, ...], int] = {}
            number_of: dict[int, int] = {}
            for g, (prompt_ids, completion), advantage in group.scored_turns():
                p = places.setdefault(tuple(prompt_ids), len(batch.prompts))
                if p == len(batch.prompts):
                    batch.prompts.append(prompt_ids)
                    for column in (batch.completions, batch.sampler_logprobs, batch.advantages, batch.rollouts):
                        column.append([])
                if g not in number_of:
                    number_of[g] = next(numbers)
                batch.completions[p].append(completion.token_ids)
                batch.sampler_logprobs[p].append(completion.logprobs)
                batch.advantages[p].append(advantage)
                batch.rollouts[p].append(number_of[g])
        return batch


Drawn = dict[str, Candidate]
"""Rows to sample at, by the keys that their seeds derive from."""
Source = Callable[[Drawn, Engine, Stopwatch], list[ScoredGroup | None]]
"""Samples and scores a group for each row, in order; null for one that cannot be used."""


@dataclass(frozen=True, slots=True)
class Sampler:
    """Where groups come from."""

    deck: Deck
    source: Source
    engine: Engine
    config: TrainConfig

    def step(self, step: int, retired: Collection[int], watch: Stopwatch) -> StepGroups:
        """Sample until `prompts_per_step` groups have variance, or the refills are spent."""
        result = StepGroups()
        for round_ in range(self.config.max_refills + 1):
            rows = self.deck.draw(self.config.prompts_per_step - len(result.trained), retired)
            if not rows:
                break
            self.add(result, f"{step}/{round_}", rows, watch)
        return result

    def add(self, result: StepGroups, key: str, rows: list[int], watch: Stopwatch) -> None:
        """Sample a group at each of these rows; `key` names the occasion, for the seeds."""
        candidates = [self.deck.at(row) for row in rows]
        drawn = {f"{key}/{i}/{c.candidate_id}": c for i, c in enumerate(candidates)}
        groups = gather_in_order(
            self.source({name: drawn[name] for name in rank_slice(list(drawn))}, self.engine, watch)
        )
        for row, group in zip(rows, groups, strict=True):
            if group is None:
                result.n_unusable += 1
            else:
                result.groups.append(group)
                result.rows.append(row)
