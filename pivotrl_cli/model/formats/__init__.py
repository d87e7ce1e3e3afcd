"""How models write an action: one notation, in which a family is a small record, and one reader for all of them."""

from __future__ import annotations

from pivotrl_cli.model.formats.notation import Body, Format
from pivotrl_cli.model.formats.reader import Reading, read
from pivotrl_cli.model.formats.values import Malformed

__all__ = ["Body", "Format", "Malformed", "Reading", "read"]
