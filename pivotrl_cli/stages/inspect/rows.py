"""Rows for a reader: a state's last messages, the demonstrated action, and the rollouts by verdict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pivotrl_cli.rows import Candidate, EvalResult, Message, Profile, Rollout, Row

if TYPE_CHECKING:
    from rich.console import Console

_WIDE = {"state", "tools", "expected_action", "rollouts", "transcript", "provenance"}


def print_row(row: Row, n_messages: int, console: Console) -> None:
    """All that is in a row, the long parts in one line each."""
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


Alike = tuple[Rollout, int]
"""One rollout, and how many have its text and verdict."""


def by_verdict(rollouts: Sequence[Rollout]) -> Iterator[tuple[str, list[Alike]]]:
    """Rollouts grouped by verdict and reward, the most frequent first, the same text once."""
    groups: dict[tuple[str, float | None], dict[str, list[Rollout]]] = {}
    for rollout in rollouts:
        groups.setdefault((rollout.verdict, rollout.reward), {}).setdefault(rollout.text, []).append(rollout)
    for (verdict, reward), texts in sorted(groups.items(), key=lambda item: -sum(map(len, item[1].values()))):
        of = "no reward" if reward is None else f"reward {reward:g}"
        yield f"{verdict} ({of})", [(same[0], len(same)) for same in texts.values()]


def print_rollouts(rollouts: Sequence[Rollout], console: Console) -> None:
    """Rollouts by verdict; what a verifier said of each."""
    for title, texts in by_verdict(rollouts):
        n = sum(count for _, count in texts)
        console.print(f"  {title}, {n} rollout{'s' if n > 1 else ''}", style="bold")
        for rollout, count in texts:
            indented(f"{count} x {one_line(rollout.text) or '(nothing)'}", 4, console)
            if rollout.error or rollout.detail:
                indented(str(rollout.error or rollout.detail), 8, console)


def print_messages(messages: Sequence[Message], console: Console) -> None:
    """Messages, a line each; a long one ends with how long it is."""
    for message in messages:
        who = f"{message.role} {message.name}" if message.name else message.role
        if message.reasoning:
            indented(f"{who} (reasoning): {one_line(message.reasoning)}", 2, console)
        if message.content or not message.tool_calls:
            indented(f"{who}: {one_line(message.content)}", 2, console)
        for call in message.tool_calls:
            indented(f"{who} calls {call.name} {one_line(call.arguments)}", 2, console)


def indented(text: str, by: int, console: Console) -> None:
    """Folded within the console's width."""
    from rich.padding import Padding

    console.print(Padding(text, (0, 0, 0, by)))


def one_line(text: str, limit: int = 400) -> str:
    """White space as single blanks, control characters as escapes; the rest of a long text counted."""
    flat = " ".join(text.split())
    if not flat.isprintable():
        flat = "".join(c if c.isprintable() else repr(c)[1:-1] for c in flat)
    return flat if len(flat) <= limit else f"{flat[:limit]}... ({len(flat):,} characters)"


def action_line(action: Message, limit: int = 400) -> str:
    """An action in one line: its calls, or what it says."""
    calls = " + ".join(f"{call.name} {call.arguments}" for call in action.tool_calls)
    return one_line(calls or action.content, limit)
