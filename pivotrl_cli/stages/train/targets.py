"""The check of a table's targets before training: what imitation would train on must be right."""

from __future__ import annotations

import sys
from collections import Counter
from typing import NamedTuple

import numpy as np

from pivotrl_cli.configs import TrainConfig
from pivotrl_cli.errors import InputError
from pivotrl_cli.model.chat import ChatFormat
from pivotrl_cli.model.target_check import LOSSY, target_fault
from pivotrl_cli.progress import Progress
from pivotrl_cli.rows import Candidate
from pivotrl_cli.storage.table import Table


class Targets(NamedTuple):
    """Which rows can be trained, and the faults of all."""

    usable: np.ndarray
    """[rows] Whether the row is drawn: for GRPO unless it cannot be rendered, for SFT if its target is right."""
    faults: dict[str, int]
    """Rows by kind of fault."""


def check_targets(table: Table[Candidate], rows: np.ndarray, chat: ChatFormat, config: TrainConfig) -> Targets:
    """Look at every row, and show each kind of fault with its first row; raises where no row can be trained."""
    usable, counts = np.ones(len(rows), dtype=bool), Counter[str]()
    first: dict[str, str] = {}
    with Progress("check of targets", len(rows), "rows") as bar:
        for i, number in enumerate(rows.tolist()):
            row = table.at(number)
            fault = target_fault(chat, row.state, row.tools, row.expected_action)
            bar.advance(1)
            if not fault:
                continue
            kind = fault.partition(":")[0]
            counts[kind] += 1
            first.setdefault(kind, f"{fault} (first {row.candidate_id})")
            usable[i] = kind in LOSSY or (config.method == "grpo" and kind != "target_refused")
    if not usable.any():
        shown = "; ".join(f"{n:,} {first[kind]}" for kind, n in counts.most_common())
        raise InputError(f"{table.name}: no row can be trained: {shown}", f"see pivotrl doctor {config.model}")
    for kind, n in counts.most_common():
        print(f"{table.name}: {n:,} of {len(rows):,} rows: {first[kind]}", file=sys.stderr, flush=True)
    return Targets(usable, dict(counts.most_common()))
