"""LoRA: low-rank adapters on a frozen model, by peft.

The adapted layers are part of the model itself, so trees, samplers and losses see a model like any other. The frozen
base is the reference of the KL penalty: the same weights with the adapters disabled, no second copy.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from pivotrl_cli.errors import ConfigError, MissingExtra

if TYPE_CHECKING:
    from peft import PeftModel


TOLERANCES = {torch.float64: 1e-4, torch.float32: 1e-4, torch.bfloat16: 0.05}
"""Maximum relative difference between an adapted layer and the merged one; other formats as bfloat16."""


def add_adapters(model: PreTrainedModel, *, rank: int, alpha: float, targets: list[str], seed: int) -> PeftModel:
    """Freeze the model and add adapters, which change nothing before the first step; proves that they can be merged."""
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise MissingExtra("--lora-rank", "lora") from error
    chosen: Any = "all-linear" if targets == ["all-linear"] else targets
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=chosen, task_type="CAUSAL_LM")  # type: ignore[arg-type]
    if chosen == "all-linear" and any(name.endswith(".D") for name, _ in model.named_parameters()):
        config.exclude_modules = ["out_proj"]  # fused kernels of state space layers read its weight past the adapters
    option = f"--lora-targets {','.join(targets)}"
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Model has `tie_word_embeddings")  # refused below
        torch.manual_seed(seed)
        try:
            adapted: PeftModel = get_peft_model(model, config)
        except ValueError as error:
            raise ConfigError(f"{option}: {error}", f"name others of {_linear_layers(model)}") from error
        try:
            _check_merge(model)
        except MergeError as error:
            raise ConfigError(f"{option}: {error}", "name other layers, such as those of attention") from error
    return adapted


class MergeError(ArithmeticError):
    """Weights with the adapters merged would not be the adapted model."""


def _linear_layers(model: PreTrainedModel) -> str:
    """Last parts of the names of all linear layers."""
    linear = (name for name, layer in model.named_modules() if isinstance(layer, torch.nn.Linear))
    return ", ".join(sorted({name.rpartition(".")[2] for name in linear if "lora_" not in name}))


def _check_merge(model: PreTrainedModel) -> None:
    """Raise MergeError unless each adapted layer computes the same with random adapters and with these merged.

    One layer at a time, so that it takes the memory of one weight.
    """
    names = {id(weight): name for name, weight in reversed(list(model.named_parameters(remove_duplicate=False)))}
    adapted = _adapters(model)
    for name, weight in model.named_parameters(remove_duplicate=False):
        if id(weight) in adapted and names[id(weight)] != name:
            raise MergeError(f"{_plain(name)} and {_plain(names[id(weight)])} are one weight, of which one is adapted")
    if model.device.type == "meta":
        return  # an empty model shows which layers are adapted, and has no weights to compare
    zeros = [weight for weight in model.parameters() if weight.requires_grad and not weight.any()]
    outermost = [(name, layer) for name, layer in _layers(model).items() if not name.endswith("base_layer")]
    hooks = [layer.register_forward_hook(partial(_compare, name), with_kwargs=True) for name, layer in outermost]
    with torch.no_grad():
        for weight in zeros:
            weight.normal_(std=0.1)
        try:
            model(input_ids=torch.arange(8, device=model.device)[None], use_cache=False)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise MergeError(f"the adapted model fails: {error}".splitlines()[0]) from error
        finally:
            for hook in hooks:
                hook.remove()
            for weight in zeros:
                weight.zero_()


def _compare(name: str, layer: Any, args: Any, kwargs: Any, adapted: Any) -> None:
    """Run a layer again with the adapters merged; of a router's outputs, the logits are compared."""
    weights = {id(weight): weight for weight in layer.parameters()}
    originals = [(weights[i], weights[i].data) for i in _adapters(layer)]
    for weight, _ in originals:
        weight.data = _merge(weight, _adapters(layer)[id(weight)])
    try:
        with adapters_disabled(layer):
            merged: Any = layer.forward(*args, **kwargs)
    finally:
        for weight, original in originals:
            weight.data = original
    if isinstance(adapted, tuple):
        adapted, merged = adapted[0], merged[0]
    gap = ((merged - adapted).norm() / adapted.norm()).item()
    if not gap <= TOLERANCES.get(adapted.dtype, TOLERANCES[torch.bfloat16]):
        raise MergeError(f"{name} with its adapters merged differs by {gap:.2g}, relative to its output")


@contextmanager
def adapters_disabled(model: torch.nn.Module) -> Iterator[None]:
    """Disable the adapters inside the block; without adapters nothing changes."""
    layers = _layers(model).values()
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
    adapters = _adapters(model)
    seen = set()
    for name, weight in model.state_dict(keep_vars=True).items():
        if "lora_" not in name and id(weight) not in seen:
            seen.add(id(weight))
            yield _plain(name), _merge(weight, adapters.get(id(weight), []))


def _layers(model: torch.nn.Module) -> dict[str, Any]:
    """The adapted layers by name."""
    return {name: layer for name, layer in model.named_modules() if hasattr(layer, "lora_A")}


def _adapters(model: torch.nn.Module) -> dict[int, list[Any]]:
    """The layers that adapt a weight, by its id; those of fused experts, whose weights are parameters, are nested."""
    adapters: dict[int, list[Any]] = {}
    for layer in _layers(model).values():
        weight = getattr(layer.get_base_layer(), getattr(layer, "parameter_name", "weight"))
        adapters.setdefault(id(weight), []).append(layer)
    return adapters


def _merge(weight: Tensor, adapters: list[Any]) -> Tensor:
    merged = weight.detach()
    for layer in adapters:
        merged = merged + layer.get_delta_weight("default").to(weight.dtype)
    return merged


def _plain(name: str) -> str:
    """The name of a weight in the model without adapters."""
    return name.replace(".base_layer", "")
