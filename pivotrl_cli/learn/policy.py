"""Log-probabilities of sampled tokens under a causal language model, each prompt computed once for its G rollouts.

The *shared* path runs the prompts once with their cache kept in the graph, repeats the cache to the rollouts, and runs
the completions over it in one forward: P + G*C positions instead of G*(P + C), with the same gradient. The *plain* path
runs full rows without a cache. It is the oracle of the tests and the path for every model that `plain_reason` names.

Padding is on the right, of prompts as well as of completions. Causal attention then keeps it out of every real
position without a mask in the prompt pass (which lets the fast causal kernels run), no attention row is ever fully
masked, and the id that pads is irrelevant.

Only positions that predict a completion token reach the output head, a bounded number of them at a time. Left out:
sharing between pivots of one trajectory (prefix trees), and scaled heads in the shared path.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

Tokens = Sequence[int]

HEAD_ELEMENTS = 2**27
"""Most logits held at once; beyond, they are recomputed in the backward pass, chunk by chunk."""

_HEAD_SCALES = ("final_logit_softcapping", "logits_soft_cap", "logit_scale", "logits_scaling", "lm_head_multiplier")


@dataclass(frozen=True, slots=True)
class TokenScores:
    """What the model says of the completion tokens, in the order prompt, rollout, token."""

    logprobs: Tensor
    """[T] Log-probability of each token at the given temperature, in nats; carries the gradient."""
    entropies: Tensor
    """[T] Entropy of the distribution that each token was drawn from, in nats; no gradient."""


def plain_reason(model: PreTrainedModel) -> str | None:
    """Why this model takes the plain path; None if it takes the shared one.

    Shared needs a cache of nothing but full-attention keys and values, which is what transformers builds from a config
    whose `layer_types` are all `full_attention`, or which has neither them nor a window. Recurrent layers would lose
    their gradient in the cache's in-place updates, windows forget the prompt, gradient checkpointing drops the cache in
    silence, and a head that scales its logits outside `lm_head` would be skipped.
    """
    config = model.config.get_text_config(decoder=True)
    if getattr(model, "_is_stateful", False):
        return "the model keeps a recurrent state"
    kinds = {type(layer).__name__ for layer in DynamicCache(config=config).layers if type(layer) is not DynamicLayer}
    if kinds:
        return f"not every layer is full attention: {', '.join(sorted(kinds))}"
    if not hasattr(model, "lm_head"):
        return "the model has no lm_head"
    if model.training and model.is_gradient_checkpointing:
        return "gradient checkpointing is on"
    scales = [name for name in _HEAD_SCALES if getattr(config, name, None) not in (None, 1.0)]
    return f"the head scales its logits: {', '.join(scales)}" if scales else None


def completion_logprobs(
    model: PreTrainedModel,
    prompts: Sequence[Tokens],
    completions: Sequence[Sequence[Tokens]],
    temperature: float = 1.0,
    *,
    shared: bool | None = None,
) -> TokenScores:
    """Score every completion token of one micro-batch.

    Groups may differ in size; no prompt and no completion may be empty. A completion's first token is predicted at the
    prompt's last position. `shared` is decided by `plain_reason` unless given. The model's mode is left alone: keep it
    in eval mode, where gradients flow as well and dropout does not part trainer from sampler.
    """
    if shared is None:
        shared = plain_reason(model) is None
    rows_N = [(p, completion) for p, group in enumerate(completions) for completion in group]
    if not rows_N or not all(prompts) or not all(completion for _, completion in rows_N):
        raise ValueError("nothing to score: there is no rollout, or a prompt or a completion is empty")
    targets_T = _tensor([token for _, completion in rows_N for token in completion], model)
    if not shared:
        return _score(_plain_logits(model, prompts, rows_N), targets_T, temperature)
    hidden_T = _shared_hidden(model, prompts, rows_N)
    return _score_hidden(model, hidden_T, targets_T, temperature)


def _shared_hidden(model: PreTrainedModel, prompts_P: Sequence[Tokens], rows_N: list[tuple[int, Tokens]]) -> Tensor:
    """Final hidden states [T, H] at the positions that predict completion tokens."""
    lengths_P = _tensor([len(prompt) for prompt in prompts_P], model)
    prompt_N = _tensor([p for p, _ in rows_N], model)
    cache = DynamicCache(config=model.config.get_text_config(decoder=True))
    states = model.base_model(input_ids=_padded(prompts_P, model), past_key_values=cache, use_cache=True)
    last_P: Tensor = states.last_hidden_state[torch.arange(len(lengths_P), device=model.device), lengths_P - 1]
    # A completion's last token predicts nothing, so it is never fed.
    fed_N_C = _padded([completion[:-1] for _, completion in rows_N], model)
    n_fed = fed_N_C.shape[1]
    if n_fed == 0:
        return last_P[prompt_N]
    _repeat(cache, prompt_N, len(prompts_P))
    tail_N_C = _continued(model, cache, fed_N_C, lengths_P[prompt_N])
    index_T = [
        p if t == 0 else len(prompts_P) + n * n_fed + t - 1
        for n, (p, completion) in enumerate(rows_N)
        for t in range(len(completion))
    ]
    return torch.cat([last_P, tail_N_C.flatten(0, 1)])[_tensor(index_T, model)]


def _continued(model: PreTrainedModel, cache: DynamicCache, fed_N_C: Tensor, start_N: Tensor) -> Tensor:
    """Final hidden states [N, C, H] of tokens that follow cached prompts of `start_N` real tokens each."""
    is_prompt = torch.arange(cache.get_seq_length(), device=model.device) < start_N[:, None]
    hidden_N_C: Tensor = model.base_model(
        input_ids=fed_N_C,
        attention_mask=torch.cat([is_prompt, torch.ones_like(fed_N_C, dtype=torch.bool)], dim=1),
        position_ids=start_N[:, None] + torch.arange(fed_N_C.shape[1], device=model.device),
        past_key_values=cache,
        use_cache=True,
    ).last_hidden_state
    return hidden_N_C


def _repeat(cache: DynamicCache, prompt_N: Tensor, n_prompts: int) -> None:
    """Give every rollout its prompt's keys and values, differentiably; equal groups take the cheaper call."""
    size = len(prompt_N) // n_prompts
    if torch.equal(prompt_N, torch.arange(n_prompts, device=prompt_N.device).repeat_interleave(size)):
        cache.batch_repeat_interleave(size)
    else:
        cache.batch_select_indices(prompt_N)


def _plain_logits(model: PreTrainedModel, prompts_P: Sequence[Tokens], rows_N: list[tuple[int, Tokens]]) -> Tensor:
    """Logits [T, V] from full rows through the model's own forward, whatever its layers and head are."""
    full_N = [[*prompts_P[p], *completion] for p, completion in rows_N]
    first = min(len(prompts_P[p]) for p, _ in rows_N) - 1
    kept = torch.arange(first, max(map(len, full_N)), device=model.device)
    logits_N_K_V: Tensor = model(input_ids=_padded(full_N, model), use_cache=False, logits_to_keep=kept).logits
    index_T = [
        n * len(kept) + len(prompts_P[p]) - 1 - first + t
        for n, (p, completion) in enumerate(rows_N)
        for t in range(len(completion))
    ]
    return logits_N_K_V.flatten(0, 1)[_tensor(index_T, model)]


def _score_hidden(model: PreTrainedModel, hidden_T: Tensor, targets_T: Tensor, temperature: float) -> TokenScores:
    """Apply the output head to few enough positions at a time that their logits fit."""
    head = model.get_submodule("lm_head")

    def score(hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        scores = _score(head(hidden), targets, temperature)
        return scores.logprobs, scores.entropies

    n_rows = max(1, HEAD_ELEMENTS // model.config.get_text_config(decoder=True).vocab_size)
    if len(targets_T) <= n_rows:
        return TokenScores(*score(hidden_T, targets_T))
    parts = [
        checkpoint(score, hidden, targets, use_reentrant=False, preserve_rng_state=False)
        for hidden, targets in zip(torch.split(hidden_T, n_rows), torch.split(targets_T, n_rows), strict=True)
    ]
    logprobs, entropies = zip(*parts, strict=True)
    return TokenScores(torch.cat(logprobs), torch.cat(entropies))


def _score(logits_T_V: Tensor, targets_T: Tensor, temperature: float) -> TokenScores:
    """Log-probabilities and entropies, in float32 at least."""
    logits = logits_T_V.to(torch.promote_types(logits_T_V.dtype, torch.float32)) / temperature
    normaliser_T = logits.logsumexp(dim=-1)
    logprobs_T = logits.gather(-1, targets_T[:, None])[:, 0] - normaliser_T
    with torch.no_grad():
        entropies_T = normaliser_T - (torch.exp(logits - normaliser_T[:, None]) * logits).sum(dim=-1)
    return TokenScores(logprobs_T, entropies_T)


def _padded(rows: Sequence[Tokens], model: PreTrainedModel) -> Tensor:
    """Rows as one rectangle, padded on the right with an id that every vocabulary has."""
    width = max(map(len, rows))
    return _tensor([[*row, *[0] * (width - len(row))] for row in rows], model)


def _tensor(values: Sequence[int] | Sequence[list[int]], model: PreTrainedModel) -> Tensor:
    """Integers on the model's device; an empty list keeps its type."""
    return torch.tensor(values, dtype=torch.long, device=model.device)
