"""Inspect: the tasks of inspect-evals, BrowseComp and tau2 among them, or any `package/task` and `file.py`.

Samples that fail are kept in the log as such and counted when it is imported, instead of ending the run.
"""

from __future__ import annotations

from pivotrl_cli.harnesses.job import Job, Need, Step, docker, given, hub, program

_IN_CONTAINERS = ("swe_bench", "livecodebench_pro", "cybench", "gaia")
_WITH_USER = ("tau2_airline", "tau2_retail", "tau2_telecom", "tau2_banking")
_WITH_GRADER = ("browse_comp",)


class Inspect:
    """`inspect eval`."""

    importer = "inspect"
    calls_tools = True
    goes_on = False

    def steps(self, job: Job) -> list[Step]:
        """One command for all tasks."""
        tokens = [] if job.max_new_tokens is None else ["--max-tokens", str(job.max_new_tokens)]
        limit = [] if job.limit is None else ["--limit", str(job.limit)]
        tasks = [task if "/" in task or task.endswith(".py") else f"inspect_evals/{task}" for task in job.tasks]
        environment = {"PIVOTRL_API_KEY": job.key(), "PIVOTRL_BASE_URL": job.server()}
        roles: list[str] = []
        for role, model, url in (("user", job.user_model, job.user_url), ("grader", job.judge_model, job.judge_url)):
            if model is not None and url is not None:
                roles += ["--model-role", f"{role}=openai-api/{role}/{model}"]
                environment |= {f"{role.upper()}_API_KEY": job.key(), f"{role.upper()}_BASE_URL": url}
        words = [
            *(job.program("inspect"), "eval", *tasks, "--model", f"openai-api/pivotrl/{job.model}", *roles),
            *("--epochs", str(job.trials), *limit, "--seed", str(job.seed), "--temperature", f"{job.temperature:g}"),
            *(*tokens, "--max-connections", str(job.concurrency), "--no-fail-on-error", "--display", "plain"),
            *("--log-dir", str(job.output), "--log-format", "json", *job.words),
        ]
        return [Step(words, environment)]

    def needs(self, job: Job) -> list[Need]:
        """The program, and what single tasks need."""
        needs = [program(job, "inspect", "pip install inspect-ai inspect-evals openai")]
        if any(task in _WITH_USER for task in job.tasks):
            needs.append(
                given("a simulated user (else the model plays both)", job.user_url, "--user-url, --user-model")
            )
        if any(task in _WITH_GRADER for task in job.tasks):
            needs.append(given("a judge (else the model grades itself)", job.judge_url, "--judge-url, --judge-model"))
            needs.append(Need("a web search", None, "BrowseComp searches the web: see its page in inspect-evals"))
        if any(task in _IN_CONTAINERS for task in job.tasks):
            needs.append(docker())
        in_wheel = all(task in _WITH_USER or "/" in task for task in job.tasks)
        return needs if in_wheel else [*needs, hub("most tasks")]
