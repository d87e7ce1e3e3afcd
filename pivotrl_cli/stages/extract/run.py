"""extract: trajectories to candidates, one row per assistant turn.

A candidate is a state (the messages before) and the demonstrated action. Nothing disappears: each assistant turn of a
readable record, and each record that cannot be read, becomes a candidate, a reject with an enumerated reason, or is
filtered because the user asked for it. The three add up to what came in, and an assertion holds that.

Ids derive from content, so they survive the renaming and merging of files; an exact repetition of a trajectory gets
`~2`, `~3`. Where records are pieces of one run, the id is the run's. The holdout split goes by task where the task is
known, because trials of one task resemble each other.

Left out: the repair of broken records, and any judgement of a turn beyond the check that its verifier accepts its own
demonstration.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from pivotrl_cli.configs import ExtractConfig
from pivotrl_cli.readers.fields import compact
from pivotrl_cli.readers.sources import Source, find_sources
from pivotrl_cli.rows import Candidate, Profile, Reject, Row
from pivotrl_cli.stages.extract.extraction import Extraction
from pivotrl_cli.stages.extract.summary import ExtractSummary, describe
from pivotrl_cli.stages.extract.verifier_choice import VerifierChoice
from pivotrl_cli.storage.provenance import Input, Provenance, file_input, source_fingerprint
from pivotrl_cli.storage.table import current_summary
from pivotrl_cli.storage.table_writer import TableWriter

__all__ = ["describe", "run"]


def run(config: ExtractConfig) -> ExtractSummary:
    """Write the candidates and the rejects; the summary accounts for everything that came in."""
    outputs = output_paths(config)
    earlier = {Path(path).resolve() for path in outputs.values()}  # of another run, in a folder that is now read
    found = find_sources(config.sources)
    sources = [source for source in found if source.named or Path(source.path).resolve() not in earlier]
    inputs = [Input(source.name, digest) for source in sources for digest in source.digests()]
    provenance = Provenance.of("extract", Candidate, config, inputs, _fingerprints(config, sources))
    stored = current_summary(config.output, provenance, config.force)
    tables = [(path, provenance.for_table(row)) for row, path in outputs.items()]
    if stored is not None and all(current_summary(*table, config.force) is not None for table in tables):
        return ExtractSummary.model_validate(stored | {"cached": True})
    extraction = Extraction.from_config(config)
    with ExitStack() as stack:
        writers = [
            stack.enter_context(TableWriter(path, row, provenance.for_table(row))) for row, path in outputs.items()
        ]
        _write(extraction, sources, writers)
        summary = extraction.summary()
        for writer in writers:
            writer.set_summary(summary.to_metadata())
    return summary


def output_paths(config: ExtractConfig) -> dict[type[Row], str | Path]:
    """Tables of the run: `candidates.parquet` has its rejects in `candidates.rejects.parquet`, standard output none."""
    outputs: dict[type[Row], str | Path] = {Candidate: config.output}
    if config.rejects:
        outputs[Reject] = config.rejects
    elif config.output != "-":
        outputs[Reject] = Path(config.output).with_suffix(".rejects.parquet")
    return outputs | ({Profile: config.profile} if config.profile else {})


def _write(extraction: Extraction, sources: Iterable[Source], writers: list[TableWriter]) -> None:
    by_row = {writer.row: writer for writer in writers}

    def end_record() -> None:
        for writer in writers:
            writer.end_trajectory()

    for row in extraction.rows(sources, end_record):
        if type(row) in by_row:
            by_row[type(row)].write(row)
        if extraction.profiles and isinstance(row, Candidate):
            by_row[Profile].write(extraction.profiles.profile(row))
        del row  # it holds its trajectory


def _fingerprints(config: ExtractConfig, sources: Iterable[Source]) -> dict[str, str]:
    """Hashes of everything beside config and input that decides the table: source names, verifiers, supplied files."""
    files = {"tools": config.tools, "system": config.system, "check_against": config.check_against}
    supplied = {name: file_input(path).sha256 for name, path in files.items() if path}
    names = compact([source.name for source in sources])
    checks = sorted(VerifierChoice.from_config(config).checks.items())
    verifiers = {f"verifier {Path(name).name}": source_fingerprint(check) for name, check in checks}
    return {"source names": hashlib.sha256(names.encode()).hexdigest()} | verifiers | supplied
