"""Finished work of a long stage, written as it comes, so that a killed run can be resumed.

JSON lines beside the output. The first line is the header, with the run's provenance; every other line is an entry:

    {"journal": 1, "provenance": {...}, "forced": false}
    {"key": "a-003/0+4", "value": {...}}                       a later entry of a key replaces the earlier one

    jq -c 'select(.key) | .key' profile.parquet.journal

A last line without a newline is what a kill left of it, and is cut off on opening. In memory is only where each key's
entry lies. A lock (`locks.py`) is held while a run has the journal open, so that two runs never write one output.
Entries go to the kernel as they are added and to the disk every `SYNC_SECONDS`: a killed process loses nothing, a
machine without power loses that much.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from pivotrl_cli.errors import InputError, OutputError
from pivotrl_cli.storage.files import sync_to_disk
from pivotrl_cli.storage.locks import Lock
from pivotrl_cli.storage.provenance import Provenance, differences

SYNC_SECONDS = 1.0
_HEADER = b'{"journal":'


def journal_path(output: str | Path) -> Path:
    """Journal of an output: `profile.parquet` -> `profile.parquet.journal`."""
    return Path(f"{output}.journal")


class JournalReader:
    """The entries of a journal, as another process may read them while its run writes; no lock is taken."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        """Raises `InputError` with the line number where a line other than the last is damaged."""
        self.path = path
        self.header: dict[str, Any] | None = None
        self._file = file
        self._places: dict[str, int] = {}
        """Offset of each key's last entry."""
        self._end = 0
        """Offset behind the last whole line."""
        file.seek(0)
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                if number == 1 and not _HEADER.startswith(line[: len(_HEADER)]):
                    raise self._foreign()
                break
            if number == 1:
                self.header = self._parse_line(line, number, "journal")
            else:
                self._places[self._parse_line(line, number, "key")["key"]] = self._end
            self._end += len(line)

    @classmethod
    @contextmanager
    def beside_output(cls, output: str | Path) -> Iterator[JournalReader]:
        """Open the journal of an output for reading."""
        with journal_path(output).open("rb") as file:
            yield cls(journal_path(output), file)

    def __contains__(self, key: object) -> bool:
        return key in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def read(self, keys: Iterable[str]) -> dict[str, Any]:
        """Values of those keys that are there."""
        return {key: self._value(key) for key in keys if key in self._places}

    def _value(self, key: str) -> Any:
        self._file.seek(self._places[key])
        with suppress(ValueError, KeyError, TypeError):
            entry = json.loads(self._file.readline())
            if entry["key"] == key:
                return entry["value"]
        raise InputError(f"{self.path}: changed while it was read", "another run started it anew; look again")

    def _parse_line(self, line: bytes, number: int, expected: str) -> dict[str, Any]:
        """A whole line as an object that has the expected key."""
        with suppress(ValueError):
            parsed = json.loads(line)
            if isinstance(parsed, dict) and expected in parsed:
                return parsed
        if number == 1:
            raise self._foreign()
        raise InputError(
            f"{self.path} line {number}: damaged",
            f"keep the lines before it (head -n {number - 1}), or add --force to discard all",
        )

    def _foreign(self) -> OutputError:
        return OutputError(f"{self.path} exists and is not a journal of pivotrl", "move it away, or add --force")


class Journal(JournalReader):
    """An append-only record of finished work; a context manager that closes it, and removes it if it has no entry.

    Example: `with Journal.beside("profile.parquet", provenance) as journal: journal.add({"a-003/0+4": {...}})`
    """

    def __init__(self, path: Path, file: BinaryIO, lock: Lock, provenance: Provenance, *, force: bool) -> None:
        """Open a file whose lock is held; one without entries gets a new header."""
        super().__init__(path, file)
        self._refuse_another(provenance)
        self._lock = lock
        self._synced = time.monotonic()
        if not self._places:
            self._end = 0
        file.truncate(self._end)
        if not self._places:
            self._append({"journal": 1, "provenance": provenance.to_dict(), "forced": force})
            sync_to_disk(path.parent)

    @classmethod
    def beside(cls, output: str | Path, provenance: Provenance, *, force: bool = False) -> Journal:
        """Open the journal of an output, or start it; `force` starts it anew.

        Raises `OutputError` if another run has it open, or if it holds the work of a run made differently.
        """
        path = journal_path(output)
        with ExitStack() as on_error:
            lock = on_error.enter_context(Lock(path, output))
            file = on_error.enter_context(_open_or_create(path))
            if force:
                file.truncate(0)
            journal = cls(path, file, lock, provenance, force=force)
            on_error.pop_all()
        return journal

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file.closed:
            return
        if self._places:
            with suppress(OSError):  # on a full disk another error is on its way; a line without its end is cut off
                os.fsync(self._file.fileno())
            with suppress(OSError):
                self._file.close()
            self._lock.release()
        else:
            self.remove()

    def add(self, entries: Mapping[str, Any]) -> None:
        """Record finished work: values, which must be JSON, by their keys."""
        places = self._append(*({"key": key, "value": value} for key, value in entries.items()))
        self._places |= dict(zip(entries, places, strict=True))

    def remove(self) -> None:
        """Delete the journal, since the output is complete; the lock is released after that."""
        self.path.unlink(missing_ok=True)
        with suppress(OSError):
            self._file.close()
        self._lock.release()

    def _append(self, *entries: dict[str, Any]) -> list[int]:
        """Write one line for each; returns their offsets."""
        places, lines = [], b""
        for entry in entries:
            places.append(self._end + len(lines))
            lines += json.dumps(entry, separators=(",", ":")).encode() + b"\n"
        try:
            self._file.seek(self._end)
            self._file.write(lines)
            self._file.flush()
            self._end += len(lines)
            if time.monotonic() - self._synced >= SYNC_SECONDS:
                os.fsync(self._file.fileno())
                self._synced = time.monotonic()
        except OSError as error:
            raise OutputError(f"{self.path}: {error.strerror}", "free some space; finished work is kept") from error
        return places

    def _refuse_another(self, provenance: Provenance) -> None:
        """Raise unless the journal has no entries, or only those of this run."""
        changed = differences(self.header["provenance"], provenance.to_dict()) if self._places and self.header else []
        if changed:
            raise OutputError(
                f"{self.path} is of an unfinished run made differently: {'; '.join(changed)}",
                "finish that run first, add --force to discard it, or choose another -o",
            )


class MemoryJournal(dict[str, Any]):
    """The journal of a run that writes none: its entries are kept in memory."""

    def add(self, entries: Mapping[str, Any]) -> None:
        """Keep finished work."""
        self.update(entries)

    def read(self, keys: Iterable[str]) -> dict[str, Any]:
        """Values of those keys that are there."""
        return {key: self[key] for key in keys if key in self}

    def remove(self) -> None:
        """Forget all entries."""
        self.clear()


def unfinished_header(output: str | Path) -> dict[str, Any] | None:
    """Header of the journal beside an output, with its provenance and whether it was started by force; None if none."""
    try:
        with journal_path(output).open("rb") as file:
            header = json.loads(file.readline())
    except (OSError, ValueError):
        return None
    return header if isinstance(header, dict) and "journal" in header else None


def _open_or_create(path: Path) -> BinaryIO:
    try:
        return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
    except OSError as error:
        raise OutputError(f"{path}: {error.strerror}", "choose a folder that can be written") from error
