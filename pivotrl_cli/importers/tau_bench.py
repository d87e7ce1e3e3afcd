"""tau-bench, version 1: one row per task and trial, its recorded reward as the score.

A run that crashed has `info.error` and a reward of 0 that its harness counts; here it was not measured. Neither domain
nor model is in the file: the benchmark is `tau_bench` (`--benchmark` renames it), the model the file's name.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pivotrl_cli.importers.results import File, conversation, count, each, failed, result, share
from pivotrl_cli.readers.document import Record
from pivotrl_cli.readers.formats.tau_bench import TauBenchReader
from pivotrl_cli.rows import EvalResult, Reject

_BENCHMARK = "tau_bench"


class TauBenchImporter:
    """Result files of tau-bench."""

    def sniff(self, file: File) -> str | None:
        """As the reader of trajectories does."""
        return TauBenchReader().sniff(file.head)

    def read(self, file: File, metric: str | None) -> Iterator[EvalResult | Reject]:
        """One row per record."""
        for one, read in zip(file.records(), TauBenchReader().read(file), strict=False):
            talk = conversation(read)
            yield from each([one], lambda record, talk=talk: _row(file.path.stem, talk, record))  # type: ignore[misc]


def _row(model: str, talk: dict[str, Any], record: Record) -> EvalResult:
    json = record.json
    task, known = json["task_id"].label(), talk | {"trial": count(json["trial"]) or 0}
    error = json["info"].fields()["error"].text_or_none()
    if error:
        return failed(_BENCHMARK, model, task, error, **known)
    return result(_BENCHMARK, model, task, share(json["reward"]), **known)
