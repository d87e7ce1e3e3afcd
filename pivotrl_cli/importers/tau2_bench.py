"""tau2-bench result files: one row per simulation, its recorded reward as the score.

What the simulated user, the infrastructure or an unexpected error ended was not measured. tau2 itself leaves
infrastructure errors out of its average reward and counts them as failures in pass^k; our two means are those. It
stores neither, so there is nothing to compare with. How a simulation ended is the row's status: `max_steps` is
`max_turns`; too many errors, an agent's error and a timeout are the model's.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from pivotrl_cli.importers.results import File, count, each_with_conversation, failed_result, result, share, value_at
from pivotrl_cli.readers.document import Record
from pivotrl_cli.readers.fields import Json
from pivotrl_cli.readers.formats.tau2_bench import Tau2BenchReader
from pivotrl_cli.readers.split import EACH
from pivotrl_cli.rows import EvalResult, Reject

_ENDINGS = {
    "user_stop": "ok",
    "agent_stop": "ok",
    "max_steps": "max_turns",
    "context_window_exceeded": "too_long",
    "too_many_errors": "model_error",
    "agent_error": "model_error",
    "timeout": "model_error",
}
"""Endings that measure the agent; all others do not."""


class Tau2BenchImporter:
    """Result files of tau2-bench."""

    def sniff(self, file: File) -> str | None:
        """As the reader of trajectories does, without its SFT files, which hold successes alone."""
        return None if "splits" in file.head.keys else Tau2BenchReader().sniff(file.head)

    def read(self, file: File, metric: str | None) -> Iterator[EvalResult | Reject]:
        found = next(file.items("info"), None)
        info = found.json.fields() if isinstance(found, Record) else Json({}, "info")
        benchmark = f"tau2_{value_at(info, 'environment_info.domain_name').text()}"
        model = value_at(info, "agent_info.llm").text_or_none() or ""
        row = partial(_row, benchmark, model)
        return each_with_conversation(file.items("simulations", EACH), Tau2BenchReader().read(file), row)


def _row(benchmark: str, model: str, talk: dict[str, Any], record: Record) -> EvalResult:
    json = record.json
    ending, reward = json["termination_reason"].text_or_none() or "", value_at(json, "reward_info.reward")
    known = talk | {
        "trial": count(json["trial"]) or 0,
        "seed": count(json["seed"]),
        "n_tokens": _tokens(json["messages"]),
        "seconds": json["duration"].number_or_none(),
    }
    task = json["task_id"].label()
    if ending not in _ENDINGS or not reward:
        detail = value_at(json, "info.error").text_or_none()
        why = f"{ending or 'no ending'}: {detail or 'no reward that counts'}"
        return failed_result(benchmark, model, task, why, **known)
    status = _ENDINGS[ending]
    error = None if status == "ok" else ending
    return result(benchmark, model, task, share(reward), **known, status=status, error=error)


def _tokens(messages: Json) -> int | None:
    """Tokens that the agent wrote, where they were recorded."""
    used = [value_at(m, "usage.completion_tokens") for m in messages.list() if m["role"].value == "assistant"]
    known = [n for n in map(count, used) if n is not None]
    return sum(known) if known else None
