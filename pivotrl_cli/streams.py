"""Files and standard streams: inputs as seekable files, outputs that appear whole or not at all."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import BinaryIO, cast

from pivotrl_cli.errors import InputError, OutputError

_spooled: BinaryIO | None = None


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
    """Open what will become `output`; `-` is spooled until it is complete, and must not be a terminal if binary."""
    if output == "-":
        if binary and sys.stdout.isatty():
            raise OutputError("standard output is a terminal", "pipe it on, or name a file with -o")
        return cast(BinaryIO, tempfile.TemporaryFile())
    if Path(output).is_dir():
        raise OutputError(f"{output}: is a folder", "name a file in it")
    try:
        Path(output).parent.mkdir(parents=True, exist_ok=True)
        return partial_path(output).open("w+b")
    except OSError as error:
        raise OutputError(f"{output}: {error.strerror}", "choose a folder that can be written") from error


def remove_partial(output: str) -> None:
    """Forget an unfinished output."""
    if output != "-":
        partial_path(output).unlink(missing_ok=True)


def publish(file: BinaryIO, output: str) -> None:
    """Give a finished file its name: flushed to disk, then renamed in place."""
    file.flush()
    if output == "-":
        file.seek(0)
        shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.buffer.flush()
        file.close()
        return
    os.fsync(file.fileno())
    file.close()
    try:
        partial_path(output).replace(output)
    except OSError as error:
        remove_partial(output)
        raise OutputError(f"{output}: {error.strerror}", "choose another name") from error
    sync_folder(Path(output).parent)


def sync_folder(folder: Path) -> None:
    """Make what a folder lists survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
