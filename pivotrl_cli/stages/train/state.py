"""Model and optimizer of a run: opened, written to checkpoints, and restored from them.

One process writes checkpoints that transformers loads. Several write their shards, since weights that take many GPUs to
hold must not pass through one; either kind resumes with any number of ranks.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from pivotrl_cli.configs import TrainConfig
from pivotrl_cli.learn.distributed import (
    barrier,
    gather_to_rank0,
    is_sharded,
    local_device,
    rank,
    shard_model,
    world_size,
)
from pivotrl_cli.learn.lora import add_adapters, merged_weights
from pivotrl_cli.learn.optimizer import Optimizer
from pivotrl_cli.model.folder import load_model, local_folder, resolve, resolve_device_and_dtype, save, save_tensors
from pivotrl_cli.stages.train.run_folder import Checkpoint
from pivotrl_cli.stages.train.shards import Tensors, read_shards, write_shards

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_OPTIMIZER = "optimizer."


@dataclass(frozen=True, slots=True)
class TrainState:
    """Model and optimizer."""

    model: PreTrainedModel
    optimizer: Optimizer
    lora: PeftModel | None
    """The peft model around it, where it has adapters."""

    def write_checkpoint(self, folder: Path, tokenizer: PreTrainedTokenizerBase) -> None:
        """Write a checkpoint into an empty folder. Collective: every rank must call it."""
        if is_sharded(self.model):
            tensors = self.optimizer.state_dict()
            barrier()  # rank 0 makes the folder
            write_shards(self._weights() | {_OPTIMIZER + name: tensors[name] for name in tensors}, folder)
            return
        save(self.lora or self.model, tokenizer, folder)
        save_tensors(self.optimizer.full_state_dict(), folder / Checkpoint.TENSORS)

    def load_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Restore the optimizer, and the weights of a sharded checkpoint; the model was opened with those of others."""
        if not checkpoint.is_sharded:
            self.optimizer.load_state_dict(checkpoint.optimizer_state())
            return
        found = read_shards(checkpoint.folder, self._empty)
        tensors = {name.removeprefix(_OPTIMIZER): found[name] for name in found if name.startswith(_OPTIMIZER)}
        self.optimizer.load_state_dict(tensors)

    def write_model(self, folder: Path, tokenizer: PreTrainedTokenizerBase, *, adapter: bool) -> None:
        """Write the trained model, or its adapters alone. Collective: every rank must call it, rank 0 writes."""
        model: PreTrainedModel | PeftModel = self.model
        state = None
        if adapter and self.lora is not None:
            model = self.lora
            state = gather_to_rank0((n, t) for n, t in model.state_dict(keep_vars=True).items() if "lora_" in n)
        elif is_sharded(self.model) or self.lora is not None:
            state = gather_to_rank0(merged_weights(self.model))
        if rank() == 0:
            save(model, tokenizer, folder, state)

    def _weights(self) -> Tensors:
        """The trainable weights; the frozen ones are in the base model's folder."""
        return {name: weight.detach() for name, weight in self.model.named_parameters() if weight.requires_grad}

    def _empty(self, names: Collection[str]) -> Tensors:
        """The weights, and an empty optimizer state, to read a sharded checkpoint with these names into."""
        of_optimizer = [name.removeprefix(_OPTIMIZER) for name in names if name.startswith(_OPTIMIZER)]
        empty = self.optimizer.empty_state_dict(of_optimizer)
        return self._weights() | {_OPTIMIZER + name: empty[name] for name in empty}


def open_state(config: TrainConfig, resumed: Checkpoint | None) -> TrainState:
    """Model and optimizer of a new run, or of the checkpoint that a run resumes from."""
    from_checkpoint = resumed is not None and not resumed.is_sharded and config.lora_rank is None
    model = _load(resumed.folder if from_checkpoint and resumed else resolve(config.model), config)
    lora = _add_adapters(config, model, resumed)
    model = _shard(model, config)
    optimizer = Optimizer(
        model,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        skip_grad_norm=config.skip_grad_norm,
    )
    state = TrainState(model, optimizer, lora)
    if resumed:
        state.load_checkpoint(resumed)
    return state


def load_base(config: TrainConfig) -> PreTrainedModel:
    """The base model, sharded as the trained one is: the reference of the KL penalty."""
    return _shard(_load(resolve(config.model), config), config)


def load_unsharded(config: TrainConfig) -> PreTrainedModel:
    """The whole base model on this rank's device."""
    device, dtype = resolve_device_and_dtype(config.device, config.dtype)
    return load_model(resolve(config.model), local_device(device), dtype)


def _load(folder: Path, config: TrainConfig) -> PreTrainedModel:
    """A model on its device; with several ranks on the CPU, for `_shard`."""
    device, dtype = resolve_device_and_dtype(config.device, config.dtype)
    return load_model(folder, device if world_size() == 1 else torch.device("cpu"), dtype)


def _shard(model: PreTrainedModel, config: TrainConfig) -> PreTrainedModel:
    """The model, sharded if there are several ranks."""
    if world_size() == 1:
        return model
    return shard_model(model, local_device(resolve_device_and_dtype(config.device, config.dtype)[0]), config.replicas)


def _add_adapters(config: TrainConfig, model: PreTrainedModel, resumed: Checkpoint | None) -> PeftModel | None:
    """The peft model around this one if the config asks for adapters; with those of an unsharded checkpoint."""
    if config.lora_rank is None:
        return None
    alpha = config.lora_alpha or 2.0 * config.lora_rank
    lora = add_adapters(model, rank=config.lora_rank, alpha=alpha, targets=config.lora_targets, seed=config.seed)
    is_local = local_folder(config.model).is_dir()  # whose path on this machine must not be published
    lora.peft_config["default"].base_model_name_or_path = Path(config.model).name if is_local else config.model
    if resumed and not resumed.is_sharded:
        from peft import set_peft_model_state_dict

        set_peft_model_state_dict(lora, resumed.adapter())
    return lora
