"""One-turn rollouts at pivots, scored by the pivots' verifiers."""

from __future__ import annotations

from pivotrl_cli.configs import TrainConfig
from pivotrl_cli.engines import Engine, Group, Request, Sampling, each_group
from pivotrl_cli.rows import Candidate
from pivotrl_cli.stages.shared.scoring import score_group
from pivotrl_cli.stages.train.groups import Drawn, ScoredGroup, ScoredRollout, Source, Turn
from pivotrl_cli.stages.train.stopwatch import Stopwatch
from pivotrl_cli.verifiers import Verifier


def pivot_source(verifiers: dict[str, Verifier], config: TrainConfig) -> Source:
    """A group of rollouts at each pivot."""

    def sample(drawn: Drawn, engine: Engine, watch: Stopwatch) -> list[ScoredGroup | None]:
        with watch("sample"):
            groups = _in_order(drawn, engine, config)
        with watch("score"):
            return [
                _scored(drawn[group.request.key], group, verifiers, config) if group.status == "ok" else None
                for group in groups
            ]

    return sample


def _in_order(drawn: Drawn, engine: Engine, config: TrainConfig) -> list[Group]:
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
    scored = score_group(candidate, group.completions, verifier, config.truncated)
    rollouts = [
        ScoredRollout([Turn(group.prompt_ids, completion)], r.reward, r.verdict, r.error)
        for completion, r in zip(group.completions, scored, strict=True)
    ]
    return ScoredGroup.of(candidate.candidate_id, rollouts, config)
