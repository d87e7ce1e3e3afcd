"""Where a verifier disagrees most with plain likeness to the demonstration: the first places to look for its mistakes.

The disagreement of a scored rollout is |reward - likeness|. Likeness, in [0, 1], is twice the longest common
subsequence of two texts over the sum of their lengths (`compare.similarity`); the texts are the demonstrated action and
the rollout's: calls with their arguments in one spelling, or what is said. A completion that could not be parsed is
compared as it was sampled. The worst are then right answers refused for their form, and wrong ones let through.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any

import polars as pl
from pydantic import BaseModel

from pivotrl_cli.errors import InputError
from pivotrl_cli.progress import Progress
from pivotrl_cli.rows import Profile, Row
from pivotrl_cli.stages.inspect.rows import one_line, print_indented
from pivotrl_cli.storage.provenance import table_name
from pivotrl_cli.storage.table import Table
from pivotrl_cli.text import plural
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


class Disagreement(BaseModel, frozen=True):
    """One completion, and the rollouts of its candidate that have the same text and reward."""

    candidate_id: str
    verifier: str
    samples: list[int]
    """Indices of those rollouts."""
    reward: float
    verdict: str
    likeness: float
    demonstrated: str
    text: str
    detail: str


class Disagreements(BaseModel, frozen=True):
    """The worst disagreements, the worst first."""

    refused: list[Disagreement]
    """Reward below the likeness."""
    accepted: list[Disagreement]
    """Reward above the likeness."""


def find_disagreements(table: Table[Row], n: int, mask: pl.Series | None = None) -> Disagreements:
    """The `n` worst refused and the `n` worst accepted completions of the rows where `mask` is true."""
    if not issubclass(table.row, Profile):
        raise InputError(
            f"{table.name}: a {table_name(table.row)} table has no rollouts beside their demonstration",
            "give a profile, pivots or dropped table",
        )
    refused: list[Disagreement] = []
    accepted: list[Disagreement] = []
    with Progress("disagreements", table.n_rows, "rows") as bar:
        start = 0
        for frame in table.frames(_COLUMNS):
            part = frame if mask is None else frame.filter(mask[start : start + len(frame)])
            start += len(frame)
            found = [one for row in part.iter_rows(named=True) for one in _row_disagreements(row)]
            refused = heapq.nlargest(n, chain(refused, (d for d in found if d.reward < d.likeness)), key=_order)
            accepted = heapq.nlargest(n, chain(accepted, (d for d in found if d.reward > d.likeness)), key=_order)
            bar.advance(len(frame))
    return Disagreements(refused=[_flat(one) for one in refused], accepted=[_flat(one) for one in accepted])


def _flat(one: Disagreement) -> Disagreement:
    """With its texts in one line each."""
    return one.model_copy(update={"demonstrated": one_line(one.demonstrated), "text": one_line(one.text)})


def _order(one: Disagreement) -> tuple[float, int, str]:
    return abs(one.reward - one.likeness), len(one.samples), one.candidate_id


def _row_disagreements(row: dict[str, Any]) -> Iterator[Disagreement]:
    demonstrated = _text(row["expected_action"])
    groups: dict[tuple[str, float], list[dict[str, Any]]] = {}
    for rollout in row["rollouts"]:
        if rollout["reward"] is not None:
            groups.setdefault((rollout["text"], rollout["reward"]), []).append(rollout)
    for (text, reward), rollouts in groups.items():
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
    """An action's calls in one spelling, or what it says; the words beside calls do not count."""
    calls = [f"{call['name']} {_canonical_json(call['arguments'])}" for call in action["tool_calls"]]
    return "\n".join(calls) or str(action["content"]).strip()


def _canonical_json(arguments: str) -> str:
    try:
        return json.dumps(json.loads(arguments), sort_keys=True, ensure_ascii=False)
    except (ValueError, RecursionError):
        return arguments


def print_disagreements(found: Disagreements, console: Console) -> None:
    for title, part in (
        ("refused though like the demonstration", found.refused),
        ("accepted though unlike the demonstration", found.accepted),
    ):
        console.print(f"{title}: {len(part)} worst" if part else f"{title}: none", style="bold")
        for one in part:
            console.print(
                f"\n  {one.candidate_id}: reward {one.reward:g}, likeness {one.likeness:.2f}, "
                f"{plural(len(one.samples), 'rollout')}"
            )
            print_indented(f"demonstrated: {one.demonstrated}", 4, console)
            print_indented(f"sampled:      {one.text}", 4, console)
            print_indented(f"{one.verifier}: {one.verdict}{': ' if one.detail else ''}{one.detail}", 4, console)
        console.print()
