"""Where a verifier and plain likeness to the demonstration disagree most: the first place to look for its mistakes.

The disagreement of a scored rollout is |reward - likeness|. Likeness, in [0, 1], is twice the longest common
subsequence of two texts over their lengths together (`actions.similarity`); the texts are the demonstrated action and
the rollout's: calls with their arguments in one spelling, or what is said. A completion that could not be parsed is
compared as it was sampled. So the worst are right answers refused for their form, and wrong ones let through.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import polars as pl

from pivotrl_cli.errors import InputError
from pivotrl_cli.progress import Progress
from pivotrl_cli.rows import Profile, Row
from pivotrl_cli.stages.inspect.rows import indented, one_line
from pivotrl_cli.storage.provenance import table_name
from pivotrl_cli.storage.table import Table
from pivotrl_cli.verifiers.compare.similarity import indel_ratio

if TYPE_CHECKING:
    from rich.console import Console

_COLUMNS = [
    "candidate_id",
    "verifier",
    "expected_action.content",
    "expected_action.tool_calls",
    *(f"rollouts.list.element.{leaf}" for leaf in ("sample", "text", "reward", "verdict", "detail")),
    "rollouts.list.element.action.content",
    "rollouts.list.element.action.tool_calls",
]


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One completion, and the rollouts of its candidate that are the same."""

    candidate_id: str
    verifier: str
    samples: list[int]
    reward: float
    verdict: str
    likeness: float
    demonstrated: str
    text: str
    detail: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON values, the texts in one line each."""
        return asdict(self) | {"demonstrated": one_line(self.demonstrated), "text": one_line(self.text)}


def worst(table: Table[Row], n: int, mask: pl.Series | None = None) -> dict[str, list[dict[str, Any]]]:
    """The `n` worst refused and the `n` worst accepted completions, as JSON values; the worst first.

    Refused is a reward below the likeness, accepted one above it. Raises `InputError` for a table without rollouts.
    """
    if not issubclass(table.row, Profile):
        raise InputError(
            f"{table.name}: a {table_name(table.row)} table has no rollouts beside their demonstration",
            "give a profile, pivots or dropped table",
        )
    refused: list[Disagreement] = []
    accepted: list[Disagreement] = []
    with Progress("disagreements", table.n_rows, "rows") as bar:
        for n_rows, part in _by_group(table, mask):
            refused = heapq.nlargest(n, chain(refused, (d for d in part if d.reward < d.likeness)), key=_order)
            accepted = heapq.nlargest(n, chain(accepted, (d for d in part if d.reward > d.likeness)), key=_order)
            bar.advance(n_rows)
    return {"refused": [d.to_dict() for d in refused], "accepted": [d.to_dict() for d in accepted]}


def _order(one: Disagreement) -> tuple[float, int, str]:
    return abs(one.reward - one.likeness), len(one.samples), one.candidate_id


def _by_group(table: Table[Row], mask: pl.Series | None) -> Iterator[tuple[int, list[Disagreement]]]:
    """Of each row group, its rows and what is found there."""
    start = 0
    for frame in table.frames(_COLUMNS):
        part = frame if mask is None else frame.filter(mask[start : start + len(frame)])
        start += len(frame)
        yield len(frame), [found for row in part.iter_rows(named=True) for found in _of_row(row)]


def _of_row(row: dict[str, Any]) -> Iterator[Disagreement]:
    demonstrated = _text(row["expected_action"])
    same: dict[tuple[str, float], list[dict[str, Any]]] = {}
    for rollout in row["rollouts"]:
        if rollout["reward"] is not None:
            same.setdefault((rollout["text"], rollout["reward"]), []).append(rollout)
    for (text, reward), rollouts in same.items():
        first = rollouts[0]
        likeness = indel_ratio(demonstrated, text if first["action"] is None else _text(first["action"]), 0.0)
        if likeness is None or likeness == reward:
            continue
        yield Disagreement(
            candidate_id=row["candidate_id"],
            verifier=row["verifier"],
            samples=[r["sample"] for r in rollouts],
            reward=reward,
            verdict=first["verdict"],
            likeness=round(likeness, 4),
            demonstrated=demonstrated,
            text=text,
            detail=first["detail"],
        )


def _text(action: dict[str, Any]) -> str:
    """What an action does, in one spelling; the words beside calls do not count."""
    calls = [f"{call['name']} {_one_spelling(call['arguments'])}" for call in action["tool_calls"]]
    return "\n".join(calls) or str(action["content"]).strip()


def _one_spelling(arguments: str) -> str:
    try:
        return json.dumps(json.loads(arguments), sort_keys=True, ensure_ascii=False)
    except (ValueError, RecursionError):
        return arguments


def print_worst(found: dict[str, list[dict[str, Any]]], console: Console) -> None:
    """Both lists for a terminal."""
    titles = {
        "refused": "refused though like the demonstration",
        "accepted": "accepted though unlike the demonstration",
    }
    for kind, title in titles.items():
        console.print(f"{title}: {len(found[kind])} worst" if found[kind] else f"{title}: none", style="bold")
        for one in found[kind]:
            n = len(one["samples"])
            console.print(
                f"\n  {one['candidate_id']}: reward {one['reward']:g}, likeness {one['likeness']:.2f}, "
                f"{n} rollout{'s' if n > 1 else ''}"
            )
            indented(f"demonstrated: {one['demonstrated']}", 4, console)
            indented(f"sampled:      {one['text']}", 4, console)
            indented(f"{one['verifier']}: {one['verdict']}{': ' if one['detail'] else ''}{one['detail']}", 4, console)
        console.print()
