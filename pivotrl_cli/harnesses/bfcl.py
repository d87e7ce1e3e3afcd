"""BFCL v4: generate over a server of one's own, then evaluate.

The model must be in BFCL's registry, since its handler there writes the prompts (`--registry-model Qwen/Qwen3-8B-FC`).
It sends them to the server's plain completions, which is why it needs the tokenizer. pip takes long over its
requirements (it tries one boto3 after another), uv does not.
"""

from __future__ import annotations

from pivotrl_cli.errors import ConfigError
from pivotrl_cli.harnesses.job import Job, Need, Step, given, program, variable


class Bfcl:
    """`bfcl generate`, `bfcl evaluate`."""

    importer = "bfcl"
    calls_tools = False  # the handler reads the calls itself, from text
    goes_on = True

    def steps(self, job: Job) -> list[Step]:
        """Two commands for all categories."""
        if job.trials > 1 or job.limit is not None:
            raise ConfigError("bfcl takes no --trials and no --limit", "name fewer categories, or --args '--run-ids'")
        bfcl, categories = job.program("bfcl"), ["--test-category", ",".join(job.tasks)]
        model = ["--model", job.registry_model or job.model]
        environment = {
            "BFCL_PROJECT_ROOT": str(job.output),
            "REMOTE_OPENAI_BASE_URL": job.server(),
            "REMOTE_OPENAI_API_KEY": job.key(),
        }
        if job.tokenizer is not None:
            environment["REMOTE_OPENAI_TOKENIZER_PATH"] = str(job.tokenizer)
        sampling = [
            "--skip-server-setup",
            "--temperature",
            f"{job.temperature:g}",
            "--num-threads",
            str(job.concurrency),
        ]
        return [
            Step([bfcl, "generate", *model, *categories, *sampling, *job.words], environment),
            Step([bfcl, "evaluate", *model, *categories, "--partial-eval"], environment),
        ]

    def needs(self, job: Job) -> list[Need]:
        """The program, the registry's name, the tokenizer; keys of the categories that search."""
        needs = [
            program(job, "bfcl", "uv pip install bfcl-eval soundfile"),
            given("the model's name in BFCL's registry", job.registry_model, "--registry-model NAME"),
            given("the tokenizer's folder", job.tokenizer, "--tokenizer FOLDER"),
        ]
        searches = any("web_search" in task or task in ("agentic", "all") for task in job.tasks)
        return [*needs, variable("SERPAPI_API_KEY", "web search")] if searches else needs
