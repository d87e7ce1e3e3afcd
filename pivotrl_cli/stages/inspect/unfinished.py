"""Tables that a stage is still writing, for `inspect` and `report`.

    tuned.partial/               the metrics of the training steps that are done can be read
    profile.parquet.journal      the work that is done can be counted; its rows come with the table
    .candidates.parquet.partial  Parquet without its end, which nobody can read

Nothing is locked or changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pivotrl_cli.errors import InputError
from pivotrl_cli.rows import Row, StepMetrics
from pivotrl_cli.storage.files import open_input, partial_path
from pivotrl_cli.storage.journal import JournalReader, journal_path, unfinished_header
from pivotrl_cli.storage.table import Table, table_kind

METRICS, ROLLOUTS = "metrics.parquet", "rollouts.parquet"


@contextmanager
def open_table(path: str) -> Iterator[tuple[Table[Row], str | None]]:
    """Open any table of ours, with a note where an unfinished run is still writing it.

    A folder stands for the metrics of the training run in it. Raises `InputError`, which says how far the run is, where
    nothing can be read yet.
    """
    file, note = _resolve(path)
    kind = table_kind(file)
    with Table("standard input" if path == "-" else path, open_input(file), kind) as table:
        yield table, note


def _resolve(path: str) -> tuple[str, str | None]:
    """The Parquet file to read, and a note on it."""
    place = Path(path)
    if path == "-" or place.is_file():
        return path, "an unfinished run is about to replace this table" if _is_replaced(place) else None
    if place.is_dir() or _partial_folder(place).is_dir():
        return _resolve(str(place / METRICS))
    run = place.parent if place.parent.exists() else _partial_folder(place.parent)
    if place.name in (METRICS, ROLLOUTS) and run.name.endswith(".partial") and run.is_dir():
        return _training_table(run, place)
    try:
        if journal_path(path).is_file():
            raise InputError(f"{path}: still being written, {_progress(path)}", "wait for the run")
    except FileNotFoundError:  # the run has just ended
        return _resolve(path)
    if partial_path(path).is_file():
        size = partial_path(path).stat().st_size
        raise InputError(
            f"{path}: still being written, {size / 1e6:.1f} MB so far, which cannot be read before its end is there",
            "wait for the run, or run the same command again if it was interrupted",
        )
    return path, None  # opening it says what is wrong


def _partial_folder(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.partial")


def _is_replaced(file: Path) -> bool:
    in_training = file.name in (METRICS, ROLLOUTS) and _partial_folder(file.parent).is_dir()
    return in_training or journal_path(file).is_file() or partial_path(file).is_file()


def _training_table(run: Path, wanted: Path) -> tuple[str, str]:
    """Metrics or rollouts of a training run that has not ended."""
    file, steps = run / wanted.name, sorted((run / "rollouts").glob("*.parquet"))
    if file.is_file() and wanted.name == METRICS:
        with Table.open(file, StepMetrics) as table:
            return str(file), f"the run is unfinished: {table.n_rows:,} steps so far"
    if file.is_file():
        return str(file), "the run is about to end"
    if wanted.name == ROLLOUTS and steps:
        raise InputError(
            f"{wanted}: still being written, {len(steps):,} steps so far, each in a table of its own",
            f"look at one of them, such as {steps[-1]}",
        )
    raise InputError(f"{wanted}: the run in {run} has not finished a step yet", "wait for it")


def _progress(path: str) -> str:
    """How far a run with a journal is, from the keys of what it has finished."""
    header = unfinished_header(path)
    with JournalReader.beside_output(path) as journal:
        keys = list(journal)
    match header["provenance"]["table"] if header and keys else None:
        case None:
            return "nothing is finished yet"
        case "profile":
            return f"{len({key.rpartition('/')[0] for key in keys}):,} candidates so far"
        case "eval":
            turns = [key for key in keys if not key.startswith("user/")]
            episodes = {key.rpartition("/")[0] for key in turns}
            return f"{len(turns):,} turns of {len(episodes):,} episodes so far; scores are known at its end"
        case _:
            return f"{len(keys):,} entries in its journal"
