"""The embedded service desk, played over several turns: success is the final database and the final report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

from pivotrl_cli.benchmarks import Setting, require_split
from pivotrl_cli.environments import Episode, desk
from pivotrl_cli.errors import ConfigError

N_TASKS = 200
"""Tasks by default."""
LENGTHS = [str(n) for n in range(desk.MIN_TURNS, 19)]
"""Arguments; longer tasks are too rare to be drawn."""


def episodes(setting: Setting) -> Sequence[Episode]:
    """The first tasks of the split; test, validation and training tasks never overlap.

    The argument is the fewest turns that the expert needs: `desk:12` has long tasks only.
    """
    split = cast("Literal['val', 'test']", require_split("desk", setting))
    if setting.argument and setting.argument not in LENGTHS:
        raise ConfigError(
            f"benchmark desk:{setting.argument} has an unknown length",
            "write desk:N with N turns from 5 to 18, or desk alone",
        )
    shortest = int(setting.argument or desk.MIN_TURNS)
    return [desk.DeskEpisode(task) for task in desk.tasks(split, setting.limit or N_TASKS, 0, shortest)]
