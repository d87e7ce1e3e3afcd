"""Trackers that get the metrics beside `metrics.parquet`; a new one is a function and a line in `LOGGERS`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout

from pivotrl_cli.configs import TrainConfig
from pivotrl_cli.errors import ConfigError, MissingExtra
from pivotrl_cli.rows import StepMetrics
from pivotrl_cli.stages.train.run_folder import RunFolder

Write = Callable[[dict[str, float], int], None]
"""Writes the numbers of a step, by name."""


@contextmanager
def open_loggers(config: TrainConfig, output: RunFolder) -> Iterator[Callable[[StepMetrics], None]]:
    """A function that logs a step to all trackers of `--log-to`; null columns are left out."""
    with ExitStack() as stack:
        writers = [stack.enter_context(_open_logger(name, config, output)) for name in dict.fromkeys(config.log_to)]

        def log(metrics: StepMetrics) -> None:
            values = {name: float(v) for name, v in metrics if name != "step" and isinstance(v, (int, float))}
            for write in writers:
                write(values, metrics.step)

        yield log


@contextmanager
def _open_logger(name: str, config: TrainConfig, output: RunFolder) -> Iterator[Write]:
    if name not in LOGGERS:
        raise ConfigError(f"--log-to {name}: no such logger", f"use one of {', '.join(LOGGERS)}")
    try:
        write, close = LOGGERS[name](config, output)
    except ImportError as error:
        raise MissingExtra(f"--log-to {name}", name) from error
    try:
        yield write
    finally:
        close()


def _tensorboard(config: TrainConfig, output: RunFolder) -> tuple[Write, Callable[[], None]]:
    """Event files in the run's folder; a resumed run purges the steps after its checkpoint."""
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(output.partial / "tensorboard"), purge_step=len(output.metrics) + 1)

    def write(values: dict[str, float], step: int) -> None:
        for name, value in values.items():
            writer.add_scalar(name, value, step)
        writer.flush()

    return write, writer.close


def _wandb(config: TrainConfig, output: RunFolder) -> tuple[Write, Callable[[], None]]:
    import wandb

    run = wandb.init(project="pivotrl", name=output.final.name, dir=str(output.partial), config=config.identity())
    return lambda values, step: run.log(values, step=step), run.finish


def _trackio(config: TrainConfig, output: RunFolder) -> tuple[Write, Callable[[], None]]:
    """A local database, or the server in its environment variables; its notices must not reach standard output."""
    import trackio

    with redirect_stdout(sys.stderr):
        resume = "allow" if output.metrics else "never"
        run = trackio.init(project="pivotrl", name=output.final.name, config=config.identity(), resume=resume)

    def close() -> None:
        with redirect_stdout(sys.stderr):
            trackio.finish()  # not the run's own, which would be called, and print, once more at exit

    return lambda values, step: run.log(values, step=step), close


LOGGERS = {"tensorboard": _tensorboard, "trackio": _trackio, "wandb": _wandb}
"""Functions that open a tracker and return how to write to it and how to close it."""
