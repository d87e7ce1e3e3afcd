"""Rows of `eval`."""

from __future__ import annotations

from typing import Literal

from pivotrl_cli.rows.messages import Message, Row


class EvalResult(Row):
    """Result of one trial of a benchmark task."""

    benchmark: str
    """Name of the benchmark."""
    task_id: str
    """Task id within the benchmark."""
    cluster: str
    """Group of dependent tasks (a trajectory, an instance of a task family); intervals are computed by cluster."""
    category: str
    """Kind of task, for breakdowns."""
    model: str
    """Model: name of its folder, or its name in the harness; empty if not recorded."""
    trial: int
    """Trial number, from 0."""
    seed: int | None
    """Seed of this trial; null if another harness did not record it."""
    score: float | None
    """Score in [0, 1]; null if not measured."""
    status: Literal["ok", "truncated", "unparsable", "too_long", "max_turns", "empty", "model_error", "infra_error"]
    """How the run ended. Failures of the policy are scored, usually with 0: cut by the token limit, no valid action,
    context full, too many turns, empty answer or patch, another failure. `infra_error` is not a failure of the policy
    and has no score."""
    error: str | None
    """Error message; null without an error."""
    n_turns: int | None
    """Assistant turns; null, like all numbers below, if another harness did not record it."""
    n_tool_calls: int | None
    """Tool calls in these turns."""
    n_tokens: int | None
    """Sampled tokens."""
    seconds: float | None
    """Duration of the run, including waits for other runs in its batches; in our own evaluations only with
    `--timings`."""
    metrics: str = "{}"
    """Further measurements of the run, a JSON object of numbers: `{"tool_name": 1.0}`."""
    transcript: list[Message]
    """Messages after the initial state."""
