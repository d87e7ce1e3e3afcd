"""Profile: K one-turn rollouts at every candidate from the frozen policy, each scored by the verifier (paper, Eq. 4).

For each window of candidates: sample a group of completions at every state, verify each, append the statistics to the
candidates' rows (`Sampler.run`). The states themselves pass through as they are stored.

Samples go into a journal beside the output as they come, and from there into the table, window by window. So a killed
run can be resumed, and so can a finished one that has fewer rollouts than are asked for.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

from pivotrl_cli.configs import ProfileConfig
from pivotrl_cli.errors import ConfigError, RunError
from pivotrl_cli.progress import Progress
from pivotrl_cli.rows import Profile
from pivotrl_cli.stages.profile.meter import Meter
from pivotrl_cli.stages.profile.sampler import Sampler
from pivotrl_cli.stages.profile.samples import Samples, parse_journal_key
from pivotrl_cli.stages.profile.setup import Setup, open_sampler, open_setup
from pivotrl_cli.stages.profile.statistics import ADDED, statistics
from pivotrl_cli.stages.profile.summary import ProfileSummary, Tally, describe
from pivotrl_cli.stages.shared.judge import judge_usage
from pivotrl_cli.stages.shared.resume import finished_summary, open_journal
from pivotrl_cli.storage.arrow import with_columns
from pivotrl_cli.storage.journal import Journal, MemoryJournal
from pivotrl_cli.storage.table_writer import TableWriter

__all__ = ["describe", "run"]


def run(config: ProfileConfig) -> ProfileSummary:
    """Profile a candidates table."""
    _check_executor(config)
    with open_setup(config) as setup:
        summary = _summary_if_complete(setup) or _profile(setup)
    if 0 < summary.rollouts == summary.errors:
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


def _summary_if_complete(setup: Setup) -> ProfileSummary | None:
    """The summary of a complete output; a kill may have come before its journal was removed."""
    if setup.n_earlier:
        return None
    summary, has_journal = finished_summary(setup.config, setup.provenance, ProfileSummary)
    if summary is not None and has_journal:
        Journal.beside(setup.config.output, setup.provenance).remove()
    return summary


def _profile(setup: Setup) -> ProfileSummary:
    config = setup.config
    if setup.n_earlier:
        added = config.n - setup.n_earlier
        print(f"{config.output}: adding {added} rollouts to the {setup.n_earlier} at each candidate", file=sys.stderr)
    with open_journal(config, setup.provenance, "candidates", _count_candidates) as journal:
        n_resumed = _count_candidates(journal)
        with (
            TableWriter(config.output, Profile, setup.provenance) as out,
            Progress("profile", setup.plan.n_candidates * config.n, "rollouts") as bar,
            open_sampler(setup, journal, meter := Meter(bar, config.n)) as sampler,
        ):
            summary = _append(out, setup, _sample_windows(setup, sampler)).summary(setup.plan.n_left_out)
            out.set_summary(summary.to_metadata())
        journal.remove()
    of_this_run = {"retries": meter.retries, "resumed": n_resumed, "judge": judge_usage(setup.judge)}
    return summary.model_copy(update=of_this_run)


def _sample_windows(setup: Setup, sampler: Sampler) -> Iterator[list[Samples]]:
    """Samples of each window, in order: from this process, or from Ray's workers."""
    if setup.config.executor == "ray":
        from pivotrl_cli.stages.profile.ray_executor import sample_windows

        yield from sample_windows(setup, sampler)
        return
    for samples in sampler.run(map(setup.window, range(len(setup.plan.windows)))):
        yield samples
        if isinstance(sampler.journal, MemoryJournal):
            sampler.journal.clear()  # a window that is done is not read again


def _append(out: TableWriter, setup: Setup, windows: Iterable[list[Samples]]) -> Tally:
    """Append the statistics of each window to its candidates' rows, as a row group."""
    tally = Tally(setup.config.adaptive_max_mean)
    for window, samples in zip(setup.plan.windows, windows, strict=True):
        added = [statistics(one) for one in samples]
        for one in added:
            tally.add(one)
        rows = setup.candidates.take(window)
        out.write_table(with_columns(rows, Profile, {name: [one[name] for one in added] for name in ADDED}))
        out.end_group()
    return tally


def _count_candidates(keys: Iterable[str]) -> int:
    return len({parse_journal_key(key)[0] for key in keys})
