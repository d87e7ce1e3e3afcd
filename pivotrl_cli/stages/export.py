"""Export: pivots in the form of other trainers, one folder per target.

    for each row: into the target's form (`exporters/`), or counted with the reason

The folder appears whole or not at all, with its provenance and counts in `pivotrl.json`. Nothing is dropped in silence:
the summary lists the facts that the target cannot hold and the rows that are left out, each with the first such row.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from pivotrl_cli.configs import ExportConfig
from pivotrl_cli.errors import ConfigError, RunError
from pivotrl_cli.exporters import Destination, Exporter, load_exporter
from pivotrl_cli.exporters.destination import ExportCounts
from pivotrl_cli.model.folder import fingerprint, load_tokenizer, resolve, template_fingerprints
from pivotrl_cli.readers.sources import Source, find_sources
from pivotrl_cli.rows import Candidate, Pivot, Profile, Summary, SummaryPart
from pivotrl_cli.storage.files import partial_path
from pivotrl_cli.storage.folders import new_folder, stored_summary, write_note
from pivotrl_cli.storage.locks import Lock
from pivotrl_cli.storage.provenance import Input, Provenance, source_fingerprint
from pivotrl_cli.storage.table import Table
from pivotrl_cli.verifiers import asks_judge, load_verifier

if TYPE_CHECKING:
    from rich.console import RenderableType


class Counted(SummaryPart):
    """How many rows something happened to."""

    what: str
    n: int
    first: str
    """Id of the first of them."""


class ExportSummary(Summary):
    """Summary of `export`."""

    to: str
    """The target."""
    n_given: int
    """Rows of the table."""
    n_rows: int
    """Rows written."""
    left_out: list[Counted]
    not_held: list[Counted]
    """Facts that the target has no place for, or holds changed."""


def run(config: ExportConfig) -> ExportSummary:
    exporter = load_exporter(config.to)
    if config.output == "-":
        raise ConfigError("an export is a folder", "name it with -o FOLDER")
    if config.model is not None and not exporter.renders:
        raise ConfigError(f"--model renders prompts, and {config.to} takes messages", "leave --model out")
    if config.rows is not None and not getattr(exporter, "writes_back", False):
        raise ConfigError(f"--rows are rows of NeMo Gym, not of {config.to}", "use --to nemo-gym, or leave --rows out")
    if config.rows is not None and config.verifier is not None:
        raise ConfigError("--rows keeps the rows' own agents", "leave --verifier out")
    if config.verifier is not None and not asks_judge(config.verifier):
        load_verifier(config.verifier)
    with Table.open(config.pivots, Candidate) as table:  # the columns of a profile and of pivots are exported too
        row = Candidate if not table.has("rollouts") else Pivot if table.has("weight") else Profile
    if config.model is None and (config.chat_template or config.response_template):
        raise ConfigError("--chat-template and --response-template are of a model", "name it with --model")
    fingerprints = {"exporter": source_fingerprint(type(exporter))}
    if config.model is not None:
        fingerprints["chat format"] = fingerprint(resolve(config.model), weights=False)
        fingerprints |= template_fingerprints(config)
    with Table.open(config.pivots, row) as table:
        sources = find_sources([config.rows]) if config.rows is not None else []
        inputs = [Input(source.name, digest) for source in sources for digest in source.digests()]
        provenance = Provenance.of("export", table.row, config, [table.as_input(), *inputs], fingerprints)
        stored = stored_summary(Path(config.output), provenance, force=config.force)
        if stored is not None:
            return ExportSummary.model_validate(stored | {"cached": True})
        return _write(exporter, table, config, provenance, sources)


def _write(
    exporter: Exporter, table: Table[Candidate], config: ExportConfig, provenance: Provenance, sources: list[Source]
) -> ExportSummary:
    final, chat = Path(config.output), None
    if config.model is not None:
        from pivotrl_cli.model.chat import ChatFormat

        chat = ChatFormat(load_tokenizer(resolve(config.model), config))
    to = Destination(partial_path(final), chat, provenance.to_dict(), sources=sources)
    change = {} if config.verifier is None else {"verifier": config.verifier}
    with Lock(final), new_folder(final, to.folder) as making:
        exporter.write((row.model_copy(update=change) for row in table.rows()), to)
        summary = _summary(config.to, table.n_rows, to.counts)
        if not summary.n_rows:
            reasons = "; ".join(f"{one.n:,} {one.what}" for one in summary.left_out) or "the table is empty"
            raise RunError(
                f"{table.name}: nothing to export ({reasons})", "inspect the table, or choose another target"
            )
        if chat is not None and template_fingerprints(config):
            chat.tokenizer.save_pretrained(making / "tokenizer")  # the model's own folder has other templates
        write_note(making, provenance, summary.to_metadata())
    return summary


def _summary(target: str, n_given: int, counts: ExportCounts) -> ExportSummary:
    def counted(counter: Counter[str]) -> list[Counted]:
        return [Counted(what=what, n=n, first=counts.first[what]) for what, n in sorted(counter.items())]

    return ExportSummary(
        to=target,
        n_given=n_given,
        n_rows=counts.n_rows,
        left_out=counted(counts.left_out),
        not_held=counted(counts.not_held),
    )


def describe(summary: ExportSummary) -> RenderableType:
    """The summary for a terminal."""
    from rich.console import Group

    lines = [f"export to {summary.to}: {summary.n_rows:,} of {summary.n_given:,} rows"]
    for title, counted in (("left out", summary.left_out), ("without", summary.not_held)):
        lines += [f"{one.n:,} {title}: {one.what} (first {one.first})" for one in counted]
    return Group(*lines)
