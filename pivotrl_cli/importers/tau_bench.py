"""tau-bench, version 1: one row per task and trial, its recorded reward as the score.

A run that crashed has `info.error` and a reward of 0 that its harness counts; here it was not measured. Neither domain
nor model is in the file: the benchmark is `tau_bench` (`--benchmark` renames it), the model the file's name.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from pivotrl_cli.importers.results import File, count, each_with_conversation, failed_result, result, share, value_at
from pivotrl_cli.readers.document import Record
from pivotrl_cli.readers.formats.tau_bench import TauBenchReader
from pivotrl_cli.rows import EvalResult, Reject

_BENCHMARK = "tau_bench"


class TauBenchImporter:
    """Result files of tau-bench."""

    def sniff(self, file: File) -> str | None:
        return TauBenchReader().sniff(file.head)

    def read(self, file: File, metric: str | None) -> Iterator[EvalResult | Reject]:
        row = partial(_row, file.path.stem)
        return each_with_conversation(file.records(), TauBenchReader().read(file), row)


def _row(model: str, talk: dict[str, Any], record: Record) -> EvalResult:
    json = record.json
    task, known = json["task_id"].label(), talk | {"trial": count(json["trial"]) or 0}
    error = value_at(json, "info.error").text_or_none()
    if error:
        return failed_result(_BENCHMARK, model, task, error, **known)
    return result(_BENCHMARK, model, task, share(json["reward"]), **known)
