"""Eval: run a policy through episodes and write one row per task and trial.

All episodes of a benchmark advance together, one turn at a time, so that the engine always has a full batch. What the
policy does wrong (text that is no action, an answer without end, no end at all) scores 0; what could not be measured
has no score, is counted, and above `max_error_rate` the command fails.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pivotrl_cli.benchmarks import MakeEpisodes, open_benchmark
from pivotrl_cli.configs import EvalConfig
from pivotrl_cli.engines import Engine, Group, Request, Sampling, each_group, fingerprints, open_engine, sample_seed
from pivotrl_cli.environments import Episode
from pivotrl_cli.errors import ConfigError, RunError
from pivotrl_cli.progress import Progress
from pivotrl_cli.provenance import Input, Provenance
from pivotrl_cli.rows import Candidate, EvalResult, Message
from pivotrl_cli.stages.judging import cost_row, judge_cost, opened_judge
from pivotrl_cli.stages.scoring import mapped
from pivotrl_cli.stats import clustered_mean
from pivotrl_cli.table import Table, TableWriter, current_summary

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pivotrl_cli.verifiers import Judge

Status = Literal["ok", "truncated", "unparsable", "too_long", "max_turns", "error"]


def run(config: EvalConfig) -> dict[str, Any]:
    """Evaluate a model; returns the summary."""
    with opened_judge(None, config) as judge:
        benchmarks = _benchmarks(config, judge)
        found = fingerprints(config) | {"benchmarks": " ".join(benchmarks)}
        provenance = Provenance.of("eval", EvalResult, config, _inputs(config), found)
        summary = current_summary(config.output, provenance, config.force)
        added: dict[str, Any] = {"cached": True}
        if summary is None:
            summary = _evaluate(config, benchmarks, provenance)
            added = judge_cost(judge)
    _check_errors(summary, config)
    return summary | added


def _evaluate(config: EvalConfig, benchmarks: dict[str, MakeEpisodes], provenance: Provenance) -> dict[str, Any]:
    engine = open_engine(config)
    rows: list[EvalResult] = []
    for name, make in benchmarks.items():
        runs = [Run(name, trial, e) for trial in range(config.trials) for e in make(config.split, config.limit)]
        rows += play(runs, engine, config)
    summary = summarise(rows)
    with TableWriter(config.output, EvalResult, provenance) as out:
        for row in rows:
            out.write(row)
        out.set_summary(summary)
    return summary


def _benchmarks(config: EvalConfig, judge: Judge | None) -> dict[str, MakeEpisodes]:
    opened = [open_benchmark(spec, judge) for spec in config.benchmarks]
    twice = [name for name, n in Counter(name for name, _ in opened).items() if n > 1]
    if twice:
        raise ConfigError(f"benchmark {twice[0]} is named twice", "write one table for each")
    return dict(opened)


@dataclass(slots=True)
class Run:
    """One episode on its way."""

    benchmark: str
    trial: int
    episode: Episode
    n_turns: int = 0
    n_tool_calls: int = 0
    n_tokens: int = 0
    status: Status | None = None
    error: str | None = None
    n_given: int = field(init=False)
    """Messages of the state that the policy was given."""

    def __post_init__(self) -> None:
        self.n_given = len(self.episode.state)

    @property
    def key(self) -> str:
        """Names this run; the seeds of its turns derive from it."""
        return f"{self.benchmark}/{self.episode.task_id}/{self.trial}"

    def take(self, group: Group, max_turns: int) -> None:
        """Apply what the engine returned for the current state."""
        if group.status != "ok":
            self.status = "too_long" if group.status == "too_long" else "error"
            self.error = f"{group.status}: {group.detail}"
            return
        completion = group.completions[0]
        self.n_turns += 1
        self.n_tokens += len(completion.token_ids)
        if completion.error is not None:
            self.status, self.error = "error", completion.error
        elif completion.finish_reason == "length":
            self.status, self.error = "truncated", completion.text[-200:]
        elif completion.action is None:
            self.status, self.error = "unparsable", f"{completion.problem}: {completion.text[-200:]}"
        else:
            self.n_tool_calls += len(completion.action.tool_calls)
            self.episode.step(_with_call_ids(completion.action, self.n_turns))
            if self.episode.done:
                self.status = "ok"
            elif self.n_turns >= max_turns:
                self.status = "max_turns"

    def row(self, model: str, seed: int) -> EvalResult:
        """The finished run as a table row."""
        score, status, error = self._score()
        return EvalResult(
            benchmark=self.benchmark,
            task_id=self.episode.task_id,
            cluster=self.episode.cluster,
            category=self.episode.category,
            model=model,
            trial=self.trial,
            seed=sample_seed(seed, self.key, 0),
            score=score,
            status=status,
            error=error,
            n_turns=self.n_turns,
            n_tool_calls=self.n_tool_calls,
            n_tokens=self.n_tokens,
            seconds=None,
            transcript=self.episode.state[self.n_given :],
        )

    def _score(self) -> tuple[float | None, Status, str | None]:
        assert self.status is not None
        if self.status == "error" or (self.status == "too_long" and self.n_turns == 0):
            return None, self.status, self.error
        if self.status != "ok":
            return 0.0, self.status, self.error
        try:
            return self.episode.score(), "ok", None
        except Exception as error:  # a scorer that fails has measured nothing
            return None, "error", f"{type(error).__name__}: {error}"


def play(runs: list[Run], engine: Engine, config: EvalConfig) -> list[EvalResult]:
    """Advance all runs until each has ended; rows in the order of the runs."""
    sampling = Sampling(
        temperature=config.temperature, max_new_tokens=config.max_new_tokens, seed=config.seed, keep_cache=True
    )
    with Progress(f"eval {runs[0].benchmark}", len(runs), "episodes") as bar:
        while active := {f"{run.key}/{run.n_turns}": run for run in runs if run.status is None}:
            requests = [Request(key=k, state=r.episode.state, tools=r.episode.tools) for k, r in active.items()]
            for group in each_group(engine, requests, sampling):
                active[group.request.key].take(group, config.max_turns)
            ended = sum(run.status is not None for run in active.values())
            bar.advance(ended, f"{len(active) - ended} running")
    concurrency = max(getattr(run.episode, "concurrency", 1) for run in runs)  # above 1 where a judge is asked
    name = Path(config.model).name
    return list(mapped(lambda run: run.row(name, config.seed), runs, concurrency))


def _with_call_ids(action: Message, turn: int) -> Message:
    """The action with an id on every call, for tool replies to refer to."""
    calls = [call.model_copy(update={"id": call.id or f"call_{turn}_{i}"}) for i, call in enumerate(action.tool_calls)]
    return action.model_copy(update={"tool_calls": calls})


def summarise(rows: list[EvalResult]) -> dict[str, Any]:
    """Per benchmark: mean with its interval, statuses, means by category."""
    return {name: _summarise_one([r for r in rows if r.benchmark == name]) for name in _names(rows)}


def _summarise_one(rows: list[EvalResult]) -> dict[str, Any]:
    scored = [(r.score, r.cluster) for r in rows if r.score is not None]
    values = np.array([score for score, _ in scored], dtype=np.float64)
    turns = [r.n_turns for r in rows if r.n_turns is not None]
    estimate = clustered_mean(values, [c for _, c in scored]) if scored else None
    return {
        "n": len(rows),
        "n_unscored": len(rows) - len(scored),
        "first_unscored": next((f"{r.task_id}: {r.error}" for r in rows if r.score is None), None),
        "mean": None if estimate is None else estimate.mean,
        "low": None if estimate is None else estimate.low,
        "high": None if estimate is None else estimate.high,
        "mean_errors_as_zero": float(values.sum()) / len(rows),
        "status": dict(sorted(Counter(r.status for r in rows).items())),
        "turns_per_episode": None if not turns else sum(turns) / len(turns),
        "by_category": _by_category(rows),
    }


def _by_category(rows: list[EvalResult]) -> dict[str, dict[str, Any]]:
    scores: dict[str, list[float]] = {}
    for row in rows:
        if row.score is not None:
            scores.setdefault(row.category, []).append(row.score)
    return {name: {"n": len(s), "mean": float(np.mean(s))} for name, s in sorted(scores.items())}


def _names(rows: list[EvalResult]) -> list[str]:
    return list(dict.fromkeys(r.benchmark for r in rows))


def _check_errors(summary: dict[str, Any], config: EvalConfig) -> None:
    n, n_failed = (sum(one[key] for one in summary.values()) for key in ("n", "n_unscored"))
    if n_failed > config.max_error_rate * n:
        first = next(f"{name} {one['first_unscored']}" for name, one in summary.items() if one["n_unscored"])
        raise RunError(
            f"{n_failed} of {n} rows could not be measured, the first: {first}",
            f"see the error column of {config.output}; --force runs it again, --max-error-rate accepts it",
        )


def _inputs(config: EvalConfig) -> list[Input]:
    files = [spec.partition(":")[2] for spec in config.benchmarks]
    inputs = []
    for name in filter(None, files):
        with Table.open(name, Candidate) as table:
            inputs.append(table.as_input())
    return inputs


def describe(summary: dict[str, Any]) -> RenderableType:
    """The scores for a terminal."""
    from rich.table import Table as RichTable

    table = RichTable(title="eval", title_justify="left", box=None, pad_edge=False)
    for column in ("benchmark", "n", "mean", "95 % interval", "errors as 0", "turns", "status"):
        table.add_column(column, justify="left" if column in ("benchmark", "status") else "right")
    for name, one in summary.items():
        if name in ("cached", "judge"):
            continue
        status = ", ".join(f"{key} {n:,}" for key, n in one["status"].items())
        interval = "-" if one["mean"] is None else f"{one['low']:.3f} to {one['high']:.3f}"
        mean = "-" if one["mean"] is None else f"{one['mean']:.3f}"
        as_zero = f"{one['mean_errors_as_zero']:.3f}" if one["n_unscored"] else ""
        turns = "-" if one["turns_per_episode"] is None else f"{one['turns_per_episode']:.1f}"
        table.add_row(name, f"{one['n']:,}", mean, interval, as_zero, turns, status)
        for category, part in one["by_category"].items():
            table.add_row(f"  {category}", f"{part['n']:,}", f"{part['mean']:.3f}")
    for what, n, more in cost_row(summary):
        table.add_row(what, n, "", "", "", "", more)
    return table
