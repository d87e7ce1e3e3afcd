"""Eval: run a policy through episodes and write one row per task and trial.

    for each benchmark: play its episodes (playing.py), the replies going into a journal beside the output
    write the rows, and what they say together (scores.py)

A killed run goes on from its journal to the same bytes. Above `max_error_rate` the command fails, and keeps the journal
so that the same command tries only the failed episodes again.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pivotrl_cli.benchmarks import TABLES, TAU, Opened, Setting, open_benchmark
from pivotrl_cli.configs import EvalConfig
from pivotrl_cli.engines import Engine, fingerprints, open_engine
from pivotrl_cli.environments import SimulatedUser
from pivotrl_cli.errors import ConfigError, InputError, Interrupted, RunError
from pivotrl_cli.model.folder import fingerprint, local_folder
from pivotrl_cli.rows import Candidate, EvalResult
from pivotrl_cli.stages.eval.simulated_user import JournaledUser, opened_user
from pivotrl_cli.stages.eval.summary import describe, failures, summarise
from pivotrl_cli.stages.shared.episodes import Run, play
from pivotrl_cli.stages.shared.judge import judge_cost, opened_judge
from pivotrl_cli.storage.journal import Journal, Notes, journal_path, unfinished
from pivotrl_cli.storage.provenance import Input, Provenance, differences, source_fingerprint
from pivotrl_cli.storage.table import Table, TableWriter, current_summary
from pivotrl_cli.verifiers import load_verifier

if TYPE_CHECKING:
    from pivotrl_cli.verifiers.judge import Judge

__all__ = ["describe", "run"]


def run(config: EvalConfig) -> dict[str, Any]:
    """Evaluate a model; returns the summary."""
    benchmarks = _benchmarks(config)
    with opened_judge(None, config) as judge, opened_user(config) as user:
        provenance = provenance_of(config, benchmarks, judge)
        summary = _stored(config, provenance)
        if summary is not None:
            added: dict[str, Any] = {"cached": True}
        else:
            summary, added = _evaluate(config, benchmarks, provenance, judge, user)
    _check_errors(summary, config)
    return summary | added


def _benchmarks(config: EvalConfig) -> list[Opened]:
    opened = [open_benchmark(spec) for spec in config.benchmarks]
    twice = [name for name, n in Counter(one.name for one in opened).items() if n > 1]
    if twice:
        raise ConfigError(f"benchmark {twice[0]} is named twice", "write one table for each")
    talking = [one.name for one in opened if one.name.partition(":")[0] in TAU]
    if talking and config.user_url is None:
        raise ConfigError(
            f"benchmark {talking[0]} needs somebody to talk to", "add --user-url http://HOST:PORT/v1 --user-model NAME"
        )
    return opened


def provenance_of(config: EvalConfig, benchmarks: list[Opened], judge: Judge | None) -> Provenance:
    """What decides the table: model, template and tokenizer where they are known, benchmarks, verifiers, config."""
    found = fingerprints(config) | {"benchmarks": " ".join(one.name for one in benchmarks)}
    found |= {f"benchmark {one.name}": version for one in benchmarks if (version := one.version())}
    inputs: list[Input] = []
    for one in benchmarks:
        if one.name in TABLES:
            with Table.open(one.argument, Candidate) as table:
                inputs.append(table.as_input())
                names = table.frame(["verifier"])["verifier"].unique().sort().to_list()
            found |= {f"verifier {Path(n).name}": source_fingerprint(load_verifier(n, judge)) for n in names}
    return Provenance.of("eval", EvalResult, config, inputs, found | _format_fingerprint(config))


def _format_fingerprint(config: EvalConfig) -> dict[str, str]:
    """Of the tokenizer and its chat template, where this program renders; else the server does."""
    if config.engine == "replay":
        return {}
    if config.engine == "endpoint" and config.endpoint_api == "chat":
        return {"template": "the server's"}
    folder = config.tokenizer or local_folder(config.model)
    return {"tokenizer and template": fingerprint(folder, weights=False)} if folder.is_dir() else {}


def _stored(config: EvalConfig, provenance: Provenance) -> dict[str, Any] | None:
    """The summary of an output that is complete; None where there is work to do, which may be begun already."""
    if config.output == "-" or config.force:
        return None
    header = unfinished(config.output)
    is_ours = header is not None and not differences(header["provenance"], provenance.to_dict())
    if is_ours and header is not None and header["forced"]:
        return None
    summary = current_summary(config.output, provenance, config.force)
    return None if is_ours else summary


def _evaluate(
    config: EvalConfig, benchmarks: list[Opened], provenance: Provenance, judge: Judge | None, user: Engine | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    rows: list[EvalResult] = []
    with _journal(config, provenance) as journal, _opened_when_needed(config) as engine:
        resumed = _tell_found(config, journal)
        talker = JournaledUser(user, config, journal) if user is not None else None
        for one in benchmarks:
            rows += play(_runs(one, config, judge, talker), engine, config, journal)
        summary = summarise(rows)
        with TableWriter(config.output, EvalResult, provenance) as out:
            for row in rows:
                out.write(row)
            out.set_summary(summary)
        may_pass = any(row.status == "infra_error" for row in rows)
        if isinstance(journal, Journal) and not (may_pass and _too_many(summary, config)):
            journal.remove()
    return summary, judge_cost(judge) | resumed


def _runs(one: Opened, config: EvalConfig, judge: Judge | None, user: SimulatedUser | None) -> list[Run]:
    settings = (
        Setting(
            argument=one.argument,
            split=config.split,
            limit=config.limit,
            trial=trial,
            judge=judge,
            user=user,
        )
        for trial in range(config.trials)
    )
    runs = [Run(one.name, setting.trial, episode) for setting in settings for episode in one.make(setting)]
    if not runs:
        raise InputError(f"benchmark {one.name} has no tasks", "choose another, or another --split")
    return runs


@contextmanager
def _journal(config: EvalConfig, provenance: Provenance) -> Iterator[Journal | Notes]:
    """The journal beside the output; in memory beside standard output, where a killed run begins anew."""
    if config.output == "-":
        yield Notes()
        return
    with Journal.beside(config.output, provenance, force=config.force) as journal:
        try:
            yield journal
        except KeyboardInterrupt as interrupt:
            same = "the same command without --force" if config.force else "the same command"
            kept = f"interrupted; {len(journal):,} turns are kept"
            raise Interrupted(kept, f"{same} goes on from there") from interrupt


def _tell_found(config: EvalConfig, journal: Journal | Notes) -> dict[str, int]:
    """Say on standard error what need not be sampled."""
    if not journal:
        return {}
    print(f"{journal_path(config.output)}: going on from {len(journal):,} turns that are sampled", file=sys.stderr)
    return {"resumed": len(journal)}


@contextmanager
def _opened_when_needed(config: EvalConfig) -> Iterator[Callable[[], Engine]]:
    """Opens the engine when something is to be sampled, and closes it."""
    opened: list[Engine] = []

    def engine() -> Engine:
        if not opened:
            opened.append(open_engine(config))
        return opened[0]

    try:
        yield engine
    finally:
        for one in opened:
            one.close()


def _too_many(summary: dict[str, Any], config: EvalConfig) -> bool:
    n, n_failed, _ = failures(summary)
    return n_failed > config.max_error_rate * n


def _check_errors(summary: dict[str, Any], config: EvalConfig) -> None:
    if _too_many(summary, config):
        n, n_failed, first = failures(summary)
        kept = config.output != "-" and journal_path(config.output).exists()
        again = "the same command tries them again" if kept else "--force runs it again"
        raise RunError(
            f"{n_failed} of {n} rows could not be measured, the first: {first}",
            f"see the error column of {config.output}; {again}, --max-error-rate accepts it",
        )
