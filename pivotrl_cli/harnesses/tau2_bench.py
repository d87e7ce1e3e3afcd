"""The official tau2-bench, one command per domain; it goes on with a run of the same name by itself.

Its judge of what was said is a fixed hosted model, which most retail tasks ask. `pivotrl eval tau2_airline` plays the
tasks of inspect-evals in this process, with a user of one's own and no judge.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from pivotrl_cli.harnesses.job import Job, Need, Step, given, program, variable

_JUDGED = ("retail", "banking_knowledge")


class Tau2Bench:
    """`tau2 run`."""

    importer = "tau2_bench"
    calls_tools = True
    goes_on = True

    def steps(self, job: Job) -> list[Step]:
        """A command per domain; the results are made to land in the job's folder."""
        return [_step(job, domain, job.user_model or "USER_MODEL", job.user_url or "USER_URL") for domain in job.tasks]

    def needs(self, job: Job) -> list[Need]:
        """The program with its data, the user, and a key for its judge."""
        needs = [
            program(
                job, "tau2", "pip install git+https://github.com/sierra-research/tau2-bench (PyPI's tau2 is another)"
            ),
            variable("TAU2_DATA_DIR", "the folder data of its repository"),
            given("a simulated user", job.user_model and job.user_url, "--user-url and --user-model"),
        ]
        judged = any(domain in _JUDGED for domain in job.tasks)
        return [*needs, variable("OPENAI_API_KEY", "its judge, a hosted model")] if judged else needs


def _step(job: Job, domain: str, user_model: str, user_url: str) -> Step:
    agent = {"api_base": job.server(), "temperature": job.temperature}
    if job.max_new_tokens is not None:
        agent["max_tokens"] = job.max_new_tokens
    user = {"api_base": user_url, "temperature": 0.0}
    name = os.path.relpath(job.output / domain, Path(os.environ.get("TAU2_DATA_DIR", ".")).resolve() / "simulations")
    limit = [] if job.limit is None else ["--num-tasks", str(job.limit)]
    words = [
        *(job.program("tau2"), "run", "--domain", domain),
        *("--agent-llm", f"openai/{job.model}", "--agent-llm-args", json.dumps(agent)),
        *("--user-llm", f"openai/{user_model}", "--user-llm-args", json.dumps(user)),
        *("--num-trials", str(job.trials), *limit, "--seed", str(job.seed)),
        *("--max-concurrency", str(job.concurrency), "--save-to", name, "--auto-resume", *job.words),
    ]
    return Step(words, {"OPENAI_API_KEY": job.key(), "LITELLM_LOCAL_MODEL_COST_MAP": "True"})
