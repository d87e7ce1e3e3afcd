"""The embedded engine: transformers, on CPU or one GPU.

Each prompt is computed once for its n samples: prefill the distinct prompts, repeat the cache, decode. Randomness is
per row and counter-based (uniforms from Philox, keyed by the sample's seed, through the inverse CDF), so a sample does
not depend on what shares its batch, up to rounding. Left out: continuous batching, which transformers does slower than
this on CPU, and sharing the cache between the samples of a prompt; vLLM does both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import DynamicCache, PreTrainedModel

from pivotrl_cli.chat import ChatFormat, UnparsableError, UnrenderableError
from pivotrl_cli.checkpoint import load_model, load_tokenizer, place, resolve
from pivotrl_cli.engines import Completion, Group, Request, Sampling, sample_seed


def open_engine(model: str, device: str, dtype: str, token_budget: int) -> HFEngine:
    """Load a model folder, hub name or shipped policy."""
    folder = resolve(model)
    chat = ChatFormat(load_tokenizer(folder))
    return HFEngine(load_model(folder, *place(device, dtype)), chat, token_budget)


@dataclass(slots=True)
class _Prompt:
    request: Request
    ids: list[int]


@dataclass(slots=True)
class _Row:
    """One sample while it decodes."""

    prompt: int
    seed: int
    token_ids: list[int]
    logprobs: list[float]
    done: bool = False


class HFEngine:
    """Samples from a transformers model in this process."""

    def __init__(self, model: PreTrainedModel, chat: ChatFormat, token_budget: int) -> None:
        self.model = model
        self.chat = chat
        self.token_budget = token_budget
        self.context_length = int(model.config.get_text_config().max_position_embeddings)
        self._stop_ids = _stop_ids(model, chat)

    def sample(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[Group]:
        """One group per request; those that cannot be sampled first, then batches from long prompts to short."""
        prompts: list[_Prompt] = []
        for request in requests:
            rendered = self._render(request, sampling.max_new_tokens)
            if isinstance(rendered, Group):
                yield rendered
            else:
                prompts.append(rendered)
        for batch in pack_by_length(prompts, sampling, self.token_budget):
            yield from self._sample_batch(batch, sampling)

    def _render(self, request: Request, max_new_tokens: int) -> _Prompt | Group:
        try:
            ids = self.chat.prompt_ids(request.state, request.tools)
        except UnrenderableError as error:
            return Group(request=request, completions=[], status="unrenderable", detail=str(error))
        if len(ids) + max_new_tokens > self.context_length:
            detail = f"{len(ids)} prompt tokens and {max_new_tokens} new ones, the context holds {self.context_length}"
            return Group(request=request, completions=[], prompt_ids=ids, status="too_long", detail=detail)
        return _Prompt(request, ids)

    @torch.no_grad()
    def _sample_batch(self, batch: list[_Prompt], sampling: Sampling) -> Iterator[Group]:
        rows = [
            _Row(p, sample_seed(sampling.seed, prompt.request.key, sample), [], [])
            for p, prompt in enumerate(batch)
            for sample in range(sampling.n)
        ]
        self._decode(batch, rows, sampling)
        for p, prompt in enumerate(batch):
            completions = [self._completion(prompt, row) for row in rows if row.prompt == p]
            yield Group(request=prompt.request, completions=completions, prompt_ids=prompt.ids)

    def _decode(self, batch: list[_Prompt], rows: list[_Row], sampling: Sampling) -> None:
        """Fill the rows token by token; finished rows leave the batch once half of it is finished."""
        uniforms = np.stack([_uniforms(row.seed, sampling.max_new_tokens) for row in rows])
        ids, mask = self._left_padded(batch)
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        cache = DynamicCache(config=self.model.config)
        out = self.model(
            input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, logits_to_keep=1
        )
        cache.batch_repeat_interleave(sampling.n)
        logits = out.logits[:, -1].repeat_interleave(sampling.n, dim=0)
        mask = mask.repeat_interleave(sampling.n, dim=0)
        position = mask.sum(-1, keepdim=True)
        active = list(range(len(rows)))
        for step in range(sampling.max_new_tokens):
            tokens = self._draw(logits, [rows[i] for i in active], uniforms[active, step], sampling.temperature)
            alive = [j for j, i in enumerate(active) if not rows[i].done]
            if not alive or step + 1 == sampling.max_new_tokens:
                return
            if 2 * len(alive) <= len(active):
                keep = torch.tensor(alive, device=mask.device)
                cache.batch_select_indices(keep)
                mask, position, tokens = mask[keep], position[keep], tokens[keep]
                active = [active[j] for j in alive]
            mask = torch.cat([mask, mask.new_ones(len(active), 1)], dim=-1)
            out = self.model(
                input_ids=tokens[:, None], attention_mask=mask, position_ids=position, past_key_values=cache
            )
            logits, position = out.logits[:, -1], position + 1

    def _draw(self, logits: torch.Tensor, rows: list[_Row], uniforms: np.ndarray, temperature: float) -> torch.Tensor:
        """One token per row by inverse CDF; rows record it unless they are done."""
        logprobs = torch.log_softmax(logits.float() / (temperature or 1.0), dim=-1)
        if temperature == 0.0:
            tokens = logprobs.argmax(-1)
        else:
            cdf = logprobs.double().exp().cumsum(-1)
            points = torch.from_numpy(uniforms).to(cdf.device)[:, None] * cdf[:, -1:]
            tokens = torch.searchsorted(cdf, points, right=True)[:, 0].clamp(max=cdf.shape[-1] - 1)
        drawn = logprobs.gather(-1, tokens[:, None])[:, 0]
        for row, token, logprob in zip(rows, tokens.tolist(), drawn.tolist(), strict=True):
            if not row.done:
                row.token_ids.append(token)
                row.logprobs.append(logprob)
                row.done = token in self._stop_ids
        return tokens

    def _left_padded(self, batch: list[_Prompt]) -> tuple[torch.Tensor, torch.Tensor]:
        width = max(len(prompt.ids) for prompt in batch)
        pad = [width - len(prompt.ids) for prompt in batch]
        ids = [[0] * n + prompt.ids for n, prompt in zip(pad, batch, strict=True)]
        mask = [[0] * n + [1] * len(prompt.ids) for n, prompt in zip(pad, batch, strict=True)]
        return torch.tensor(ids, device=self.model.device), torch.tensor(mask, device=self.model.device)

    def _completion(self, prompt: _Prompt, row: _Row) -> Completion:
        text = self.chat.decode(row.token_ids)
        action, problem = None, None
        try:
            action = self.chat.parse(text, prompt.ids)
        except UnparsableError as error:
            problem = str(error)
        return Completion(
            text=text,
            action=action,
            problem=problem,
            token_ids=row.token_ids,
            logprobs=row.logprobs,
            finish_reason="stop" if row.done else "length",
            seed=row.seed,
        )


def pack_by_length(prompts: list[_Prompt], sampling: Sampling, token_budget: int) -> Iterator[list[_Prompt]]:
    """Batches of prompts of similar length, longest first, so that memory fails at once or never.

    A batch's cost is its cache: rows times (longest prompt + new tokens). A prompt above the budget goes alone.
    """
    batch: list[_Prompt] = []
    for prompt in sorted(prompts, key=lambda p: (-len(p.ids), p.request.key)):
        width = len((batch or [prompt])[0].ids) + sampling.max_new_tokens
        if batch and (len(batch) + 1) * sampling.n * width > token_budget:
            yield batch
            batch = []
        batch.append(prompt)
    if batch:
        yield batch


def _uniforms(seed: int, n: int) -> np.ndarray:
    return np.random.Generator(np.random.Philox(key=seed)).random(n)


def _stop_ids(model: PreTrainedModel, chat: ChatFormat) -> frozenset[int]:
    configured = model.generation_config.eos_token_id if model.generation_config is not None else None
    ids = configured if isinstance(configured, list) else [configured]
    return frozenset(i for i in [*ids, chat.tokenizer.eos_token_id] if isinstance(i, int))
