from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pivotrl_cli.configs import FilterConfig
from pivotrl_cli.journal import Journal
from pivotrl_cli.provenance import Provenance
from pivotrl_cli.rows import Pivot


def provenance(seed: int = 0) -> Provenance:
    return Provenance.of("filter", Pivot, FilterConfig(profile="p.parquet", seed=seed), [])


def test_finished_work_is_there_on_the_next_opening(tmp_path):
    with Journal.beside(tmp_path / "p.parquet", provenance()) as journal:
        journal.add({"a": 1, "b": [2]})
        journal.add({"c": {"d": "ü\n"}})
    with Journal.beside(tmp_path / "p.parquet", provenance()) as journal:
        assert [key in journal for key in "abcd"] == [True, True, True, False]
        assert [journal.get(key) for key in "abc"] == [1, [2], {"d": "ü\n"}]
        journal.add({"e": 5})
        assert journal.get("e") == 5
        assert len(journal) == 4
        journal.remove()
    assert list(tmp_path.iterdir()) == []


def test_another_runs_journal_is_started_anew(tmp_path):
    with Journal.beside(tmp_path / "p.parquet", provenance(0)) as journal:
        journal.add({"a": 1})
    with Journal.beside(tmp_path / "p.parquet", provenance(1)) as journal:
        assert len(journal) == 0
    with Journal.beside(tmp_path / "p.parquet", provenance(0)) as journal:
        assert len(journal) == 0


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(1, 400))
def test_a_cut_at_any_byte_loses_at_most_the_batches_behind_it(tmp_path_factory, cut):
    folder = tmp_path_factory.mktemp("cut")
    with Journal.beside(folder / "p.parquet", provenance()) as journal:
        ends = []
        for i in range(8):
            journal.add({str(i): "x" * i})
            ends.append(journal.path.stat().st_size)
    size = max(ends[-1] - cut, 0)
    os.truncate(journal.path, size)
    with Journal.beside(folder / "p.parquet", provenance()) as journal:
        assert [str(i) in journal for i in range(8)] == [end <= size for end in ends]
        journal.add({"new": True})
        assert journal.get("new") is True


@pytest.mark.parametrize("garbage", [b"\xff\xfe", b"[]\n", b'{"table": 1}\n'])
def test_a_foreign_file_is_no_journal(tmp_path, garbage):
    journal = Journal.beside(tmp_path / "p.parquet", provenance())
    journal.path.write_bytes(garbage)
    with journal:
        assert len(journal) == 0
        journal.add({"a": 1})
    with Journal.beside(tmp_path / "p.parquet", provenance()) as journal:
        assert journal.get("a") == 1


def test_what_was_added_survives_sigkill(tmp_path):
    script = (
        "import os, signal, sys; sys.path.insert(0, sys.argv[1]); from test_journal import *\n"
        "with Journal.beside(sys.argv[2], provenance()) as journal:\n"
        "    journal.add({'a': 1}); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    tests, output = str(Path(__file__).parent), str(tmp_path / "p.parquet")
    killed = subprocess.run([sys.executable, "-c", script, tests, output], check=False)
    assert killed.returncode == -9
    with Journal.beside(output, provenance()) as journal:
        assert journal.get("a") == 1
