"""Trajectories turn by turn: a row of pass rates for each, and the details that a click shows, packed until then.

A state repeats the history, so the messages of a trajectory are listed once and a state is ranges of that list. The
rest of a trajectory is JSON, deflated and in base64: a page of thousands of trajectories stays a few megabytes and the
browser unpacks one at a time.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from pivotrl_cli.progress import Progress
from pivotrl_cli.rows import Message, Profile, Rollout
from pivotrl_cli.stages.filter.limits import MESSAGE
from pivotrl_cli.stages.inspect.rows import by_verdict
from pivotrl_cli.storage.table import Table

Fate = tuple[bool, str]
"""Whether `filter` kept a candidate, and the reason."""


@dataclass(frozen=True, slots=True)
class Strip:
    """The trajectories of a profile."""

    rows: list[dict[str, Any]]
    """Of each trajectory: `id`, `task`, `domain`, and `turns` as `[turn, pass rate, kept, tool]`."""
    packed: list[str]
    """Of each trajectory: the details that a click shows."""
    n_trajectories: int
    """Trajectories of the table, those beyond the limit included."""


def strip(table: Table[Profile], fates: Mapping[str, Fate], limit: int) -> Strip:
    """The trajectories of a profile, `limit` of them at most, spread evenly over the table."""
    ids = table.frame(["trajectory_id"])["trajectory_id"]
    places = pl.DataFrame({"id": ids}).with_row_index("row").group_by("id", maintain_order=True).agg("row")
    n = len(places)
    chosen = range(n) if n <= limit else np.linspace(0, n - 1, limit).round().astype(int).tolist()
    rows, packed = [], []
    with Progress(f"report {Path(table.name).name}", len(chosen), "trajectories") as bar:
        for i in chosen:
            turns = sorted((table.at(row) for row in places["row"][i]), key=lambda row: row.turn)
            rows.append(_row(turns, fates))
            packed.append(pack(_detail(turns, fates)))
            bar.advance(1)
    return Strip(rows, packed, n)


def pack(detail: dict[str, Any]) -> str:
    """JSON, deflated (with zlib's header), in base64."""
    return base64.b64encode(zlib.compress(json.dumps(detail, ensure_ascii=False).encode(), 6)).decode()


def _row(turns: Sequence[Profile], fates: Mapping[str, Fate]) -> dict[str, Any]:
    first = turns[0]
    return {
        "id": first.trajectory_id,
        "task": first.task_id,
        "domain": first.domain,
        "turns": [
            [
                turn.turn,
                None if turn.reward_mean is None else round(turn.reward_mean, 3),
                int(fates.get(turn.candidate_id, (False, ""))[0]),
                tool_of(turn.expected_action),
            ]
            for turn in turns
        ],
    }


def tool_of(action: Message) -> str:
    """The tool that an action calls, several joined, or a message."""
    return " + ".join(call.name for call in action.tool_calls) or MESSAGE


def _detail(turns: Sequence[Profile], fates: Mapping[str, Fate]) -> dict[str, Any]:
    messages = _Messages()
    found = [_turn(turn, messages, fates.get(turn.candidate_id, (False, ""))) for turn in turns]
    return {"messages": messages.listed, "turns": found}


def _turn(row: Profile, messages: _Messages, fate: Fate) -> dict[str, Any]:
    return {
        "id": row.candidate_id,
        "n_turns": row.n_turns,
        "status": row.status,
        "detail": row.status_detail,
        "rate": row.reward_mean,
        "low": row.pass_rate_low,
        "high": row.pass_rate_high,
        "n": row.n_scored,
        "errors": row.n_error,
        "truncated": row.n_truncated,
        "fate": fate[1],
        "verifier": row.verifier,
        "state": list(_ranges([messages.place(message) for message in row.state])),
        "action": messages.place(row.expected_action),
        "verdicts": [
            {"verdict": verdict, "texts": [_text(rollout, n) for rollout, n in texts]}
            for verdict, texts in by_verdict(row.rollouts)
        ],
    }


def _text(rollout: Rollout, n: int) -> dict[str, Any]:
    return {"n": n, "text": rollout.text, "why": rollout.error or rollout.detail}


class _Messages:
    """The distinct messages of a trajectory, in the order of their first occurrence."""

    def __init__(self) -> None:
        self.listed: list[dict[str, Any]] = []
        self._places: dict[str, int] = {}

    def place(self, message: Message) -> int:
        key = message.model_dump_json()
        if key not in self._places:
            self._places[key] = len(self.listed)
            self.listed.append(
                {
                    "role": message.role,
                    "name": message.name,
                    "content": message.content,
                    "reasoning": message.reasoning,
                    "calls": [[call.name, call.arguments] for call in message.tool_calls],
                }
            )
        return self._places[key]


def _ranges(places: Sequence[int]) -> Iterator[list[int]]:
    """Runs of consecutive numbers as `[first, end]`, the end not included.

    Example: 0 1 2 5 6 is `[0, 3], [5, 7]`.
    """
    start = 0
    for i in range(1, len(places) + 1):
        if i == len(places) or places[i] != places[i - 1] + 1:
            yield [places[start], places[i - 1] + 1]
            start = i
