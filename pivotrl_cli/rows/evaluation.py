"""Scores of a policy."""

from __future__ import annotations

from typing import Literal

from pivotrl_cli.rows.messages import Message, Row


class EvalResult(Row):
    """One benchmark, task and trial."""

    benchmark: str
    """Name of the benchmark."""
    task_id: str
    """Task within it."""
    cluster: str
    """Group of tasks that are not independent (a trajectory, a task family's instance), for intervals."""
    category: str
    """Kind of task, for break-downs."""
    model: str
    """Model by the name of its folder, or as the harness names it; empty where that is not recorded."""
    trial: int
    """Repetition, from 0."""
    seed: int | None
    """Seed of this trial; null where another harness did not record it."""
    score: float | None
    """Score in [0, 1]; null where not measured."""
    status: Literal["ok", "truncated", "unparsable", "too_long", "max_turns", "empty", "model_error", "infra_error"]
    """How the run ended. What is the policy's doing has a score, most often 0: cut by the token limit, no valid action,
    a full context, too many turns, an empty answer or patch, another failure. `infra_error` is not its doing, and has
    no score."""
    error: str | None
    """What failed, where something did."""
    n_turns: int | None
    """Assistant turns taken; null where another harness did not record them, as for all numbers below."""
    n_tool_calls: int | None
    """Calls in these turns."""
    n_tokens: int | None
    """Tokens sampled."""
    seconds: float | None
    """Time that the run took, the waits for what shares its batches included; in our own only with `--timings`."""
    metrics: str = "{}"
    """What else the benchmark measures on this run, a JSON object of numbers: `{"tool_name": 1.0}`."""
    transcript: list[Message]
    """The conversation after the initial state."""
