"""SWE-bench reports, `<model>.<run_id>.json`: resolved or not, by instance.

An empty patch is the model's failure. An instance whose evaluation failed, or for which nothing was submitted, was not
measured; the harness counts both as unresolved. The benchmark is `swe_bench`, since a report does not say which split
it is of (`--benchmark` renames it).
"""

from __future__ import annotations

from collections.abc import Iterator

from pivotrl_cli.importers.results import File, Reported, count, failed_result, only_object, result
from pivotrl_cli.rows import EvalResult

_BENCHMARK = "swe_bench"
_UNMEASURED = {
    "error_ids": "its evaluation failed",
    "infra_failure_ids": "the infrastructure failed",
    "incomplete_ids": "nothing was submitted",
}


class SweBenchImporter:
    """Reports of SWE-bench."""

    def sniff(self, file: File) -> str | None:
        wanted = {"resolved_ids", "unresolved_ids", "total_instances"}
        return "an object with resolved_ids and total_instances" if wanted <= set(file.head.keys) else None

    def read(self, file: File, metric: str | None) -> Iterator[EvalResult | Reported]:
        """One row per instance; an instance in several lists is taken by the first of resolved, failed, the rest."""
        json, model = only_object(file), file.path.name.partition(".")[0]
        reasons = json["failure_reasons"].fields()
        rows: dict[str, EvalResult] = {}
        for task in json["resolved_ids"].list():
            rows[task.text()] = result(_BENCHMARK, model, task.text(), 1.0)
        for key, why in _UNMEASURED.items():
            for task in json[key].list():
                error = reasons[task.text()].text_or_none() or why
                rows.setdefault(task.text(), failed_result(_BENCHMARK, model, task.text(), error))
        for task in json["empty_patch_ids"].list():
            rows.setdefault(task.text(), result(_BENCHMARK, model, task.text(), 0.0, status="empty"))
        for task in json["unresolved_ids"].list():
            rows.setdefault(task.text(), result(_BENCHMARK, model, task.text(), 0.0))
        yield from rows.values()
        resolved, total = count(json["resolved_instances"]), count(json["total_instances"])
        if resolved is not None and total:
            yield Reported(_BENCHMARK, model, "resolved", resolved / total, total)
