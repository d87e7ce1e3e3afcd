from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from training import (
    MODEL_FOLDER,
    kill,
    metrics_of,
    rollouts_of,
    says_yes,
    weights_of,
    without_seconds,
)
from transformers import AutoModelForCausalLM

pytest.importorskip("peft", reason="the lora extra is not installed")

from pivotrl_cli.configs import TrainConfig
from pivotrl_cli.errors import ConfigError
from pivotrl_cli.learn.lora import adapters_disabled, add_adapters, merged_weights
from pivotrl_cli.learn.policy import completion_logprobs
from pivotrl_cli.stages.train import run as train

BATCH = ([[5, 9, 2, 44]], [[[7, 1, 30], [4, 4]]])


def model_of(folder: str | Path):
    return AutoModelForCausalLM.from_pretrained(folder).eval()


def scores(model) -> torch.Tensor:
    return completion_logprobs(model, *BATCH).logprobs.detach()


def lora(config: TrainConfig, verifiers: Path, **changes) -> TrainConfig:
    known = {"verifier": f"{verifiers}:yes", "lora_rank": 4, "learning_rate": 1e-2}
    return config.model_copy(update=known | changes)


def test_adapters_learn_what_is_rewarded_and_the_output_is_a_plain_model(config, verifiers, talker):
    config = lora(config, verifiers, steps=12)
    train.run(config)
    assert 0.2 < says_yes(talker) < 0.8
    assert says_yes(config.output) > 0.95
    assert np.mean([m.logprob_gap for m in metrics_of(config)]) < 1e-4
    assert sorted(p.name for p in Path(config.output).iterdir()) == MODEL_FOLDER
    before, after = (dict(model_of(folder).named_parameters()) for folder in (talker, config.output))
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {name for name in before if "proj" in name}


def test_the_adapter_folder_and_the_merged_model_say_the_same(config, verifiers, talker, tmp_path):
    from peft import PeftModel

    merged = lora(config, verifiers, output=str(tmp_path / "merged"))
    adapter = lora(config, verifiers, output=str(tmp_path / "adapter"), lora_output="adapter")
    for one in (merged, adapter):
        train.run(one)
    assert not list(Path(adapter.output).glob("model*.safetensors"))
    assert json.loads((Path(adapter.output) / "adapter_config.json").read_text())["base_model_name_or_path"] == "talker"
    assert (Path(adapter.output) / "README.md").read_text().startswith("---\nlibrary_name: peft\n")
    adapted = PeftModel.from_pretrained(model_of(talker), adapter.output).get_base_model()
    assert torch.allclose(scores(adapted), scores(model_of(merged.output)), atol=1e-5)
    assert not torch.allclose(scores(adapted), scores(model_of(talker)), atol=1e-2)


def test_the_reference_is_the_model_without_its_adapters(talker):
    model = model_of(talker)
    before = scores(model)
    add_adapters(model, rank=4, alpha=8.0, targets=["all-linear"], seed=0)
    assert torch.equal(scores(model), before)
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    with torch.no_grad():
        for weight in trained:
            weight.add_(0.1)
    moved = scores(model)
    assert not torch.allclose(moved, before, atol=1e-2)
    with adapters_disabled(model):
        assert torch.equal(scores(model), before)
    assert torch.equal(scores(model), moved)
    assert all(weight.requires_grad for weight in trained)
    plain = model_of(talker)
    plain.load_state_dict(dict(merged_weights(model)), strict=False)
    assert torch.allclose(scores(plain), moved, atol=1e-5)


def test_kl_grows_from_zero(config, verifiers):
    config = lora(config, verifiers, kl_coef=0.1)
    train.run(config)
    first, *_, last = [m.kl for m in metrics_of(config)]
    assert first == pytest.approx(0.0, abs=1e-6)
    assert last > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("n", [75, 130])
def test_a_killed_run_goes_on_to_the_same_bytes(config, verifiers, tmp_path, n):
    config = lora(config, verifiers, steps=6, kl_coef=0.1, checkpoint_every=2, verifier=f"{verifiers}:mortal")
    whole = config.model_copy(update={"output": str(tmp_path / "whole")})
    train.run(whole)
    kill(config, n)
    kept = [p for p in Path(f"{config.output}.partial/checkpoints").iterdir() if p.name.isdigit()]
    assert all((p / "adapter_model.safetensors").is_file() and not (p / "model.safetensors").exists() for p in kept)
    assert (train.run(config).resumed_after or 0) == max((int(p.name) for p in kept), default=0) > 0
    assert without_seconds(metrics_of(config)) == without_seconds(metrics_of(whole))
    assert rollouts_of(config) == rollouts_of(whole)
    assert weights_of(config) == weights_of(whole)


def test_targets_that_the_model_lacks_are_refused(config, verifiers):
    with pytest.raises(ConfigError, match=r"--lora-targets nothing_proj: "):
        train.run(lora(config, verifiers, lora_targets=["nothing_proj"]))
