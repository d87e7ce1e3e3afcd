"""NeMo-Skills: `<benchmark>/output.jsonl`, or `output-rs<k>.jsonl` of repetition k; `metrics.json` has the means.

The score is the first of these that a record has, in the words of the harness's own metrics, or the one that
`--metric` names: `symbolic_correct`, `judge_correct` (from `judgement`), `accuracy` (from `graded_list`),
`problem_accuracy` (every `eval_status` completed), `prompt_strict_accuracy` (from `strict_eval`), `issues_resolved`
(from `swe-bench-metrics`). The task is the record's place in the file, which is the same for all models. Left out:
metrics over a corpus, such as the BLEU of WMT24++, which no sample has a share of. A judge's answer without a verdict
is not a measurement; the harness counts it as wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from pivotrl_cli.importers.results import File, Reported, count, each, failed_result, only_object, result, share
from pivotrl_cli.readers.document import Record
from pivotrl_cli.readers.fields import Json, RecordError
from pivotrl_cli.rows import EvalResult, Message, Reject

_OUTPUT = re.compile(r"output(?:-rs(?P<trial>\d+))?\.jsonl$")
_VERDICT = re.compile(r"judgement\**\s*:\s*(yes|no)", re.IGNORECASE)
_MODES = re.compile(r"pass@1(\[avg-of-\d+\])?$")


def _judge_score(verdict: Json) -> float:
    found = _VERDICT.search(verdict.text())
    if not found:
        raise verdict.error("expected the judge's yes or no")
    return float(found[1].lower() == "yes")


def _completion_score(steps: Json) -> float:
    return float(all(step["process_status"].value == "completed" for step in steps.list()))


_METRICS: dict[str, tuple[str, Callable[[Json], float]]] = {
    "symbolic_correct": ("symbolic_correct", share),
    "judge_correct": ("judgement", _judge_score),
    "accuracy": ("graded_list", lambda grades: share(grades.list()[0])),
    "problem_accuracy": ("eval_status", _completion_score),
    "prompt_strict_accuracy": ("strict_eval", lambda found: share(found["follow_all_instructions"])),
    "issues_resolved": ("swe-bench-metrics", lambda found: share(found["resolved"])),
}
"""Metric -> the field that it is made from, and how."""


class NemoSkillsImporter:
    """Outputs and metrics of NeMo-Skills."""

    def sniff(self, file: File) -> str | None:
        if "generation" in file.head.keys and any(field in file.head.keys for field, _ in _METRICS.values()):
            return "records have a generation and its verdict"
        means = file.head.record.values() if isinstance(file.head.record, dict) else ()
        found = any(isinstance(one, dict) and any(map(_MODES.match, one)) for one in means)
        return "means by pass@1" if found else None

    def read(self, file: File, metric: str | None) -> Iterator[EvalResult | Reject | Reported]:
        if "generation" not in file.head.keys:
            return _reported_means(only_object(file), metric)
        name, benchmark = _OUTPUT.search(file.path.name), file.path.parent.name
        trial = int(name["trial"] or 0) if name else 0
        return each(file.records(), lambda record: _row(record, benchmark, trial, metric))


def _row(record: Record, benchmark: str, trial: int, metric: str | None) -> EvalResult:
    json, task = record.json, str(record.line - 1)
    said = json["generation"].text_or_none()
    known = {
        "trial": trial,
        "n_turns": 1,
        "n_tokens": count(json["num_generated_tokens"]),
        "transcript": [Message(role="assistant", content=said)] if said is not None else [],
    }
    if json["error"]:
        return failed_result(benchmark, "", task, str(json["error"].value), **known)
    names = [metric] if metric else list(_METRICS)
    chosen = next((name for name in names if name in _METRICS and json[_METRICS[name][0]]), None)
    if chosen is None:
        return failed_result(benchmark, "", task, f"no {metric or 'verdict'}", **known)
    field, score = _METRICS[chosen]
    try:
        return result(benchmark, "", task, score(json[field]), **known)
    except RecordError as error:
        return failed_result(benchmark, "", task, str(error), **known)


def _reported_means(json: Json, metric: str | None) -> Iterator[Reported]:
    """The mean over all repetitions, which stands last."""
    for benchmark in json.object():
        modes = [mode for mode in json[benchmark].object() if _MODES.match(mode)]
        if not modes:
            continue
        means = json[benchmark][modes[-1]]
        names = [metric] if metric else list(_METRICS)
        chosen = next((name for name in names if means[name]), None)
        if chosen:
            mean = share(Json((means[chosen].number_or_none() or 0.0) / 100, means[chosen].path))
            yield Reported(benchmark, "", f"{modes[-1]} {chosen}", mean, count(means["num_entries"]))
