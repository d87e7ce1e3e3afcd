"""The judge of one run: opened where a verifier asks it, shared by all that do, closed at the end; and what it cost."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pivotrl_cli.configs import JudgeConfig
from pivotrl_cli.errors import ConfigError, OutputError
from pivotrl_cli.verifiers import asks_judge

if TYPE_CHECKING:
    from pivotrl_cli.verifiers.judge import Judge


@contextmanager
def opened_judge(names: Iterable[str] | None, config: JudgeConfig) -> Iterator[Judge | None]:
    """The judge, where a server is named and one of these verifiers asks it; None for names not known yet."""
    if config.judge_url is None or not (names is None or any(map(asks_judge, names))):
        yield None
        return
    judge = _open(config, config.judge_url)
    try:
        yield judge
    finally:
        judge.close()


def judge_cost(judge: Judge | None) -> dict[str, Any]:
    """For a summary: `{"judge": {"calls": ..., "cached": ..., ...}}`, or nothing without a judge.

    Not for a summary that is stored: a rerun finds the answers cached, and the same run must give the same bytes.
    """
    return {"judge": dict(judge.usage)} if judge else {}


def cost_row(summary: dict[str, Any]) -> list[tuple[str, str, str]]:
    """The line of a stage's description, where there was a judge."""
    if "judge" not in summary:
        return []
    cost = summary["judge"]
    tokens = cost["prompt_tokens"] + cost["completion_tokens"]
    asked = f"{cost['cached']:,} answers cached, {cost['retries']:,} retries, {tokens:,} tokens"
    return [("judge calls", f"{cost['calls']:,}", asked)]


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
    """In the user's cache folder, by the XDG rule: `$XDG_CACHE_HOME`, where it is absolute, else `~/.cache`."""
    named = Path(os.environ.get("XDG_CACHE_HOME") or ".")
    return (named if named.is_absolute() else Path.home() / ".cache") / "pivotrl" / "judge.sqlite"
