"""The judge of one run: one for all verifiers that ask it; and what it was asked."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pivotrl_cli.configs import JudgeConfig
from pivotrl_cli.errors import ConfigError, OutputError
from pivotrl_cli.rows import Rollout, SummaryPart
from pivotrl_cli.verifiers import asks_judge

if TYPE_CHECKING:
    from pivotrl_cli.verifiers.judge import Judge


class JudgeUsage(SummaryPart):
    """Requests of one run to the judge.

    Part of a summary but never stored: a rerun finds the answers cached, and the same run must give the same bytes.
    """

    calls: int
    """Requests sent."""
    cached: int
    """Answers found in the cache."""
    retries: int
    prompt_tokens: int
    completion_tokens: int


@contextmanager
def open_judge(names: Iterable[str] | None, config: JudgeConfig) -> Iterator[Judge | None]:
    """The judge, if a server is named and one of these verifiers asks it; `names` is None if they are not known yet."""
    if config.judge_url is None or not (names is None or any(map(asks_judge, names))):
        yield None
        return
    judge = _open(config, config.judge_url)
    try:
        yield judge
    finally:
        judge.close()


def judge_usage(judge: Judge | None) -> JudgeUsage | None:
    """What the judge was asked so far."""
    return JudgeUsage(**judge.usage) if judge else None


def needs_judge(rollout: Rollout) -> bool:
    """Whether `NAME+judge` asks about a rollout of NAME, or did: a complete action that NAME does not accept."""
    if rollout.reward is None or rollout.action is None or rollout.verdict == "truncated":
        return False
    return rollout.reward < 1.0 or rollout.verdict.startswith("judge_")


def rests_on_likeness(rollout: Rollout) -> bool:
    """Whether a rule accepted a rollout by likeness, which a judge might not; `+judge` does not ask about it."""
    return rollout.reward == 1.0 and rollout.basis == "similar"


def need_rows(n: int, n_similar: int, n_scored: int) -> list[tuple[str, str, str]]:
    """The row of a stage's description: none where the rule accepts every rollout, and none by likeness."""
    if not (n or n_similar):
        return []
    share = f"{100 * n / n_scored:.0f} % of the scored, which +judge asks about"
    return [("for a judge", f"{n:,}", f"{share}; {n_similar:,} more are accepted by likeness")]


def usage_rows(usage: JudgeUsage | None) -> list[tuple[str, str, str]]:
    """The row of a stage's description: none without a judge."""
    if usage is None:
        return []
    tokens = usage.prompt_tokens + usage.completion_tokens
    return [
        (
            "judge calls",
            f"{usage.calls:,}",
            f"{usage.cached:,} answers cached, {usage.retries:,} retries, {tokens:,} tokens",
        )
    ]


def _open(config: JudgeConfig, url: str) -> Judge:
    from pivotrl_cli.endpoint import EndpointSettings
    from pivotrl_cli.verifiers.judge import Judge, JudgeSettings

    if config.judge_model is None:
        raise ConfigError("--judge-url needs a model", "add --judge-model NAME, as the server calls it")
    cache = config.judge_cache or default_cache()
    settings = JudgeSettings(
        endpoint=EndpointSettings(base_url=url, key_variable=config.judge_key_variable),
        model=config.judge_model,
        max_calls=config.max_judge_calls,
        cache=cache,
    )
    try:
        return Judge(settings)
    except (OSError, sqlite3.Error) as error:
        raise OutputError(f"{cache}: {error}", "choose another --judge-cache") from error


def default_cache() -> Path:
    """In the user's cache folder: `$XDG_CACHE_HOME` if it is absolute, else `~/.cache`."""
    named = Path(os.environ.get("XDG_CACHE_HOME") or ".")
    return (named if named.is_absolute() else Path.home() / ".cache") / "pivotrl" / "judge.sqlite"
