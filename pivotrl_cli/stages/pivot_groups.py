"""Groups of scored rollouts for one optimiser step: draw pivots, sample, score, replace the groups without variance.

A group whose rewards are all equal has no gradient (paper, Prop. 3.1), so it is counted and another pivot takes its
place; after `max_refills` rounds the step goes on with what it has. Where several processes train, all draw the same
pivots, each samples and scores its share, and all get to know all groups.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import torch

from pivotrl_cli.configs import TrainConfig
from pivotrl_cli.engines import Engine, Group, Request, Sampling, each_group
from pivotrl_cli.learn.advantage import ADVANTAGES
from pivotrl_cli.learn.distributed import joined, own
from pivotrl_cli.learn.step import GrpoBatch
from pivotrl_cli.rows import Candidate, Rollout, TrainRollout
from pivotrl_cli.stages.scoring import score_group
from pivotrl_cli.table import Table
from pivotrl_cli.verifiers import Verifier


class Deck:
    """Rows of a table in an endless shuffled order: every row once an epoch, more often with more weight."""

    def __init__(self, table: Table[Candidate], rows: np.ndarray, weights: np.ndarray, seed: int) -> None:
        self._table = table
        self._rows = rows
        self._expected = weights * len(weights) / weights.sum()
        self._seed = seed
        self._order = self._shuffled()
        self.n_drawn = 0

    def draw(self) -> Candidate:
        """The next row."""
        self.n_drawn += 1
        return self._table.at(next(self._order))

    def skip(self, n: int) -> None:
        """Go on as if `n` more rows had been drawn."""
        self.n_drawn += n
        next(islice(self._order, n, n), None)

    def _shuffled(self) -> Iterator[int]:
        epoch = 0
        while True:
            rng = np.random.default_rng([self._seed, epoch])
            copies = np.floor(self._expected + rng.random(len(self._rows))).astype(int)
            yield from rng.permutation(np.repeat(self._rows, copies)).tolist()
            epoch += 1


@dataclass(frozen=True, slots=True)
class ScoredGroup:
    """One pivot's rollouts in training; `advantages` are null where the group was not trained on."""

    candidate: Candidate
    group: Group
    rollouts: list[Rollout]
    advantages: list[float] | None

    def rows(self, step: int) -> Iterator[TrainRollout]:
        """As rows of the rollouts table."""
        for i, rollout in enumerate(self.rollouts):
            yield TrainRollout(
                step=step,
                candidate_id=self.candidate.candidate_id,
                sample=rollout.sample,
                text=rollout.text,
                reward=rollout.reward,
                verdict=rollout.verdict,
                error=rollout.error,
                advantage=None if self.advantages is None or rollout.reward is None else self.advantages[i],
                n_tokens=rollout.n_tokens,
                finish_reason=rollout.finish_reason,
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

    def rewards(self) -> list[list[float]]:
        """Scored rewards, by group."""
        return [[r.reward for r in g.rollouts if r.reward is not None] for g in self.groups]

    def batch(self) -> GrpoBatch:
        """The scored rollouts of the groups with variance, as the learner takes them."""
        kept = [[i for i, r in enumerate(g.rollouts) if r.reward is not None] for g in self.trained]
        pairs = list(zip(self.trained, kept, strict=True))
        return GrpoBatch(
            prompts=[g.group.prompt_ids for g in self.trained],
            completions=[[g.group.completions[i].token_ids for i in indices] for g, indices in pairs],
            sampler_logprobs=[[g.group.completions[i].logprobs for i in indices] for g, indices in pairs],
            advantages=[[g.advantages[i] for i in indices] for g, indices in pairs if g.advantages is not None],
        )


def sample_step(
    step: int, deck: Deck, engine: Engine, verifiers: dict[str, Verifier], config: TrainConfig
) -> StepGroups:
    """Sample until `prompts_per_step` groups have variance, or the refills are spent."""
    result = StepGroups()
    for round_ in range(config.max_refills + 1):
        missing = config.prompts_per_step - len(result.trained)
        if missing == 0:
            break
        drawn = {f"{step}/{round_}/{i}/{c.candidate_id}": c for i, c in enumerate(deck.draw() for _ in range(missing))}
        mine = {key: drawn[key] for key in own(list(drawn))}
        scored = [
            _scored(mine[group.request.key], group, verifiers, config) if group.status == "ok" else None
            for group in _in_order(mine, engine, config)
        ]
        for one in joined(scored):
            if one is None:
                result.n_unusable += 1
            else:
                result.groups.append(one)
    return result


def _in_order(drawn: dict[str, Candidate], engine: Engine, config: TrainConfig) -> list[Group]:
    """One group per drawn pivot, in the order drawn, so that the update does not depend on batching."""
    requests = [Request(key=key, state=c.state, tools=c.tools) for key, c in drawn.items()]
    sampling = Sampling(
        n=config.group_size,
        temperature=config.temperature,
        max_new_tokens=config.max_new_tokens,
        seed=config.seed,
    )
    groups = {group.request.key: group for group in each_group(engine, requests, sampling)}
    return [groups[key] for key in drawn]


def _scored(candidate: Candidate, group: Group, verifiers: dict[str, Verifier], config: TrainConfig) -> ScoredGroup:
    verifier = verifiers[config.verifier or candidate.verifier]
    rollouts = score_group(candidate, group.completions, verifier, config.truncated)
    rewards = torch.tensor([[torch.nan if r.reward is None else r.reward for r in rollouts]], dtype=torch.float64)
    advantages: list[float] = ADVANTAGES[config.advantage](rewards)[0].tolist()
    return ScoredGroup(candidate, group, rollouts, advantages if any(advantages) else None)
