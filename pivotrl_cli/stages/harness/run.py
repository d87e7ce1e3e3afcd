"""Harness: the exact commands of other evaluation harnesses, what they lack here, and with `--run` their results.

    group the tasks by harness
    plan: commands and needs, printed
    run:  canary; each command as a subprocess, its words going to a log; its folder imported into a table

Each harness gets its own folder and table, because a table is one model's as one harness names it.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pivotrl_cli.configs import HarnessConfig, ImportConfig
from pivotrl_cli.errors import ConfigError, OutputError, RunError
from pivotrl_cli.harnesses.commands import NO_SERVER, Job, Step, steps_of
from pivotrl_cli.harnesses.needs import Need, needs_of
from pivotrl_cli.harnesses.table import ALSO, HARNESSES, SUITES, Harness
from pivotrl_cli.registry import suggest
from pivotrl_cli.stages import import_eval
from pivotrl_cli.stages.harness.server import check_server, serve_words, vllm_server


@dataclass(frozen=True, slots=True)
class Plan:
    """One harness's share."""

    name: str
    harness: Harness
    job: Job
    steps: list[Step]
    needs: list[Need]
    also: list[str]
    """Where else the tasks are: `aime25 is lm-eval:aime25 too`."""

    @property
    def missing(self) -> list[Need]:
        """What is known not to be there."""
        return [need for need in self.needs if need.there is False]


def run(config: HarnessConfig) -> None:
    """Print the plan; with `--run`, do it and print the means."""
    plans = [_plan(config, name, tasks) for name, tasks in _by_harness(config).items()]
    if not config.run:
        _print_plans(config, plans)
        return
    for plan in plans:
        if plan.missing:
            need = plan.missing[0]
            raise ConfigError(f"{plan.name} lacks {need.what}", need.hint)
        if not plan.harness.resumes and plan.job.output.is_dir() and any(plan.job.output.iterdir()):
            raise OutputError(f"{plan.job.output} has results, and {plan.name} cannot resume", "choose another -o")
    with vllm_server(config) if config.serve else nullcontext():
        url = plans[0].job.url
        if url is not None:
            check_server(config, url, any(plan.harness.calls_tools for plan in plans))
        summaries = {plan.name: _run(config, plan) for plan in plans}
    if config.json_summary:
        print(json.dumps({name: summary.model_dump(mode="json") for name, summary in summaries.items()}))


def _by_harness(config: HarnessConfig) -> dict[str, list[str]]:
    named = [*config.tasks, *(SUITES[config.suite] if config.suite else ())]
    if not named:
        raise ConfigError("no task is named", "name some as HARNESS:TASK, such as lm-eval:gsm8k, or --suite ood")
    grouped: dict[str, list[str]] = {}
    for one in dict.fromkeys(named):
        name, colon, task = one.partition(":")
        if not colon or not task:
            raise ConfigError(f"{one!r} is not HARNESS:TASK", f"harnesses: {', '.join(HARNESSES)}")
        if name not in HARNESSES:
            raise ConfigError(f"unknown harness {name!r}", suggest(name, HARNESSES))
        grouped.setdefault(name, []).append(task)
    return grouped


def _plan(config: HarnessConfig, name: str, tasks: list[str]) -> Plan:
    environment = _value_for(name, config.env, "--env", "FOLDER")
    job = Job(
        harness=name,
        tasks=tuple(tasks),
        config=config,
        environment=Path(environment).expanduser().resolve() if environment else None,
        args=tuple(shlex.split(_value_for(name, config.args, "--args", "WORDS") or "")),
    )
    harness = HARNESSES[name]
    also = [f"{task} is {', '.join(ALSO[f'{name}:{task}'])} too" for task in tasks if f"{name}:{task}" in ALSO]
    steps, needs = steps_of(harness, job), needs_of(harness, job)
    if any(NO_SERVER in str(step) for step in steps):
        needs.insert(0, Need("a server of the model", False, "add --endpoint http://HOST:PORT/v1, or --serve"))
    return Plan(name, harness, job, steps, needs, also)


def _value_for(name: str, pairs: list[str], option: str, value: str) -> str | None:
    """The last VALUE that `HARNESS=VALUE` options give to a harness; raises where one names an unknown harness."""
    found = None
    for pair in pairs:
        key, equals, said = pair.partition("=")
        if key not in HARNESSES or not equals:
            raise ConfigError(f"{option} {pair!r} is not HARNESS={value}", f"harnesses: {', '.join(HARNESSES)}")
        found = said if key == name else found
    return found


def _print_plans(config: HarnessConfig, plans: list[Plan]) -> None:
    if config.json_summary:
        print(json.dumps({plan.name: _as_json(plan) for plan in plans}))
        return
    if config.serve:
        print(f"# the model's server\n{shlex.join(serve_words(config))}\n")
    for plan in plans:
        print(f"# {plan.name}: {', '.join(plan.job.tasks)}")
        print(*plan.steps, sep="\n")
        print(
            shlex.join(["pivotrl", "import-eval", str(plan.job.output), "--format", plan.harness.importer])
            + f" -o {shlex.quote(str(_table(plan)))}"
        )
        for need in plan.needs:
            state = {True: "there", False: "MISSING", None: "unknown"}[need.there]
            hint = f": {need.hint}" if need.hint and need.there is not True else ""
            print(f"#   {state:<8}{need.what}{hint}")
        for line in plan.also:
            print(f"#   {line}")
        print()
    n_missing = sum(len(plan.missing) for plan in plans)
    verdict = f"missing: {n_missing}" if n_missing else "nothing is known to be missing"
    print(f"{verdict}; --run runs the plan", file=sys.stderr)


def _as_json(plan: Plan) -> dict[str, Any]:
    return {
        "tasks": plan.job.tasks,
        "commands": [str(step) for step in plan.steps],
        "needs": [asdict(need) for need in plan.needs],
        "also": plan.also,
        "table": str(_table(plan)),
    }


def _table(plan: Plan) -> Path:
    return plan.job.output.with_name(f"{plan.name}.parquet")


def _run(config: HarnessConfig, plan: Plan) -> import_eval.ImportSummary:
    plan.job.output.mkdir(parents=True, exist_ok=True)
    log = plan.job.output.with_name(f"{plan.name}.log")
    for step in plan.steps:
        _run_step(plan.name, step, log)
    importing = ImportConfig(
        sources=[str(plan.job.output)],
        format=plan.harness.importer,
        output=str(_table(plan)),
        force=True,
        max_error_rate=config.max_error_rate,
    )
    summary = import_eval.run(importing)
    from rich.console import Console

    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
    console.print(import_eval.describe(summary))
    console.print(f"{_table(plan)} written", soft_wrap=True)
    return summary


def _run_step(name: str, step: Step, log: Path) -> None:
    """One command: its output goes to the log, the last line of it into the error where it fails."""
    print(f"{name}: {step} (log: {log})", file=sys.stderr, flush=True)
    with log.open("ab") as file:
        try:
            done = subprocess.run(
                step.words, env=step.variables(), cwd=step.folder, stdout=file, stderr=subprocess.STDOUT, check=False
            )
        except OSError as error:
            raise RunError(
                f"{name}: {step.words[0]}: {error.strerror}", f"name its environment: --env {name}=FOLDER"
            ) from error
    if done.returncode:
        last = log.read_text(errors="replace").strip().splitlines()[-1:] or [""]
        raise RunError(f"{name} ended with {done.returncode}: {last[0][:300]}", f"see {log}")
