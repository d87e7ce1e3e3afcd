"""The files, folders (everything in them, in order), globs and data sets that the user names, as documents.

A document's name in the tables is relative to the folder that was named, or the file's own name; where two would be
equal, enough of the folders above is added. A file that is named twice is read once. Hidden files in folders are left
out. Only `hf:NAME` goes through `datasets`, an extra.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from glob import glob, has_magic
from itertools import takewhile
from pathlib import Path
from typing import Any

from pivotrl_cli.errors import InputError
from pivotrl_cli.readers.archive import MAGIC, ZipDocument
from pivotrl_cli.readers.document import Document, FileDocument, RowsDocument
from pivotrl_cli.readers.tables import recorded, table_rows
from pivotrl_cli.storage.provenance import file_input

_TABLES = (".parquet", ".arrow")
_HF = "hf:"


@dataclass(frozen=True, slots=True)
class Source:
    """One file or one data set.

    Example: `Source(Path("logs/day1/run.jsonl"), "day1/run.jsonl", named=False)`
    """

    path: Path | str
    """The file; for a data set the name behind `hf:`."""
    name: str
    """Its name in the tables."""
    named: bool
    """Whether the user named the file itself, instead of a folder or a glob that holds it."""

    def documents(self) -> Iterator[Document]:
        """The file itself, or one document per split of the data set."""
        if isinstance(self.path, str):
            yield from _splits(self.name, self.path)
        elif self.path.suffix in _TABLES:
            yield RowsDocument(self.name, partial(table_rows, self.name, self.path))
        else:
            yield ZipDocument(self.path, self.name) if _is_zip(self.path) else FileDocument(self.path, self.name)

    def digests(self) -> list[str]:
        """sha256 of each of its files, for the provenance; of a data set on a hub, sha256 of the name."""
        if isinstance(self.path, Path):
            return [file_input(self.path).sha256]
        if Path(self.path).is_dir():
            return [file_input(file).sha256 for file in _files(Path(self.path))]
        return [hashlib.sha256(self.path.encode()).hexdigest()]


def find_sources(words: list[str]) -> list[Source]:
    """All sources of the words, each once, in the order of the words."""
    found: dict[str, Source] = {}
    for word in words:
        for source in _expand(word):
            key = str(source.path.resolve()) if isinstance(source.path, Path) else source.name
            found[key] = found.get(key, source)
    if not found:
        raise InputError(f"{', '.join(words)}: no file found", "name files, folders or globs that hold trajectories")
    return _with_unique_names(list(found.values()))


def _is_zip(path: Path) -> bool:
    """Whether the file begins like a zip archive; its reader reports a file that cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def _expand(word: str) -> Iterator[Source]:
    path = Path(word)
    if word.startswith(_HF):
        name = word.removeprefix(_HF)
        yield Source(name, _HF + (Path(name).resolve().name if Path(name).exists() else name), named=True)
    elif path.is_file():
        yield Source(path, path.name, named=True)
    elif path.is_dir():
        yield from _files_below(path, path)
    elif has_magic(word):
        root = Path(*takewhile(lambda part: not has_magic(part), path.parts))
        for match in sorted(glob(word, recursive=True)):  # noqa: PTH207 - Path.glob refuses absolute patterns
            yield from _files_below(Path(match), root)
    else:
        raise InputError(f"{word}: no such file or folder", "check the path; quote globs; data sets are hf:NAME")


def _files_below(path: Path, root: Path) -> Iterator[Source]:
    for file in [path] if path.is_file() else _files(path):
        yield Source(file, file.relative_to(root).as_posix(), named=False)


def _files(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place, name) for name in sorted(files) if not name.startswith("."))


def _with_unique_names(sources: list[Source]) -> list[Source]:
    """Names made unique by the path below the deepest folder that all files with that name share."""
    alike = defaultdict[str, list[Path]](list)
    for source in sources:
        alike[source.name] += [source.path.resolve()] if isinstance(source.path, Path) else []
    unique = []
    for source in sources:
        name, paths = source.name, alike[source.name]
        if isinstance(source.path, Path) and len(paths) > 1:
            name = source.path.resolve().relative_to(os.path.commonpath(paths)).as_posix()
        unique.append(replace(source, name=name))
    return unique


def _splits(name: str, path: str) -> Iterator[Document]:
    """One document per split; streamed, so nothing is copied into a cache."""
    from datasets import load_dataset

    splits = _call_datasets(name, lambda: load_dataset(path, streaming=True))
    for split, rows in splits.items():
        yield RowsDocument(f"{name}/{split}", partial(_rows, name, rows))


def _rows(name: str, rows: Any) -> Iterator[dict[str, Any]]:
    """Rows of a streamed split; where `datasets` does not know the columns, its first rows tell them undecoded."""
    known, encoded = rows.features, rows.features is None
    if encoded:
        known = _call_datasets(name, lambda: rows._resolve_features().features)
    kinds = {field.name: field.type for field in known.arrow_schema} if known else {}
    iterator = _call_datasets(name, lambda: iter(rows))
    while (row := _call_datasets(name, lambda: next(iterator, None))) is not None:
        yield {key: recorded(item, kinds.get(key), encoded=encoded) for key, item in row.items() if item is not None}


def _call_datasets(name: str, action: Callable[[], Any]) -> Any:
    """The result of a call into `datasets`, its many errors turned into one line."""
    try:
        return action()
    except (OSError, ValueError, RuntimeError) as error:
        words = str(error).strip().splitlines()
        raise InputError(
            f"{name}: datasets cannot open it: {words[0] if words else type(error).__name__}",
            "check the name, or download it and name its files",
        ) from error
