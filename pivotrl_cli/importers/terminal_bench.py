"""Terminal-Bench 1: the run's `results.json` with all trials; the trials' own files, which repeat them, are left alone.

A trial whose agent was never installed or whose tests ran out of time was not measured; the harness counts it as
unresolved. What the agent did wrong (a timeout, a context that overflowed) is a 0. The model is named in
`run_metadata.json` beside it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from pivotrl_cli.importers.results import File, Reported, count, failed_result, only_object, result, share
from pivotrl_cli.readers.document import FileDocument
from pivotrl_cli.readers.fields import Json
from pivotrl_cli.rows import EvalResult

_STATUS = {
    "unset": "ok",
    "none": "ok",
    "context_length_exceeded": "too_long",
    "output_length_exceeded": "truncated",
    "fatal_llm_parse_error": "unparsable",
}
_UNMEASURED = ("test_timeout", "agent_installation_failed", "unknown")


class TerminalBenchImporter:
    """Runs of Terminal-Bench 1."""

    def sniff(self, file: File) -> str | None:
        keys = set(file.head.keys)
        if {"task_id", "trial_name", "is_resolved"} <= keys:
            return "an object with task_id and is_resolved"
        trials = file.head.record.get("results") if isinstance(file.head.record, dict) else None
        first = trials[0] if isinstance(trials, list) and trials else None
        resolved = isinstance(first, dict) and {"task_id", "is_resolved"} <= first.keys()
        return "results of trials with is_resolved" if resolved else None

    def beside(self, file: File) -> Path:
        return _metadata(file.path)

    def read(self, file: File, metric: str | None) -> Iterator[EvalResult | Reported]:
        if "trial_name" in file.head.keys:
            return
        json, about = only_object(file), _about(file)
        benchmark = about["dataset_name"].text_or_none() or "terminal_bench"
        model = about["model_name"].text_or_none() or about["agent_name"].text_or_none() or ""
        trials: Counter[str] = Counter()
        for one in json["results"].list():
            task = one["task_id"].text()
            yield _row(one, benchmark, model, task, trials[task])
            trials[task] += 1
        if json["accuracy"]:
            yield Reported(benchmark, model, "accuracy", share(json["accuracy"]), trials.total())


def _metadata(path: Path) -> Path:
    return path.with_name("run_metadata.json")


def _about(file: File) -> Json:
    path = _metadata(file.path)
    return only_object(FileDocument(path, path.name)) if path.is_file() else Json({})


def _row(one: Json, benchmark: str, model: str, task: str, trial: int) -> EvalResult:
    mode, tokens = one["failure_mode"].text_or_none() or "none", count(one["total_output_tokens"])
    if mode in _UNMEASURED or not one["is_resolved"]:
        return failed_result(benchmark, model, task, mode, trial=trial, n_tokens=tokens)
    status = _STATUS.get(mode, "model_error")
    error = None if status == "ok" else mode
    score = share(one["is_resolved"])
    return result(benchmark, model, task, score, trial=trial, n_tokens=tokens, status=status, error=error)
