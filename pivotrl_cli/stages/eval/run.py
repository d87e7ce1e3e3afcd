"""Eval: run a policy through episodes and write one row per task and trial.

    for each benchmark: play its episodes (shared/episodes.py), journaling the policy's replies
    write the rows, and their scores (summary.py)

A killed run resumes from its journal and ends in the same bytes. Above `max_error_rate` the command fails, and keeps
the journal so that running it again tries only the failed episodes.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from pivotrl_cli.benchmarks import TABLES, TAU, Opened, Setting, open_benchmark
from pivotrl_cli.configs import EvalConfig
from pivotrl_cli.engines import Engine, fingerprints
from pivotrl_cli.environments import SimulatedUser
from pivotrl_cli.errors import ConfigError, InputError, RunError
from pivotrl_cli.model.folder import fingerprint, local_folder
from pivotrl_cli.rows import Candidate, EvalResult
from pivotrl_cli.stages.eval.simulated_user import JournaledUser, open_user
from pivotrl_cli.stages.eval.summary import EvalSummary, describe, summarize
from pivotrl_cli.stages.shared.episodes import Run, play
from pivotrl_cli.stages.shared.judge import judge_usage, open_judge
from pivotrl_cli.stages.shared.resume import finished_summary, open_journal, open_when_needed
from pivotrl_cli.storage.journal import journal_path
from pivotrl_cli.storage.provenance import Input, Provenance, source_fingerprint
from pivotrl_cli.storage.table import Table
from pivotrl_cli.storage.table_writer import TableWriter
from pivotrl_cli.verifiers import load_verifier

if TYPE_CHECKING:
    from pivotrl_cli.verifiers.judge import Judge

__all__ = ["describe", "run"]


def run(config: EvalConfig) -> EvalSummary:
    """Evaluate a model on benchmarks."""
    benchmarks = _open_benchmarks(config)
    with open_judge(None, config) as judge, open_user(config) as user:
        provenance = _provenance(config, benchmarks, judge)
        summary, has_journal = finished_summary(config, provenance, EvalSummary)
        if summary is None or has_journal:  # a journal is kept where failures are to be retried
            summary = _evaluate(config, benchmarks, provenance, judge, user)
    _check_errors(summary, config)
    return summary


def _open_benchmarks(config: EvalConfig) -> list[Opened]:
    benchmarks = [open_benchmark(spec) for spec in config.benchmarks]
    repeated = [name for name, n in Counter(one.name for one in benchmarks).items() if n > 1]
    if repeated:
        raise ConfigError(f"benchmark {repeated[0]} is named twice", "write one table for each")
    talking = [one.name for one in benchmarks if one.name.partition(":")[0] in TAU]
    if talking and config.user_url is None:
        raise ConfigError(
            f"benchmark {talking[0]} needs a simulated user", "add --user-url http://HOST:PORT/v1 --user-model NAME"
        )
    return benchmarks


def _provenance(config: EvalConfig, benchmarks: list[Opened], judge: Judge | None) -> Provenance:
    """What decides the table: model, template and tokenizer where they are known, benchmarks, verifiers, config."""
    prints = fingerprints(config) | {"benchmarks": " ".join(one.name for one in benchmarks)}
    prints |= {f"benchmark {one.name}": version for one in benchmarks if (version := one.version())}
    inputs: list[Input] = []
    for one in benchmarks:
        if one.name in TABLES:
            with Table.open(one.argument, Candidate) as table:
                inputs.append(table.as_input())
                names = table.distinct("verifier")
            prints |= {f"verifier {Path(n).name}": source_fingerprint(load_verifier(n, judge)) for n in names}
    return Provenance.of("eval", EvalResult, config, inputs, prints | _format_fingerprint(config))


def _format_fingerprint(config: EvalConfig) -> dict[str, str]:
    """Of the tokenizer and its chat template, unless the server renders."""
    if config.engine == "replay":
        return {}
    if config.engine == "endpoint" and config.endpoint_api == "chat":
        return {"template": "the server's"}
    folder = config.tokenizer or local_folder(config.model)
    return {"tokenizer and template": fingerprint(folder, weights=False)} if folder.is_dir() else {}


def _evaluate(
    config: EvalConfig, benchmarks: list[Opened], provenance: Provenance, judge: Judge | None, user: Engine | None
) -> EvalSummary:
    rows: list[EvalResult] = []
    with open_journal(config, provenance, "turns", len) as journal, open_when_needed(config) as engine:
        n_resumed = len(journal)
        talker = JournaledUser(user, config, journal) if user is not None else None
        for one in benchmarks:
            rows += play(_episodes(one, config, judge, talker), engine, config, journal)
        summary = summarize(rows)
        with TableWriter(config.output, EvalResult, provenance) as out:
            for row in rows:
                out.write(row)
            out.set_summary(summary.to_metadata())
        may_pass = any(row.status == "infra_error" for row in rows)
        if not (may_pass and _has_too_many_errors(summary, config)):
            journal.remove()
    return summary.model_copy(update={"resumed": n_resumed, "judge": judge_usage(judge)})


def _episodes(one: Opened, config: EvalConfig, judge: Judge | None, user: SimulatedUser | None) -> list[Run]:
    runs = [
        Run(one.name, trial, episode)
        for trial in range(config.trials)
        for episode in one.make(
            Setting(argument=one.argument, split=config.split, limit=config.limit, trial=trial, judge=judge, user=user)
        )
    ]
    if not runs:
        raise InputError(f"benchmark {one.name} has no tasks", "choose another, or another --split")
    return runs


def _has_too_many_errors(summary: EvalSummary, config: EvalConfig) -> bool:
    return summary.n_unscored > config.max_error_rate * summary.n


def _check_errors(summary: EvalSummary, config: EvalConfig) -> None:
    if _has_too_many_errors(summary, config):
        has_journal = config.output != "-" and journal_path(config.output).exists()
        again = "run the same command again to retry them" if has_journal else "--force runs it again"
        raise RunError(
            f"{summary.n_unscored} of {summary.n} rows could not be measured, the first: {summary.first_unscored}",
            f"see the error column of {config.output}; {again}, --max-error-rate accepts it",
        )
