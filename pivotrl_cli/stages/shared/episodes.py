"""Episodes advance together, one turn at a time, so that the engine always has a full batch.

    while episodes are left:
        sample an action for each        replies in the journal are not sampled again
        step each with its action        worlds that wait for a server do so concurrently

Mistakes of the policy (text that cannot be parsed, a truncated answer, too many turns) score 0; an episode that could
not be measured has no score. Failures are not journaled: a resumed run retries them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Literal

from pivotrl_cli.configs import EvalConfig
from pivotrl_cli.engines import Engine, Group, Request, Sampling, sample_seed
from pivotrl_cli.environments import Begins, Episode, Measured, WorldError
from pivotrl_cli.errors import PivotRLError, RunError
from pivotrl_cli.progress import Progress
from pivotrl_cli.rows import EvalResult, Message, Row
from pivotrl_cli.stages.shared.scoring import map_concurrently
from pivotrl_cli.storage.journal import Journal, MemoryJournal

Status = Literal["ok", "truncated", "unparsable", "empty", "too_long", "max_turns", "infra_error"]
ALL_FAIL = 8
"""Requests of one round, all of which fail, from which on the engine counts as broken."""


class Reply(Row):
    """What the engine returned for one state; the value of a journal entry."""

    status: Literal["ok", "too_long", "unrenderable"] = "ok"
    detail: str = ""
    text: str = ""
    action: Message | None = None
    problem: str | None = None
    n_tokens: int = 0
    finish_reason: Literal["stop", "length", "error"] = "stop"
    error: str | None = None

    @classmethod
    def of(cls, group: Group) -> Reply:
        """Of a group of one sample, or of none."""
        if group.status != "ok":
            return cls(status=group.status, detail=group.detail)
        one = group.completions[0]
        return cls(
            text=one.text,
            action=one.action,
            problem=one.problem,
            n_tokens=len(one.token_ids or one.logprobs),
            finish_reason=one.finish_reason,
            error=one.error,
        )


@dataclass(slots=True)
class Run:
    """One episode."""

    benchmark: str
    trial: int
    episode: Episode
    n_turns: int = 0
    n_tool_calls: int = 0
    n_tokens: int = 0
    status: Status | None = None
    error: str | None = None
    n_recorded: int = 0
    """Turns from the journal; the time of such a run is not known."""
    started: float = 0.0
    """On the monotonic clock."""
    seconds: float | None = None
    n_given: int = field(init=False)
    """Messages of the initial state."""

    def __post_init__(self) -> None:
        self.n_given = len(self.episode.state)

    @property
    def key(self) -> str:
        """Names this run; the seeds of its turns derive from it."""
        return f"{self.benchmark}/{self.episode.task_id}/{self.trial}"

    @property
    def turn_key(self) -> str:
        """Names the turn that comes next."""
        return f"{self.key}/{self.n_turns}"

    def begin(self) -> None:
        """Start the episode."""
        self.started = time.monotonic()
        try:
            if isinstance(self.episode, Begins):
                self.episode.begin()
        except WorldError as error:
            self.status, self.error = "infra_error", str(error)
        if self.episode.done:
            self.status = "ok"

    def turn(self, reply: Reply | None, config: EvalConfig) -> EvalResult | None:
        """Apply what the engine returned for the current state, if the episode is not over; its row if it is."""
        if reply is not None:
            self.apply(reply, config.max_turns)
        if self.status is None:
            return None
        if config.timings and not self.n_recorded:
            self.seconds = time.monotonic() - self.started
        return self._row(config)

    def apply(self, reply: Reply, max_turns: int) -> None:
        """Apply what the engine returned for the current state."""
        if reply.status != "ok":
            self.status = "too_long" if reply.status == "too_long" else "infra_error"
            self.error = f"{reply.status}: {reply.detail}"
            return
        self.n_turns += 1
        self.n_tokens += reply.n_tokens
        if reply.error is not None:
            self.status, self.error = "infra_error", reply.error
        elif reply.finish_reason == "length":
            self.status, self.error = "truncated", reply.text[-200:]
        elif reply.action is None:
            self.status = "unparsable" if reply.text.strip() else "empty"
            self.error = f"{reply.problem}: {reply.text[-200:]}"
        else:
            self._step(reply.action, max_turns)

    def _step(self, action: Message, max_turns: int) -> None:
        self.n_tool_calls += len(action.tool_calls)
        try:
            self.episode.step(_with_call_ids(action, self.n_turns))
        except WorldError as error:
            self.status, self.error = "infra_error", str(error)
            return
        if self.episode.done:
            self.status = "ok"
        elif self.n_turns >= max_turns:
            self.status = "max_turns"

    def _row(self, config: EvalConfig) -> EvalResult:
        """The finished run as a table row."""
        score, status, error = self.outcome()
        further = self.episode.metrics() if score is not None and isinstance(self.episode, Measured) else {}
        return EvalResult(
            benchmark=self.benchmark,
            task_id=self.episode.task_id,
            cluster=self.episode.cluster,
            category=self.episode.category,
            model=Path(config.model).name,
            trial=self.trial,
            seed=sample_seed(config.seed, self.key, 0),
            score=score,
            status=status,
            error=error,
            n_turns=self.n_turns,
            n_tool_calls=self.n_tool_calls,
            n_tokens=self.n_tokens,
            seconds=self.seconds,
            transcript=self.episode.state[self.n_given :],
            metrics=json.dumps(further),
        )

    def outcome(self) -> tuple[float | None, Status, str | None]:
        """Score, null if it could not be measured; how the finished run ended; and its error."""
        assert self.status is not None
        if self.status == "infra_error" or (self.status == "too_long" and self.n_turns == 0):
            return None, self.status, self.error
        if self.status != "ok":
            return 0.0, self.status, self.error
        try:
            return self.episode.score(), "ok", None
        except PivotRLError:  # the user can fix it, and it holds for every run
            raise
        except Exception as error:  # a scorer that fails has measured nothing
            return None, "infra_error", f"{type(error).__name__}: {error}"


def play(
    runs: list[Run], engine: Callable[[], Engine], config: EvalConfig, journal: Journal | MemoryJournal
) -> list[EvalResult]:
    """Advance all runs until each has ended; rows in the order of the runs."""
    waiting = iter(runs)
    active: list[Run] = []
    rows: dict[str, EvalResult] = {}
    workers = max(getattr(run.episode, "concurrency", 1) for run in runs)  # above 1 if a world waits for a server
    with Progress(f"eval {runs[0].benchmark}", len(runs), "episodes") as bar:
        while active := active + _begin_runs(islice(waiting, config.concurrency - len(active)), workers):
            replies = _sample_replies([run for run in active if run.status is None], engine, config, journal)
            pairs = [(run, replies.get(run.turn_key)) for run in active]
            ended = list(map_concurrently(lambda pair: pair[0].turn(pair[1], config), pairs, workers))
            rows |= {run.key: row for run, row in zip(active, ended, strict=True) if row is not None}
            active = [run for run in active if run.status is None]
            bar.advance(sum(row is not None for row in ended), f"{len(active)} running")
    return [rows[run.key] for run in runs]


def _begin_runs(runs: Iterable[Run], workers: int) -> list[Run]:
    """Start these runs."""
    new = list(runs)
    list(map_concurrently(Run.begin, new, workers))
    return new


def _sample_replies(
    active: list[Run], engine: Callable[[], Engine], config: EvalConfig, journal: Journal | MemoryJournal
) -> dict[str, Reply]:
    """The replies to the current state of each, by the key of the turn."""
    old = {key: Reply.model_validate(value) for key, value in journal.read(run.turn_key for run in active).items()}
    for run in active:
        run.n_recorded += run.turn_key in old
    if len(old) == len(active):
        return old  # or every run has ended
    requests = [Request(key=run.turn_key, state=run.episode.state, tools=run.episode.tools) for run in active]
    sampling = Sampling(
        temperature=config.temperature,
        top_p=config.top_p,
        top_k=config.top_k,
        max_new_tokens=config.max_new_tokens,
        seed=config.seed,
        prefix_cache="off" if config.exact_resume else "continue",
    )
    new: dict[str, Reply] = {}
    for batch in engine().sample(requests, sampling, old):
        replies = {g.request.key: Reply.of(g) for g in batch if g.request.key not in old}
        new |= replies
        if kept := {key: reply.model_dump() for key, reply in replies.items() if reply.error is None}:
            journal.add(kept)
    _stop_if_nothing_works(list(new.values()))
    return old | new


def _stop_if_nothing_works(new: list[Reply]) -> None:
    if len(new) >= ALL_FAIL and all(reply.error for reply in new):
        raise RunError(
            f"all {len(new):,} requests of one round failed, the first: {new[0].error}",
            "finished turns are kept: run the same command again to resume",
        )


def _with_call_ids(action: Message, turn: int) -> Message:
    """The action with an id on every call, for tool replies to refer to."""
    calls = [call.model_copy(update={"id": call.id or f"call_{turn}_{i}"}) for i, call in enumerate(action.tool_calls)]
    return action.model_copy(update={"tool_calls": calls})
