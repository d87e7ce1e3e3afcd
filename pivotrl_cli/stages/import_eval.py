"""Import: another harness's results as an eval table, checked against the means that the harness states.

A command of its own, because nothing of `eval` applies: no policy, no sampling, no benchmark of ours. One table is one
model's, since that is what `compare` puts side by side. What was not measured is a row without a score, what cannot be
read is counted with its place, and a stated mean that our rows give neither with errors left out nor with errors as 0
is shown beside both.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

from pivotrl_cli.configs import ImportConfig
from pivotrl_cli.errors import ConfigError, InputError, RunError
from pivotrl_cli.importers import Importer, WithOthers, detect, load_importer, unknown
from pivotrl_cli.importers.results import File, Reported
from pivotrl_cli.readers.document import RowsDocument, bad_record
from pivotrl_cli.readers.fields import RecordError
from pivotrl_cli.readers.sources import Source, find_sources
from pivotrl_cli.rows import EvalResult, Reject, Summary, SummaryPart
from pivotrl_cli.stages.eval.summary import BenchmarkScores, summarize
from pivotrl_cli.storage.provenance import Input, Provenance, file_input
from pivotrl_cli.storage.table import cached_summary
from pivotrl_cli.storage.table_writer import TableWriter

if TYPE_CHECKING:
    from rich.console import RenderableType

_SHOWN = 5


class ReportedMean(SummaryPart):
    """A mean that the harness states, beside ours."""

    benchmark: str
    model: str
    metric: str
    mean: float
    n: int | None
    """Tasks or samples behind it, if it says."""
    agrees: str | None
    """How our rows give the same mean: with `errors left out` or `errors as 0`; null if neither does."""


class ImportSummary(Summary):
    """Summary of `import-eval`."""

    model: str
    benchmarks: dict[str, BenchmarkScores]
    reported: list[ReportedMean]
    formats: dict[str, int]
    """Files by format."""
    skipped: list[str]
    """Files of a folder that the importer, or any importer, does not recognise."""
    n_rejected: int
    """Records that could not be read."""
    rejected: list[str]
    """The first of these, with place and reason."""


def run(config: ImportConfig) -> ImportSummary:
    """Import the results of another harness."""
    sources = find_sources(config.sources)
    names = hashlib.sha256("\n".join(source.name for source in sources).encode()).hexdigest()
    provenance = Provenance.of("import-eval", EvalResult, config, _inputs(config, sources), {"source names": names})
    summary = cached_summary(config.output, provenance, config.force, ImportSummary)
    if summary is None:
        results = _Results(config)
        with TableWriter(config.output, EvalResult, provenance) as out:
            for row in results.rows(sources):
                out.write(row)
            summary = results.summary()
            out.set_summary(summary.to_metadata())
    _check_errors(summary, config)
    return summary


def _inputs(config: ImportConfig, sources: list[Source]) -> list[Input]:
    """The sources, and the files that are read along with them."""
    named = [Input(source.name, digest) for source in sources for digest in source.digests()]
    known = {source.path for source in sources}
    return named + [
        file_input(path) for path in _companion_files(config, sources) if path not in known and path.is_file()
    ]


def _companion_files(config: ImportConfig, sources: list[Source]) -> Iterator[Path]:
    for source in sources:
        for file in source.documents():
            if isinstance(file, File):
                found = (config.format, "") if config.format != "auto" else detect(file)
                importer = load_importer(found[0]) if found else None
                if isinstance(importer, WithOthers):
                    yield importer.beside(file)


@dataclass
class _Results:
    """Reads the files; keeps what the summary needs of the rows that go by."""

    config: ImportConfig
    kept: list[EvalResult] = field(default_factory=list)
    """Rows without their transcripts."""
    stated: list[Reported] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    formats: Counter[str] = field(default_factory=Counter)
    skipped: list[str] = field(default_factory=list)
    _places: dict[tuple[str, str, int], str] = field(default_factory=dict)

    def rows(self, sources: list[Source]) -> Iterator[EvalResult]:
        """Rows of all files, each task and trial once."""
        for source in sources:
            for file in source.documents():
                importer = self._importer(source, file)
                if importer:
                    yield from self._file(importer, cast(File, file))
        if not self.kept:
            first = f", the first: {_place(self.rejects[0])}" if self.rejects else ""
            raise InputError(
                f"no result of a single task in {', '.join(s.name for s in sources[:3])}{first}",
                "name the files with one record per sample (lm-eval writes them with --log_samples)",
            )
        several = list(dict.fromkeys(benchmark for benchmark, _, _ in self._places))
        if self.config.benchmark and len(several) > 1:
            raise ConfigError(
                f"--benchmark names one benchmark, and there are several: {', '.join(several)}", "leave it out"
            )

    def _importer(self, source: Source, file: object) -> Importer | None:
        if isinstance(file, RowsDocument):
            raise InputError(f"{source.name}: a data set, not a harness's results", "name its JSON files or logs")
        known = cast(File, file)
        if self.config.format != "auto":
            importer = load_importer(self.config.format)
            if not source.named and importer.sniff(known) is None:
                self.skipped.append(source.name)
                return None
            self.formats[self.config.format] += 1
            return importer
        detected = detect(known)
        if detected is None:
            if source.named:
                raise unknown(known)
            self.skipped.append(source.name)
            return None
        self.formats[f"{detected[0]}: {detected[1]}"] += 1
        return load_importer(detected[0])

    def _file(self, importer: Importer, file: File) -> Iterator[EvalResult]:
        try:
            for one in importer.read(file, self.config.metric):
                if isinstance(one, Reject):
                    self.rejects.append(one)
                elif self.config.model in (None, one.model):
                    if isinstance(one, Reported):
                        self.stated.append(one)
                    else:
                        yield self._row(one, file.source)
        except RecordError as error:
            self.rejects.append(bad_record(file.source, 0, str(error)))

    def _row(self, row: EvalResult, source: str) -> EvalResult:
        """The row under its final name; refuses a second model, and a second result for the same task and trial."""
        if self.kept and row.model != self.kept[0].model:
            raise ConfigError(
                f"results of several models: {self.kept[0].model!r} and {row.model!r} in {source}",
                "--model NAME takes one; a table holds one model's results",
            )
        key = row.benchmark, row.task_id, row.trial
        if key in self._places:
            raise InputError(
                f"{source}: {row.benchmark} {row.task_id} trial {row.trial} is in {self._places[key]} too",
                "import one of the two runs",
            )
        self._places[key] = source
        named = row.model_copy(update={"benchmark": self.config.benchmark}) if self.config.benchmark else row
        self.kept.append(named.model_copy(update={"transcript": []}))
        return named

    def summary(self) -> ImportSummary:
        benchmarks = summarize(self.kept).benchmarks
        return ImportSummary(
            model=self.kept[0].model,
            benchmarks=benchmarks,
            reported=[self._reported(one, benchmarks) for one in self.stated],
            formats=dict(sorted(self.formats.items())),
            skipped=self.skipped,
            n_rejected=len(self.rejects),
            rejected=[_place(reject) for reject in self.rejects[:_SHOWN]],
        )

    def _reported(self, one: Reported, benchmarks: dict[str, BenchmarkScores]) -> ReportedMean:
        benchmark = self.config.benchmark or one.benchmark
        agrees = _agreement(one.mean, benchmarks.get(benchmark))
        return ReportedMean(
            benchmark=benchmark, model=one.model, metric=one.metric, mean=one.mean, n=one.n, agrees=agrees
        )


def _place(reject: Reject) -> str:
    line = f" record {reject.line}" if reject.line else ""
    return f"{reject.source}{line}: {reject.detail}"


def _agreement(reported: float, ours: BenchmarkScores | None) -> str | None:
    """The convention by which our rows give the reported mean; None if neither does."""
    if ours is None:
        return None
    conventions = {"errors left out": ours.mean, "errors as 0": ours.mean_errors_as_zero}
    equal = (name for name, mean in conventions.items() if mean is not None and _same(mean, reported))
    return next(equal, None)


def _same(ours: float, reported: float) -> bool:
    return math.isclose(ours, reported, abs_tol=5e-5)  # a reported mean may be rounded to a hundredth of a percent


def _check_errors(summary: ImportSummary, config: ImportConfig) -> None:
    ones = summary.benchmarks.values()
    n = sum(one.n for one in ones) + summary.n_rejected
    n_failed = sum(one.n_unscored for one in ones) + summary.n_rejected
    if n_failed > config.max_error_rate * n:
        unscored = [f"{name} {one.first_unscored}" for name, one in summary.benchmarks.items() if one.n_unscored]
        first = [*unscored, *summary.rejected][0]
        raise RunError(
            f"{n_failed} of {n} rows were not measured or could not be read, the first: {first}",
            f"see the error column of {config.output}; --max-error-rate accepts it",
        )


def describe(summary: ImportSummary) -> RenderableType:
    """The means for a terminal, ours beside the harness's."""
    from rich.console import Group
    from rich.table import Table as RichTable

    table = RichTable(title=f"import-eval {summary.model}", title_justify="left", box=None, pad_edge=False)
    for column in ("benchmark", "n", "mean", "errors as 0", "reported", "status"):
        table.add_column(column, justify="left" if column in ("benchmark", "status") else "right")
    for name, one in summary.benchmarks.items():
        reported = ", ".join(_reported_text(r, one) for r in summary.reported if r.benchmark == name)
        status = ", ".join(f"{key} {n:,}" for key, n in one.status.items())
        mean = "-" if one.mean is None else f"{one.mean:.4f}"
        table.add_row(name, f"{one.n:,}", mean, f"{one.mean_errors_as_zero:.4f}", reported, status)
    return Group(table, *_file_lines(summary))


def _reported_text(one: ReportedMean, ours: BenchmarkScores) -> str:
    """A reported mean, and whether it is one of ours."""
    size = f" over {one.n:,}" if one.n not in (None, ours.n) else ""
    return f"{one.mean:.4f}{size}{'' if one.agrees else ', ours differs'}"


def _file_lines(summary: ImportSummary) -> Iterator[str]:
    yield from (f"{n:,} files by {name}" for name, n in summary.formats.items())
    if summary.skipped:
        more = " ..." if len(summary.skipped) > _SHOWN else ""
        yield f"{len(summary.skipped):,} files not recognised: {', '.join(summary.skipped[:_SHOWN])}{more}"
    if summary.n_rejected:
        yield f"{summary.n_rejected:,} records could not be read: {'; '.join(summary.rejected)}"
