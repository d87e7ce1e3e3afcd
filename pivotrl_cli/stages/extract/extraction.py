"""One pass over the sources: read, complete, split into turns, check, count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from pivotrl_cli.configs import ExtractConfig
from pivotrl_cli.errors import InputError
from pivotrl_cli.readers import describe_head, detect, load_reader, unknown_format
from pivotrl_cli.readers.document import Document
from pivotrl_cli.readers.fields import compact
from pivotrl_cli.readers.sources import Source
from pivotrl_cli.rows import Candidate, Reject, RejectReason, Trajectory
from pivotrl_cli.stages.extract.counts import Counts
from pivotrl_cli.stages.extract.hygiene import Contamination, Repetitions
from pivotrl_cli.stages.extract.recorded_rewards import RecordedProfiles
from pivotrl_cli.stages.extract.summary import ExtractSummary
from pivotrl_cli.stages.extract.supplied import Supplied
from pivotrl_cli.stages.extract.turns import Split, candidates_of, trajectory_id, turns_of, uniform
from pivotrl_cli.stages.extract.verifier_choice import VerifierChoice


@dataclass
class Extraction:
    """The options of a run and its counts."""

    config: ExtractConfig
    choice: VerifierChoice
    supplied: Supplied
    repetitions: Repetitions | None
    contamination: Contamination | None
    profiles: RecordedProfiles | None
    counts: Counts = field(default_factory=Counts)
    _seen: Counter[tuple[str, int]] = field(default_factory=Counter)

    @classmethod
    def from_config(cls, config: ExtractConfig) -> Extraction:
        """Loads the verifiers and reads the files that the options name."""
        return cls(
            config,
            VerifierChoice.from_config(config),
            Supplied.from_config(config),
            Repetitions() if config.dedup else None,
            Contamination.from_config(config),
            RecordedProfiles() if config.profile else None,
        )

    def rows(
        self, sources: Iterable[Source], on_record_end: Callable[[], None] = lambda: None
    ) -> Iterator[Candidate | Reject]:
        """Candidates and rejects in the order of the input, counted on the way.

        `on_record_end` is called after each record, when nothing here holds it any more: it may be large.
        """
        for found in self._read(sources):
            if isinstance(found, Reject):
                self.counts.count_row(found)
                yield found
            else:
                yield from self._turns(self.supplied.complete(found, self.counts.supplied))
            del found
            on_record_end()
            if self.counts.totals["n_trajectories"] == self.config.limit:
                return

    def summary(self) -> ExtractSummary:
        return self.counts.summary(
            unused_verifier_keys=self.choice.unused_keys(),
            contamination=self.contamination.summary() if self.contamination else None,
            recorded=self.profiles.summary() if self.profiles else None,
        )

    def _read(self, sources: Iterable[Source]) -> Iterator[Trajectory | Reject]:
        for source in sources:
            try:
                for document in source.documents():
                    yield from self._read_document(document, source.named)
            except InputError as error:
                if source.named:
                    raise
                yield _source_reject(source.name, RejectReason.BAD_RECORD, error.message)

    def _read_document(self, document: Document, named: bool) -> Iterator[Trajectory | Reject]:
        found = None
        if document.head.container != "empty":
            found = detect(document) if self.config.format == "auto" else (self.config.format, "--format")
        if found is None and named:
            raise unknown_format(document)
        if found is None:
            yield _source_reject(document.source, RejectReason.UNKNOWN_FORMAT, describe_head(document.head))
            return
        self.counts.add_source(document.source, *found)
        yield from load_reader(found[0]).read(document)

    def _turns(self, trajectory: Trajectory) -> Iterator[Candidate | Reject]:
        n_turns = len(turns_of(trajectory))
        if n_turns:
            outcome = trajectory.outcome
            limits = [self.config.success_threshold] if self.config.only_successful else []
            limits += [self.config.min_outcome] if self.config.min_outcome is not None else []
            kept = all(outcome is not None and outcome >= limit for limit in limits)
            self.counts.count_trajectory(trajectory, n_turns, kept, self.config.success_threshold)
            if not kept:
                return
        rows = candidates_of(trajectory, *self._id_and_split(trajectory), self.choice)
        if self.contamination:
            rows = self.contamination.check(trajectory, rows)
        if self.repetitions:
            rows = self.repetitions.check(trajectory, rows)
        for row in rows:
            self.counts.count_row(row, trajectory.domain)
            yield row

    def _id_and_split(self, trajectory: Trajectory) -> tuple[str, Split]:
        """Repetitions have ids of their own and share the split."""
        content = trajectory_id(trajectory)
        piece = content, min((turn for turn, _ in turns_of(trajectory)), default=0)
        self._seen[piece] += 1
        repetition = self._seen[piece]
        self.counts.totals["n_repeated_trajectories"] += repetition > 1
        key = compact([self.config.seed, trajectory.domain, trajectory.task_id or content])
        split: Split = "holdout" if uniform(key) < self.config.holdout else "train"
        return (content if repetition == 1 else f"{content}~{repetition}"), split


def _source_reject(source: str, reason: RejectReason, detail: str) -> Reject:
    return Reject(source=source, line=0, reason=reason, detail=detail)
