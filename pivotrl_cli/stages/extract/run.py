"""extract: trajectories to candidates, one row per assistant turn.

A candidate is a state (the messages before) and the demonstrated action. Nothing disappears: each assistant turn of a
readable record, and each record that cannot be read, becomes a candidate, a reject with an enumerated reason, or is
filtered because the user asked for it. The three add up to what came in, and an assertion holds that.

Ids derive from content, so they survive the renaming and merging of files; an exact repetition of a trajectory gets
`~2`, `~3`. Where records are pieces of one run, the id is the run's. The holdout split goes by task where the task is
known, because trials of one task are much alike.

Left out: the repair of broken records, and any judgement of a turn beyond the check that its verifier accepts its own
demonstration.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pivotrl_cli.configs import ExtractConfig
from pivotrl_cli.errors import ConfigError, InputError
from pivotrl_cli.readers import describe_head, detect, load_reader, unknown
from pivotrl_cli.readers.document import Document
from pivotrl_cli.readers.fields import Json, compact
from pivotrl_cli.readers.messages import tools_of
from pivotrl_cli.readers.parsing import parse_json
from pivotrl_cli.readers.sources import Source, find
from pivotrl_cli.rows import Candidate, Message, Profile, Reject, RejectReason, Row, Trajectory
from pivotrl_cli.stages.extract.counts import Tally, describe
from pivotrl_cli.stages.extract.hygiene import Contamination, Repetitions
from pivotrl_cli.stages.extract.recorded_rewards import Publication
from pivotrl_cli.stages.extract.turns import Split, candidates_of, trajectory_id, turns_of, uniform
from pivotrl_cli.storage.provenance import Input, Provenance, file_input, source_fingerprint
from pivotrl_cli.storage.table import TableWriter, current_summary
from pivotrl_cli.verifiers import Verifier, load_verifier, rule_of

__all__ = ["describe", "run"]


def run(config: ExtractConfig) -> dict[str, Any]:
    """Write the candidates and the rejects; the summary says what became of everything that came in."""
    rejects = rejects_path(config)
    sources = [source for source in find(config.sources) if not _is_own_output(source, config, rejects)]
    provenance = Provenance.of("extract", Candidate, config, _inputs(sources), _fingerprints(config, sources))
    stored = _stored(config, provenance, rejects)
    if stored is not None:
        return stored | {"cached": True}
    extraction = Extraction.of(config)
    others: dict[type[Candidate | Reject], Path | None] = {Reject: rejects, Profile: config.profile}
    with ExitStack() as stack:
        writers = [TableWriter(config.output, Candidate, provenance)]
        writers += [TableWriter(path, row, provenance.for_table(row)) for row, path in others.items() if path]
        for writer in writers:
            stack.enter_context(writer)
        _write(extraction, sources, writers)
        summary = extraction.summary()
        for writer in writers:
            writer.set_summary(summary)
    return summary


def rejects_path(config: ExtractConfig) -> Path | None:
    """Where the rejects go: `candidates.parquet` -> `candidates.rejects.parquet`; nowhere beside standard output."""
    if config.rejects or config.output == "-":
        return config.rejects
    return Path(config.output).with_suffix(".rejects.parquet")


@dataclass
class Choice:
    """Which verifier a turn gets: the one for its tool, else the one for its domain, else the default."""

    default: str
    by_key: dict[str, str]
    checks: dict[str, Verifier]
    """By name: the part that needs no judge, which a demonstration must pass."""
    used: set[str] = field(default_factory=set)
    """Keys that a turn had."""

    @classmethod
    def of(cls, config: ExtractConfig) -> Choice:
        """From `--verifier` and `--verifier-for`."""
        by_key: dict[str, str] = {}
        for text in config.verifier_for:
            key, _, name = text.partition("=")
            if not key or not name:
                raise ConfigError(f"--verifier-for {text}: not KEY=NAME", "such as --verifier-for airline=execute")
            if by_key.setdefault(key, name) != name:
                raise ConfigError(f"--verifier-for {key} is given twice", "name one verifier for each tool or domain")
        names = {config.verifier, *by_key.values()}
        return cls(config.verifier, by_key, {name: load_verifier(rule_of(name)) for name in names})

    def __call__(self, trajectory: Trajectory, action: Message) -> tuple[str, Verifier]:
        """Name and check; of several calls the first that has a verifier of its own decides."""
        keys = [*(call.name for call in action.tool_calls), trajectory.domain]
        key = next((key for key in keys if key in self.by_key), None)
        if key is None:
            return self.default, self.checks[self.default]
        self.used.add(key)
        return self.by_key[key], self.checks[self.by_key[key]]


@dataclass
class Extraction:
    """One pass over the sources."""

    config: ExtractConfig
    choice: Choice
    system: Message | None
    tools: str | None
    repetitions: Repetitions | None
    contamination: Contamination | None
    publication: Publication | None
    tally: Tally = field(default_factory=Tally)
    _seen: Counter[tuple[str, int]] = field(default_factory=Counter)

    @classmethod
    def of(cls, config: ExtractConfig) -> Extraction:
        """With the verifier loaded and the supplied files read."""
        system = read_system(config.system) if config.system else None
        tools = read_tools(config.tools) if config.tools else None
        repetitions = Repetitions() if config.dedup else None
        publication = Publication() if config.profile else None
        return cls(config, Choice.of(config), system, tools, repetitions, Contamination.of(config), publication)

    def rows(self, sources: Iterable[Source], ended: Callable[[], None] = lambda: None) -> Iterator[Candidate | Reject]:
        """Candidates and rejects in the order of the input, counted on the way.

        `ended` is called after each record, when nothing here holds it any more: it may be large.
        """
        for found in self._read(sources):
            if isinstance(found, Reject):
                self.tally.give(found)
                yield found
            else:
                yield from self._turns(self._supply(found))
            del found
            ended()
            if self.tally.n_trajectories == self.config.limit:
                return

    def summary(self) -> dict[str, Any]:
        """The account, and what the hygiene options found."""
        found: dict[str, Any] = {"contamination": self.contamination.summary()} if self.contamination else {}
        found |= {"recorded": self.publication.summary()} if self.publication else {}
        if unused := sorted(self.choice.by_key.keys() - self.choice.used):
            found["unused_verifier_keys"] = unused
        return self.tally.summary() | found

    def _read(self, sources: Iterable[Source]) -> Iterator[Trajectory | Reject]:
        for source in sources:
            try:
                for document in source.documents():
                    yield from self._read_document(document, source.named)
            except InputError as error:
                if source.named:
                    raise
                yield _whole(source.name, RejectReason.BAD_RECORD, error.message)

    def _read_document(self, document: Document, named: bool) -> Iterator[Trajectory | Reject]:
        found = self._format(document)
        if found is None and named:
            raise unknown(document)
        if found is None:
            yield _whole(document.source, RejectReason.UNKNOWN_FORMAT, describe_head(document.head))
            return
        self.tally.open(document.source, *found)
        yield from load_reader(found[0]).read(document)

    def _format(self, document: Document) -> tuple[str, str] | None:
        if document.head.container == "empty":
            return None
        return detect(document) if self.config.format == "auto" else (self.config.format, "--format")

    def _supply(self, trajectory: Trajectory) -> Trajectory:
        """The trajectory with what its record lacks and the user gives."""
        update: dict[str, Any] = {}
        if self.system:
            lacks = all(message.role != "system" for message in trajectory.messages)
            update |= behind(self.system, trajectory) if lacks else {}
            self.tally.supplied["system"] += lacks
        if self.tools:
            lacks = trajectory.tools == "[]"
            update |= {"tools": self.tools} if lacks else {}
            self.tally.supplied["tools"] += lacks
        return trajectory.model_copy(update=update)

    def _turns(self, trajectory: Trajectory) -> Iterator[Candidate | Reject]:
        n_turns = len(turns_of(trajectory))
        if n_turns:
            kept = self._passes(trajectory.outcome)
            self.tally.take(trajectory, n_turns, kept, self.config.success_threshold)
            if not kept:
                return
        for row in self._clean(trajectory, self._rows(trajectory)):
            self.tally.give(row, trajectory.domain)
            yield row

    def _rows(self, trajectory: Trajectory) -> Iterator[Candidate | Reject]:
        return candidates_of(trajectory, *self._labels(trajectory), self.choice)

    def _clean(self, trajectory: Trajectory, rows: Iterator[Candidate | Reject]) -> Iterator[Candidate | Reject]:
        """The rows without those that the hygiene options turn into rejects."""
        if self.contamination:
            rows = self.contamination.checked(trajectory, rows)
        return self.repetitions.dropped(trajectory, rows) if self.repetitions else rows

    def _passes(self, outcome: float | None) -> bool:
        limits = [self.config.success_threshold] if self.config.only_successful else []
        limits += [self.config.min_outcome] if self.config.min_outcome is not None else []
        return all(outcome is not None and outcome >= limit for limit in limits)

    def _labels(self, trajectory: Trajectory) -> tuple[str, Split]:
        """Id and split; repetitions have ids of their own and share the split."""
        content = trajectory_id(trajectory)
        piece = content, min((turn for turn, _ in turns_of(trajectory)), default=0)
        self._seen[piece] += 1
        repetition = self._seen[piece]
        self.tally.n_repeated_trajectories += repetition > 1
        key = compact([self.config.seed, trajectory.domain, trajectory.task_id or content])
        split: Split = "holdout" if uniform(key) < self.config.holdout else "train"
        return (content if repetition == 1 else f"{content}~{repetition}"), split


def behind(system: Message, trajectory: Trajectory) -> dict[str, Any]:
    """What changes in a trajectory when a system message is put before it."""
    return {
        "messages": [system, *trajectory.messages],
        "context": [i + 1 for i in trajectory.context],
        "faults": [fault.model_copy(update={"message": fault.message + 1}) for fault in trajectory.faults],
    }


def read_tools(path: Path) -> str:
    """Tool schemas from a JSON file: a list, or an object that has it as `tools`."""
    try:
        tools = Json(parse_json(path.read_bytes()))
        return tools_of(tools["tools"] if isinstance(tools.value, dict) else tools)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}", "check the path given to --tools") from error
    except ValueError as error:
        raise InputError(f"{path}: {error}", "--tools takes a JSON list of function schemas") from error


def read_system(path: Path) -> Message:
    """System message from a text file."""
    try:
        return Message(role="system", content=path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {error}", "--system takes a UTF-8 text file") from error


def _is_own_output(source: Source, config: ExtractConfig, rejects: Path | None) -> bool:
    """Whether an earlier run left this in a folder that is now read."""
    outputs = {Path(path).resolve() for path in (config.output, rejects, config.profile) if path}
    return not source.named and Path(source.path).resolve() in outputs


def _write(extraction: Extraction, sources: Iterable[Source], writers: list[TableWriter]) -> None:
    def ended() -> None:
        for writer in writers:
            writer.end_trajectory()

    for row in extraction.rows(sources, ended):
        profiled = _profiled(row, extraction.publication)
        for writer in writers:
            if writer.row in (type(row), type(profiled)):
                writer.write(profiled if profiled and writer.row is Profile else row)
        del row, profiled  # they hold their trajectory


def _profiled(row: Candidate | Reject, publication: Publication | None) -> Profile | None:
    return publication.profile(row) if publication and isinstance(row, Candidate) else None


def _inputs(sources: Iterable[Source]) -> list[Input]:
    return [Input(source.name, digest) for source in sources for digest in source.digests()]


def _fingerprints(config: ExtractConfig, sources: Iterable[Source]) -> dict[str, str]:
    """What decides the table beside config and input: the sources' names, and the other files that were given."""
    files = {"tools": config.tools, "system": config.system, "check_against": config.check_against}
    supplied = {name: file_input(path).sha256 for name, path in files.items() if path}
    names = compact([source.name for source in sources])
    checks = sorted(Choice.of(config).checks.items())
    verifiers = {f"verifier {Path(name).name}": source_fingerprint(check) for name, check in checks}
    return {"source names": hashlib.sha256(names.encode()).hexdigest()} | verifiers | supplied


def _stored(config: ExtractConfig, provenance: Provenance, rejects: Path | None) -> dict[str, Any] | None:
    """The summary of an earlier run, if all that this run would write is there."""
    summary = current_summary(config.output, provenance, config.force)
    if summary is None:
        return None
    others: list[tuple[Path | None, type[Row]]] = [(rejects, Reject), (config.profile, Profile)]
    there = [current_summary(path, provenance.for_table(row), config.force) for path, row in others if path]
    return None if None in there else summary


def _whole(source: str, reason: RejectReason, detail: str) -> Reject:
    """A source that cannot be used at all."""
    return Reject(source=source, line=0, reason=reason, detail=detail)
