"""Launch several ranks that train one model, here or by torchrun, and end them together with one message.

`pivotrl train --nproc 8` starts itself eight times under torchrun. Under a torchrun of the user's own, on one machine
or many, the same command without `--nproc` joins the group by torchrun's environment. Rank 0 writes all files and the
others read them, so the folders of model, pivots and output must be the same for all.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr
from pathlib import Path

from pivotrl_cli.configs import TrainConfig
from pivotrl_cli.errors import ConfigError, Interrupted, RunError
from pivotrl_cli.model.folder import resolve_device_and_dtype
from pivotrl_cli.stages.train.run_folder import ReadOnlyRunFolder, RunFolder, publish_complete
from pivotrl_cli.stages.train.summary import TrainSummary
from pivotrl_cli.storage.folders import stored_summary
from pivotrl_cli.storage.locks import Lock
from pivotrl_cli.storage.provenance import Provenance

LINGER_SECONDS = 10.0
"""How long a rank whose connection broke waits for the message of the rank that failed."""


def is_launched() -> bool:
    """Whether torchrun started this process as one of several ranks."""
    return "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def launch(config: TrainConfig, arguments: list[str]) -> None:
    """Run `pivotrl` with these arguments in `--nproc` processes on this machine; exits with their code if one fails."""
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
                raise RunError(f"process {rank} of {config.nproc} was ended by {name}", _RESUME) from error
        raise SystemExit(next(iter(error.failures.values())).exitcode) from error
    except SignalException as error:
        if error.sigval == signal.SIGINT:  # it went to all, and the first of them says so
            raise SystemExit(Interrupted.exit_code) from error
        raise Interrupted(f"ended by {error.sigval.name}", _RESUME) from error


_RESUME = "run the same command again to resume from the last checkpoint"


@contextmanager
def process_group(config: TrainConfig) -> Iterator[None]:
    """Join torchrun's group, if any; only rank 0 writes to standard error, and only one rank reports a failure.

    The store that torchrun keeps decides which: the first to fail. The others exit without a message.
    """
    if not is_launched():
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
        reported = _reported_error(error)
        if store.add("pivotrl/failed", 1) > 1:
            raise SystemExit(getattr(reported, "exit_code", 1)) from None
        raise reported from None if reported is not error else error.__cause__
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


def _reported_error(error: BaseException) -> BaseException:
    """The error to report; a broken connection waits, because the failure that caused it should be reported first."""
    from torch.distributed import DistError

    if isinstance(error, DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error)):
        time.sleep(LINGER_SECONDS)
        process = f"process {os.environ['RANK']} of {os.environ['WORLD_SIZE']}"
        return RunError(f"{process} lost the connection to the others: {str(error).splitlines()[0]}", _RESUME)
    return error


def open_run(folder: Path, provenance: Provenance, config: TrainConfig, stack: ExitStack) -> RunFolder | TrainSummary:
    """The folder of a run, or its summary if it is complete. Rank 0 opens it for all, and locks it until `stack` ends.

    Collective: every rank must call it.
    """
    from pivotrl_cli.learn.distributed import from_rank0, rank

    def open_folder() -> RunFolder | TrainSummary:
        stored = stored_summary(folder, provenance, force=config.force)
        if stored is not None:
            return TrainSummary(**stored, cached=True)
        stack.enter_context(Lock(folder))
        if not config.force and (stored := publish_complete(folder, provenance)):
            return TrainSummary(**stored, cached=True)
        return RunFolder(folder, provenance, force=config.force, keep=config.keep)

    opened = from_rank0(open_folder)
    return ReadOnlyRunFolder(opened) if rank() > 0 and isinstance(opened, RunFolder) else opened
