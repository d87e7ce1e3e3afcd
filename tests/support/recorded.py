"""Recorded runs of others and NVIDIA's verdicts: they may lie beside the checkout and are not part of it."""

from __future__ import annotations

from pathlib import Path

import pytest

DATA = Path(__file__).parents[2] / "../shared/data"
WHY = "needs recorded runs of others, which are no part of this repository (../shared/data)"
needs_recorded = pytest.mark.skipif(not DATA.is_dir(), reason=WHY)


def recorded(path: str) -> Path:
    """A file or folder of theirs; skips the test where there is none."""
    if not (DATA / path).exists():
        pytest.skip(WHY)
    return DATA / path
