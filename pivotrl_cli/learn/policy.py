"""Log-probabilities of sampled tokens under a causal language model, with shared prefixes computed once.

The *tree* path lays prompts and rollouts out as one packed row, see `tree` and `cascade`: P + G*C positions instead of
G*(P + C), fewer still for pivots of one trajectory, with the same gradient. The *plain* path is one padded batch of
full sequences through the model's own forward. It is the reference of the tests and of the self-check, and the path for
every model that `plain_reason` names. Padding is on the right, where causal layers of any kind do not see it.

Only positions that predict a completion token reach the output head, a bounded number of them at a time. Left out:
scaled heads in the tree path.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from pivotrl_cli.learn.cascade import TreePlan, hidden_states
from pivotrl_cli.learn.distributed import run_in_forward
from pivotrl_cli.learn.hybrid import wrap_linear_attention
from pivotrl_cli.learn.tree import PackedTree, Tokens, build_tree
from pivotrl_cli.learn.ulysses import gather_tokens, local_span

HEAD_ELEMENTS = 2**27
"""Maximum logits held at once; beyond, they are recomputed in the backward pass, chunk by chunk."""

TREE_MODELS = frozenset(
    {"gemma3_text", "glm4_moe", "llama", "mistral", "mixtral", "olmo3", "qwen2", "qwen3", "qwen3_moe", "smollm3"}
    | {"qwen3_5_moe_text", "qwen3_5_text", "qwen3_next"}  # hybrids
)
"""Model types whose layers mix positions by nothing but attention, windowed or not, and wrapped linear attention."""

_HEAD_SCALES = ("final_logit_softcapping", "logits_soft_cap", "logit_scale", "logits_scaling", "lm_head_multiplier")


@dataclass(frozen=True, slots=True)
class TokenScores:
    """Scores of the completion tokens, in the order prompt, rollout, token."""

    logprobs: Tensor
    """[T] Log-probability of each token at the given temperature, in nats; carries the gradient."""
    entropies: Tensor
    """[T] Entropy of the distribution that each token was drawn from, in nats; no gradient."""
    n_positions: int = 0
    """Positions that the layers computed, padding included."""


def plain_reason(model: PreTrainedModel) -> str | None:
    """Why this model takes the plain path; None if it takes the tree.

    A layer of an unknown kind may mix positions in ways that the row would leak through without an error, so the kinds
    are a list. A head that scales its logits outside its matrix would be skipped.
    """
    config = model.config.get_text_config(decoder=True)
    if config.model_type not in TREE_MODELS:
        return f"the layers of {config.model_type} are not among those that a prefix tree knows"
    if getattr(config, "use_bidirectional_attention", False):
        return "the attention is bidirectional"
    if model.training and getattr(config, "attention_dropout", None):
        return "attention dropout is on"
    scales = [name for name in _HEAD_SCALES if getattr(config, name, None) not in (None, 1.0)]
    return f"the head scales its logits: {', '.join(scales)}" if scales else None


def completion_logprobs(
    model: PreTrainedModel,
    prompts: Sequence[Tokens],
    completions: Sequence[Sequence[Tokens]],
    temperature: float = 1.0,
    *,
    tree: bool | None = None,
) -> TokenScores:
    """Score every completion token of one micro-batch.

    Groups may differ in size; no prompt and no completion may be empty. A completion's first token is predicted at the
    prompt's last position. `plain_reason` decides about `tree` unless it is given. The model's mode is left alone: keep
    it in eval mode, where gradients flow too and dropout does not make trainer and sampler differ, unless its layers
    are to be checkpointed.
    """
    if tree is None:
        tree = plain_reason(model) is None
    rows_N = [(p, completion) for p, group in enumerate(completions) for completion in group]
    if not rows_N or not all(prompts) or not all(completion for _, completion in rows_N):
        raise ValueError("nothing to score: there is no rollout, or a prompt or a completion is empty")
    targets_T = _tensor([token for _, completion in rows_N for token in completion], model)
    if not tree:
        scores = _score(_plain_logits(model, prompts, rows_N), targets_T, temperature)
        width = max(len(prompts[p]) + len(completion) for p, completion in rows_N)
        return replace(scores, n_positions=len(rows_N) * width)
    row = build_tree(prompts, completions)
    wrap_linear_attention(model)
    return TokenScores(
        *run_in_forward(model, _score_row, model, row, targets_T, temperature), n_positions=len(row.tokens)
    )


def _plain_logits(model: PreTrainedModel, prompts_P: Sequence[Tokens], rows_N: list[tuple[int, Tokens]]) -> Tensor:
    """Logits [T, V] from full rows through the model's own forward, whatever its layers and head are."""
    full_N = [[*prompts_P[p], *completion] for p, completion in rows_N]
    first = min(len(prompts_P[p]) for p, _ in rows_N) - 1
    kept = torch.arange(first, max(map(len, full_N)), device=model.device)
    logits_N_K_V: Tensor = model(input_ids=_pad(full_N, model), use_cache=False, logits_to_keep=kept).logits
    index_T = [
        n * len(kept) + len(prompts_P[p]) - 1 - first + t
        for n, (p, completion) in enumerate(rows_N)
        for t in range(len(completion))
    ]
    return logits_N_K_V.flatten(0, 1)[_tensor(index_T, model)]


def _score_row(model: PreTrainedModel, row: PackedTree, targets_T: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Log-probabilities and entropies through decoder and head, gathered from the ranks that share the row."""
    hidden_L, span = hidden_states(model, TreePlan(row, model.device)), local_span(len(row.tokens))
    held = [t for t, place in enumerate(row.predictors) if place in span]
    places_T = _tensor([row.predictors[t] - span.start for t in held], model)
    scores = _score_hidden(model, hidden_L[places_T], targets_T[_tensor(held, model)], temperature)
    logprobs_T, entropies_T = (gather_tokens(x, row.predictors, len(row.tokens)) for x in scores)
    return logprobs_T, entropies_T


def _score_hidden(
    model: PreTrainedModel, hidden_T: Tensor, targets_T: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """Apply the output head to few enough positions at a time that their logits fit."""
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]

    def score(hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        scores = _score(head(hidden), targets, temperature)
        return scores.logprobs, scores.entropies

    n_rows = max(1, HEAD_ELEMENTS // model.config.get_text_config(decoder=True).vocab_size)
    if len(targets_T) <= n_rows:
        return score(hidden_T, targets_T)
    parts = [
        checkpoint(score, hidden, targets, use_reentrant=False, preserve_rng_state=False)
        for hidden, targets in zip(torch.split(hidden_T, n_rows), torch.split(targets_T, n_rows), strict=True)
    ]
    logprobs, entropies = zip(*parts, strict=True)
    return torch.cat(logprobs), torch.cat(entropies)


def _score(logits_T_V: Tensor, targets_T: Tensor, temperature: float) -> TokenScores:
    """Log-probabilities and entropies, in float32 at least."""
    logits = logits_T_V.to(torch.promote_types(logits_T_V.dtype, torch.float32)) / temperature
    normaliser_T = logits.logsumexp(dim=-1)
    logprobs_T = logits.gather(-1, targets_T[:, None])[:, 0] - normaliser_T
    with torch.no_grad():
        entropies_T = normaliser_T - (torch.exp(logits - normaliser_T[:, None]) * logits).sum(dim=-1)
    return TokenScores(logprobs_T, entropies_T)


def _pad(rows: Sequence[Tokens], model: PreTrainedModel) -> Tensor:
    """Rows as one rectangle, padded on the right with an id that every vocabulary has."""
    width = max(map(len, rows))
    return _tensor([[*row, *[0] * (width - len(row))] for row in rows], model)


def _tensor(values: Sequence[int] | Sequence[list[int]], model: PreTrainedModel) -> Tensor:
    """Integers on the model's device; an empty list keeps its type."""
    return torch.tensor(values, dtype=torch.long, device=model.device)
