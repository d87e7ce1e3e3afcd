"""Harbor (Terminal-Bench 2): `jobs/<job>/<trial>/result.json`, one file per trial; the job's own has the means.

The score is the verifier's `reward`, its only one, or the one that `--metric` names. A trial that was not verified was
not measured; the job's mean counts it as 0. Trials of a task are numbered in the order of their folders' names, which
end in a random part.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from pivotrl_cli.importers.results import File, Reported, count, failed_result, only_object, result, share, value_at
from pivotrl_cli.readers.fields import Json
from pivotrl_cli.rows import EvalResult


class HarborImporter:
    """Trials and jobs of Harbor."""

    def sniff(self, file: File) -> str | None:
        keys = set(file.head.keys)
        if {"task_name", "trial_name", "agent_info"} <= keys:
            return "an object with task_name, trial_name and agent_info"
        return "an object with n_total_trials and stats" if {"n_total_trials", "stats"} <= keys else None

    def read(self, file: File, metric: str | None) -> Iterator[EvalResult | Reported]:
        json = only_object(file)
        if "trial_name" in file.head.keys:
            yield _row(file, json, metric)
        else:
            yield from _reported_means(json)


def _row(file: File, json: Json, metric: str | None) -> EvalResult:
    model = value_at(json, "agent_info.model_info.name").text_or_none() or value_at(json, "agent_info.name").text()
    benchmark, task = json["source"].text_or_none() or "adhoc", json["task_name"].text()
    known: dict[str, Any] = {
        "trial": _trial(file, json["trial_name"].text()),
        "n_tokens": count(value_at(json, "agent_result.n_output_tokens")),
        "seconds": _seconds(json["agent_execution"].fields()),
    }
    rewards = value_at(json, "verifier_result.rewards").fields()
    named = metric or (next(iter(rewards.object())) if len(rewards.object()) == 1 else "reward")
    reward = rewards[named]
    raised = value_at(json, "exception_info.exception_type").text_or_none()
    if not reward:
        return failed_result(benchmark, model, task, raised or f"the verifier gave no {named}", **known)
    status = "model_error" if raised else "ok"
    return result(benchmark, model, task, share(reward), **known, status=status, error=raised)


def _trial(file: File, name: str) -> int:
    """Place of this trial's folder among those of the same task."""
    folder, task = file.path.parent, name.rpartition("__")[0]
    beside = sorted(f.name for f in folder.parent.iterdir() if f.name.rpartition("__")[0] == task and f.is_dir())
    return beside.index(folder.name) if folder.name in beside else 0


def _seconds(timing: Json) -> float | None:
    ends = [timing[key].text_or_none() for key in ("started_at", "finished_at")]
    if None in ends:
        return None
    begun, ended = (datetime.fromisoformat(str(end)) for end in ends)
    return (ended - begun).total_seconds()


def _reported_means(json: Json) -> Iterator[Reported]:
    """Means by agent, model and data set, which stand in one name."""
    for name, one in json["stats"]["evals"].fields().object().items():
        parts, metrics = name.split("__"), Json(one)["metrics"].list()
        mean = next((m["mean"].number_or_none() for m in metrics if m.object().get("mean") is not None), None)
        if mean is not None and len(parts) > 1:
            yield Reported(parts[-1], "__".join(parts[1:-1]) or parts[0], "mean", mean)
