"""`--help` reads well at 80 columns, its headings hold fields that exist, and its examples parse."""

from __future__ import annotations

import shlex

import pytest
import typer
from typer.testing import CliRunner

from pivotrl_cli.configs import COMMANDS, TrainConfig
from pivotrl_cli.interface.cli import app
from pivotrl_cli.interface.manual import EXAMPLES, SECTIONS, VALUES, heading


def help_of(*command: str) -> str:
    return CliRunner().invoke(app, [*command, "--help"], prog_name="pivotrl", env={"COLUMNS": "80"}).output


@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_eighty_columns(command):
    lines = help_of(command).splitlines()
    assert [line for line in lines if len(line) > 80] == []
    assert lines[0].startswith(f"Usage: pivotrl {command} [OPTIONS]")


def test_headings_and_words_are_of_fields_that_exist():
    known = {name for config in COMMANDS.values() for name in config.model_fields}
    assert sorted(VALUES.keys() - known) == []
    for command, sections in SECTIONS.items():
        named = [name for fields in sections.values() for name in fields.split()]
        assert sorted(set(named) - COMMANDS[command].model_fields.keys()) == []
        assert len(named) == len(set(named))


def test_an_option_stands_under_its_own_heading_or_the_shared_one():
    assert [heading("train", name, TrainConfig) for name in ("kl_coef", "judge_url", "force", "new_field")] == [
        "Loss",
        "Judge",
        "Output",
        "Options",
    ]


def test_sections_come_in_the_order_in_which_one_decides():
    titles = [line[:-1] for line in help_of("filter").splitlines() if line.endswith(":") and line[0] != " "]
    assert titles == [
        "Arguments",
        "Rule",
        "Which candidates",
        "Limits",
        "Control",
        "Output",
        "Other",
        "Examples",
    ]


@pytest.mark.parametrize("example", [line for lines in EXAMPLES.values() for line in lines])
def test_examples_parse(example):
    program, name, *arguments = shlex.split(example)
    assert (program, name in COMMANDS) == ("pivotrl", True)
    context = typer.main.get_command(app).commands[name].make_context(name, arguments)
    assert context.params.keys() >= COMMANDS[name].model_fields.keys()


def test_the_version_names_what_decides_a_result():
    from importlib.metadata import version

    lines = CliRunner().invoke(app, ["--version"]).output.splitlines()
    assert lines[0].startswith("pivotrl ")
    assert [line for line in lines if line.split()[0] in ("torch", "transformers", "polars")] == [
        f"{name} {version(name)}" for name in ("torch", "transformers", "polars")
    ]
