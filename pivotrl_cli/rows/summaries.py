"""Summaries that stages return."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict


class SummaryPart(BaseModel):
    """Base of the models inside a summary."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Summary(SummaryPart):
    """Base of every stage's summary: `--json` prints it, and the output's metadata keeps it."""

    THIS_RUN: ClassVar[frozenset[str]] = frozenset({"cached"})
    """Fields that describe one run of the command rather than its output; the metadata omits them."""

    cached: bool = False
    """The output was up to date and nothing was run."""

    def to_metadata(self) -> dict[str, Any]:
        """The part that the output's metadata keeps, as JSON values."""
        return self.model_dump(mode="json", exclude=set(self.THIS_RUN))
