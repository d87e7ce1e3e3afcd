"""Several processes that train one model: started here or by torchrun, and ended together with one message.

`pivotrl train --nproc 8` starts itself eight times under torchrun. Under a torchrun of the user's own, on one machine
or many, the same command without `--nproc` finds the others by the environment. The first process writes all files; the
others read the same ones, so the folders of model, pivots and output must be the same for all.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pivotrl_cli.configs import TrainConfig
from pivotrl_cli.errors import ConfigError, Interrupted, RunError
from pivotrl_cli.model.folder import load_model, resolve, resolve_device_and_dtype
from pivotrl_cli.stages.train.run_folder import Onlooker, RunFolder, published
from pivotrl_cli.storage.folders import stored_summary
from pivotrl_cli.storage.locks import Lock
from pivotrl_cli.storage.provenance import Provenance

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LINGER_SECONDS = 10.0
"""How long a process that lost the others waits for the message of the one that failed."""


def launched() -> bool:
    """Whether this process is one of several that torchrun started."""
    return "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def launch(config: TrainConfig, arguments: list[str]) -> None:
    """Run `pivotrl` with these arguments in `--nproc` processes on this machine; exits as they do where they fail."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args
    from torch.distributed.run import run as torchrun

    _check(config, config.nproc)
    logging.getLogger("torch").setLevel(logging.CRITICAL)  # it would report every process that it ends
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // config.nproc)))
    options = parse_args(["--standalone", "--nproc-per-node", str(config.nproc), "-m", "pivotrl_cli"])  # type: ignore[no-untyped-call]
    options.training_script_args = arguments  # its parser would take --nproc for one of its own
    try:
        torchrun(options)  # type: ignore[no-untyped-call]
    except ChildFailedError as error:
        for rank, failure in error.failures.items():
            if failure.exitcode < 0 and -failure.exitcode != signal.SIGTERM:
                name = signal.Signals(-failure.exitcode).name
                raise RunError(f"process {rank} of {config.nproc} was ended by {name}", _GO_ON) from error
        raise SystemExit(next(iter(error.failures.values())).exitcode) from error
    except SignalException as error:
        if error.sigval == signal.SIGINT:  # it went to all, and the first of them says so
            raise SystemExit(Interrupted.exit_code) from error
        raise Interrupted(f"ended by {error.sigval.name}", _GO_ON) from error


_GO_ON = "the same command goes on from the last checkpoint"


@contextmanager
def crew(config: TrainConfig) -> Iterator[None]:
    """Be one of the processes that were launched, if they were. Only the first talks, and only one says why it failed.

    The last is settled by the store that torchrun keeps: whoever fails first says so, the others leave without a word.
    """
    if not launched():
        _check(config, 1)
        yield
        return
    from pivotrl_cli.learn.distributed import (
        destroy_process_group,
        init_process_group,
        init_sequence_parallel,
        local_device,
        world_size,
    )

    store = init_process_group(local_device(resolve_device_and_dtype(config.device, config.dtype)[0]))
    try:
        _check(config, world_size())
        init_sequence_parallel(config.sequence_parallel)
        if int(os.environ["RANK"]) == 0:
            yield
        else:
            with Path(os.devnull).open("w") as nowhere, redirect_stderr(nowhere):
                yield
    except BaseException as error:
        told = _as_told(error)
        if store.add("pivotrl/failed", 1) > 1:
            raise SystemExit(getattr(told, "exit_code", 1)) from None
        raise told from None if told is not error else error.__cause__
    destroy_process_group()
    if int(os.environ["RANK"]) > 0:
        raise SystemExit(0)


def _check(config: TrainConfig, n_processes: int) -> None:
    if n_processes > 1 and config.pivots == "-":
        raise ConfigError("several processes cannot all read standard input", "write the pivots to a file")
    for name, n in {"--replicas": config.replicas, "--sequence-parallel": config.sequence_parallel}.items():
        if n_processes % n:
            processes = "one process" if n_processes == 1 else f"{n_processes} processes"
            raise ConfigError(f"{name} {n} does not divide {processes}", "choose --nproc and a divisor of it")


def _as_told(error: BaseException) -> BaseException:
    """What is said of an error; one of the connection waits for the failure that it comes from."""
    from torch.distributed import DistError

    if isinstance(error, DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error)):
        time.sleep(LINGER_SECONDS)
        first_line = str(error).splitlines()[0]
        return RunError(
            f"process {os.environ['RANK']} of {os.environ['WORLD_SIZE']} lost the others: {first_line}", _GO_ON
        )
    return error


def open_run(folder: Path, provenance: Provenance, config: TrainConfig, stack: ExitStack) -> RunFolder | dict[str, Any]:
    """The folder of a run, opened by the first process for all; or its summary, where it is complete.

    The first process holds its lock until the stack is left.
    """
    from pivotrl_cli.learn.distributed import from_rank0, rank

    def opened() -> RunFolder | dict[str, Any]:
        stored = stored_summary(folder, provenance, force=config.force)
        if stored is not None:
            return stored
        stack.enter_context(Lock(folder))
        if not config.force and (stored := published(folder, provenance)):
            return stored
        return RunFolder(folder, provenance, force=config.force, keep=config.keep)

    found = from_rank0(opened)
    return Onlooker(vars(found)) if rank() > 0 and isinstance(found, RunFolder) else found


def load_own(folder: Path, config: TrainConfig) -> PreTrainedModel:
    """A model as one process trains it; where there are several, in memory, for `spread`."""
    import torch

    from pivotrl_cli.learn.distributed import world_size

    device, dtype = resolve_device_and_dtype(config.device, config.dtype)
    return load_model(folder, device if world_size() == 1 else torch.device("cpu"), dtype)


def spread(model: PreTrainedModel, config: TrainConfig) -> PreTrainedModel:
    """The model, its weights sharded where several processes train."""
    from pivotrl_cli.learn.distributed import local_device, shard_model, world_size

    if world_size() == 1:
        return model
    return shard_model(model, local_device(resolve_device_and_dtype(config.device, config.dtype)[0]), config.replicas)


def load_whole(model: PreTrainedModel, config: TrainConfig) -> PreTrainedModel:
    """The model itself; where it is sharded, a copy that is not, for `refresh` to fill."""
    from pivotrl_cli.learn.distributed import local_device, world_size

    if world_size() == 1:
        return model
    device, dtype = resolve_device_and_dtype(config.device, config.dtype)
    return load_model(resolve(config.model), local_device(device), dtype)
