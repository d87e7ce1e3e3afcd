"""One trajectory for a reader: its pass rates turn by turn, then the messages and rollouts of each turn."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

from pivotrl_cli.errors import InputError
from pivotrl_cli.rows import Candidate, Dropped, Message, Pivot, Profile, Row
from pivotrl_cli.stages.inspect.rows import action_line, id_with_prefix, one_line, print_messages, print_rollouts
from pivotrl_cli.storage.provenance import table_name
from pivotrl_cli.storage.table import Table

if TYPE_CHECKING:
    from rich.console import Console

_BAR = 10


def turns_of(table: Table[Row], wanted: str) -> list[Candidate]:
    """The rows of a trajectory, by its id or the beginning of it, in the order of the turns."""
    if not issubclass(table.row, Candidate):
        raise InputError(
            f"{table.name}: a {table_name(table.row)} table has no trajectories",
            "give candidates, a profile, pivots or dropped",
        )
    ids = table.frame(["trajectory_id"])["trajectory_id"]
    chosen = (ids == id_with_prefix(ids, wanted, f"{table.name}: no trajectory")).arg_true().to_list()
    return sorted((cast(Candidate, table.at(i)) for i in chosen), key=lambda row: row.turn)


@contextmanager
def pager(console: Console) -> Iterator[None]:
    """Send everything that is printed through the user's pager, where there is a terminal."""
    if not console.is_terminal:
        yield
        return
    os.environ.setdefault("LESS", "FRX")  # as git does: leave short texts on the screen, show colours
    with console.pager(styles=not console.no_color):
        yield


def print_trajectory(rows: list[Candidate], n_messages: int, console: Console) -> None:
    first = rows[0]
    known = [f"task {first.task_id}" * bool(first.task_id), first.domain, f"{first.n_turns} turns"]
    known += [] if first.outcome is None else [f"outcome {first.outcome:g}"]
    console.print(one_line(f"trajectory {first.trajectory_id}: {', '.join(filter(None, known))}, from {first.source}"))
    if len(rows) < first.n_turns:
        console.print(f"this table has {len(rows)} of its turns")
    console.print()
    _print_rates(rows, console)
    before: list[Message] = []
    for row in rows:
        _print_turn(row, before, n_messages, console)
        before = [*row.state, row.expected_action]


def _print_rates(rows: list[Candidate], console: Console) -> None:
    console.print(f" turn  {'pass rate':{_BAR + 5}}  of  demonstrated action", style="bold")
    for row in rows:
        rate, of = (row.reward_mean, str(row.n_scored)) if isinstance(row, Profile) else (None, "")
        known = f"{row.turn:5}{_mark(row)} {_bar(rate)} {of:>3}  "
        console.print(f"{known}{action_line(row.expected_action)}", no_wrap=True, overflow="ellipsis")
    if any(_mark(row) == "*" for row in rows):
        console.print("* its rewards differ, or filter kept it")


def _mark(row: Candidate) -> str:
    mixed = isinstance(row, Profile) and (row.reward_std or 0.0) > 0.0
    return "*" if isinstance(row, Pivot) or (mixed and not isinstance(row, Dropped)) else " "


def _bar(rate: float | None) -> str:
    if rate is None:
        return f"{'':{_BAR}}    -"
    filled = min(max(round(rate * _BAR), int(rate > 0.0)), _BAR - int(rate < 1.0))
    return f"{'#' * filled:.<{_BAR}} {rate:.2f}"


def _print_turn(row: Candidate, before: list[Message], n_messages: int, console: Console) -> None:
    console.print(f"\nturn {row.turn} of {row.n_turns}: {_turn_status(row)}", style="bold")
    console.print(f"  {row.candidate_id}")
    continues = row.state[: len(before)] == before
    new = row.state[len(before) :] if continues else row.state
    if hidden := max(len(new) - n_messages, 0):
        console.print(f"  ({hidden} messages before these; --messages shows more)")
    print_messages(new[hidden:], console)
    console.print("demonstrated:")
    print_messages([row.expected_action], console)
    if isinstance(row, Profile) and row.rollouts:
        console.print("rollouts:")
        print_rollouts(row.rollouts, console)


def _turn_status(row: Candidate) -> str:
    if not isinstance(row, Profile):
        return "not profiled"
    why = f", dropped: {row.drop_reason.replace('_', ' ')}" if isinstance(row, Dropped) else ""
    why = f", kept with rank {row.rank}" if isinstance(row, Pivot) else why
    if row.reward_mean is None:
        return f"{row.status.replace('_', ' ')}: {row.status_detail or 'no reward is known'}{why}"
    ends = "" if row.pass_rate_low is None else f" [{row.pass_rate_low:.2f}, {row.pass_rate_high:.2f}]"
    return f"pass rate {row.reward_mean:.2f}{ends} of {row.n_scored}{why}"
