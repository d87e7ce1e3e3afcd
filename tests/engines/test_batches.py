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
}
ALONE = KINDS.keys() - {"llama", "qwen3"}
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
    assert ("one prompt at a time" in capsys.readouterr().err) == (kind in ALONE)
    together = completions(sampler, REQUESTS)
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


def test_recurrent_layers_are_refused():
    with pytest.raises(InputError, match="qwen3_5_text: engine hf cannot sample from linear attention"):
        engine("qwen3_5_text")
