"""A full disk and a folder that cannot be written are one line, leave nothing half done, and can be gone on from."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from chain import COMMANDS, but_times, contents, linked, mounted, output_of, run

from pivotrl_cli.storage.journal import journal_path

pytestmark = pytest.mark.slow

PAGE = 4096
LEFT = {
    "extract": {"out.rejects.parquet"},
    "profile": {"out.parquet.journal"},
    "train": {"out.partial"},
    "eval": {"out.parquet.journal"},
}
"""What a failed run keeps to go on from; of two tables the smaller may be done."""


@pytest.fixture(scope="module")
def whole(chain_inputs, tmp_path_factory) -> dict[str, dict[str, bytes]]:
    """What each command writes where there is room."""
    folder = linked(chain_inputs, tmp_path_factory.mktemp("whole") / "work")
    for name, arguments in COMMANDS.items():
        assert run(folder, *arguments, "--force" if name != "desk" else "-n2")[0] == 0
        (folder / output_of(name)).rename(folder / name)
    return {name: contents(folder / name) for name in COMMANDS}


def fill(folder: Path, free: int) -> Path:
    """A file that leaves so many bytes of the disk."""
    room = os.statvfs(folder)
    filler = folder / "filler"
    filler.write_bytes(bytes(max(0, room.f_bavail * room.f_frsize - free)))
    return filler


@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_disk_is_one_line_and_the_rerun_ends_in_the_same_bytes(name, chain_inputs, whole, tmp_path):
    need = sum(map(len, whole[name].values()))
    with mounted(tmp_path / "small", f"size={8 * PAGE + 4 * need}") as small:
        folder = linked(chain_inputs, small)
        before = {path.name for path in folder.iterdir()}
        for share in (0, 0.4, 0.9):
            filler = fill(folder, int(share * need) // PAGE * PAGE)
            code, errors = run(folder, *COMMANDS[name])
            assert (code, "Traceback" in errors) == (2, False), errors
            lines = [line for line in errors.splitlines() if line.startswith(("error: ", "hint: "))]
            assert len(lines) == 2
            assert "No space left on device" in lines[0]
            assert lines[1].startswith("hint: free some space")
            left = {path.name for path in folder.iterdir()} - before - {"filler"}
            assert left <= LEFT.get(name, set())
            filler.unlink()
        assert run(folder, *COMMANDS[name])[0] == 0
        assert but_times(contents(folder / output_of(name))) == but_times(whole[name])
        assert not journal_path(folder / output_of(name)).exists()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_folder_that_cannot_be_written_is_one_line(name, chain_inputs, tmp_path):
    writable = linked(chain_inputs, tmp_path / "writable")
    with mounted(tmp_path / "fixed", "bind", source=str(writable), kind="none") as folder:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True)
        code, errors = run(folder, *COMMANDS[name])
    assert (code, "Traceback" in errors) == (2, False), errors
    lines = [line for line in errors.splitlines() if line.startswith(("error: ", "hint: "))]
    assert lines == [f"error: {output_of(name)}: Read-only file system", "hint: choose a folder that can be written"]


def test_what_is_up_to_date_in_a_folder_that_cannot_be_written_is_still_found(chain_inputs, tmp_path):
    writable = linked(chain_inputs, tmp_path / "writable")
    assert run(writable, *COMMANDS["filter"])[0] == 0
    with mounted(tmp_path / "fixed", "bind", source=str(writable), kind="none") as folder:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True)
        code, errors = run(folder, *COMMANDS["filter"])
    assert code == 0
    assert errors.endswith("out.parquet is up to date\n")
