"""Finished work of a long stage, written as it comes, so that a killed run goes on where it was.

A magic line, then frames: the lengths of keys and body, their checksum, the keys as JSON, the body as compressed JSON.
The first frame is the header, with the run's provenance; each other one is a finished batch, which is there whole or
not at all. What a kill or a power cut left of a last frame is cut off on opening. A later value of a key replaces the
earlier one. In memory is only where each key's batch lies.

A lock (`locks.py`) is held while a run has it open, so that two runs never write one output. Every batch goes to the
kernel as it is added, and to the disk every `SYNC_SECONDS`: a killed process loses nothing, a machine without power
that much.
"""

from __future__ import annotations

import json
import os
import struct
import time
import zlib
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
_MAGIC = b"pivotrl journal 1\n"
_FRAME = struct.Struct("<III")
"""Bytes of the keys, bytes of the body, CRC-32 of both."""


def journal_path(output: str | Path) -> Path:
    """Where the journal of an output lies: `profile.parquet` -> `profile.parquet.journal`."""
    return Path(f"{output}.journal")


class JournalReader:
    """What is finished in a journal, as another process may look at it while its run goes on; no lock is taken."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self._file = file
        self._places: dict[str, int] = {}
        """Key to the offset of its last batch."""
        frames = list(_keys_and_places(file))
        self._end = frames[-1][2] if frames else 0
        self._n_frames = len(frames)
        for keys, place, _ in frames[1:]:
            self._places.update(dict.fromkeys(keys, place))

    @classmethod
    @contextmanager
    def beside_output(cls, output: str | Path) -> Iterator[JournalReader]:
        """The journal of an output, to be read alone."""
        with journal_path(output).open("rb") as file:
            yield cls(journal_path(output), file)

    def __contains__(self, key: object) -> bool:
        return key in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def read(self, keys: Iterable[str]) -> dict[str, Any]:
        """The values of those keys that are there; each batch is read once."""
        wanted: dict[int, list[str]] = {}
        for key in keys:
            if key in self._places:
                wanted.setdefault(self._places[key], []).append(key)
        found: dict[str, Any] = {}
        for place, names in wanted.items():
            batch = self._batch(place)
            found |= {name: batch[name] for name in names}
        return found

    def _batch(self, place: int) -> dict[str, Any]:
        self._file.seek(place)
        frame = _read_frame(self._file)
        if frame is None:
            raise InputError(f"{self.path}: changed while it was read", "another run began it anew; look again")
        keys, body = frame
        return dict(zip(keys, json.loads(zlib.decompress(body)), strict=True))


class Journal(JournalReader):
    """An append-only record of finished work; a context manager that closes it, and removes it if it holds nothing.

    Example: `with Journal.beside("profile.parquet", provenance) as journal: journal.add({"a-003": {...}})`
    """

    def __init__(self, path: Path, file: BinaryIO, lock: Lock, header: dict[str, Any]) -> None:
        """Of a file whose lock is held; one that holds nothing gets the header."""
        super().__init__(path, file)
        self._lock = lock
        self._synced = time.monotonic()
        if self._n_frames <= 1:
            self._end = 0
            self._append(_MAGIC + _frame([], header))
            sync_to_disk(path.parent)
        self._file.truncate(self._end)

    @classmethod
    def beside(cls, output: str | Path, provenance: Provenance, *, force: bool = False) -> Journal:
        """Open the journal of an output, or begin it; `force` begins it anew.

        Raises `OutputError` where another run has it open, or where it holds the work of a run made differently.
        """
        path = journal_path(output)
        with ExitStack() as failed:
            lock = failed.enter_context(Lock(path, output))
            file = failed.enter_context(_opened(path))
            if force:
                file.truncate(0)
            _refuse_another(path, file, provenance)
            journal = cls(path, file, lock, {"provenance": provenance.to_dict(), "forced": force})
            failed.pop_all()
        return journal

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file.closed:
            return
        if self._places:
            with suppress(OSError):  # on a full disk another error is on its way, and every frame has its checksum
                os.fsync(self._file.fileno())
            with suppress(OSError):
                self._file.close()
            self._lock.release()
        else:
            self.remove()

    def add(self, batch: Mapping[str, Any]) -> None:
        """Record a finished batch: its values, which must be JSON, by their keys."""
        place = self._end
        self._append(_frame(list(batch), list(batch.values())))
        self._places.update(dict.fromkeys(batch, place))

    def remove(self) -> None:
        """Forget all of it; the output is complete. The lock is given up after the name."""
        self.path.unlink(missing_ok=True)
        with suppress(OSError):
            self._file.close()
        self._lock.release()

    def _append(self, data: bytes) -> None:
        try:
            self._file.seek(self._end)
            self._file.write(data)
            self._file.flush()
            self._end += len(data)
            if time.monotonic() - self._synced >= SYNC_SECONDS:
                os.fsync(self._file.fileno())
                self._synced = time.monotonic()
        except OSError as error:
            raise OutputError(f"{self.path}: {error.strerror}", "make room; what is done is kept") from error


class Notes(dict[str, Any]):
    """What a journal keeps, in memory alone: for work that another process writes down."""

    def add(self, batch: Mapping[str, Any]) -> None:
        """Keep a finished batch."""
        self.update(batch)

    def read(self, keys: Iterable[str]) -> dict[str, Any]:
        """The values of those keys that are there."""
        return {key: self[key] for key in keys if key in self}


def unfinished(output: str | Path) -> dict[str, Any] | None:
    """The header of the journal that lies beside an output: its provenance, and whether it was begun by force."""
    try:
        with journal_path(output).open("rb") as file:
            return _header(file)
    except OSError:
        return None


def _opened(path: Path) -> BinaryIO:
    """Open for reading and writing, where it was or new."""
    try:
        return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
    except OSError as error:
        raise OutputError(f"{path}: {error.strerror}", "choose a folder that can be written") from error


def _refuse_another(path: Path, file: BinaryIO, provenance: Provenance) -> None:
    """Raise unless the file holds nothing, or nothing but work of this run."""
    file.seek(0)
    start = file.read(len(_MAGIC))
    if not _MAGIC.startswith(start):
        raise OutputError(f"{path} exists and is not a journal of pivotrl", "move it away, or add --force")
    header = _header(file)
    has_work = header is not None and _read_frame(file) is not None
    changed = differences(header["provenance"], provenance.to_dict()) if has_work and header else []
    if changed:
        raise OutputError(
            f"{path} is of an unfinished run made differently: {'; '.join(changed)}",
            "finish that run first, add --force to discard it, or choose another -o",
        )


def _header(file: BinaryIO) -> dict[str, Any] | None:
    """The header, leaving the file behind it; None where there is none."""
    file.seek(0)
    frame = _read_frame(file) if file.read(len(_MAGIC)) == _MAGIC else None
    return json.loads(zlib.decompress(frame[1])) if frame else None


def _frame(keys: list[str], value: Any) -> bytes:
    names, body = json.dumps(keys).encode(), zlib.compress(json.dumps(value).encode(), level=1)
    return _FRAME.pack(len(names), len(body), zlib.crc32(body, zlib.crc32(names))) + names + body


def _read_frame(file: BinaryIO) -> tuple[list[str], bytes] | None:
    """Keys and compressed body of the frame that begins here; None where the rest of the file is not one."""
    start = file.read(_FRAME.size)
    if len(start) < _FRAME.size:
        return None
    n_names, n_body, checksum = _FRAME.unpack(start)
    if n_names + n_body > _left(file):
        return None  # before anything of that size is read: the lengths may be noise
    names, body = file.read(n_names), file.read(n_body)
    if zlib.crc32(body, zlib.crc32(names)) != checksum or not names:
        return None
    return json.loads(names), body


def _left(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size - file.tell()


def _keys_and_places(file: BinaryIO) -> Iterator[tuple[list[str], int, int]]:
    """Of each whole frame, the header first: its keys, where it begins and where it ends."""
    file.seek(0)
    if file.read(len(_MAGIC)) != _MAGIC:
        return
    place = file.tell()
    while (frame := _read_frame(file)) is not None:
        yield frame[0], place, file.tell()
        place = file.tell()
