"""Tables as they stand while a stage still writes them, for `inspect`.

    profile.parquet.journal      what is sampled so far, put to the rows of the candidates table it is made from
    tuned.partial/               the metrics and the rollouts of the steps that are done
    .candidates.parquet.partial  Parquet without its end, which nobody can read

Nothing is locked or changed. What is put together goes to a temporary file, so that all that is done with a table can
be done with it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pivotrl_cli.errors import InputError
from pivotrl_cli.rows import Candidate, Profile, Row, StepMetrics, TrainRollout
from pivotrl_cli.storage.arrow import with_columns
from pivotrl_cli.storage.files import open_input, partial_path
from pivotrl_cli.storage.journal import JournalReader, journal_path, unfinished
from pivotrl_cli.storage.provenance import Input, Provenance
from pivotrl_cli.storage.table import Table, TableWriter, table_kind

METRICS, ROLLOUTS = "metrics.parquet", "rollouts.parquet"


@dataclass(frozen=True, slots=True)
class Opened:
    """A table, and where it is not what the run will leave there: how far it is."""

    table: Table[Row]
    note: str | None = None


@contextmanager
def opened(path: str, candidates: Path | None = None) -> Iterator[Opened]:
    """Open any table of ours, finished or not; a folder stands for the metrics of the training run in it.

    `candidates` is the table that an unfinished profile is made from, where it is not beside it. Raises `InputError`
    where nothing can be read yet.
    """
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pivotrl-")))
        file, note = _resolve(path, candidates, scratch)
        kind = table_kind(file)
        name = "standard input" if path == "-" else path
        yield Opened(stack.enter_context(Table(name, open_input(file), kind)), note)


def _resolve(path: str, candidates: Path | None, scratch: Path) -> tuple[str, str | None]:
    """The Parquet file to read, and a note on it."""
    place = Path(path)
    if path == "-" or place.is_file():
        return path, _rewriting(path)
    if place.is_dir() or _partial_folder(place).is_dir():
        return _resolve(str(place / METRICS), candidates, scratch)
    if place.name in (METRICS, ROLLOUTS):
        folder = _partial_folder(place.parent) if not place.parent.exists() else place.parent
        if folder.name.endswith(".partial") and folder.is_dir():
            return _of_training(folder, place, scratch)
    if journal_path(path).is_file():
        try:
            return _of_journal(path, candidates, scratch)
        except FileNotFoundError:  # the run has just ended
            return _resolve(path, candidates, scratch)
    if partial_path(path).is_file():
        size = partial_path(path).stat().st_size
        raise InputError(
            f"{path}: still being written, {size / 1e6:.1f} MB so far, which cannot be read before its end is there",
            "wait for the run, or run it again if it was ended",
        )
    return path, None  # opening it says what is wrong


def _partial_folder(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.partial")


def _rewriting(path: str) -> str | None:
    place = Path(path)
    of_training = place.name in (METRICS, ROLLOUTS) and _partial_folder(place.parent).is_dir()
    if path != "-" and (of_training or journal_path(path).is_file() or partial_path(path).is_file()):
        return "an unfinished run is about to replace this; here is what stands there now"
    return None


# ---- training ---------------------------------------------------------------------------------------------------


def _of_training(folder: Path, wanted: Path, scratch: Path) -> tuple[str, str]:
    """Metrics or rollouts of a run that has not ended."""
    steps = sorted((folder / "rollouts").glob("*.parquet"))
    there = folder / wanted.name
    if wanted.name == METRICS and there.is_file():
        with Table.open(there, StepMetrics) as table:
            return str(there), f"the run is unfinished: {table.n_rows:,} steps so far"
    if there.is_file():
        return str(there), "the run is about to end"
    if wanted.name == ROLLOUTS and steps:
        note = f"the run is unfinished: {len(steps):,} steps with rollouts so far"
        return str(_joined(steps, scratch / ROLLOUTS)), note
    raise InputError(f"{wanted}: the run in {folder} has not finished a step yet", "wait for it")


def _joined(parts: list[Path], output: Path) -> Path:
    with Table.open(parts[0], TrainRollout) as first:
        stored = first.provenance or {}
    with TableWriter(output, TrainRollout, _provenance(stored, TrainRollout)) as out:
        for part in parts:
            with Table.open(part, TrainRollout) as table:
                for rows in table.tables():
                    out.write_table(rows)
    return output


# ---- what has a journal -----------------------------------------------------------------------------------------


def _of_journal(path: str, candidates: Path | None, scratch: Path) -> tuple[str, str]:
    """What is sampled so far, as the profile of those candidates; of other tables only how far they are."""
    header = unfinished(path)
    stored = header["provenance"] if header else {}
    with JournalReader.beside_output(path) as journal:
        if stored.get("table") != "profile" or not journal:
            raise InputError(f"{path}: still being written, {_so_far(journal, stored)}", "wait for the run")
        names = _by_candidate(journal)
        source = _source(path, stored["inputs"][0], candidates, len(names))
        with Table.open(source, Candidate) as table:
            note = f"the run is unfinished: {len(names):,} of {table.n_rows:,} candidates so far"
            return str(_snapshot(table, journal, names, stored, scratch / "profile.parquet")), note


def _so_far(journal: JournalReader, stored: dict[str, Any]) -> str:
    """What is done where it makes no rows yet: an episode's score is known when the run puts its turns together."""
    if not journal:
        return "nothing is finished yet"
    if stored.get("table") != "eval":
        return f"{len(journal):,} entries in its journal"
    turns = [name for name in journal if not name.startswith("user/")]
    episodes = {name.rpartition("/")[0] for name in turns}
    return f"{len(turns):,} turns of {len(episodes):,} episodes so far; scores are known at its end"


def _by_candidate(journal: JournalReader) -> dict[str, list[str]]:
    """Names of a journal's entries, by candidate."""
    from pivotrl_cli.stages.profile.samples import parse_journal_key

    names: dict[str, list[str]] = {}
    for name in journal:
        names.setdefault(parse_journal_key(name)[0], []).append(name)
    return names


def _source(path: str, wanted: dict[str, Any], given: Path | None, n_done: int) -> Path:
    """The candidates table that the run reads, known by its content."""
    places = [given] if given else [Path(path).with_name(wanted["name"]), Path(wanted["name"])]
    for place in places:
        if place.is_file():
            with Table.open(place, Candidate) as table:
                if table.as_input().sha256 == wanted["sha256"]:
                    return place
    where = f"{given} is not the table" if given else f"there is no {wanted['name']} beside it"
    raise InputError(
        f"{path}: still being written, {n_done:,} candidates so far; {where} that it is made from",
        "name it with --candidates",
    )


def _snapshot(
    candidates: Table[Candidate],
    journal: JournalReader,
    names: dict[str, list[str]],
    stored: dict[str, Any],
    output: Path,
) -> Path:
    """The finished candidates' rows with their statistics, in the order of the candidates."""
    from pivotrl_cli.stages.profile.samples import Samples, append_round
    from pivotrl_cli.stages.profile.statistics import ADDED, statistics

    ids = candidates.frame(["candidate_id"])["candidate_id"].to_list()
    done = np.array([key in names for key in ids])
    with TableWriter(output, Profile, _provenance(stored, Profile)) as out:
        for table, numbers in candidates.chosen(done):
            found: dict[str, Samples] = {}
            values = journal.read([name for i in numbers for name in names[ids[i]]])
            for name, value in sorted(values.items(), key=lambda item: _first_sample(item[0])):
                found = append_round(found, {name.rpartition("/")[0]: Samples.model_validate(value)})
            added = [statistics(found[ids[i]]) for i in numbers]
            out.write_table(with_columns(table, Profile, {name: [one[name] for one in added] for name in ADDED}))
    return output


def _first_sample(name: str) -> int:
    return int(name.rpartition("/")[2].partition("+")[0])


def _provenance(stored: dict[str, Any], row: type[Row]) -> Provenance:
    inputs = [Input(i["name"], i["sha256"], i.get("provenance")) for i in stored["inputs"]]
    made = Provenance(stored["table"], stored["command"], stored["config"], inputs, stored["fingerprints"])
    return made.for_table(row)
