"""Other evaluation harnesses, each run as a subprocess in an environment of its own: their pins conflict with ours.

A harness turns a `Job` into the exact commands and says what they need. Nothing of it is imported; only files are
exchanged, and its importer reads them. A new harness is a new file here and a line in `HARNESSES`.
"""

from __future__ import annotations

from typing import Protocol

from pivotrl_cli.harnesses.job import Job, Need, Step
from pivotrl_cli.registry import load

HARNESSES: dict[str, str] = {
    "lm-eval": "pivotrl_cli.harnesses.lm_eval:LmEval",
    "inspect": "pivotrl_cli.harnesses.inspect:Inspect",
    "bfcl": "pivotrl_cli.harnesses.bfcl:Bfcl",
    "tau2-bench": "pivotrl_cli.harnesses.tau2_bench:Tau2Bench",
    "swe-bench": "pivotrl_cli.harnesses.swe_bench:SweBench",
    "harbor": "pivotrl_cli.harnesses.harbor:Harbor",
    "nemo-skills": "pivotrl_cli.harnesses.nemo_skills:NemoSkills",
}
"""Harness -> where its adapter is."""

SUITES: dict[str, tuple[str, ...]] = {
    "ood": (
        "nemo-skills:ifbench",
        "nemo-skills:aime25",
        "nemo-skills:math-500",
        "nemo-skills:livecodebench",
        "nemo-skills:scicode",
        "nemo-skills:mmlu-pro",
        "nemo-skills:mmlu-prox",
        "nemo-skills:wmt24pp",
    ),
    "agentic": (
        "tau2-bench:airline",
        "tau2-bench:retail",
        "tau2-bench:telecom",
        "swe-bench:verified",
        "harbor:terminal-bench@2.0",
        "inspect:browse_comp",
    ),
}
"""The paper's benchmarks: out of domain (its Table 2, all of them in NeMo-Skills), and agentic (its Table 1)."""

ALSO: dict[str, tuple[str, ...]] = {
    "nemo-skills:aime25": ("lm-eval:aime25", "inspect:aime2025"),
    "nemo-skills:math-500": ("lm-eval:hendrycks_math500",),
    "nemo-skills:scicode": ("inspect:scicode",),
    "nemo-skills:mmlu-pro": ("lm-eval:mmlu_pro", "inspect:mmlu_pro"),
    "nemo-skills:mmlu-prox": ("lm-eval:mmlu_prox_en",),
    "tau2-bench:airline": ("inspect:tau2_airline",),
    "tau2-bench:retail": ("inspect:tau2_retail",),
    "tau2-bench:telecom": ("inspect:tau2_telecom",),
}
"""Other harnesses that have a task of a suite; prompts and scoring differ, so a comparison stays within one."""


class Harness(Protocol):
    """One harness. Made without arguments."""

    importer: str
    """Format of its results, for `import-eval`."""
    calls_tools: bool
    """Whether the model must call tools, which a server has to parse."""
    goes_on: bool
    """Whether it goes on with what an earlier run left in its folder; else that would be imported twice."""

    def steps(self, job: Job) -> list[Step]:
        """The commands, in order; raises `ConfigError` where the harness cannot do what the job asks."""
        ...

    def needs(self, job: Job) -> list[Need]:
        """What has to be there."""
        ...


def load_harness(name: str) -> Harness:
    """The adapter of a harness."""
    harness: type[Harness] = load("harness", name, HARNESSES)
    return harness()
