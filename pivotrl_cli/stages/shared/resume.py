"""Resuming `profile` and `eval`: a run continues from the journal beside its output."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from pivotrl_cli.configs import EvalConfig, ProfileConfig
from pivotrl_cli.engines import Engine, open_engine
from pivotrl_cli.errors import Interrupted
from pivotrl_cli.rows import Summary
from pivotrl_cli.storage.journal import Journal, MemoryJournal, unfinished_header
from pivotrl_cli.storage.provenance import Provenance, differences
from pivotrl_cli.storage.table import cached_summary

S = TypeVar("S", bound=Summary)


def finished_summary(
    config: ProfileConfig | EvalConfig, provenance: Provenance, summary: type[S]
) -> tuple[S | None, bool]:
    """The summary of a complete output, None if there is none; and whether a journal of this run lies beside it.

    A run over an existing output is started with `--force`, and resumed without it.
    """
    if config.output == "-" or config.force:
        return None, False
    header = unfinished_header(config.output)
    is_ours = header is not None and not differences(header["provenance"], provenance.to_dict())
    if is_ours and header is not None and header["forced"]:
        return None, True
    return cached_summary(config.output, provenance, config.force, summary), is_ours


@contextmanager
def open_journal(
    config: ProfileConfig | EvalConfig, provenance: Provenance, unit: str, count: Callable[[Journal], int]
) -> Iterator[Journal | MemoryJournal]:
    """The journal beside the output; in memory for standard output, where a killed run starts anew.

    What it has is printed to standard error, as the `count` of its keys in this `unit`.
    """
    if config.output == "-":
        yield MemoryJournal()
        return
    with Journal.beside(config.output, provenance, force=config.force) as journal:
        if journal:
            print(f"resuming from {journal.path}: {count(journal):,} {unit} already sampled", file=sys.stderr)
        try:
            yield journal
        except KeyboardInterrupt as interrupt:
            raise Interrupted(
                f"interrupted: {count(journal):,} {unit} are kept",
                f"run the same command again{' without --force' if config.force else ''} to resume",
            ) from interrupt


@contextmanager
def open_when_needed(
    config: ProfileConfig | EvalConfig, opened: Callable[[], Any] = lambda: None
) -> Iterator[Callable[[], Engine]]:
    """Gives the engine, which opens on the first call: a run that needs no sample needs no model."""
    engines: list[Engine] = []

    def engine() -> Engine:
        if not engines:
            engines.append(open_engine(config))
            opened()
        return engines[0]

    try:
        yield engine
    finally:
        for one in engines:
            one.close()
