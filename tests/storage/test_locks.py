"""Two runs never write one output: the second is told who the first is, and no lock outlives its process."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from chain import COMMANDS, contents, linked, output_of, run

from pivotrl_cli.errors import OutputError
from pivotrl_cli.storage import locks
from pivotrl_cli.storage.locks import Lock, lock_path

HOLDER = """
import sys, time
sys.path.insert(0, sys.argv[1])
from pivotrl_cli.storage.locks import Lock
with Lock(sys.argv[2]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def hold():
    """Lock an output in another process; returns that process."""
    started = []

    def held(output: Path) -> subprocess.Popen[str]:
        root = str(Path(__file__).parents[2])
        process = subprocess.Popen([sys.executable, "-c", HOLDER, root, output], stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield held
    for process in started:
        end(process)
        process.stdout.close()


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    assert process.wait() == -signal.SIGKILL


def test_the_second_run_is_told_who_the_first_is(tmp_path, hold):
    process = hold(tmp_path / "p.parquet")
    with pytest.raises(OutputError) as refused:
        Lock(tmp_path / "p.parquet")
    message = f"another run is writing {tmp_path / 'p.parquet'}: process {process.pid} on {os.uname().nodename}, since "
    assert refused.value.message.startswith(message)
    assert refused.value.hint == "wait for it, end it, or choose another -o"


def test_a_lock_ends_with_its_process_and_leaves_nothing_that_locks(tmp_path, hold):
    process = hold(tmp_path / "p.parquet")
    end(process)
    assert lock_path(tmp_path / "p.parquet").exists()
    with Lock(tmp_path / "p.parquet"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_lock_is_released_once_and_only_by_its_holder(tmp_path):
    first = Lock(tmp_path / "p.parquet")
    first.release()
    with Lock(tmp_path / "p.parquet") as second:
        first.release()
        assert second.path.exists()
        with pytest.raises(OutputError, match="another run"):
            Lock(tmp_path / "p.parquet")


def test_a_lock_that_is_removed_between_opening_and_locking_is_taken_again(tmp_path, monkeypatch):
    path = tmp_path / "p.parquet"
    first, flock = Lock(path), fcntl.flock

    def late(*arguments):
        if first is not None:
            first.release()
        flock(*arguments)

    monkeypatch.setattr(fcntl, "flock", late)
    with Lock(path), pytest.raises(OutputError, match="another run"):
        Lock(path)


def test_a_file_system_without_locks_is_said_once_and_written(tmp_path, monkeypatch, capsys):
    def without(*_):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", without)
    monkeypatch.setattr(locks, "_warned", False)
    for name in ("a", "b"):
        with Lock(tmp_path / name):
            pass
    reason = "this file system has no locks (Function not implemented): start no second run on this output"
    assert capsys.readouterr().err == f"{tmp_path / 'a'}: {reason}\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_refuses_an_output_that_another_run_writes(name, chain_inputs, tmp_path, hold):
    folder = linked(chain_inputs, tmp_path / "work")
    before = set(folder.iterdir())
    process = hold(folder / output_of(name))
    code, errors = run(folder, *COMMANDS[name])
    lines = [line for line in errors.splitlines() if line.startswith(("error: ", "hint: "))]
    assert code == 2
    assert lines[0].startswith(f"error: another run is writing {output_of(name)}: process {process.pid} on ")
    assert lines[1] == "hint: wait for it, end it, or choose another -o"
    assert "Traceback" not in errors
    left = {path.name for path in set(folder.iterdir()) - before}
    kept = {"out.parquet.journal"} if name == "eval" else set()  # it writes its table last
    assert left == {lock_path(output_of(name)).name} | kept
    end(process)
    assert run(folder, *COMMANDS[name])[0] == 0
    assert contents(folder / output_of(name))
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []
