"""SWE-bench: patches by mini-swe-agent, then the official evaluation in containers; or the evaluation of patches alone.

A task is a subset (`verified`, `lite`), or a file of predictions that some other scaffold wrote.
"""

from __future__ import annotations

from pathlib import Path

from pivotrl_cli.errors import ConfigError
from pivotrl_cli.harnesses.job import Job, Need, Step, docker, hub, module, program

_DATA = {"verified": "SWE-bench/SWE-bench_Verified", "lite": "SWE-bench/SWE-bench_Lite"}


class SweBench:
    """`mini-extra swebench`, `swebench.harness.run_evaluation`."""

    importer = "swe_bench"
    calls_tools = True
    goes_on = True

    def steps(self, job: Job) -> list[Step]:
        """Two commands per subset, one per file."""
        if job.trials > 1:
            raise ConfigError("swe-bench takes one prediction per task", "run it once per trial, each into its own -o")
        return [step for task in job.tasks for step in _steps(job, task)]

    def needs(self, job: Job) -> list[Need]:
        """Docker, the evaluation, and the agent where patches are to be made."""
        needs = [module(job, "swebench", "pip install swebench"), docker(), hub("the tasks")]
        return (
            [program(job, "mini-extra", "pip install mini-swe-agent"), *needs] if set(job.tasks) & set(_DATA) else needs
        )


def _steps(job: Job, task: str) -> list[Step]:
    if task in _DATA:
        predictions = job.output / task / "preds.json"
        limit = [] if job.limit is None else ["--slice", f"0:{job.limit}"]
        agent = [
            *(job.program("mini-extra"), "swebench", "--model", f"openai/{job.model}", "--subset", task),
            *("--split", "test", "--workers", str(job.concurrency), *limit, "-o", str(predictions.parent), *job.words),
        ]
        environment = {"OPENAI_API_KEY": job.key(), "OPENAI_API_BASE": job.server()}
        return [Step(agent, environment), _evaluation(job, _DATA[task], predictions, task)]
    path = Path(task)
    if not path.is_file():
        raise ConfigError(f"swe-bench:{task} is no subset and no file", f"known: {', '.join(_DATA)}, or predictions")
    return [_evaluation(job, _DATA["verified"], path.resolve(), path.stem)]


def _evaluation(job: Job, data: str, predictions: Path, run: str) -> Step:
    words = [
        *(job.program("python"), "-m", "swebench.harness.run_evaluation", "-d", data, "-p", str(predictions)),
        *("-id", run, "--max_workers", str(job.concurrency)),
    ]
    return Step(words, folder=job.output)
