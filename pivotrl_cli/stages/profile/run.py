"""Profile: K one-turn rollouts at every candidate from the frozen policy, each scored by the verifier (paper, Eq. 4).

For each window of candidates: sample a group of completions at every state, verify each, append the statistics to the
candidates' rows. The states themselves pass through as they are stored.

What is sampled goes into a journal beside the output as it comes, and from there into the table, window by window. So a
killed run goes on where it was, and the same is done with an output that has fewer rollouts than are asked for.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pivotrl_cli.configs import ProfileConfig
from pivotrl_cli.engines import Engine, open_engine
from pivotrl_cli.engines import fingerprints as engine_fingerprints
from pivotrl_cli.errors import ConfigError, InputError, Interrupted, RunError
from pivotrl_cli.progress import Progress
from pivotrl_cli.rows import Candidate, Profile, ProfileStatus
from pivotrl_cli.stages.profile.adaptive import AdaptiveRule
from pivotrl_cli.stages.profile.meter import Meter
from pivotrl_cli.stages.profile.sampler import Sampled, Sampler, Strategy, fixed, parse_journal_key
from pivotrl_cli.stages.profile.statistics import ADDED, Tally, describe, statistics
from pivotrl_cli.stages.profile.windows import Plan
from pivotrl_cli.stages.shared.judge import judge_cost, opened_judge
from pivotrl_cli.storage.arrow import with_columns
from pivotrl_cli.storage.journal import Journal, unfinished
from pivotrl_cli.storage.provenance import Provenance, differences, source_fingerprint
from pivotrl_cli.storage.table import Table, TableWriter, current_summary, rows_of
from pivotrl_cli.verifiers import Verifier, load_verifier

__all__ = ["describe", "run"]


def run(config: ProfileConfig) -> dict[str, Any]:
    """Profile a candidates table; returns the summary."""
    _check_executor(config)
    with Table.open(config.candidates, Candidate) as candidates:
        plan = Plan.of(candidates, config)
        names = verifier_names(candidates, config)
        with opened_judge(names, config) as judge:
            verifiers = {name: load_verifier(name, judge) for name in names}
            provenance = provenance_of(candidates, config, verifiers)
            stored = _stored(config, provenance)
            summary = (
                stored | {"cached": True}
                if stored is not None
                else _profile(config, candidates, plan, verifiers, provenance) | judge_cost(judge)
            )
    if 0 < summary["rollouts"] == summary["errors"]:
        raise RunError(
            "no rollout could be measured", f"see the error column of {config.output}; --force samples again"
        )
    return summary


def _check_executor(config: ProfileConfig) -> None:
    if config.executor == "local":
        if config.workers is not None or config.ray_address is not None:
            raise ConfigError("--workers and --ray-address are for executor ray", "add --executor ray")
        return
    for name, option in ((config.candidates, "the candidates"), (config.output, "-o")):
        if name == "-":
            raise ConfigError(f"--executor ray needs a file for {option}", "workers read it by its name")


def provenance_of(candidates: Table[Candidate], config: ProfileConfig, verifiers: dict[str, Verifier]) -> Provenance:
    """What decides the profile, the files and the model looked at here."""
    found = {
        f"verifier {Path(name).name}": source_fingerprint(verifier) for name, verifier in sorted(verifiers.items())
    }
    fingerprints = found | engine_fingerprints(config)
    provenance = Provenance.of("profile", Profile, config, [candidates.as_input()], fingerprints)
    shard = {} if config.shard is None else {"shard": config.shard}
    return replace(provenance, config=provenance.config | shard)


def _stored(config: ProfileConfig, provenance: Provenance) -> dict[str, Any] | None:
    """The summary of an output that is complete; None where there is work to do, which may be begun already.

    A run over an existing output is begun by `--force`, or by a larger `n`; what goes on with it needs no force again.
    """
    if config.output == "-" or config.force:
        return None
    header = unfinished(config.output)
    is_ours = header is not None and not differences(header["provenance"], provenance.to_dict())
    if (is_ours and header is not None and header["forced"]) or smaller_n(config, provenance):
        return None
    summary = current_summary(config.output, provenance, config.force)
    if summary is not None and is_ours:
        Journal.beside(config.output, provenance).remove()  # a kill came between the output and this
    return summary


def smaller_n(config: ProfileConfig, provenance: Provenance) -> int | None:
    """The `n` of an output that was made as this one will be, but for fewer rollouts at each candidate."""
    if config.adaptive or config.output == "-" or config.force or not Path(config.output).is_file():
        return None  # what the adaptive rule stopped at was decided with the smaller n in mind
    try:
        with Table.open(config.output, Profile) as table:
            there = table.provenance
    except InputError:
        return None
    n: int = there["config"].get("n", config.n) if there else config.n
    if there is None or n >= config.n:
        return None
    changed = differences(there | {"config": there["config"] | {"n": config.n}}, provenance.to_dict())
    return None if changed else n


def _profile(
    config: ProfileConfig,
    candidates: Table[Candidate],
    plan: Plan,
    verifiers: dict[str, Verifier],
    provenance: Provenance,
) -> dict[str, Any]:
    n_there = smaller_n(config, provenance)
    with _journal(config, provenance) as journal:
        resumed = _tell_found(config, journal, n_there)
        with (
            TableWriter(config.output, Profile, provenance) as out,
            Progress("profile", plan.n_candidates * config.n, "rollouts") as bar,
            opened_when_needed(config, meter := Meter(bar, config.n)) as engine,
            earlier_windows(config, plan, n_there) as earlier,
        ):
            sampler = Sampler(
                engine, lambda c: verifiers[config.verifier or c.verifier], strategy(config), config, journal, meter
            )
            windows = _windows(candidates, plan, sampler, earlier, provenance)
            tally = _write(out, candidates, plan, windows)
            summary = tally.summary(plan.n_left_out)
            out.set_summary(summary)
        if journal is not None:
            journal.remove()
    return summary | ({"retries": meter.retries} if meter.retries else {}) | resumed


def strategy(config: ProfileConfig) -> Strategy:
    """How many samples each candidate gets, and in which rounds."""
    if not config.adaptive:
        return fixed(config.n)
    rule = AdaptiveRule(max_mean=config.adaptive_max_mean, budget=config.n, level=config.adaptive_level)
    return lambda rewards: rule.more([r for r in rewards if r is not None], unscored=rewards.count(None))


def _windows(
    candidates: Table[Candidate], plan: Plan, sampler: Sampler, earlier: Earlier, provenance: Provenance
) -> Iterator[list[Sampled]]:
    """The samples of each window, in order: of this process, or of Ray's workers."""
    if sampler.config.executor == "ray":
        from pivotrl_cli.stages.profile.ray_executor import sampled_windows

        yield from sampled_windows(candidates, plan, sampler, earlier, provenance)
        return
    for number, window in enumerate(plan.windows):
        yield sampler.window(list(rows_of(candidates.take(window), Candidate, candidates.name)), earlier(number))


def _write(out: TableWriter, candidates: Table[Candidate], plan: Plan, windows: Iterable[list[Sampled]]) -> Tally:
    """Write each window as a row group."""
    tally = Tally()
    for window, sampled in zip(plan.windows, windows, strict=True):
        chosen = candidates.take(window)
        added = [statistics(one) for one in sampled]
        for one in added:
            tally.add(one)
        out.write_table(with_columns(chosen, Profile, {name: [one[name] for one in added] for name in ADDED}))
        out.end_group()
    return tally


Earlier = Callable[[int], dict[str, Sampled]]
"""What an output with fewer rollouts has of a window, by the window's number."""


@contextmanager
def earlier_windows(config: ProfileConfig, plan: Plan, n_there: int | None) -> Iterator[Earlier]:
    """Of the output that stands there, where it is to be added to; its rows are those of the windows, in order."""
    if not n_there:
        yield lambda number: {}
        return
    ends = np.cumsum([len(window) for window in plan.windows])
    with Table.open(config.output, Profile) as table:

        def earlier(number: int) -> dict[str, Sampled]:
            rows = table.take(np.arange(ends[number] - len(plan.windows[number]), ends[number]))
            return dict(map(_stored_samples, rows.select(["candidate_id", *ADDED]).to_pylist()))

        yield earlier


def _stored_samples(row: dict[str, Any]) -> tuple[str, Sampled]:
    unusable = row["status"] in (ProfileStatus.TOO_LONG, ProfileStatus.UNRENDERABLE)
    return row["candidate_id"], Sampled(
        rollouts=row["rollouts"],
        status=row["status"] if unusable else "ok",
        detail=row["status_detail"] if unusable else "",
        prompt_tokens=row["prompt_tokens"],
        template_fault=row["template_fault"],
    )


@contextmanager
def _journal(config: ProfileConfig, provenance: Provenance) -> Iterator[Journal | None]:
    """The journal beside the output; none beside standard output, where a killed run begins anew."""
    if config.output == "-":
        yield None
        return
    with Journal.beside(config.output, provenance, force=config.force) as journal:
        try:
            yield journal
        except KeyboardInterrupt as interrupt:
            same = "the same command without --force" if config.force else "the same command"
            n = len(_candidates_in(journal))
            raise Interrupted(f"interrupted; {n:,} candidates are kept", f"{same} goes on from there") from interrupt


def _tell_found(config: ProfileConfig, journal: Journal | None, n_there: int | None) -> dict[str, int]:
    """Say on standard error what need not be sampled."""
    if n_there:
        print(
            f"{config.output}: adding {config.n - n_there} rollouts to the {n_there} at each candidate", file=sys.stderr
        )
    if not journal:
        return {}
    n = len(_candidates_in(journal))
    print(f"{journal.path}: going on from {n:,} candidates that are sampled", file=sys.stderr)
    return {"resumed": n}


def _candidates_in(journal: Journal) -> set[str]:
    return {parse_journal_key(key) for key in journal}


@contextmanager
def opened_when_needed(config: ProfileConfig, meter: Meter) -> Iterator[Callable[[], Engine]]:
    """Opens the engine when something is to be sampled: a run that finds all of it done needs no model."""
    opened: list[Engine] = []

    def engine() -> Engine:
        if not opened:
            opened.append(open_engine(config))
            meter.start()
        return opened[0]

    try:
        yield engine
    finally:
        for one in opened:
            one.close()


def verifier_names(candidates: Table[Candidate], config: ProfileConfig) -> Sequence[str]:
    """Names of the verifiers that score them."""
    if config.verifier:
        return [config.verifier]
    return candidates.frame(["verifier"])["verifier"].unique().sort().to_list()
