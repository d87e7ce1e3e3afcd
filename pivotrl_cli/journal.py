"""Finished work of a long stage, written as it comes, so that a killed run goes on where it was.

One JSON object a line: first the run's provenance, then `{key: value, ...}` per finished batch, flushed to disk before
the next one starts. A line that a kill cut short is dropped on opening. A journal of another run is started anew: its
work answers another question. In memory is only where each value lies.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pivotrl_cli.errors import OutputError
from pivotrl_cli.provenance import Provenance, differences
from pivotrl_cli.streams import partial_path


class Journal:
    """An append-only record of finished work; use as a context manager.

    Example: `with Journal.beside("profile.parquet", provenance) as journal: journal.add({"a-003": {...}})`
    """

    def __init__(self, path: Path, provenance: Provenance) -> None:
        self.path = path
        self._header = provenance.to_dict()
        self._places: dict[str, int] = {}
        """Key to the offset of its batch's line."""

    @classmethod
    def beside(cls, output: str | Path, provenance: Provenance) -> Journal:
        """The journal of an output file."""
        path = partial_path(output)
        return cls(path.with_name(path.name.removesuffix(".partial") + ".journal"), provenance)

    def __enter__(self) -> Self:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("a+b")
        except OSError as error:
            raise OutputError(f"{self.path}: {error.strerror}", "choose a folder that can be written") from error
        self._recover()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def __len__(self) -> int:
        return len(self._places)

    def add(self, batch: dict[str, Any]) -> None:
        """Record a finished batch; on return it is on disk."""
        place = self._file.seek(0, os.SEEK_END)
        self._write(batch)
        self._places.update(dict.fromkeys(batch, place))

    def get(self, key: str) -> Any:
        """The value of a finished key."""
        self._file.seek(self._places[key])
        return json.loads(self._file.readline())[key]

    def remove(self) -> None:
        """Forget all of it; the output is complete."""
        self._file.close()
        self.path.unlink(missing_ok=True)

    def _write(self, value: dict[str, Any]) -> None:
        self._file.write(json.dumps(value).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def _recover(self) -> None:
        """Read where the finished work lies; cut off a torn line, or everything if another run wrote it."""
        self._file.seek(0)
        end = 0
        for number, line in enumerate(iter(self._file.readline, b"")):
            parsed = _parsed(line)
            if parsed is None or (number == 0 and differences(parsed, self._header)):
                break
            if number:
                self._places.update(dict.fromkeys(parsed, end))
            end += len(line)
        self._file.truncate(end)
        self._file.seek(0, os.SEEK_END)
        if end == 0:
            self._write(self._header)


def _parsed(line: bytes) -> dict[str, Any] | None:
    if not line.endswith(b"\n"):
        return None
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
