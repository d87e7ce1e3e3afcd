"""One run writes an output at a time, and the second is told who the first is.

The lock is the operating system's, on a hidden file beside the output (`.profile.parquet.lock`): it ends with the
process, however that ends, so nothing has to be cleaned up after a kill. In the file is who holds it, for the message
alone. It is removed with the lock; one that a killed run left behind locks nothing, and the next run takes it over.

Between machines it holds where the file system passes locks on, as NFS, CephFS and GPFS do. Some do not (Lustre that
was mounted without `flock`): the run then says so once and goes on, because the alternative is not to run at all.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import sys
import time
from contextlib import suppress
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Self

from pivotrl_cli.errors import OutputError

_HELD = {errno.EAGAIN, errno.EACCES}
_UNKNOWN = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOLCK, errno.EINVAL}
_LONGEST_NOTE = 300
_warned = False


class Lock:
    """A lock on a file or folder, taken on creation; a context manager that gives it up.

    Example: `with Lock("profile.parquet"): ...`
    """

    def __init__(self, path: str | Path, output: str | Path | None = None) -> None:
        """On what is to be written at `path`; `output` is its name in messages, where that is another.

        Raises `OutputError` where another run holds it, or where the folder cannot be written.
        """
        self.path = lock_path(path)
        self._file = _taken(self.path, output or path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def release(self) -> None:
        """Give it up; a second time does nothing. The name goes first, so that nobody takes what is about to go."""
        if self._file is not None:
            self.path.unlink(missing_ok=True)
            self._file.close()
            self._file = None


def lock_path(output: str | Path) -> Path:
    """Where the lock of an output lies: `profile.parquet` -> `.profile.parquet.lock`."""
    path = Path(output)
    return path.with_name(f".{path.name}.lock")


def _taken(path: Path, output: str | Path) -> FileIO | None:
    """The locked file, which still has its name; None where the file system has no locks."""
    while True:
        file = _opened(path, output)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            _refuse(path, file, output, error)
            return None
        if _has_name(file, path):
            _write_note(file)
            return file
        file.close()  # the run that had it finished and removed it between the two calls


def _opened(path: Path, output: str | Path) -> FileIO:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return FileIO(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666), "r+")
    except OSError as error:
        raise OutputError(f"{output}: {error.strerror}", "choose a folder that can be written") from error


def _refuse(path: Path, file: FileIO, output: str | Path, error: OSError) -> None:
    """Raise what a lock that cannot be had means for the user; warn where there are none to be had."""
    with file:
        if error.errno in _HELD:
            raise OutputError(
                f"another run is writing {output}: {_note(file)}", "wait for it, end it, or choose another -o"
            ) from error
        if error.errno not in _UNKNOWN:
            raise OutputError(f"{output}: {error.strerror}", "choose a folder that can be written") from error
        path.unlink(missing_ok=True)
    _warn(output, error)


def _has_name(file: FileIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:  # gone, or gone on a server
        return False


def _write_note(file: FileIO) -> None:
    note = f"process {os.getpid()} on {socket.gethostname()}, since {time.strftime('%Y-%m-%d %H:%M:%S %z')}"
    file.truncate(0)
    with suppress(OSError):  # on a full disk the lock holds without a note; what the run writes will tell
        file.write(note.encode())


def _note(file: FileIO) -> str:
    note = file.read(_LONGEST_NOTE).decode(errors="replace")
    return note if note.isprintable() and note else "which one is not known"


def _warn(output: str | Path, error: OSError) -> None:
    global _warned
    if not _warned:
        print(
            f"{output}: this file system has no locks ({error.strerror}): start no second run on this output",
            file=sys.stderr,
        )
    _warned = True
