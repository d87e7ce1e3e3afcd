"""Groups of scored rollouts for one optimiser step: draw, sample, score, replace the groups without variance.

A rollout is one turn at a pivot, or a whole episode of a task; what follows is the same for both. A group whose rewards
are all equal has no gradient (paper, Prop. 3.1), so it is counted and another takes its place; after `max_refills`
rounds the step goes on with what it has. Where several processes train, all draw the same rows, each samples and scores
its share, and all get to know all groups.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import NamedTuple

import torch

from pivotrl_cli.configs import TrainConfig
from pivotrl_cli.engines import Completion, Engine
from pivotrl_cli.learn.advantage import ADVANTAGES
from pivotrl_cli.learn.distributed import joined, own
from pivotrl_cli.learn.step import GrpoBatch
from pivotrl_cli.rows import Candidate, TrainRollout
from pivotrl_cli.stages.deck import Deck


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
    """The rollouts of one pivot or task; `advantages` [G] are null where the group has nothing to teach."""

    name: str
    """Id of the pivot or of the task."""
    rollouts: list[ScoredRollout]
    advantages: list[float] | None

    @classmethod
    def of(cls, name: str, rollouts: list[ScoredRollout], config: TrainConfig) -> ScoredGroup:
        """With the advantages that the config asks for; every turn of an episode has that of the whole."""
        rewards = torch.tensor([[torch.nan if r.reward is None else r.reward for r in rollouts]], dtype=torch.float64)
        advantages: list[float] = ADVANTAGES[config.advantage](rewards)[0].tolist()
        return cls(name, rollouts, advantages if any(advantages) else None)

    @property
    def rewards(self) -> list[float]:
        """Those that were measured."""
        return [r.reward for r in self.rollouts if r.reward is not None]

    @property
    def n_turns(self) -> int:
        """Assistant turns that were sampled."""
        return sum(len(r.turns) for r in self.rollouts)

    def scored_turns(self) -> Iterator[tuple[int, Turn, float]]:
        """Rollout, turn and advantage of all that trains."""
        for g, rollout in enumerate(self.rollouts):
            if rollout.reward is not None and self.advantages is not None:
                for turn in rollout.turns:
                    yield g, turn, self.advantages[g]

    def rows(self, step: int) -> Iterator[TrainRollout]:
        """As rows of the rollouts table, one per turn."""
        for sample, rollout in enumerate(self.rollouts):
            known = self.advantages is not None and rollout.reward is not None
            for number, (_, completion) in enumerate(rollout.turns):
                yield TrainRollout(
                    step=step,
                    candidate_id=self.name,
                    sample=sample,
                    turn=number,
                    text=completion.text,
                    reward=rollout.reward,
                    verdict=rollout.verdict,
                    error=rollout.error,
                    advantage=self.advantages[sample] if known and self.advantages else None,
                    n_tokens=len(completion.token_ids),
                    finish_reason=completion.finish_reason,
                )


@dataclass(slots=True)
class StepGroups:
    """All that was sampled for one step."""

    groups: list[ScoredGroup] = field(default_factory=list)
    n_unusable: int = 0

    @property
    def trained(self) -> list[ScoredGroup]:
        """Groups with variance."""
        return [g for g in self.groups if g.advantages is not None]

    @property
    def n_turns(self) -> int:
        """Assistant turns that were sampled."""
        return sum(group.n_turns for group in self.groups)

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
Source = Callable[[Drawn, Engine], list[ScoredGroup | None]]
"""Samples and scores a group for each row, in order; null for one that cannot be used."""


def sample_step(step: int, deck: Deck, source: Source, engine: Engine, config: TrainConfig) -> StepGroups:
    """Sample until `prompts_per_step` groups have variance, or the refills are spent."""
    result = StepGroups()
    for round_ in range(config.max_refills + 1):
        missing = config.prompts_per_step - len(result.trained)
        if missing == 0:
            break
        drawn = {f"{step}/{round_}/{i}/{c.candidate_id}": c for i, c in enumerate(deck.draw() for _ in range(missing))}
        for group in joined(source({key: drawn[key] for key in own(list(drawn))}, engine)):
            if group is None:
                result.n_unusable += 1
            else:
                result.groups.append(group)
    return result
