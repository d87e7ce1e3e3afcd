"""Held-out candidates, each by itself: how often does the policy act as the demonstration does?"""

from __future__ import annotations

from collections.abc import Sequence

from pivotrl_cli.benchmarks import Setting
from pivotrl_cli.benchmarks.turns import chosen, turns
from pivotrl_cli.environments import Episode


def episodes(setting: Setting) -> Sequence[Episode]:
    """The holdout split of a candidates, profile or pivots table."""
    return turns(chosen(setting)[: setting.limit], setting)
