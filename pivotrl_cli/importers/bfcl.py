"""BFCL: `result/<model>/<group>/BFCL_v4_<category>_result.json` has the answers, `score/...` the verdicts.

A score file begins with its mean and lists failures alone, so an answer that it does not list was right. It also counts
requests that failed as wrong, and in the categories where silence is right (irrelevance) as right: those answers are
`Error during inference: ...`, and were not measured. Answers without a score file were not measured either.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from pivotrl_cli.importers.results import File, Reported, amount, count, each, failed_result, result, share
from pivotrl_cli.readers.document import FileDocument, Record
from pivotrl_cli.rows import EvalResult, Reject

_NAME = re.compile(r"BFCL_v\d+_(?P<category>.+)_(?:result|score)\.json$")
_FAILED = "Error during inference: "


class BfclImporter:
    """Answers and scores of BFCL."""

    def sniff(self, file: File) -> str | None:
        keys = set(file.head.keys)
        if _NAME.search(file.path.name) and {"id", "result"} <= keys:
            return "a file of BFCL with id and result on every line"
        scored = {"accuracy", "correct_count", "total_count"} <= keys
        return "a first line with accuracy and correct_count" if scored else None

    def beside(self, file: File) -> Path:
        return _score_file(file.path)

    def read(self, file: File, metric: str | None) -> Iterator[EvalResult | Reject | Reported]:
        name = _NAME.search(file.path.name)
        benchmark = f"bfcl_{name['category'] if name else file.path.stem}"
        if "accuracy" in file.head.keys:
            return _reported_means(file, benchmark)
        model, wrong = _model(file.path, "result"), _wrong(_score_file(file.path))
        return each(file.records(), lambda record: _row(record, benchmark, model, wrong))


def _model(path: Path, folder: str) -> str:
    """The folder below `result` or `score`."""
    parents = [part.name for part in path.parents]
    return parents[parents.index(folder) - 1] if folder in parents[1:] else path.parent.name


def _score_file(path: Path) -> Path:
    """Where the scores of these answers are."""
    parts = list(path.parts)
    if "result" in parts:
        parts[len(parts) - 1 - parts[::-1].index("result")] = "score"
    return Path(*parts[:-1], path.name.replace("_result.json", "_score.json"))


def _wrong(path: Path) -> dict[str, str] | None:
    """Failed answers and what is wrong with each; None without a score file."""
    if not path.is_file():
        return None
    lines = (r.json for r in FileDocument(path, path.name).records() if isinstance(r, Record))
    return {line["id"].label(): line["error_type"].text_or_none() or "wrong" for line in lines if line["id"]}


def _row(record: Record, benchmark: str, model: str, wrong: dict[str, str] | None) -> EvalResult:
    json = record.json
    task, answer = json["id"].label(), json["result"].value
    if isinstance(answer, str) and answer.startswith(_FAILED):
        return failed_result(benchmark, model, task, answer.splitlines()[0])
    turns = answer if isinstance(answer, list) and any(isinstance(turn, list) for turn in answer) else [[answer]]
    known = {
        "n_turns": sum(len(steps) for steps in turns if isinstance(steps, list)),
        "n_tokens": count(json["output_token_count"]),
        "seconds": amount(json["latency"]),
    }
    if wrong is None:
        return failed_result(benchmark, model, task, "there is no score file: run bfcl evaluate", **known)
    return result(benchmark, model, task, float(task not in wrong), **known, error=wrong.get(task))


def _reported_means(file: File, benchmark: str) -> Iterator[Reported]:
    first = next(file.records(), None)
    if isinstance(first, Record):
        mean, n = share(first.json["accuracy"]), count(first.json["total_count"])
        yield Reported(benchmark, _model(file.path, "score"), "accuracy", mean, n)
