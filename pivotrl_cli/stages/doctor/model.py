"""What was understood of a model: how it writes, what it can say, how it samples and trains, and what that costs.

No weights are loaded: the tokenizer, the configs and the architecture without its values say all of it.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from pivotrl_cli.configs import DoctorConfig, PolicyConfig, TrainConfig
from pivotrl_cli.engines.decoding import sees_places
from pivotrl_cli.errors import PivotRLError
from pivotrl_cli.learn.lora import add_adapters
from pivotrl_cli.learn.memory import ELEMENT, Shape, activation_bytes, cache_bytes, optimizer_bytes
from pivotrl_cli.learn.policy import HEAD_ELEMENTS, plain_reason
from pivotrl_cli.model.chat import ChatFormat
from pivotrl_cli.model.folder import empty_model, load_tokenizer, resolve
from pivotrl_cli.stages.doctor.finding import Finding


def examine_model(config: DoctorConfig) -> Iterator[Finding]:
    """The format first, then the layers."""
    folder = resolve(config.model, weights=False)
    chat = ChatFormat(load_tokenizer(folder, config))
    model = empty_model(folder)
    n = model.num_parameters()
    yield Finding("model", "ok", f"{model.config.model_type}, {n:,} parameters{_weights(folder)}")
    yield _format(chat)
    yield from _writing(chat)
    yield from _running(model)
    yield from _memory(n, model.config.get_text_config(decoder=True))


def _weights(folder: Path) -> str:
    return "" if any(folder.glob("*.safetensors")) else "; no weights here yet"


def _format(chat: ChatFormat) -> Finding:
    if chat.found.format.body != "none":
        return Finding("format", "ok", f"{chat.found.format.name}, from {chat.source}")
    problem = chat.without_calls
    return Finding("format", "broken" if chat.found.wrote else "no", problem.message, problem.hint)


def _writing(chat: ChatFormat) -> Iterator[Finding]:
    found = chat.found
    stops = chat.tokenizer.convert_ids_to_tokens(sorted(chat.stop_ids))
    if stops:
        yield Finding("stop tokens", "ok", ", ".join(map(str, stops)))
    else:
        problem = f"{chat.tokenizer.name_or_path}: no token ends a turn"
        yield Finding("stop tokens", "broken", problem, "name one in generation_config.json")
    marks = " ... ".join(mark.strip() for mark in found.format.reasoning or ())
    reads = not found.probes["reasoning and message"] or not found.probes.get("reasoning and call", "-")
    key = f"the template reads `{found.shape.reasoning}`" if reads else "the template drops it from demonstrations"
    yield Finding("reasoning", "ok" if reads else "no", f"{marks or 'no marks'}; {key}")
    if found.format.body != "none":
        ids = {"recorded": "as recorded", "given": "given where absent"}.get(found.shape.ids, found.shape.ids)
        yield Finding("tools", "ok", f"arguments as {found.shape.arguments}, ids {ids}")
    back = [name for name, why in found.probes.items() if not why]
    yield Finding("probes", "ok" if back else "no", f"{len(back)} of {len(found.probes)} came back: {', '.join(back)}")
    yield from (Finding("probe", "no", f"{name}: {why}") for name, why in found.limits.items())


def _running(model: PreTrainedModel) -> Iterator[Finding]:
    config = model.config.get_text_config(decoder=True)
    yield Finding("layers", "ok", _layers(config))
    alone = sees_places(config)
    way = f"one prompt at a time, several times slower: {alone}" if alone else "in batches; checked at the first one"
    yield Finding("engine hf", "slow" if alone else "ok", way)
    plain = plain_reason(model)
    shares = f"no shared prefixes, several times slower: {plain}" if plain else "prompts and rollouts share prefixes"
    yield Finding("training", "slow" if plain else "ok", shares)
    yield _lora(model)
    context = getattr(config, "max_position_embeddings", None)
    yield Finding("context", "ok" if context else "no", f"{context:,} tokens" if context else "the config has none")


def _layers(config: PreTrainedConfig) -> str:
    kinds = getattr(config, "layer_types", None) or getattr(config, "layers_block_type", None)
    if kinds is None:
        kinds = [sees_places(config) or "full_attention"] * getattr(config, "num_hidden_layers", 1)
    window = getattr(config, "sliding_window", None)
    chunk = getattr(config, "attention_chunk_size", None)
    sizes = {"sliding_attention": window, "sliding-window attention": window, "chunked_attention": chunk}
    counted = [f"{n} {kind}{f' of {size}' if (size := sizes.get(kind)) else ''}" for kind, n in Counter(kinds).items()]
    return ", ".join(counted)


def _lora(model: PreTrainedModel) -> Finding:
    try:
        with warnings.catch_warnings(), torch.device("meta"):
            warnings.simplefilter("ignore")
            adapted = add_adapters(model, rank=1, alpha=1.0, targets=["all-linear"], seed=0)
    except PivotRLError as error:
        return Finding("lora", "no", error.message, error.hint)
    layers = {name.split(".")[-1] for name, module in adapted.named_modules() if hasattr(module, "lora_A")}
    return Finding("lora", "ok", f"--lora-rank adapts {', '.join(sorted(layers))}")


def _memory(n: int, config: PreTrainedConfig) -> Iterator[Finding]:
    """At the default budgets of positions."""
    shape = Shape.of(config)
    trained, cached = (cls.model_fields[name].default for cls, name in _BUDGETS)
    for dtype, size in ELEMENT.items():
        step = f"training {_gb(optimizer_bytes(n, dtype))} for weights, gradients and AdamW"
        sampling = f"sampling {_gb(size * n)} for weights"
        if shape is not None:
            logits = 4 * HEAD_ELEMENTS
            step += f" + {_gb(activation_bytes(shape, dtype, trained, 0) + logits)} for {trained:,} positions"
            sampling += f" + {_gb(cache_bytes(shape, dtype, cached))} for a cache of {cached:,}"
        yield Finding(f"memory, {dtype}", "ok", f"{step}; {sampling}")
    if shape is None:
        yield Finding("activations", "no", "the formulas of docs/scaling.md are for dense attention; time one step")


_BUDGETS = ((TrainConfig, "token_budget"), (PolicyConfig, "sample_token_budget"))


def _gb(n: float) -> str:
    return f"{n / 1e9:,.1f} GB" if n >= 1e8 else f"{n / 1e6:,.1f} MB"
