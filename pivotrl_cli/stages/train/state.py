"""The model that a run trains, with its optimizer: opened, saved, and brought back to where a checkpoint was.

One process writes checkpoints that transformers loads. Several write their shards, since what takes many GPUs to hold
is not to pass through one; either goes on with any number of processes.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pivotrl_cli.configs import TrainConfig
from pivotrl_cli.learn.distributed import barrier, gather_to_rank0, is_sharded, rank
from pivotrl_cli.learn.lora import add_adapters, merged_weights
from pivotrl_cli.learn.optimizer import Optimizer
from pivotrl_cli.model.folder import local_folder, resolve, save, save_tensors
from pivotrl_cli.stages.train.launch import load_own, spread
from pivotrl_cli.stages.train.run_folder import Checkpoint
from pivotrl_cli.stages.train.shards import Tensors, read_shards, write_shards

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_OPTIMIZER = "optimizer."


@dataclass(frozen=True, slots=True)
class Trained:
    """What learns."""

    model: PreTrainedModel
    optimizer: Optimizer
    lora: PeftModel | None
    """The model as peft sees it, where it has adapters."""

    @property
    def is_sharded(self) -> bool:
        """Whether several processes hold it."""
        return is_sharded(self.model)

    def write_checkpoint(self, folder: Path, tokenizer: PreTrainedTokenizerBase) -> None:
        """Write the state into an empty folder; where it is sharded, all do."""
        if self.is_sharded:
            tensors = self.optimizer.state_dict()
            barrier()  # the first process makes the folder
            write_shards(self._weights() | {_OPTIMIZER + name: tensors[name] for name in tensors}, folder)
            return
        save(self.lora or self.model, tokenizer, folder)
        save_tensors(self.optimizer.full_state_dict(), folder / Checkpoint.TENSORS)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint; the weights of one that is not sharded are those that the model was opened with."""
        if not checkpoint.is_sharded:
            self.optimizer.load_state_dict(checkpoint.tensors())
            return
        found = read_shards(checkpoint.folder, self._blank)
        tensors = {name.removeprefix(_OPTIMIZER): found[name] for name in found if name.startswith(_OPTIMIZER)}
        self.optimizer.load_state_dict(tensors)

    def write_model(self, folder: Path, tokenizer: PreTrainedTokenizerBase, *, adapter: bool) -> None:
        """Write what was learnt, from the first process; all of them take part."""
        model: PreTrainedModel | PeftModel = self.model
        state = None
        if adapter and self.lora is not None:
            model = self.lora
            state = gather_to_rank0((n, t) for n, t in model.state_dict(keep_vars=True).items() if "lora_" in n)
        elif self.is_sharded or self.lora is not None:
            state = gather_to_rank0(merged_weights(self.model))
        if rank() == 0:
            save(model, tokenizer, folder, state)

    def _weights(self) -> Tensors:
        """What is trained; what is not, the model's own folder has."""
        return {name: weight.detach() for name, weight in self.model.named_parameters() if weight.requires_grad}

    def _blank(self, names: Collection[str]) -> Tensors:
        """The weights, and an optimizer's tensors under these names."""
        own = [name.removeprefix(_OPTIMIZER) for name in names if name.startswith(_OPTIMIZER)]
        blank = self.optimizer.empty_state_dict(own)
        return self._weights() | {_OPTIMIZER + name: blank[name] for name in blank}


def open_trained(config: TrainConfig, resumed: Checkpoint | None) -> Trained:
    """The model of a run, as it was at the checkpoint that the run goes on from."""
    begin = resolve(config.model)
    own = resumed is not None and not resumed.is_sharded and config.lora_rank is None
    model = load_own(resumed.folder if own and resumed else begin, config)
    lora = _adapted(config, model, resumed)
    model = spread(model, config)
    optimizer = Optimizer(
        model,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        skip_grad_norm=config.skip_grad_norm,
    )
    trained = Trained(model, optimizer, lora)
    if resumed:
        trained.restore(resumed)
    return trained


def _adapted(config: TrainConfig, model: PreTrainedModel, resumed: Checkpoint | None) -> PeftModel | None:
    """The model with adapters where the config asks for them, those of the checkpoint where it has them whole."""
    if config.lora_rank is None:
        return None
    alpha = config.lora_alpha or 2.0 * config.lora_rank
    lora = add_adapters(model, rank=config.lora_rank, alpha=alpha, targets=config.lora_targets, seed=config.seed)
    is_local = local_folder(config.model).is_dir()  # whose place on this machine is nobody's business
    lora.peft_config["default"].base_model_name_or_path = Path(config.model).name if is_local else config.model
    if resumed and not resumed.is_sharded:
        from peft import set_peft_model_state_dict

        set_peft_model_state_dict(lora, resumed.adapter())
    return lora
