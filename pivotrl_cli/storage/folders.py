"""Output folders: each appears whole or not at all, with its provenance and summary in `pivotrl.json`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pivotrl_cli.errors import OutputError
from pivotrl_cli.storage.files import sync_to_disk, write_errors
from pivotrl_cli.storage.provenance import Provenance, refuse_another

NOTE = "pivotrl.json"


def read_note(folder: Path) -> dict[str, Any]:
    """`provenance` and `summary` of a folder; empty where there is no note, or none that can be read."""
    note = folder / NOTE
    try:
        found = json.loads(note.read_text()) if note.is_file() else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def write_note(folder: Path, provenance: Provenance, summary: dict[str, Any] | None = None) -> None:
    """Write the note; one without a summary is that of an unfinished run."""
    content = {"provenance": provenance.to_dict()}
    write_json(folder / NOTE, content if summary is None else content | {"summary": summary})


def stored_summary(folder: Path, provenance: Provenance, *, force: bool) -> dict[str, Any] | None:
    """Summary of a finished folder with this provenance; raises `OutputError` where another output is in the way."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    stored = read_note(folder)
    if force:
        if not stored:
            raise OutputError(f"{folder} exists and pivotrl did not write it", "choose another name")
        return None
    refuse_another(str(folder), stored.get("provenance"), provenance)
    summary: dict[str, Any] = stored["summary"]
    return summary


@contextmanager
def new_folder(final: Path, making: Path) -> Iterator[Path]:
    """Make a folder at `making`, which replaces `final` when the block ends and is deleted if it fails."""
    with write_errors(final):
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(parents=True)
        try:
            yield making
            sync_files(making)
            replace_folder(making, final)
        finally:
            shutil.rmtree(making, ignore_errors=True)


def replace_folder(making: Path, final: Path) -> None:
    """Rename a complete folder, over the old one if there is one."""
    if final.is_dir():
        shutil.rmtree(final)
    making.rename(final)
    sync_to_disk(final.parent)


def sync_files(folder: Path) -> None:
    """Flush the files in a folder, and the list of them, to disk."""
    for file in filter(Path.is_file, folder.iterdir()):
        sync_to_disk(file)
    sync_to_disk(folder)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file whole or not at all: nobody could tell whose a note is that a kill has cut."""
    making = path.with_suffix(".making")
    making.write_text(json.dumps(content, indent=1) + "\n")
    sync_to_disk(making)
    making.replace(path)
    sync_to_disk(path.parent)
