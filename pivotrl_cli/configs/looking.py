"""What is there: inspect, doctor."""

from __future__ import annotations

from pydantic import Field

from pivotrl_cli.configs.base import Config, argument, option


class InspectConfig(Config):
    """Say what a table is, where it came from and how its numbers are distributed."""

    file: str = argument()
    """Any table that pivotrl wrote; `-` reads standard input."""
    row: str | None = None
    """Show the row with this candidate or task id, readably."""
    messages: int = Field(6, ge=1)
    """With `--row`: how many of the state's last messages to show."""
    json_summary: bool = option(False, "--json", identity=False)
    """Print the summary as one JSON object on standard output."""


class DoctorConfig(Config):
    """Say what works here and what to install for the rest."""

    json_summary: bool = option(False, "--json", identity=False)
    """Print what was found as one JSON object on standard output."""
