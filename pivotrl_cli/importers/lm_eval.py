"""lm-eval: `samples_<task>_<time>.jsonl` (`--log_samples`) has the scores, `results_<time>.json` the means.

A sample appears once per filter; the first filter counts, and of its metrics the first, unless `--metric` names
`exact_match` or `exact_match,strict`. The model is what the results file of the same time names, else the folder.
Metrics that are not a share of one sample (perplexity, BLEU, F1 over a corpus) are rejected.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from pivotrl_cli.importers.results import File, Reported, each, only_object, result, share
from pivotrl_cli.readers.document import FileDocument, Record
from pivotrl_cli.readers.fields import Json
from pivotrl_cli.rows import EvalResult, Message, Reject

_SAMPLES = re.compile(r"samples_(?P<task>.+)_(?P<time>\d{4}-\d\d-\d\dT[\d.:-]+)\.jsonl$")
_NO_METRICS = ("alias", "name", "sample_len", "sample_count")


class LmEvalImporter:
    """Samples and results of lm-eval."""

    def sniff(self, file: File) -> str | None:
        keys = set(file.head.keys)
        if {"doc_id", "resps"} <= keys:
            return "records have doc_id and resps"
        return "an object with results, configs and n-samples" if {"results", "configs", "n-samples"} <= keys else None

    def beside(self, file: File) -> Path:
        name = _SAMPLES.search(file.path.name)
        return _results(file.path, name["time"]) if name else file.path

    def read(self, file: File, metric: str | None) -> Iterator[EvalResult | Reject | Reported]:
        if "doc_id" not in file.head.keys:
            return _reported_means(only_object(file), metric)
        return _rows(file, metric)


def _rows(file: File, metric: str | None) -> Iterator[EvalResult | Reject]:
    name = _SAMPLES.search(file.path.name)
    task, model = (name["task"], _model(file, name["time"])) if name else (file.path.stem, file.path.parent.name)
    wanted, _, chosen = (metric or "").partition(",")
    chosen = chosen or Json(file.head.record)["filter"].text_or_none() or ""
    records = (r for r in file.records() if isinstance(r, Reject) or (r.json["filter"].value or "") == chosen)
    return each(records, lambda record: _row(record, task, model, wanted))


def _results(path: Path, time: str) -> Path:
    return path.with_name(f"results_{time}.json")


def _model(file: File, time: str) -> str:
    beside = _results(file.path, time)
    if not beside.is_file():
        return file.path.parent.name
    found = only_object(FileDocument(beside, beside.name))["model_name"]
    return found.text_or_none() or file.path.parent.name


def _row(record: Record, task: str, model: str, metric: str) -> EvalResult:
    json = record.json
    named = metric or next((name.text() for name in json["metrics"].list()), "")
    if not named:
        raise json["metrics"].error("expected the names of metrics")
    answers = [answer.value for response in json["resps"].list() for answer in _several(response)]
    said = [Message(role="assistant", content=text) for text in answers if isinstance(text, str)]
    return result(task, model, json["doc_id"].label(), share(json[named]), n_turns=len(said) or None, transcript=said)


def _several(response: Json) -> list[Json]:
    return response.list() if isinstance(response.value, list) else [response]


def _reported_means(json: Json, metric: str | None) -> Iterator[Reported]:
    model = json["model_name"].text_or_none() or ""
    for task, values in json["results"].object().items():
        known = [key for key in values if key.partition(",")[0] not in _NO_METRICS and "_stderr" not in key]
        chosen = next((key for key in known if metric in (None, key, key.partition(",")[0])), None)
        if chosen is None or not isinstance(values[chosen], int | float):
            continue  # a group without a mean of its own
        n = json["n-samples"].fields()[task].fields()["effective"].value
        yield Reported(task, model, chosen, float(values[chosen]), n)
