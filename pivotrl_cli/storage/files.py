"""Files and standard streams: inputs as seekable files, outputs that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, cast

from pivotrl_cli.errors import InputError, OutputError
from pivotrl_cli.storage.locks import Lock

_spooled: BinaryIO | None = None
_unfinished: dict[Path, tuple[BinaryIO, Lock]] = {}
"""Outputs of this process that are not yet published."""


def open_input(path: str) -> BinaryIO:
    """Open a file for reading; `-` is standard input, spooled so that it can be sought."""
    if path == "-":
        return _spooled_stdin()
    try:
        return Path(path).open("rb")
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file", "check the path, or run the stage before this one") from error
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}", "check the path and its permissions") from error


def _spooled_stdin() -> BinaryIO:
    """Standard input as a seekable file; read once, however often it is opened."""
    global _spooled
    if _spooled is None:
        if sys.stdin.isatty():
            raise InputError("standard input is a terminal", "pipe a table into it, or name a file")
        spool = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        shutil.copyfileobj(sys.stdin.buffer, spool)
        _spooled = cast(BinaryIO, spool)
    _spooled.seek(0)
    return os.fdopen(os.dup(_spooled.fileno()), "rb")  # the caller closes its own


def partial_path(output: str | Path) -> Path:
    """Where an unfinished output is kept; the next run overwrites it."""
    path = Path(output)
    return path.with_name(f".{path.name}.partial")


def open_partial(output: str, *, binary: bool = True) -> BinaryIO:
    """Open what will become `output`, alone; `-` is spooled until it is complete, and no terminal if binary.

    `publish` or `remove_partial` ends it. Raises `OutputError` where another run writes it, or nothing can be written.
    """
    if output == "-":
        if binary and sys.stdout.isatty():
            raise OutputError("standard output is a terminal", "pipe it on, or name a file with -o")
        return cast(BinaryIO, tempfile.TemporaryFile())
    if Path(output).is_dir():
        raise OutputError(f"{output}: is a folder", "name a file in it")
    lock = Lock(output)
    try:
        file = partial_path(output).open("w+b")
    except OSError as error:
        lock.release()
        raise OutputError(f"{output}: {error.strerror}", "choose a folder that can be written") from error
    _unfinished[Path(output)] = file, lock
    return file


def remove_partial(output: str) -> None:
    """Forget an unfinished output of this process; where there is none, another run may have one, and keeps it."""
    file, lock = _unfinished.pop(Path(output), (None, None))
    if file is not None and lock is not None:
        with suppress(OSError):  # on a full disk closing fails once more
            file.close()
        partial_path(output).unlink(missing_ok=True)
        lock.release()


@contextmanager
def write_errors(output: str | Path) -> Iterator[None]:
    """Turn errors of writing this output, such as on a full disk, into one line."""
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = os.strerror(error.errno) if error.errno else str(error)
        hint = "free some space, then run the same command again" if full else "choose a folder that can be written"
        raise OutputError(f"{output}: {reason}", hint) from error


def publish(file: BinaryIO, output: str) -> None:
    """Give a finished file its name: flushed to disk, then renamed in place."""
    if output == "-":
        file.flush()
        file.seek(0)
        shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.buffer.flush()
        file.close()
        return
    try:
        with write_errors(output):
            file.flush()
            os.fsync(file.fileno())
            file.close()
            partial_path(output).replace(output)
            sync_to_disk(Path(output).parent)
    except OutputError:
        remove_partial(output)
        raise
    _unfinished.pop(Path(output))[1].release()


def sync_to_disk(path: Path) -> None:
    """Make a file, or the list of names in a folder, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
