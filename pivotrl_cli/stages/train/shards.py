"""A state that several processes hold in parts: each writes its own, and any number of processes reads it again.

torch's distributed checkpoint does it, in safetensors files that name the place of each part in its tensor: nothing is
unpickled, and the parts are cut anew where there are other processes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING

from pivotrl_cli.errors import InputError, OutputError

if TYPE_CHECKING:
    from torch import Tensor

Tensors = dict[str, "Tensor"]


def write_shards(tensors: Tensors, folder: Path) -> None:
    """Write what this process has of the tensors; a matter of all. The folder must not exist yet, or be empty."""
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    try:
        save(_flat(tensors), storage_writer=HuggingFaceStorageWriter(str(folder), save_distributed=True))
    except CheckpointException as error:
        raise OutputError(f"{folder}: {_first(error)}", "choose a folder that every process can write") from error


def read_shards(folder: Path, blank: Callable[[Collection[str]], Tensors]) -> Tensors:
    """Tensors that `blank` makes for the names in the folder, filled with what was written; a matter of all."""
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.state_dict_loader import load

    try:
        reader = HuggingFaceStorageReader(str(folder))
        names = reader.read_metadata().state_dict_metadata
        tensors = blank(names)
        if lacking := sorted(tensors.keys() - names.keys()):
            raise ValueError(f"the checkpoint lacks {lacking[0]}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a single process, that it is one
            load(_flat(tensors), storage_reader=reader)
    except (CheckpointException, OSError, ValueError) as error:
        raise InputError(f"{folder}: {_first(error)}", "begin again with --force") from error
    return tensors


def _flat(tensors: Tensors) -> Tensors:
    """The same memory, scalars as vectors of one: parts of a tensor have a place in it, which a scalar lacks."""
    return {name: tensor if tensor.ndim else tensor.view(1) for name, tensor in tensors.items()}


def _first(error: BaseException) -> str:
    """What one process met, in a line."""
    failures = getattr(error, "failures", {})
    cause = next((cause for cause, _ in failures.values()), error)
    return next(iter(str(cause).strip().splitlines()), type(cause).__name__)
