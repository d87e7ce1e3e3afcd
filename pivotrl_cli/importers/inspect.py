"""Inspect logs, `.json` and `.eval`: every sample and epoch, BrowseComp, tau2 and all other tasks alike.

The score is the headline scorer's, else the first; `--metric` names another, or `scorer.key` of one with several
values. `C` is 1, `P` 0.5, `I` and `N` 0. A sample with an error, without a score, or one that the log lists but does
not hold was not measured. A sample that ran into a limit keeps its score and says so. The log's own mean is over what
was scored, so it can be compared with ours without errors.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from pivotrl_cli.importers.results import (
    File,
    Reported,
    count,
    each_with_conversation,
    failed_result,
    result,
    share,
    value_at,
)
from pivotrl_cli.readers.document import Parsed, Record
from pivotrl_cli.readers.fields import Json, RecordError
from pivotrl_cli.readers.formats.inspect import InspectReader
from pivotrl_cli.readers.split import EACH
from pivotrl_cli.rows import EvalResult, Reject

_LETTERS = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}
_LIMITS = {"message": "max_turns", "turn": "max_turns", "token": "truncated", "context": "too_long"}
_MEANS = ("accuracy", "mean")


class InspectImporter:
    """Logs of Inspect."""

    def sniff(self, file: File) -> str | None:
        return InspectReader().sniff(file.head)

    def read(self, file: File, metric: str | None) -> Iterator[EvalResult | Reject | Reported]:
        """One row per sample and epoch, then those that the log lacks, then its mean."""
        log = _Log(file, metric)
        seen: set[tuple[str, int]] = set()
        for row in each_with_conversation(file.items("samples", EACH), InspectReader().read(file), partial(_row, log)):
            if isinstance(row, EvalResult):
                seen.add((row.task_id, row.trial))
            yield row
        if not seen:
            raise RecordError("the log has no samples")
        yield from log.missing(seen)
        yield from log.reported()


class _Log:
    """What a log says of the whole evaluation."""

    def __init__(self, file: File, metric: str | None) -> None:
        zipped = file.head.container == "zip"
        header = _value(file.items("header.json")) if zipped else None
        parts = {key: header[key] if header else _value(file.items(key)) for key in ("eval", "results", "status")}
        if zipped and header is None:
            parts["eval"] = (_value(file.items("_journal", "start.json")) or Json({}))["eval"]
        evaluation, self.results = ((parts[key] or Json(None)).fields() for key in ("eval", "results"))
        self.status = parts["status"].value if parts["status"] else None
        self.task = evaluation["task"].text().rpartition("/")[2]
        self.model = evaluation["model"].text_or_none() or ""
        self.seed = count(value_at(evaluation, "model_generate_config.seed"))
        self.ids = [one.label() for one in value_at(evaluation, "dataset.sample_ids").list()]
        self.epochs = count(value_at(evaluation, "config.epochs")) or 1
        headline = value_at(self.results, "headline.score").text_or_none()
        self.scorer, _, self.key = (metric or headline or "").partition(".")

    def missing(self, seen: set[tuple[str, int]]) -> Iterator[EvalResult]:
        """Rows for the samples that the log lists but does not hold."""
        for epoch in range(self.epochs):
            for task in self.ids:
                if (task, epoch) not in seen:
                    error = f"the log has no such sample (its status is {self.status})"
                    yield failed_result(self.task, self.model, task, error, trial=epoch)

    def reported(self) -> Iterator[Reported]:
        """The mean of the scorer that the rows are by."""
        for score in self.results["scores"].list():
            mean = next((m for m in _MEANS if score["metrics"].fields()[m]), None)
            if mean and self.scorer in ("", score["name"].value) and score["reducer"].value in (None, "mean"):
                value = share(score["metrics"][mean]["value"])
                n = count(self.results["completed_samples"])
                yield Reported(self.task, self.model, f"{score['name'].text()} {mean}", value, n)
                return


def _value(parsed: Iterator[Parsed]) -> Json | None:
    found = next(parsed, None)
    return found.json if isinstance(found, Record) else None


def _row(log: _Log, talk: dict[str, Any], record: Record) -> EvalResult:
    json = record.json
    known = talk | {
        "trial": (count(json["epoch"]) or 1) - 1,
        "seed": log.seed,
        "n_tokens": _tokens(json["model_usage"].fields()),
        "seconds": json["total_time"].number_or_none(),
    }
    task = json["id"].label()
    if json["error"]:
        return failed_result(
            log.task, log.model, task, value_at(json, "error.message").text_or_none() or "error", **known
        )
    score = _score(log, json)
    if not score:
        return failed_result(log.task, log.model, task, "no score", **known)
    limit = value_at(json, "limit.type").text_or_none()
    status = _LIMITS.get(limit, "model_error") if limit else "ok"
    error = f"{limit} limit" if limit else None
    return result(log.task, log.model, task, _share(score), **known, status=status, error=error)


def _score(log: _Log, json: Json) -> Json:
    """The sample's value by the scorer wanted; null where there is none."""
    scores = json["scores"].fields() if json["scores"] else Json({"": json["score"].value}).fields()
    name = log.scorer or next(iter(scores.object()), "")
    score = scores[name]
    value = score["value"] if isinstance(score.value, dict) else score
    return value[log.key] if log.key and value else value


def _share(value: Json) -> float:
    return _LETTERS[value.value] if isinstance(value.value, str) and value.value in _LETTERS else share(value)


def _tokens(usage: Json) -> int | None:
    written = [count(usage[model]["output_tokens"]) for model in usage.object()]
    return sum(n for n in written if n is not None) if written else None
