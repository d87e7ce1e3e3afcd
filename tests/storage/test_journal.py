from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from search import examples

from pivotrl_cli.configs import FilterConfig
from pivotrl_cli.errors import InputError, OutputError
from pivotrl_cli.rows import Pivot
from pivotrl_cli.storage.journal import Journal, journal_path, unfinished_header
from pivotrl_cli.storage.provenance import Provenance


def provenance(seed: int = 0) -> Provenance:
    return Provenance.of("filter", Pivot, FilterConfig(profile="p.parquet", seed=seed), [])


def opened(folder: Path, seed: int = 0, *, force: bool = False) -> Journal:
    return Journal.beside(folder / "p.parquet", provenance(seed), force=force)


def test_finished_work_is_there_on_the_next_opening(tmp_path):
    with opened(tmp_path) as journal:
        journal.add({"a": 1, "b": [2]})
        journal.add({"c": {"d": "ü\n"}})
    with opened(tmp_path) as journal:
        assert list(journal) == ["a", "b", "c"]
        assert ("b" in journal, "d" in journal) == (True, False)
        journal.add({"e": 5, "a": 6})
        assert journal.read("abcde") == {"a": 6, "b": [2], "c": {"d": "ü\n"}, "e": 5}
        assert len(journal) == 4
    with opened(tmp_path) as journal:
        assert journal.read("ae") == {"a": 6, "e": 5}
        journal.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_journal_without_work_leaves_nothing_behind(tmp_path):
    with opened(tmp_path):
        assert journal_path(tmp_path / "p.parquet").exists()
    assert list(tmp_path.iterdir()) == []


def test_work_of_a_run_made_differently_is_refused_and_forced(tmp_path):
    with opened(tmp_path) as journal:
        journal.add({"a": 1})
    with pytest.raises(OutputError, match=r"(?m)of an unfinished run made differently: config\.seed: 0 -> 1$"):
        opened(tmp_path, seed=1)
    assert unfinished_header(tmp_path / "p.parquet") == {
        "journal": 1,
        "provenance": provenance().to_dict(),
        "forced": False,
    }
    with opened(tmp_path, seed=1, force=True) as journal:
        assert len(journal) == 0
        journal.add({"b": 1})
    assert unfinished_header(tmp_path / "p.parquet") == {
        "journal": 1,
        "provenance": provenance(1).to_dict(),
        "forced": True,
    }


def test_a_killed_run_that_finished_nothing_is_in_nobodys_way(tmp_path):
    other = opened(tmp_path, seed=1)
    other._file.close()
    other._lock.release()
    with opened(tmp_path) as journal:
        journal.add({"a": 1})
    with opened(tmp_path) as journal:
        assert list(journal) == ["a"]


def test_two_runs_never_write_one_output(tmp_path):
    with opened(tmp_path) as journal:
        with pytest.raises(OutputError, match=rf"^another run is writing .*p\.parquet: process {os.getpid()} on "):
            opened(tmp_path)
        with pytest.raises(OutputError, match="another run"):
            opened(tmp_path, force=True)
        journal.add({"a": 1})
    with opened(tmp_path) as journal:
        assert list(journal) == ["a"]


@examples(60)
@given(cut=st.integers(1, 1200), tail=st.binary(max_size=40).filter(lambda data: b"\n" not in data))
def test_a_cut_at_any_byte_loses_at_most_the_entries_behind_it(tmp_path_factory, cut, tail):
    folder = tmp_path_factory.mktemp("cut")
    with opened(folder) as journal:
        ends = []
        for i in range(8):
            journal.add({str(i): "x" * i})
            ends.append(journal.path.stat().st_size)
    size = max(ends[-1] - cut, 0)
    os.truncate(journal.path, size)
    with journal.path.open("ab") as file:
        file.write(tail if size > 100 else b"")
    with opened(folder) as journal:
        assert [str(i) in journal for i in range(8)] == [end <= size for end in ends]
        journal.add({"new": True})
    with opened(folder) as journal:
        assert journal.read(["new", "0"]) == {"new": True} | ({"0": ""} if ends[0] <= size else {})


@pytest.mark.parametrize("tail", [bytes(4096), b'{"key":"b","value":'])
def test_a_last_line_without_its_end_is_dropped(tmp_path, tail):
    with opened(tmp_path) as journal:
        journal.add({"a": 1})
    with journal.path.open("ab") as file:
        file.write(tail)
    with opened(tmp_path) as journal:
        assert list(journal) == ["a"]
        journal.add({"b": 2})
    with opened(tmp_path) as journal:
        assert journal.read("ab") == {"a": 1, "b": 2}


@pytest.mark.parametrize("damage", [b"\0", b"[1]", b'{"value":1}', b'{"key":"b"'])
def test_a_damaged_line_is_an_error_with_its_number(tmp_path, damage):
    with opened(tmp_path) as journal:
        journal.add({"a": 1, "b": 2})
    lines = journal.path.read_bytes().split(b"\n")
    journal.path.write_bytes(b"\n".join([*lines[:2], damage, *lines[3:]]))
    with pytest.raises(InputError, match=r"(?m)p\.parquet\.journal line 3: damaged$") as raised:
        opened(tmp_path)
    assert raised.value.hint == "keep the lines before it (head -n 2), or add --force to discard all"
    with opened(tmp_path, force=True) as journal:
        assert len(journal) == 0


def test_the_lines_are_json(tmp_path):
    with opened(tmp_path) as journal:
        journal.add({"a": 1, "b": ["ü\n"]})
    header, *entries = map(json.loads, journal.path.read_text().splitlines())
    assert header == {"journal": 1, "provenance": provenance().to_dict(), "forced": False}
    assert entries == [{"key": "a", "value": 1}, {"key": "b", "value": ["ü\n"]}]


@pytest.mark.parametrize("content", [b"Dear diary,\n", b"Dear diary,", b'{"a": 1}\n'])
def test_a_foreign_file_is_not_overwritten(tmp_path, content):
    journal_path(tmp_path / "p.parquet").write_bytes(content)
    with pytest.raises(OutputError, match="is not a journal of pivotrl"):
        opened(tmp_path)
    assert journal_path(tmp_path / "p.parquet").read_bytes() == content


@pytest.mark.slow
def test_what_was_added_survives_sigkill(tmp_path):
    script = (
        "import os, signal, sys; sys.path[:0] = ['tests/storage', 'tests/support']; from test_journal import *\n"
        "journal = opened(Path(sys.argv[1]))\n"
        "journal.add({'a': 1}); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert killed.returncode == -9
    with opened(tmp_path) as journal:
        assert journal.read("a") == {"a": 1}
