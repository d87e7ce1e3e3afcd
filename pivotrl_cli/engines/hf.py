"""The embedded engine: transformers, on CPU or one GPU.

Each prompt is computed once for its n samples, and the common prefix of a batch (the system prompt, the tools) once for
all its prompts. `decoding.py` stores each prompt's keys and values once as well, and `prefix_cache.py` stores them for
the next turn of an episode. Randomness is per row and counter-based (uniforms from Philox, keyed by the sample's seed,
through the inverse CDF), so a sample does not depend on the other rows of its batch, up to rounding. Left out:
continuous batching, which is slower in transformers than this on CPU.

Where a model's layers do not allow batches, prompts are sampled one at a time; where its cache is not right either,
without a cache. `self_check.py` decides that on the first prompts.
"""

from __future__ import annotations

import sys
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import torch
from transformers import DynamicCache, PreTrainedModel

from pivotrl_cli.configs import EngineConfig
from pivotrl_cli.engines import Completion, Engine, Group, Request, Sampling, sample_seed
from pivotrl_cli.engines.decoding import (
    Decoder,
    Uncached,
    attends_to_everything,
    last_logits,
    open_decoder,
    sees_places,
)
from pivotrl_cli.engines.prefix_cache import PrefixCache
from pivotrl_cli.engines.prompts import Prompt, read_completion, render, stop_ids
from pivotrl_cli.engines.self_check import sampling_gap, tolerance
from pivotrl_cli.errors import InputError
from pivotrl_cli.model.chat import ChatFormat
from pivotrl_cli.model.folder import fingerprint, load_model, load_tokenizer, resolve, resolve_device_and_dtype
from pivotrl_cli.text import common_prefix_length


def open_engine(config: EngineConfig) -> HFEngine:
    """Load a model folder, hub name or shipped policy."""
    folder = resolve(config.model)
    chat = ChatFormat(load_tokenizer(folder, config))
    device, dtype = resolve_device_and_dtype(config.device, config.dtype)
    return HFEngine(load_model(folder, device, dtype), chat, config.sample_token_budget)


def fingerprints(config: EngineConfig) -> dict[str, str]:
    """The model's content."""
    return {"model": fingerprint(resolve(config.model))}


@dataclass(slots=True)
class _Row:
    """One sample while it decodes."""

    prompt: int
    seed: int
    token_ids: list[int]
    logprobs: list[float]
    done: bool = False


class _Way(IntEnum):
    """How prompts are sampled, from fast to slow."""

    BATCH = 0
    ALONE = 1
    UNCACHED = 2


_SLOWER = {_Way.ALONE: "one prompt at a time", _Way.UNCACHED: "one prompt at a time and without a cache"}


class HFEngine(Engine):
    """Samples from a transformers model in this process."""

    def __init__(self, model: PreTrainedModel, chat: ChatFormat, token_budget: int) -> None:
        self.model = model
        self.chat = chat
        self.token_budget = token_budget
        self._prefix_cache = PrefixCache(token_budget)
        self._can_cache = attends_to_everything(model)
        self._way, self._is_checked = _Way.BATCH, False
        if reason := sees_places(model.config.get_text_config()):
            self._take_slower_way(reason)
        self.context_length = int(model.config.get_text_config().max_position_embeddings)
        self._stop_ids = stop_ids(model.generation_config, chat)

    def sample(
        self, requests: Sequence[Request], sampling: Sampling, done: Container[str] = ()
    ) -> Iterator[list[Group]]:
        """Groups that cannot be sampled first, then batches from long prompts to short."""
        rendered = [render(self.chat, r, sampling.max_new_tokens, self.context_length) for r in requests]
        if refused := [one for one in rendered if isinstance(one, Group) and one.request.key not in done]:
            yield refused
        prompts = [one for one in rendered if isinstance(one, Prompt)]
        if prompts and not self._is_checked:
            self._self_check(prompts)
        self._prefix_cache.rotate()
        if sampling.prefix_cache != "continue":
            self._prefix_cache.rotate()
        # a prompt alone is not padded, so its layers may count places as they like
        budget = self.token_budget if self._way is _Way.BATCH else 0
        for batch in pack_by_length(prompts, sampling, budget):
            if not all(prompt.request.key in done for prompt in batch):
                yield self._sample_batch(batch, sampling)

    @torch.no_grad()
    def _self_check(self, prompts: list[Prompt]) -> None:
        """Take the fastest way that computes what a plain pass does, and say so where it is a slow one."""
        ids = sorted((prompt.ids for prompt in prompts), key=len)
        while True:
            longest_and_shortest = [ids[-1], ids[0]] if self._way is _Way.BATCH and len(ids) > 1 else ids[-1:]
            try:
                gap = sampling_gap(self.model, self._start, longest_and_shortest)
            except torch.OutOfMemoryError:
                raise
            except (AttributeError, IndexError, KeyError, TypeError, ValueError, RuntimeError) as error:
                self._take_slower_way(f"decoding fails: {error}".splitlines()[0])
                continue
            if gap <= tolerance(self.model):
                break
            self._take_slower_way(f"log-probabilities differ from a plain pass by {gap:.2g} nats")
        self._is_checked = True

    def _take_slower_way(self, reason: str) -> None:
        if self._way is _Way.UNCACHED:
            name = self.model.name_or_path or self.model.config.model_type
            raise InputError(f"{name}: engine hf cannot sample: {reason}", "sample with --engine vllm")
        self._way = _Way(self._way + 1)
        print(f"engine hf: {_SLOWER[self._way]}, several times slower: {reason}", file=sys.stderr)

    @torch.no_grad()
    def _sample_batch(self, batch: list[Prompt], sampling: Sampling) -> list[Group]:
        rows = [
            _Row(p, sample_seed(sampling.seed, prompt.request.key, sample), [], [])
            for p, prompt in enumerate(batch)
            for sample in range(sampling.first, sampling.first + sampling.n)
        ]
        self._decode(batch, rows, sampling)
        completions: list[list[Completion]] = [[] for _ in batch]
        for row in rows:
            prompt = batch[row.prompt]
            completions[row.prompt].append(
                read_completion(self.chat, prompt, row.token_ids, row.logprobs, stopped=row.done, seed=row.seed)
            )
        return [
            Group(request=p.request, completions=sampled, prompt_ids=p.ids, template_fault=p.fault)
            for p, sampled in zip(batch, completions, strict=True)
        ]

    def _decode(self, batch: list[Prompt], rows: list[_Row], sampling: Sampling) -> None:
        """Sample the rows token by token."""
        uniforms = np.stack([_uniforms(row.seed, sampling.max_new_tokens) for row in rows])
        ids = [prompt.ids for prompt in batch]
        add = sampling.prefix_cache != "off" and self._can_cache
        logits, decoder = self._start(ids, sampling.n, sampling.max_new_tokens, add=add)
        logits = logits.repeat_interleave(sampling.n, dim=0)
        active = list(range(len(rows)))
        for step in range(sampling.max_new_tokens):
            tokens = self._draw(logits, [rows[i] for i in active], uniforms[active, step], sampling)
            alive = [j for j, i in enumerate(active) if not rows[i].done]
            if not alive or step + 1 == sampling.max_new_tokens:
                return
            kept = decoder.keep(alive)
            active = [active[j] for j in kept]
            logits = decoder.step(tokens[torch.tensor(kept, device=tokens.device)])

    def _draw(self, logits: torch.Tensor, rows: list[_Row], uniforms: np.ndarray, sampling: Sampling) -> torch.Tensor:
        """One token per row by inverse CDF; rows record it unless they are done."""
        scaled = logits.float() / (sampling.temperature or 1.0)
        logprobs = torch.log_softmax(_top_k_top_p(scaled, sampling), dim=-1)
        if sampling.temperature == 0.0:
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

    def _start(
        self, prompts: list[list[int]], n: int, max_new_tokens: int, *, add: bool = False
    ) -> tuple[torch.Tensor, Decoder]:
        """Logits [B, V] after the prompts, and a decoder of n rows each; `add` leaves the prompts in the cache."""
        if self._way is _Way.UNCACHED:
            (ids,) = map(self._tensor, ([prompt] for prompt in prompts))
            return last_logits(self.model, None, input_ids=ids)[:, -1], Uncached(self.model, ids, n)
        logits, mask, cache = self._prefill(prompts)
        if add:
            self._prefix_cache.add(prompts, mask, cache)
        return logits, open_decoder(self.model, cache, mask, n, max_new_tokens)

    def _prefill(self, prompts: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor, DynamicCache]:
        """Logits after each prompt, the mask of real tokens, and the cache.

        Rows are padded between the cached prefix and the rest, so that all of them end at the same position.
        """
        cache, cached, lengths = self._prefix_cache.lookup(prompts, self.model.config) or self._common_prefix(prompts)
        rests = [ids[n:] for ids, n in zip(prompts, lengths, strict=True)]
        width = max(map(len, rests))
        pads = [width - len(rest) for rest in rests]
        ids = self._tensor([[0] * pad + rest for pad, rest in zip(pads, rests, strict=True)])
        mask = torch.cat([cached, self._tensor([[0] * pad + [1] * (width - pad) for pad in pads])], dim=-1)
        positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, -width:]
        logits = last_logits(self.model, cache, input_ids=ids, attention_mask=mask, position_ids=positions)
        return logits[:, -1], mask, cache

    def _common_prefix(self, prompts: list[list[int]]) -> tuple[DynamicCache, torch.Tensor, list[int]]:
        """The prefix that all prompts share, computed once: cache, mask and its length for each prompt."""
        cache = DynamicCache(config=self.model.config)
        longest = min(map(len, prompts)) - 1  # at least one token of each is left for its own pass
        n = min(common_prefix_length(prompts), longest) if len(prompts) > 1 else 0
        if n:
            last_logits(self.model, cache, input_ids=self._tensor([prompts[0][:n]]))
            cache.batch_repeat_interleave(len(prompts))
        return cache, self._tensor([[1] * n for _ in prompts]), [n] * len(prompts)

    def _tensor(self, rows: list[list[int]]) -> torch.Tensor:
        return torch.tensor(rows, device=self.model.device)


class HFCopyEngine(HFEngine):
    """Samples from a whole copy of a model whose weights are sharded over several ranks."""

    @torch.no_grad()
    def push(self, weights: Iterable[tuple[str, torch.Tensor]], version: int) -> None:
        """Copy the weights, one by one."""
        parameters = dict(self.model.named_parameters())
        for name, weight in weights:
            parameters[name].copy_(weight)


def pack_by_length(prompts: list[Prompt], sampling: Sampling, token_budget: int) -> Iterator[list[Prompt]]:
    """Batches of prompts of similar length, longest first, so that a run either exhausts memory at once or never.

    A batch costs as many tokens as its cache holds: prompts times (longest prompt + n times the new tokens). A prompt
    above the budget is a batch of its own.
    """
    batch: list[Prompt] = []
    for prompt in sorted(prompts, key=lambda p: (-len(p.ids), p.request.key)):
        cost = len((batch or [prompt])[0].ids) + sampling.n * sampling.max_new_tokens
        if batch and (len(batch) + 1) * cost > token_budget:
            yield batch
            batch = []
        batch.append(prompt)
    if batch:
        yield batch


def _top_k_top_p(logits: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Logits [rows, vocabulary] with -inf for the tokens that top-k, and then top-p of the rest, exclude.

    The most likely token always stays, and so do ties with the last one that stays. Greedy sampling excludes none.
    """
    if sampling.temperature == 0.0:
        return logits
    if sampling.top_k is not None and sampling.top_k < logits.shape[-1]:
        last = logits.topk(sampling.top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < last, float("-inf"))
    if sampling.top_p < 1.0:
        ordered = logits.sort(dim=-1, descending=True).values
        before = ordered.softmax(-1).cumsum(-1) - ordered.softmax(-1)
        last = ordered.masked_fill(before >= sampling.top_p, float("inf")).min(-1, keepdim=True).values
        logits = logits.masked_fill(logits < last, float("-inf"))
    return logits


def _uniforms(seed: int, n: int) -> np.ndarray:
    return np.random.Generator(np.random.Philox(key=seed)).random(n)
