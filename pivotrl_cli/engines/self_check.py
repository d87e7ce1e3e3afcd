"""Self-check before sampling: does the engine's way of decoding compute what a plain pass of each prompt alone does?

Padding, windows, recurrent states and caches are each architecture's own, and transformers may change them, so no list
of models proves them right. The longest and the shortest prompt of the first batch, with a few tokens each, do.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from transformers import PreTrainedModel

from pivotrl_cli.engines.decoding import Decoder, last_logits

N_ROWS, N_TOKENS = 2, 6
"""Rows of each prompt and tokens of each row; the rows differ."""

TOLERANCES = {torch.float64: 1e-3, torch.float32: 5e-3}
"""Maximum expected difference of log-probabilities in nats; for 16-bit formats `COARSE`."""

COARSE = 0.2

Start = Callable[[list[list[int]], int, int], tuple[Tensor, Decoder]]
"""Logits [B, V] after the prompts and a decoder of n rows each: (prompts, n, max_new_tokens)."""


def sampling_gap(model: PreTrainedModel, start: Start, prompts: list[list[int]]) -> float:
    """Maximum over all positions of E|log q - log p|, in nats.

    p is the model's next-token distribution in a plain pass, q the one that decoding samples from, and the expectation
    is over p. The rows continue with tokens of their own prompts, so that no stop ends them early.
    """
    forced = [[_tokens(prompt, row) for row in range(N_ROWS)] for prompt in prompts]
    tokens = torch.tensor(forced, device=model.device).flatten(0, 1)
    logits, decoder = start(prompts, N_ROWS, N_TOKENS + 1)
    sampled = [logits.repeat_interleave(N_ROWS, dim=0)]
    rows = list(range(len(tokens)))
    for t in range(N_TOKENS):
        decoder.keep(rows)
        sampled.append(decoder.step(tokens[:, t]))
    gaps = []
    for row, decoded in enumerate(torch.stack(sampled, dim=1)):
        ids = torch.tensor([[*prompts[row // N_ROWS], *forced[row // N_ROWS][row % N_ROWS]]], device=model.device)
        plain = last_logits(model, None, n=N_TOKENS + 1, input_ids=ids)[0].float().log_softmax(-1)
        gaps.append((plain.exp() * (decoded.float().log_softmax(-1) - plain).abs()).sum(-1).max())
    return torch.stack(gaps).max().item()


def tolerance(model: PreTrainedModel) -> float:
    return TOLERANCES.get(model.dtype, COARSE)


def _tokens(prompt: list[int], row: int) -> list[int]:
    return [prompt[(row * N_TOKENS + t) % len(prompt)] for t in range(N_TOKENS)]
