"""The embedded service desk, played over several turns: success is the final database and the final report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

from pivotrl_cli.environments import Episode, desk

N_TASKS = 200
"""Tasks by default."""


def episodes(argument: str, split: str, limit: int | None) -> Sequence[Episode]:
    """The first tasks of the split; test, validation and training tasks never overlap."""
    chosen = desk.tasks(cast("Literal['val', 'test']", split), limit or N_TASKS, seed=0)
    return [desk.start(task) for task in chosen]
