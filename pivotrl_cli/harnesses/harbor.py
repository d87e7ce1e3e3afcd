"""Harbor: Terminal-Bench 2 and its other data sets, each trial in a container, by default with the agent Terminus 2."""

from __future__ import annotations

from pivotrl_cli.harnesses.job import Job, Need, Step, docker, program


class Harbor:
    """`harbor run`."""

    importer = "harbor"
    calls_tools = False  # Terminus writes its commands as text
    goes_on = False

    def steps(self, job: Job) -> list[Step]:
        """A command per data set."""
        return [_step(job, task) for task in job.tasks]

    def needs(self, job: Job) -> list[Need]:
        """The program and Docker."""
        return [program(job, "harbor", "pip install harbor, with Python 3.12 or later"), docker()]


def _step(job: Job, task: str) -> Step:
    limit = [] if job.limit is None else ["-l", str(job.limit)]
    agent = [] if "-a" in job.words else ["-a", "terminus-2"]
    words = [
        *(job.program("harbor"), "run", "-d", task, *agent, "-m", f"openai/{job.model}"),
        *("--ak", f"api_base={job.server()}", "--ak", f"temperature={job.temperature:g}"),
        *("-k", str(job.trials), "-n", str(job.concurrency), *limit, "-o", str(job.output), *job.words),
    ]
    return Step(words, {"OPENAI_API_KEY": job.key()})
