"""The embedded service desk, played over several turns: success is the final database and the final report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

from pivotrl_cli.benchmarks import Setting, require_split
from pivotrl_cli.environments import Episode, desk

N_TASKS = 200
"""Tasks by default."""


def episodes(setting: Setting) -> Sequence[Episode]:
    """The first tasks of the split; test, validation and training tasks never overlap."""
    split = cast("Literal['val', 'test']", require_split("desk", setting))
    return [desk.start(task) for task in desk.tasks(split, setting.limit or N_TASKS, seed=0)]
