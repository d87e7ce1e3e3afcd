"""Generated parts of README.md; `cog` calls these."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from pivotrl_cli.interface.cli import app
from pivotrl_cli.interface.commands import COMMANDS


def help_of(*command: str) -> str:
    """The `--help` text of a command, as a terminal of 80 columns shows it."""
    result = CliRunner().invoke(app, [*command, "--help"], prog_name="pivotrl", env={"COLUMNS": "80"})
    assert result.exit_code == 0, result.output
    return str(result.output).rstrip()


def help_blocks() -> str:
    """All commands' help as Markdown."""
    blocks = [f"```\n$ pivotrl --help\n{help_of()}\n```"]
    for name in COMMANDS:
        blocks.append(
            f"<details><summary><code>pivotrl {name}</code></summary>\n\n```\n{help_of(name)}\n```\n\n</details>"
        )
    return "\n\n".join(blocks)


def survives() -> str:
    """The table of `docs/survives.md`."""
    lines = (Path(__file__).parents[1] / "docs" / "survives.md").read_text().splitlines()
    first = lines.index("| what happens | what becomes of it | test |")
    return "\n".join(lines[first : lines.index("", first)])
