"""LoRA: low-rank adapters on a frozen model, by peft.

The adapted layers are part of the model itself, so trees, samplers and losses see a model like any other. The frozen
base is the reference of the KL penalty: the same weights with the adapters disabled, no second copy.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from pivotrl_cli.errors import ConfigError, MissingExtra

if TYPE_CHECKING:
    from peft import PeftModel


def add_adapters(model: PreTrainedModel, *, rank: int, alpha: float, targets: list[str], seed: int) -> PeftModel:
    """Freeze the model and add adapters, which change nothing before the first step."""
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise MissingExtra("--lora-rank", "lora") from error
    chosen: Any = "all-linear" if targets == ["all-linear"] else targets
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=chosen, task_type="CAUSAL_LM")  # type: ignore[arg-type]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        try:
            adapted: PeftModel = get_peft_model(model, config)
        except ValueError as error:
            raise ConfigError(f"--lora-targets {','.join(targets)}: {error}", "use all-linear") from error
    return adapted


@contextmanager
def adapters_disabled(model: PreTrainedModel) -> Iterator[None]:
    """Disable the adapters inside the block; without adapters nothing changes."""
    layers: list[Any] = [module for module in model.modules() if hasattr(module, "lora_A")]
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)


@torch.no_grad()
def merged_weights(model: PreTrainedModel) -> Iterator[tuple[str, Tensor]]:
    """The weights with the adapters merged, under the names of the model without adapters; tied ones once.

    Those of a sharded model stay sharded, and each next one is a collective: every rank must take it.
    """
    seen = set()
    for name, weight in model.state_dict(keep_vars=True).items():
        if "lora_" in name or id(weight) in seen:
            continue
        seen.add(id(weight))
        layer_name, base, _ = name.rpartition(".base_layer.")
        if not base or not name.endswith(".weight"):
            yield name.replace(".base_layer.", "."), weight.detach()
            continue
        layer: Any = model.get_submodule(layer_name)
        yield f"{layer_name}.weight", weight.detach() + layer.get_delta_weight("default").to(weight.dtype)
