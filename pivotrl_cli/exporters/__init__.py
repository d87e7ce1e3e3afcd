"""Pivots for other trainers: an exporter writes candidates into a folder, in one target's form.

A new target is a new file in `targets/` and a line in `EXPORTERS`; a user's own is named as `module:Class`. Rows come
one by one and are written as they come. Everything that a target cannot hold is counted in `Destination.counts`, and so
is every row that is left out.

Shared by the exporters: `messages.py` (messages and tools in the forms of several targets), `prompts.py` (rows that are
sampled at and scored), `scoring.py` (called by the written reward files), `gym_rows.py` (rates into Gym's own rows).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from pivotrl_cli.exporters.destination import Destination
from pivotrl_cli.registry import load
from pivotrl_cli.rows import Candidate

__all__ = ["EXPORTERS", "Destination", "Exporter", "load_exporter"]

EXPORTERS: dict[str, str] = {
    "nemo-gym": "pivotrl_cli.exporters.targets.nemo_gym:NemoGymExporter",
    "trl": "pivotrl_cli.exporters.targets.trl:TrlExporter",
    "verl": "pivotrl_cli.exporters.targets.verl:VerlExporter",
    "openai": "pivotrl_cli.exporters.targets.openai:OpenAIExporter",
}
"""Target -> where its exporter is."""


class Exporter(Protocol):
    """One target. Made without arguments, keeps nothing between exports."""

    renders: bool
    """Whether its prompts can be rendered text."""

    def write(self, rows: Iterator[Candidate], to: Destination) -> None:
        """Write the rows into the folder of `to`."""


def load_exporter(name: str) -> Exporter:
    exporter: type[Exporter] = load("target", name, EXPORTERS)
    return exporter()
