"""lm-eval: any of its tasks, over a chat server or with a model folder in its own process.

A chat server gives no likelihoods, so multiple-choice tasks by likelihood need the folder. The harness's `--seed` is
for its few-shot draws, and the requests' seed is a model argument, so both are set.
"""

from __future__ import annotations

from pivotrl_cli.harnesses.job import Job, Need, Step, hub, program


class LmEval:
    """`lm_eval run`."""

    importer = "lm_eval"
    calls_tools = False
    goes_on = False

    def steps(self, job: Job) -> list[Step]:
        """One command for all tasks."""
        limit = ["--limit", str(job.limit)] if job.limit is not None else []
        tokens = [] if job.max_new_tokens is None else [f"max_gen_toks={job.max_new_tokens}"]
        sampled = [f"do_sample={job.temperature > 0.0}"] if job.url is None else []
        generation = [f"temperature={job.temperature:g}", *sampled, *tokens]
        words = [
            *(job.program("lm_eval"), "run", *_model(job), "--tasks", ",".join(job.tasks)),
            *("--apply_chat_template", "--log_samples", "--output_path", str(job.output), "--seed", str(job.seed)),
            *("--gen_kwargs", ",".join(generation), *limit, *job.words),
        ]
        return [Step(words, {"OPENAI_API_KEY": job.key()} if job.url else {})]

    def needs(self, job: Job) -> list[Need]:
        """The program; most tasks' data."""
        local = "--include_path" in job.words
        needs = [program(job, "lm_eval", f"pip install 'lm-eval[{'api' if job.url else 'hf'}]'")]
        return needs if local else [*needs, hub("most tasks")]


def _model(job: Job) -> list[str]:
    if job.url is None:
        return ["--model", "hf", "--model_args", f"pretrained={job.model}"]
    arguments = {
        "model": job.model,
        "base_url": f"{job.server()}/chat/completions",
        "num_concurrent": job.concurrency,
        "seed": job.seed,
    }
    return ["--model", "local-chat-completions", "--model_args", ",".join(f"{k}={v}" for k, v in arguments.items())]
