"""Engine hf: a prompt's samples and log-probabilities are those of that prompt alone, whatever the attention."""

from __future__ import annotations

import pytest
import torch
from tables import user
from tiny_models import tiny_tokenizer
from transformers import AutoConfig, AutoModelForCausalLM

from pivotrl_cli.engines import Completion, Request, Sampling, each_group
from pivotrl_cli.engines.hf import HFEngine
from pivotrl_cli.errors import InputError
from pivotrl_cli.model.chat import ChatFormat

WINDOW = {"sliding_window": 8}
MIXED = {**WINDOW, "layer_types": ["sliding_attention", "full_attention"]}
MOE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16}
SSM = {
    "mamba_num_heads": 8, "mamba_n_heads": 8, "mamba_head_dim": 8, "mamba_d_head": 8, "mamba_d_state": 8,
    "ssm_state_size": 8, "mamba_n_groups": 1, "n_groups": 1,
}  # fmt: skip
KINDS = {
    "llama": {},
    "qwen3": {},
    "mistral": WINDOW,
    "starcoder2": WINDOW,
    "qwen2": {**MIXED, "use_sliding_window": True},
    "gemma2": MIXED,
    "gemma3_text": MIXED,
    "gpt_oss": {**MIXED, "num_local_experts": 4, "num_experts_per_tok": 2},
    "olmo3": MIXED,
    "cohere2": MIXED,
    "exaone4": MIXED,
    "mpt": {"d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 512},
    # recurrent layers and convolutions
    "qwen3_5_text": {"layer_types": ["linear_attention", "full_attention"]},
    "qwen3_next": {**MOE, "layer_types": ["linear_attention", "full_attention"]},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "olmo_hybrid": {},
    "mamba": {"state_size": 8},
    "mamba2": {**SSM, "num_heads": 8, "head_dim": 8, "state_size": 8, "n_groups": 1},
    "nemotron_h": {**SSM, "num_hidden_layers": 3, "layers_block_type": ["mamba", "attention", "mlp"]},
    "bamba": {**SSM, "attn_layer_indices": [1]},
    "falcon_h1": {**SSM, "mamba_d_ssm": 64},
    "granitemoehybrid": {**SSM, "num_local_experts": 4, "layer_types": ["mamba", "attention"]},
    "jamba": {
        "num_experts": 4,
        "mamba_d_state": 8,
        "mamba_dt_rank": 4,
        "use_mamba_kernels": False,
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
    },
    "recurrent_gemma": {"lru_width": 32, "attention_window_size": 16, "num_hidden_layers": 3},
    # caches that decoding cannot use
    "minimax": {"num_local_experts": 4, "block_size": 16},
    "rwkv": {"attention_hidden_size": 32},
}
IN_BATCHES = {"llama", "qwen3"}
WITHOUT_A_CACHE = {"mamba", "recurrent_gemma", "minimax", "rwkv"}
REQUESTS = [
    Request(key=f"q{i}", state=[user("Which order? " + "It is number seven. " * n)], tools="[]")
    for i, n in enumerate((0, 3, 9))
]
SAMPLING = Sampling(n=2, max_new_tokens=6, temperature=1.0, seed=3)


def engine(kind: str) -> HFEngine:
    tokenizer = tiny_tokenizer()
    sizes = {
        "vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 512,
        "bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id,
    }  # fmt: skip
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **sizes | KINDS.get(kind, {}))).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.2 * torch.randn_like(weight))
    return HFEngine(model, ChatFormat(tokenizer), 100_000)


def completions(sampler: HFEngine, requests: list[Request]) -> dict[str, list[Completion]]:
    return {group.request.key: group.completions for group in each_group(sampler, requests, SAMPLING)}


@pytest.mark.parametrize("kind", KINDS)
def test_a_prompt_in_company_samples_what_it_samples_alone(kind, capsys):
    sampler = engine(kind)
    together = completions(sampler, REQUESTS)
    said = capsys.readouterr().err
    assert ("one prompt at a time" in said) == (kind not in IN_BATCHES)
    assert ("without a cache" in said) == (kind in WITHOUT_A_CACHE)
    for request in REQUESTS:
        alone = completions(sampler, [request])[request.key]
        for one, other in zip(together[request.key], alone, strict=True):
            assert one.token_ids == other.token_ids
            assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_its_log_probabilities_are_those_of_a_plain_pass(kind):
    sampler = engine(kind)
    for group in each_group(sampler, REQUESTS, SAMPLING):
        for one in group.completions:
            with torch.no_grad():
                logits = sampler.model(torch.tensor([group.prompt_ids + one.token_ids])).logits[0].float()
            start = len(group.prompt_ids) - 1
            plain = logits[start:-1].log_softmax(-1)[range(len(one.token_ids)), one.token_ids]
            assert one.logprobs == pytest.approx(plain.tolist(), abs=1e-4)


def test_a_model_whose_passes_differ_is_refused():
    sampler = engine("llama")
    sampler.model.model.embed_tokens.register_forward_hook(lambda _, __, hidden: hidden + torch.randn_like(hidden))
    with pytest.raises(InputError, match="llama: engine hf cannot sample: log-probabilities differ from a plain pass"):
        completions(sampler, REQUESTS)
