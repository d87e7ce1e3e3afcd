"""Skills that have nothing to do with the desk: what does training there make the policy forget?"""

from __future__ import annotations

from collections.abc import Sequence

from pivotrl_cli.benchmarks import Setting, require_split
from pivotrl_cli.environments import Episode, skills

N_ITEMS = 200
"""Items by default."""

_SEEDS = {"test": 0, "val": 1}


def episodes(setting: Setting) -> Sequence[Episode]:
    return skills.items(setting.limit or N_ITEMS, seed=_SEEDS[require_split("skills", setting)])
