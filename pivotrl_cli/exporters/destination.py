"""Where an export goes, and what it may need of the run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pivotrl_cli.exporters.tally import Tally

if TYPE_CHECKING:  # would pull in transformers, 2 s
    from pivotrl_cli.model.chat import ChatFormat


@dataclass(frozen=True)
class Destination:
    """A folder that exists and is empty, the counts of what goes there, and how it came about."""

    folder: Path
    chat: ChatFormat | None
    """Renders prompts; without it they stay messages."""
    provenance: dict[str, Any]
    tally: Tally = field(default_factory=Tally)
