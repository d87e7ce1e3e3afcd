"""Prescreen: one teacher-forced pass says which candidates are not worth a rollout.

Where the policy is sure of every token of the demonstrated action, it repeats that action in nearly all rollouts, and
the turn has no reward variance. So the candidates of each window are ranked by the sum of the policy's token entropies
along that action, and the share with the least is left out. A random part of that share is sampled in full all the
same: it says how many pivots the prescreen cost, with an interval. `docs/adaptive.md` has the measurements.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from pivotrl_cli.configs import ProfileConfig
from pivotrl_cli.engines import Engine, choose, sample_seed
from pivotrl_cli.errors import ConfigError
from pivotrl_cli.model.chat import ChatFormat, UnrenderableError
from pivotrl_cli.rows import Candidate
from pivotrl_cli.stages.profile.samples import Results, Samples

Tokens = list[int]


def decide(results: Results, config: ProfileConfig) -> dict[str, Samples]:
    """Results of a window, with those marked that the prescreen leaves out or audits.

    It leaves out `config.prescreen` of the candidates with an entropy, the lowest first, equal ones by their id.
    Whether one of them is audited depends on its id and the seed alone.
    """
    ranked = sorted((one.entropy, key) for key, one in results.items() if one.entropy is not None)
    decided = dict(results)
    for _, key in ranked[: int((config.prescreen or 0.0) * len(ranked))]:
        if sample_seed(config.seed, f"audit {key}", 0) < config.prescreen_audit * 2**62:
            decided[key] = results[key].model_copy(update={"audited": True})
        else:
            decided[key] = results[key].model_copy(update={"status": "screened_out", "detail": "--prescreen"})
    return decided


def measure(engine: Engine, config: ProfileConfig, candidates: Sequence[Candidate]) -> dict[str, Samples]:
    """Samples without rollouts, with the entropy of each candidate that can be rendered and fits into the context."""
    name = choose(config)
    if name not in _PASSES:
        raise ConfigError(f"--prescreen needs the policy's probabilities, and engine {name} has none", "use hf or vllm")
    tokens = {candidate.candidate_id: _tokens(engine, candidate) for candidate in candidates}
    rendered = {key: pair for key, pair in tokens.items() if pair is not None}
    entropies = _PASSES[name](engine, list(rendered.values()), config)
    measured = {
        key: Samples(rollouts=[], prompt_tokens=len(prompt), entropy=sum(of_tokens))
        for (key, (prompt, _)), of_tokens in zip(rendered.items(), entropies, strict=True)
    }
    return {key: measured.get(key, Samples(rollouts=[])) for key in tokens}


def _tokens(engine: Any, candidate: Candidate) -> tuple[Tokens, Tokens] | None:
    """Prompt and demonstrated action; sampling gives the reason where there is none."""
    chat: ChatFormat = engine.chat
    try:
        prompt = chat.prompt_ids(candidate.state, candidate.tools)
        action = chat.completion_ids(candidate.state, candidate.tools, candidate.expected_action)
    except UnrenderableError:
        return None
    return (prompt, action) if len(prompt) + len(action) <= engine.context_length else None


def _tree_pass(engine: Any, pairs: list[tuple[Tokens, Tokens]], config: ProfileConfig) -> Iterator[list[float]]:
    """By prefix trees: neighbors share what their prompts have in common, as the turns of a trajectory do."""
    import torch

    from pivotrl_cli.learn.policy import completion_logprobs

    for batch in _batches(pairs, config.sample_token_budget):
        with torch.no_grad():
            scores = completion_logprobs(
                engine.model,
                [prompt for prompt, _ in batch],
                [[action] for _, action in batch],
                config.temperature or 1.0,
            )
        entropies = iter(scores.entropies.tolist())
        for _, action in batch:
            yield [next(entropies) for _ in action]


def _batches(pairs: Iterable[tuple[Tokens, Tokens]], token_budget: int) -> Iterator[list[tuple[Tokens, Tokens]]]:
    """Neighbors of at most `token_budget` tokens, counted as if nothing were shared; a longer one is alone."""
    batch: list[tuple[Tokens, Tokens]] = []
    size = 0
    for prompt, action in pairs:
        if batch and size + len(prompt) + len(action) > token_budget:
            yield batch
            batch, size = [], 0
        batch.append((prompt, action))
        size += len(prompt) + len(action)
    if batch:
        yield batch


def _vllm_pass(engine: Any, pairs: list[tuple[Tokens, Tokens]], config: ProfileConfig) -> Iterator[list[float]]:
    yield from engine.entropies(pairs, config.temperature or 1.0)


_PASSES: Mapping[str, Callable[[Any, list[tuple[Tokens, Tokens]], ProfileConfig], Iterator[list[float]]]] = {
    "hf": _tree_pass,
    "vllm": _vllm_pass,
}
