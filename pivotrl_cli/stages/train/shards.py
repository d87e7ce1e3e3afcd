"""Sharded checkpoints: each rank writes its shards, and any number of ranks reads them again.

torch's distributed checkpoint does it, in safetensors files that name the place of each shard in its tensor: nothing is
unpickled, and tensors are resharded for another number of ranks.
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
    """Write this rank's shards into a new or empty folder. Collective: every rank must call it."""
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    try:
        save(_with_dimension(tensors), storage_writer=HuggingFaceStorageWriter(str(folder), save_distributed=True))
    except CheckpointException as error:
        raise OutputError(
            f"{folder}: {_first_failure(error)}", "choose a folder that every process can write"
        ) from error


def read_shards(folder: Path, empty: Callable[[Collection[str]], Tensors]) -> Tensors:
    """Read into the tensors that `empty` makes for the names in the folder. Collective: every rank must call it."""
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.state_dict_loader import load

    try:
        reader = HuggingFaceStorageReader(str(folder))
        names = reader.read_metadata().state_dict_metadata
        tensors = empty(names)
        if lacking := sorted(tensors.keys() - names.keys()):
            raise ValueError(f"the checkpoint lacks {lacking[0]}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a single process has no process group
            load(_with_dimension(tensors), storage_reader=reader)
    except (CheckpointException, OSError, ValueError) as error:
        raise InputError(f"{folder}: {_first_failure(error)}", "start over with --force") from error
    return tensors


def _with_dimension(tensors: Tensors) -> Tensors:
    """Views of the tensors, scalars as vectors of one: a shard has an offset in its tensor, which a scalar lacks."""
    return {name: tensor if tensor.ndim else tensor.view(1) for name, tensor in tensors.items()}


def _first_failure(error: BaseException) -> str:
    """The error of one rank, in a line."""
    failures = getattr(error, "failures", {})
    cause = next((cause for cause, _ in failures.values()), error)
    return next(iter(str(cause).strip().splitlines()), type(cause).__name__)
