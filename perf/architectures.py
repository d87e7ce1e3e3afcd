"""Every architecture with tiny random weights: largest differences between two ways to compute the same.

    python -m perf.architectures            # the table of docs/models.md
    python -m perf.architectures --dtype bfloat16
    python -m perf.architectures qwen3 mixtral

`batch`: log-probabilities of greedy and sampled tokens, three prompts in a batch against each alone, in nats; infinite
where the tokens differ. `trainer`: log-probabilities of the sampled tokens, engine `hf` against the trainer, in nats.
`tree`: log-probabilities and gradients of a prefix tree against padded rows, relative to their norms.
The rest are targets of LoRA: logits of the merged folder, of the adapter folder as peft loads it, and of a resumed
checkpoint, against those of the adapted model.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, set_peft_model_state_dict
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from pivotrl_cli.engines import Completion, Request, Sampling, each_group
from pivotrl_cli.engines.hf import HFEngine
from pivotrl_cli.errors import PivotRLError
from pivotrl_cli.learn.lora import add_adapters, merged_weights
from pivotrl_cli.learn.policy import completion_logprobs, plain_reason
from pivotrl_cli.model.chat import ChatFormat
from pivotrl_cli.model.folder import load_tokenizer, resolve, save
from pivotrl_cli.rows import Message

SIZES = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 2048, "bos_token_id": None,
}  # fmt: skip
WINDOW = {"sliding_window": 8}
MIXED = {**WINDOW, "layer_types": ["sliding_attention", "full_attention"]}
EXPERTS = {
    "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4, "num_experts_per_tok": 2,
    "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16, "n_group": 1, "topk_group": 1,
    "first_k_dense_replace": 0,
}  # fmt: skip
LINEAR = {
    "layer_types": ["linear_attention", "full_attention"], "linear_key_head_dim": 8, "linear_value_head_dim": 8,
    "linear_num_key_heads": 2, "linear_num_value_heads": 4,
}  # fmt: skip
STATE_SPACE = {
    "mamba_num_heads": 8, "mamba_n_heads": 8, "mamba_head_dim": 8, "mamba_d_head": 8, "mamba_d_state": 8,
    "ssm_state_size": 8, "mamba_n_groups": 1, "n_groups": 1, "state_size": 8,
}  # fmt: skip
PER_LAYER = {"global_head_dim": 16, "hidden_size_per_layer_input": 8, "num_kv_shared_layers": 0}
LATENT = {
    "q_lora_rank": 16, "kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 8,
    "num_key_value_heads": 4,
}  # fmt: skip
KINDS: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {},
    "qwen2 windows": {**MIXED, "use_sliding_window": True},
    "qwen3": {},
    "mistral": WINDOW,
    "phi3": {},
    "granite": {},
    "olmo2": {},
    "olmo3": MIXED,
    "glm4": {},
    "smollm3": {},
    "ernie4_5": {},
    "hunyuan_v1_dense": {},
    "starcoder2": WINDOW,
    "gemma2": MIXED,
    "gemma3_text": MIXED,
    "cohere2": MIXED,
    "exaone4": MIXED,
    "mpt": {"d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 2048},
    "seed_oss": {},
    "apertus": {},
    "qwen3_moe": EXPERTS,
    "mixtral": EXPERTS,
    "glm4_moe": EXPERTS,
    "deepseek_v3": {**EXPERTS, **LATENT},
    "gpt_oss": {**MIXED, **EXPERTS},
    "llama4_text": {**EXPERTS, "attention_chunk_size": 16, "intermediate_size_mlp": 64},
    "olmoe": EXPERTS,
    "gemma4_text": {**MIXED, **PER_LAYER},
    "qwen3_5_text": LINEAR,
    "qwen3_5_moe_text": {**LINEAR, **EXPERTS},
    "qwen3_next": {**LINEAR, **EXPERTS},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "mamba2": {**STATE_SPACE, "num_heads": 8, "head_dim": 8},
    "nemotron_h": {**STATE_SPACE, "num_hidden_layers": 3, "layers_block_type": ["mamba", "attention", "mlp"]},
    "bamba": {**STATE_SPACE, "attn_layer_indices": [1]},
    "falcon_h1": {**STATE_SPACE, "mamba_d_ssm": 64},
    "granitemoehybrid": {**STATE_SPACE, **EXPERTS, "layer_types": ["mamba", "attention"]},
    "minimax": {**EXPERTS, "block_size": 16},
}
TARGETS = ("all-linear", "attention", "lm_head", "embed_tokens")
COLUMNS = ("batch", "trainer", "tree", *TARGETS)
TOLERANCES = dict(zip(COLUMNS, (1e-4, 1e-4, 1e-3, *[1e-4] * len(TARGETS)), strict=True))
"""Largest difference in float32."""
TOKENIZER = load_tokenizer(resolve("desk"))
PROMPTS = [
    Request(key=str(n), state=[Message(role="user", content="Which order? " + "It is seven. " * n)], tools="[]")
    for n in (0, 3, 9)
]


def tiny(kind: str, dtype: torch.dtype = torch.float32, **changes: Any) -> PreTrainedModel:
    """A seeded model whose weights are large enough that its distributions are far from uniform."""
    end = TOKENIZER.eos_token_id
    ids = {"vocab_size": len(TOKENIZER), "eos_token_id": end, "pad_token_id": end}
    ids["vocab_size_per_layer_input"] = len(TOKENIZER)
    config = AutoConfig.for_model(kind.split()[0], **SIZES | ids | KINDS[kind] | changes)
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config).to(dtype).eval()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return model


def sampling_gaps(model: PreTrainedModel) -> tuple[float, float]:
    """Batch against alone, and sampler against trainer."""
    engine = HFEngine(model, ChatFormat(TOKENIZER), 100_000)
    batch = trainer = 0.0
    for temperature in (0.0, 1.0):
        sampling = Sampling(n=2, max_new_tokens=6, temperature=temperature, seed=3)
        together = {group.request.key: group for group in each_group(engine, PROMPTS, sampling)}
        for request in PROMPTS:
            (alone,) = each_group(engine, [request], sampling)
            group = together[request.key]
            batch = max(batch, *(_gap(*pair) for pair in zip(group.completions, alone.completions, strict=True)))
        trainer = max(trainer, _trainer_gap(model, list(together.values())))
    return batch, trainer


def _gap(one: Completion, other: Completion) -> float:
    if one.token_ids != other.token_ids:
        return float("inf")
    return max(abs(a - b) for a, b in zip(one.logprobs, other.logprobs, strict=True))


def _trainer_gap(model: PreTrainedModel, groups: list[Any]) -> float:
    with torch.no_grad():
        ids = [[completion.token_ids for completion in group.completions] for group in groups]
        scored = completion_logprobs(model, [group.prompt_ids for group in groups], ids).logprobs
    sampled = [x for group in groups for completion in group.completions for x in completion.logprobs]
    return (scored - torch.tensor(sampled)).abs().max().item()


def tree_gap(model: PreTrainedModel) -> float | str:
    """Prefix tree against padded rows, where the model does not take padded rows anyway."""
    if plain_reason(model):
        return "padded rows"
    generator = torch.Generator().manual_seed(0)

    def tokens(n: int) -> list[int]:
        return torch.randint(200, (n,), generator=generator).tolist()

    trunk = tokens(48)
    prompts = [trunk, trunk[:-9], trunk[:30], trunk[:37] + tokens(5), tokens(20)]
    completions = [[tokens(n) for n in (1, 6, 11)] for _ in prompts]
    measured = []
    for tree in (False, True):
        logprobs = completion_logprobs(model, prompts, completions, tree=tree).logprobs
        torch.autograd.backward((logprobs * torch.linspace(-1, 1, len(logprobs))).sum())
        gradient = torch.cat([p.grad.float().flatten() for p in model.parameters() if p.grad is not None])
        model.zero_grad(set_to_none=True)
        measured.append((logprobs.detach(), gradient))
    return float(max(((b - a).norm() / a.norm()).item() for a, b in zip(*measured, strict=True)))


def lora_gap(kind: str, dtype: torch.dtype, target: str, *, tied: bool = False) -> float | str:
    """Logits of the written folder, of the adapters loaded by peft, and of those of a checkpoint."""

    def base() -> PreTrainedModel:
        return tiny(kind, dtype, tie_word_embeddings=tied)

    def adapt(model: PreTrainedModel) -> PeftModel:
        return add_adapters(model, rank=4, alpha=8.0, targets=layers(model, target), seed=0)

    model, resumed = base(), base()
    if not layers(model, target):
        return "none"
    try:
        lora = adapt(model)
    except PivotRLError as error:
        return f"refused: {error.message}"
    ids = torch.arange(40)[None]
    torch.manual_seed(1)
    with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        before = model(ids).logits
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(0.1 * torch.randn_like(weight))
        adapted = model(ids).logits
        assert not torch.equal(before, adapted), "the adapters change nothing"
        save(model, TOKENIZER, Path(folder, "merged"), dict(merged_weights(model)))
        save(lora, TOKENIZER, Path(folder, "adapter"))
        set_peft_model_state_dict(adapt(resumed), load_file(Path(folder, "adapter", "adapter_model.safetensors")))
        others: list[Any] = [
            AutoModelForCausalLM.from_pretrained(Path(folder, "merged"), dtype=dtype),
            PeftModel.from_pretrained(base(), str(Path(folder, "adapter"))),
            resumed,
        ]
        return float(max((other(ids).logits - adapted).abs().max().item() for other in others))


def layers(model: PreTrainedModel, target: str) -> list[str]:
    """Names of the layers to adapt."""
    names = {id(layer): name.rpartition(".")[2] for name, layer in model.named_modules()}
    if target == "attention":
        parents = [layer for layer in model.modules() if "Attention" in type(layer).__name__]
        linear = {id(layer) for parent in parents for layer in parent.children() if isinstance(layer, torch.nn.Linear)}
        return sorted({names[i] for i in linear})
    untyped: Any = model
    parts = {"lm_head": untyped.get_output_embeddings, "embed_tokens": untyped.get_input_embeddings}
    return [names[id(parts[target]())]] if target in parts else [target]


def measure(kind: str, dtype: torch.dtype) -> list[float | str]:
    """The cells of a row, by `COLUMNS`."""
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        batch: float | str
        trainer: float | str
        try:
            batch, trainer = sampling_gaps(tiny(kind, dtype))
        except PivotRLError as error:
            batch = trainer = f"refused: {error}"
        return [batch, trainer, tree_gap(tiny(kind, dtype)), *(lora_gap(kind, dtype, target) for target in TARGETS)]


def table(kinds: Iterable[str], dtype: torch.dtype) -> Iterator[str]:
    """Lines of Markdown."""
    yield f"| | {' | '.join(COLUMNS)} |"
    yield "|---" * (1 + len(COLUMNS)) + "|"
    for kind in kinds:
        yield f"| {kind} | {' | '.join(_cell(value) for value in measure(kind, dtype))} |"


def _cell(value: float | str) -> str:
    """A number of one digit, or the first word."""
    return (
        f"{value:.0e}".replace("e-0", "e-").replace("0e+00", "0") if isinstance(value, float) else value.split(":")[0]
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kinds", nargs="*", default=list(KINDS))
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    options = parser.parse_args()
    for line in table(options.kinds, getattr(torch, options.dtype)):
        print(line, flush=True)


if __name__ == "__main__":
    main()
