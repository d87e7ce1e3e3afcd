"""One run writes an output at a time, and the second is told who the first is.

`filelock` holds the operating system's lock (flock) on a hidden file beside the output (`.profile.parquet.lock`). The
lock ends with its process, however that ends: a file that a killed run left behind locks nothing, and the next run
takes it over. In the file is a note of who holds it, for the error message alone.

Between machines the lock holds where the file system supports flock (NFS, CephFS, GPFS). Where it does not (Lustre
mounted without `flock`), the run says so once and continues without a lock.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from filelock import FileLock, Timeout

from pivotrl_cli.errors import OutputError

_UNSUPPORTED = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOLCK, errno.EINVAL}
_WAIT_SECONDS = 0.2
"""A run that is just ending removes its lock file, which a new run may have opened before."""
_NOTE_BYTES = 300
_warned = False


class Lock:
    """A lock on a file or folder, acquired on creation; a context manager that releases it.

    Example: `with Lock("profile.parquet"): ...`
    """

    def __init__(self, path: str | Path, output: str | Path | None = None) -> None:
        """Lock what is to be written at `path`; `output` is its name in messages, if that is another.

        Raises `OutputError` if another run holds the lock, or if the folder cannot be written.
        """
        name = output or path
        self.path = lock_path(path)
        self._lock = FileLock(
            self.path, _WAIT_SECONDS, thread_local=False, fallback_to_soft=False, on_acquired=_write_note
        )
        try:
            self._lock.acquire()
        except Timeout as error:
            raise OutputError(
                f"another run is writing {name}: {_read_note(self.path)}", "wait for it, end it, or choose another -o"
            ) from error
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise OutputError(f"{name}: {error.strerror}", "choose a folder that can be written") from error
            self.path.unlink(missing_ok=True)
            _warn_unsupported(name, error)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def release(self) -> None:
        """Remove the lock file, then unlock; a second time does nothing."""
        if self._lock.is_locked:
            self.path.unlink(missing_ok=True)
            self._lock.release()


def lock_path(output: str | Path) -> Path:
    """Lock file of an output: `profile.parquet` -> `.profile.parquet.lock`."""
    path = Path(output)
    return path.with_name(f".{path.name}.lock")


def _write_note(descriptor: int) -> None:
    note = f"process {os.getpid()} on {socket.gethostname()}, since {time.strftime('%Y-%m-%d %H:%M:%S %z')}"
    os.ftruncate(descriptor, 0)
    with suppress(OSError):  # on a full disk the lock holds without a note
        os.pwrite(descriptor, note.encode(), 0)


def _read_note(path: Path) -> str:
    with suppress(OSError), path.open("rb") as file:
        note = file.read(_NOTE_BYTES).decode(errors="replace")
        if note and note.isprintable():
            return note
    return "which one is not known"


def _warn_unsupported(output: str | Path, error: OSError) -> None:
    global _warned
    if not _warned:
        print(
            f"{output}: this file system has no locks ({error.strerror}): start no second run on this output",
            file=sys.stderr,
        )
    _warned = True
