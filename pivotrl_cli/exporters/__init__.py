"""Pivots for other trainers: an exporter writes candidates into a folder, in one target's form.

A new target is a new file here and a line in `EXPORTERS`; a user's own is named as `module:Class`. Rows come one by one
and are written as they come. What a target cannot hold is counted in the tally under its name, and so is every row
that is left out.

Shared by the exporters: `destination.py`, `tally.py`, `shapes.py` (messages and tools in peers' forms), `scoring.py`
(what the written reward files call).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from pivotrl_cli.exporters.destination import Destination
from pivotrl_cli.registry import load
from pivotrl_cli.rows import Candidate

__all__ = ["EXPORTERS", "Destination", "Exporter", "load_exporter"]

EXPORTERS: dict[str, str] = {
    "nemo-gym": "pivotrl_cli.exporters.nemo_gym:NemoGymExporter",
    "trl": "pivotrl_cli.exporters.trl:TrlExporter",
    "verl": "pivotrl_cli.exporters.verl:VerlExporter",
    "openai": "pivotrl_cli.exporters.openai:OpenAIExporter",
}
"""Target -> where its exporter is."""


class Exporter(Protocol):
    """One target. Made without arguments, keeps nothing between exports."""

    renders: bool
    """Whether its prompts can be rendered text."""

    def write(self, rows: Iterator[Candidate], to: Destination) -> None:
        """Write the rows into the folder."""


def load_exporter(name: str) -> Exporter:
    """The exporter of a target."""
    exporter: type[Exporter] = load("target", name, EXPORTERS)
    return exporter()
