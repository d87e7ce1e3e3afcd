"""Generated parts of docs/commands/: tables of options and columns (`cog` calls these), and transcripts.

`python tools/pages.py` runs the commands of the pages' console blocks and writes their output into them.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
import types
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from typer.testing import CliRunner

from pivotrl_cli.interface.cli import app
from pivotrl_cli.interface.commands import COMMANDS
from pivotrl_cli.interface.options import fields_by_panel, flags_of, is_required, metavar
from pivotrl_cli.rows import Rollout, Row
from pivotrl_cli.storage.provenance import TABLES

FOLDER = Path(__file__).parents[1] / "docs"
PAGES = ["desk", "extract", "profile", "merge", "filter", "train"]
PAGES += ["eval", "compare", "score", "inspect", "report", "export"]
"""Pages whose commands run in one folder, in this order."""
_MOST = 24
__all__ = ["Rollout", "added", "columns", "fields", "options", "run", "shown"]
_ENGINE = re.compile(r"^engine .*\n", re.MULTILINE)
"""Which engine `auto` stands for differs between machines."""
_BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)


def options(command: str) -> str:
    """A command's options as a table with a line per panel."""
    lines = ["| option | default | |", "|---|---|---|"]
    for panel, fields in fields_by_panel(COMMANDS[command].config()).items():
        lines += [f"| **{panel}** | | |", *(_option(panel, name, field) for name, field in fields.items())]
    return "\n".join(lines)


def _option(panel: str, name: str, field: FieldInfo) -> str:
    word = metavar(name, field)
    shown = str(word) if panel == "Arguments" else ", ".join(flags_of(name, field)) + (f" {word}" if word else "")
    default = "required" if is_required(field) else _default(field.default)
    return f"| {_code(shown)} | {default} | {_cell(field.description)} |"


def index() -> str:
    """All commands, with a link to their page."""
    rows = [f"| [{name}]({name}.md) | {command.help} |" for name, command in COMMANDS.items()]
    return "\n".join(["| command | |", "|---|---|", *rows])


def columns(table: str) -> str:
    """A table's columns: name, type, meaning."""
    return _fields(TABLES[table])


def added(table: str, to: str) -> str:
    """Columns of a table that another table lacks."""
    lines = _fields(TABLES[table]).splitlines()
    known = TABLES[to].model_fields
    return "\n".join([*lines[:2], *(line for line in lines[2:] if line.split("`")[1] not in known)])


def fields(row: type[Row]) -> str:
    """The fields of a struct inside a table."""
    return _fields(row)


def _fields(row: type[Row]) -> str:
    rows = [f"| `{n}` | {_code(_type(f.annotation))} | {_cell(f.description)} |" for n, f in row.model_fields.items()]
    return "\n".join(["| column | type | |", "|---|---|---|", *rows])


def _type(annotation: Any) -> str:
    origin, args = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return _type(next(a for a in args if a is not type(None))) + "?"
    if origin is list:
        return f"list[{_type(args[0])}]"
    if origin is Literal or (isinstance(annotation, type) and issubclass(annotation, StrEnum)):
        return "str"
    return str(annotation.__name__)


def _default(value: Any) -> str:
    if value is None or value == [] or value is False:
        return ""
    return _code(", ".join(value) if isinstance(value, list) else str(value))


def _code(text: str) -> str:
    return f"`{text}`".replace("|", "\\|")


def _cell(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


# ---- transcripts ------------------------------------------------------------------------------------------------


def shown(page: str) -> list[tuple[str, str]]:
    """The commands of a page in order, each with the output that the page shows."""
    parts = [part for block in _BLOCK.findall(page) for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]]
    return [(command, printed) for command, _, printed in (part.partition("\n") for part in parts)]


def run(command: str) -> str:
    """Run one `pivotrl` command at 80 columns; returns its output."""
    program, *arguments = shlex.split(command)
    if program != "pivotrl":
        return subprocess.run(command, shell=True, check=True, capture_output=True, text=True).stdout
    done = CliRunner().invoke(app, list(_globbed(arguments)), prog_name="pivotrl", env={"COLUMNS": "80"})
    if done.exit_code:
        raise RuntimeError(f"{command}\n{done.output}") from done.exception
    return _ENGINE.sub("", done.output)


def _globbed(arguments: list[str]) -> Iterator[str]:
    for argument in arguments:
        yield from sorted(map(str, Path().glob(argument))) if "*" in argument else [argument]


def transcribed(page: str) -> str:
    """The page with its commands run and their output below them."""

    def replaced(match: re.Match[str]) -> str:
        lines = []
        for line in match.group(1).splitlines():
            if line.startswith("$ "):
                printed = [text.rstrip() for text in run(line[2:]).rstrip().splitlines()]
                lines += [line, *printed[:_MOST], *(["..."] if len(printed) > _MOST else [])]
        return "```console\n" + "\n".join(lines) + "\n```"

    return _BLOCK.sub(replaced, page)


def main() -> None:
    """Rewrite all transcripts."""
    paths = [FOLDER / "commands" / f"{name}.md" for name in PAGES]
    with tempfile.TemporaryDirectory() as folder:
        for path in [*paths, FOLDER / "tutorial.md"]:
            place = Path(folder) / path.parent.name
            place.mkdir(exist_ok=True)
            os.chdir(place)
            path.write_text(transcribed(path.read_text()))
            print(path.name, file=sys.stderr)


if __name__ == "__main__":
    main()
