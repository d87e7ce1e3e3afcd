"""NeMo-Skills: all eight out-of-domain sets of the paper, over a server of one's own."""

from __future__ import annotations

from pivotrl_cli.harnesses.job import Job, Need, Step, docker, hub, program, variable

_IN_SANDBOX = ("livecodebench", "scicode", "ifbench")


class NemoSkills:
    """`ns prepare_data`, `ns eval`."""

    importer = "nemo_skills"
    calls_tools = False
    goes_on = True

    def steps(self, job: Job) -> list[Step]:
        """The data, then all benchmarks in one command, each with its number of trials."""
        benchmarks = ",".join(task if job.trials == 1 else f"{task}:{job.trials}" for task in job.tasks)
        limit = [] if job.limit is None else [f"++max_samples={job.limit}"]
        tokens = [] if job.max_new_tokens is None else [f"++inference.tokens_to_generate={job.max_new_tokens}"]
        words = [
            *(job.program("ns"), "eval", "--server_type=openai", f"--server_address={job.server()}"),
            *(f"--model={job.model}", f"--benchmarks={benchmarks}", f"--output_dir={job.output}"),
            *(f"--starting_seed={job.seed}", f"++inference.temperature={job.temperature:g}", *tokens, *limit),
            *(f"++max_concurrent_requests={job.concurrency}", *job.words),
        ]
        environment = {"OPENAI_API_KEY": job.key()}
        return [Step([job.program("ns"), "prepare_data", *job.tasks]), Step(words, environment)]

    def needs(self, job: Job) -> list[Need]:
        """The program, its data, and a sandbox where code is run."""
        needs = [
            program(job, "ns", "pip install git+https://github.com/NVIDIA-NeMo/Skills"),
            variable("NEMO_SKILLS_CONFIG", "or a cluster config in ./cluster_configs: see its page"),
            hub("ns prepare_data fetches it"),
        ]
        return [*needs, docker()] if set(job.tasks) & set(_IN_SANDBOX) else needs
