"""Rows for a reader: a state's last messages, the demonstrated action, and the rollouts by verdict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import polars as pl

from pivotrl_cli.errors import InputError
from pivotrl_cli.rows import Candidate, EvalResult, Message, Profile, Rollout, Row
from pivotrl_cli.text import plural

if TYPE_CHECKING:
    from rich.console import Console

_WIDE = {"state", "tools", "expected_action", "rollouts", "transcript", "provenance"}


def id_with_prefix(ids: pl.Series, wanted: str, none: str) -> str:
    """The id that is `wanted`, or else the only one that begins so; `none` begins the error where there is neither."""
    names = ids.filter(ids.str.starts_with(wanted)).unique(maintain_order=True).to_list()
    if wanted in names:
        return wanted
    if len(names) != 1:
        why = f"; {len(names):,} begin so" if names else ""
        near = names[:3] or ids.unique(maintain_order=True).head(3).to_list()
        raise InputError(f"{none} {wanted!r}{why}", f"there are, for example: {', '.join(near)}")
    return str(names[0])


def print_row(row: Row, n_messages: int, console: Console) -> None:
    """Everything in a row, the long parts in one line each."""
    for name, value in row:
        if name not in _WIDE and value not in (None, ""):
            console.print(f"{name}: {one_line(str(value))}")
    if isinstance(row, Candidate):
        hidden = len(row.state) - n_messages
        last = f", the last {n_messages} (--messages shows more):" if hidden > 0 else ":"
        console.print(f"\nstate, {len(row.state)} messages{last}")
        print_messages(row.state[-n_messages:], console)
        console.print("\ndemonstrated action:")
        print_messages([row.expected_action], console)
    if isinstance(row, Profile) and row.rollouts:
        console.print(f"\nrollouts, {len(row.rollouts)}:")
        print_rollouts(row.rollouts, console)
    if isinstance(row, EvalResult):
        console.print("\ntranscript:")
        print_messages(row.transcript, console)


def by_verdict(rollouts: Sequence[Rollout]) -> Iterator[tuple[str, list[tuple[Rollout, int]]]]:
    """Rollouts by verdict, basis and reward, the most frequent group first; each text once, with its count."""
    groups: dict[tuple[str, str | None, float | None], dict[str, list[Rollout]]] = {}
    for rollout in rollouts:
        groups.setdefault((rollout.verdict, rollout.basis, rollout.reward), {}).setdefault(rollout.text, []).append(
            rollout
        )
    for (verdict, basis, reward), texts in sorted(groups.items(), key=lambda item: -sum(map(len, item[1].values()))):
        of = "no reward" if reward is None else f"reward {reward:g}"
        yield f"{verdict} ({f'{basis}, ' if basis else ''}{of})", [(same[0], len(same)) for same in texts.values()]


def print_rollouts(rollouts: Sequence[Rollout], console: Console) -> None:
    """Rollouts by verdict, each with the verifier's reason."""
    for title, texts in by_verdict(rollouts):
        n = sum(count for _, count in texts)
        console.print(f"  {title}, {plural(n, 'rollout')}", style="bold")
        for rollout, count in texts:
            print_indented(f"{count} x {one_line(rollout.text) or '(nothing)'}", 4, console)
            if rollout.error or rollout.detail:
                print_indented(str(rollout.error or rollout.detail), 8, console)


def print_messages(messages: Sequence[Message], console: Console) -> None:
    for message in messages:
        who = f"{message.role} {message.name}" if message.name else message.role
        if message.reasoning:
            print_indented(f"{who} (reasoning): {one_line(message.reasoning)}", 2, console)
        if message.content or not message.tool_calls:
            print_indented(f"{who}: {one_line(message.content)}", 2, console)
        for call in message.tool_calls:
            print_indented(f"{who} calls {call.name} {one_line(call.arguments)}", 2, console)


def print_indented(text: str, by: int, console: Console) -> None:
    from rich.padding import Padding

    console.print(Padding(text, (0, 0, 0, by)))


def one_line(text: str, limit: int = 400) -> str:
    """Runs of white space as one blank, control characters escaped; a long text is cut and ends with its length."""
    flat = " ".join(text.split())
    if not flat.isprintable():
        flat = "".join(c if c.isprintable() else repr(c)[1:-1] for c in flat)
    return flat if len(flat) <= limit else f"{flat[:limit]}... ({len(flat):,} characters)"


def action_line(action: Message, limit: int = 400) -> str:
    """An action in one line: its calls, or what it says."""
    calls = " + ".join(f"{call.name} {call.arguments}" for call in action.tool_calls)
    return one_line(calls or action.content, limit)
