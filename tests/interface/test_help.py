"""`--help` reads well at 80 columns, lists options by panel, and its examples parse."""

from __future__ import annotations

import shlex

import pytest
import typer
from typer.testing import CliRunner

from pivotrl_cli.configs import FilterConfig, TrainConfig
from pivotrl_cli.interface.cli import app
from pivotrl_cli.interface.commands import COMMANDS
from pivotrl_cli.interface.options import fields_by_panel


def help_of(*command: str) -> str:
    return CliRunner().invoke(app, [*command, "--help"], prog_name="pivotrl", env={"COLUMNS": "80"}).output


@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_eighty_columns(command):
    lines = help_of(command).splitlines()
    assert [line for line in lines if len(line) > 80] == []
    assert lines[0].startswith(f"Usage: pivotrl {command} [OPTIONS]")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_field_has_one_panel(command):
    config = COMMANDS[command].config()
    names = [name for fields in fields_by_panel(config).values() for name in fields]
    assert sorted(names) == sorted(config.model_fields)


def test_shared_panels_follow_the_commands_own():
    panels = list(fields_by_panel(TrainConfig))
    assert panels[0] == "Arguments"
    assert panels[-2:] == ["Judge", "Output"]
    assert next(iter(fields_by_panel(TrainConfig)["Output"])) == "output"


def test_panels_come_in_the_order_of_the_fields():
    titles = [line[:-1] for line in help_of("filter").splitlines() if line.endswith(":") and line[0] != " "]
    assert titles == [*fields_by_panel(FilterConfig), "Other", "Examples"]


@pytest.mark.parametrize("example", [line for command in COMMANDS.values() for line in command.examples])
def test_examples_parse(example):
    program, name, *arguments = shlex.split(example)
    assert (program, name in COMMANDS) == ("pivotrl", True)
    group = typer.main.get_command(app)
    command = group.get_command(group.make_context("pivotrl", [name]), name)
    assert command.make_context(name, arguments).params.keys() >= COMMANDS[name].config().model_fields.keys()


def test_the_version_names_what_decides_a_result():
    from importlib.metadata import version

    lines = CliRunner().invoke(app, ["--version"]).output.splitlines()
    assert lines[0].startswith("pivotrl ")
    assert [line for line in lines if line.split()[0] in ("polars", "torch", "transformers")] == [
        f"{name} {version(name)}" for name in ("polars", "torch", "transformers")
    ]
