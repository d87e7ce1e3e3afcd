"""`kinds.toml`: the words by which the kind of a value is known, and units."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

TABLE: dict[str, Any] = tomllib.loads((Path(__file__).parent / "kinds.toml").read_text(encoding="utf-8"))


def wording(name: str) -> re.Pattern[str]:
    """What a description says in any of the wordings of that name."""
    return re.compile("|".join(TABLE["says"][name]), re.IGNORECASE)
