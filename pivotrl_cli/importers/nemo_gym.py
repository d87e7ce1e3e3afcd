"""NeMo Gym: rollouts (`NAME.jsonl`), what failed (`NAME_failures.jsonl`), means (`NAME_aggregate_metrics.json`).

The benchmark is NAME, the task Gym's index, the trial its repeat. The score is `reward`, or the field that `--metric`
names. What `NAME_failures.jsonl` alone has, and rows that Gym marks as failed or masked, were not measured; that file
has a line per attempt, so a task that succeeded later is in the rollouts. Gym's own means leave failures out.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from pivotrl_cli.importers.results import (
    File,
    Reported,
    count,
    each,
    each_with_conversation,
    failed_result,
    result,
    share,
    value_at,
)
from pivotrl_cli.readers.document import FileDocument, Record
from pivotrl_cli.readers.fields import Json
from pivotrl_cli.readers.formats.nemo_gym import NemoGymReader
from pivotrl_cli.rows import EvalResult, Reject

_FAILURES, _MEANS = "_failures", "_aggregate_metrics"
_CLASS, _MESSAGE = "_ng_failure_class", "_ng_failure_message"


class NemoGymImporter:
    """Rollouts, failures and means of `gym eval run`."""

    def sniff(self, file: File) -> str | None:
        keys = set(file.head.keys)
        if {"agent_ref", "agent_metrics", "key_metrics"} <= keys:
            return "entries have agent_metrics and key_metrics"
        if _CLASS in keys or {"responses_create_params", "response", "reward"} <= keys:
            return "records have responses_create_params and a reward or a failure"
        return None

    def beside(self, file: File) -> Path:
        return file.path.with_stem(file.path.stem + _FAILURES)

    def read(self, file: File, metric: str | None) -> Iterator[EvalResult | Reject | Reported]:
        stem = file.path.stem
        if "agent_metrics" in file.head.keys:
            yield from _means(file, metric or "reward")
            return
        if stem.endswith(_FAILURES) and file.path.with_stem(stem.removesuffix(_FAILURES)).is_file():
            return  # read with the rollouts
        row = partial(_row, stem.removesuffix(_FAILURES), metric or "reward")
        model, seen = "", set()
        for one in each_with_conversation(file.records(), NemoGymReader().read(file), row):
            if isinstance(one, EvalResult):
                model = model or one.model
                seen.add((one.task_id, one.trial))
            yield one
        yield from _unfinished(self.beside(file), partial(row, {}), model, seen)


def _unfinished(path: Path, row: Any, model: str, seen: set[tuple[str, int]]) -> Iterator[EvalResult | Reject]:
    """The last failure of each task and trial that has no rollout."""
    if not path.is_file():
        return
    failed = {}
    for one in each(FileDocument(path, path.name).records(), row):
        if isinstance(one, Reject):
            yield one
        elif (one.task_id, one.trial) not in seen:
            failed[one.task_id, one.trial] = one.model_copy(update={"model": one.model or model})
    yield from failed.values()


def _row(benchmark: str, metric: str, talk: dict[str, Any], record: Record) -> EvalResult:
    json = record.json
    response = json["response"].fields()
    task, model = json["_ng_task_index"].label() or str(record.line - 1), response["model"].text_or_none() or ""
    known = talk | {
        "trial": count(json["_ng_rollout_index"]) or 0,
        "n_tokens": count(value_at(response, "usage.output_tokens")),
    }
    if json[_CLASS] or json["mask_sample"].value:
        kind = json[_CLASS].text_or_none() or json["error_kind"].text_or_none() or "masked"
        message = json[_MESSAGE].text_or_none()
        return failed_result(benchmark, model, task, f"{kind}: {message}" if message else kind, **known)
    if not json[metric]:
        return failed_result(benchmark, model, task, f"no {metric}", **known)
    cut = value_at(response, "incomplete_details.reason").value == "max_output_tokens"
    return result(benchmark, model, task, share(json[metric]), **known, status="truncated" if cut else "ok")


def _means(file: File, metric: str) -> Iterator[Reported]:
    benchmark = file.path.stem.removesuffix(_MEANS)
    rollouts = file.path.with_stem(benchmark).with_suffix(".jsonl")
    first = next(FileDocument(rollouts, rollouts.name).records(), None) if rollouts.is_file() else None
    model = first.json["response"].fields()["model"].text_or_none() or "" if isinstance(first, Record) else ""
    for entry in file.records():
        mean = entry.json["agent_metrics"][f"mean/{metric}"] if isinstance(entry, Record) else Json(None)
        if mean:
            yield Reported(benchmark, model, f"mean/{metric}", share(mean))
