"""`profile --executor ray`: the bytes of the local run, whatever dies on the way."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest
from tables import FAILED, RIGHT, TALK, WRONG, candidate, says, script, user, write

from pivotrl_cli.configs import ProfileConfig
from pivotrl_cli.errors import ConfigError, MissingExtra, RunError
from pivotrl_cli.interface.cli import main
from pivotrl_cli.rows import Candidate, Profile
from pivotrl_cli.stages.profile import run as profile
from pivotrl_cli.storage.journal import journal_path
from pivotrl_cli.storage.table import Table

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Ray warns of its own options on import

ROOT = Path(__file__).parents[3]
N = 4

VERIFIER = """
import os, signal, time
from pathlib import Path
from pivotrl_cli.verifiers import load_verifier

folder = Path(__file__).parent
rule = load_verifier("tool_call")

def verify(candidate, action):
    with open(folder / "log", "a") as file:
        file.write(f"{os.getpid()} {candidate.candidate_id}\\n")
    if (folder / "slow").exists():
        time.sleep(0.1)
    if candidate.candidate_id == "t05-1":
        for marker in folder.glob("kill*"):
            if marker.name != "kill-always":
                marker.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
    return rule(candidate, action)
"""
"""Scores as `tool_call` does, with a log of which process scored what; kills its process when told so."""


@pytest.fixture(scope="module")
def cluster():
    """A cluster of one node with two CPUs more than workers."""
    pytest.importorskip("ray", reason="ray is not installed")
    from ray.cluster_utils import Cluster

    started = Cluster(initialize_head=True, head_node_args={"num_cpus": 4, "include_dashboard": False})
    yield started.address
    started.shutdown()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """24 candidates in 8 trajectories, four windows of six, and the local run's output."""
    rows = [candidate(f"t{i:02d}-{j}") for i in range(8) for j in range(3)]
    write(tmp_path / "c.parquet", rows)
    rng = random.Random(0)
    script(tmp_path / "r.jsonl", {row.candidate_id: rng.choices([RIGHT, WRONG, TALK], k=2 * N) for row in rows})
    (tmp_path / "v.py").write_text(VERIFIER)
    run(tmp_path, "whole.parquet")
    (tmp_path / "log").unlink()
    return tmp_path


def run(folder: Path, output: str, **options):
    chosen = {"engine": "replay", "replay": folder / "r.jsonl", "n": N, "window": 6}
    chosen |= {"verifier": f"{folder / 'v.py'}:verify"} | options
    return profile.run(ProfileConfig(candidates=str(folder / "c.parquet"), output=str(folder / output), **chosen))


def on(address: str | None, workers: int = 2) -> dict[str, object]:
    return {"executor": "ray", "workers": workers, "ray_address": address}


def scored(folder: Path) -> list[tuple[str, str]]:
    """Which process scored which candidate, in order."""
    return [(pid, key) for pid, _, key in (line.partition(" ") for line in (folder / "log").read_text().splitlines())]


@pytest.mark.slow
def test_two_workers_give_the_bytes_of_the_local_run(folder, cluster):
    (folder / "slow").touch()
    summary = run(folder, "p.parquet", **on(cluster))
    assert (folder / "p.parquet").read_bytes() == (folder / "whole.parquet").read_bytes()
    assert summary.rollouts == 24 * N
    assert not journal_path(folder / "p.parquet").exists()
    processes = {pid for pid, _ in scored(folder)}
    assert len(processes) == 2
    assert str(os.getpid()) not in processes
    run(folder, "whole8.parquet", n=2 * N)
    run(folder, "p.parquet", n=2 * N, **on(cluster))
    assert (folder / "p.parquet").read_bytes() == (folder / "whole8.parquet").read_bytes()


@pytest.mark.slow
def test_a_worker_that_dies_is_replaced_and_its_window_sampled_again(folder, cluster):
    (folder / "kill").touch()
    run(folder, "p.parquet", **on(cluster))
    assert (folder / "p.parquet").read_bytes() == (folder / "whole.parquet").read_bytes()
    counts = Counter(key for _, key in scored(folder))
    again = {key for key, n in counts.items() if n > N}
    assert {"t05-1"} < again <= {f"t{i:02d}-{j}" for i in (4, 5) for j in range(3)}
    assert len({pid for pid, key in scored(folder) if key == "t05-1"}) == 2


@pytest.mark.slow
def test_a_node_that_dies_takes_no_window_with_it(folder):
    pytest.importorskip("ray", reason="ray is not installed")
    from ray.cluster_utils import Cluster

    run(folder, "whole3.parquet", window=3)
    (folder / "slow").touch()
    (folder / "log").write_text("")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 3, "include_dashboard": False})

    def remove_once_all_work():
        while len({pid for pid, _ in scored(folder)}) < 3:
            time.sleep(0.01)
        cluster.remove_node(node, allow_graceful=False)

    try:
        node = cluster.add_node(num_cpus=1)
        dying = threading.Thread(target=remove_once_all_work, daemon=True)
        dying.start()
        run(folder, "p.parquet", window=3, **on(cluster.address, workers=3))
        dying.join(10)
    finally:
        cluster.shutdown()
    assert (folder / "p.parquet").read_bytes() == (folder / "whole3.parquet").read_bytes()
    counts = Counter(key for _, key in scored(folder))
    assert sum(n > N for n in counts.values()) <= 3 * 3  # none if it was between windows; else others' windows too


@pytest.mark.slow
def test_a_window_that_kills_every_worker_ends_the_run_and_keeps_the_rest(folder, cluster):
    (folder / "kill-always").touch()
    with pytest.raises(RunError, match=r"^workers keep dying, and no window gets done: "):
        run(folder, "p.parquet", **on(cluster))
    assert not (folder / "p.parquet").exists()
    (folder / "kill-always").unlink()
    assert run(folder, "p.parquet").resumed >= 12
    assert (folder / "p.parquet").read_bytes() == (folder / "whole.parquet").read_bytes()


@pytest.mark.slow
def test_a_killed_driver_goes_on_where_it_was(folder, cluster):
    (folder / "slow").touch()
    arguments = [
        "c.parquet",
        "--engine",
        "replay",
        "--replay",
        "r.jsonl",
        "-n",
        str(N),
        "--window",
        "6",
        "-o",
        "p.parquet",
    ]
    arguments += ["--verifier", "v.py:verify", "--executor", "ray", "--workers", "2", "--ray-address", cluster]
    driver = subprocess.Popen(
        [sys.executable, "-m", "pivotrl_cli", "profile", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
    )
    journal, empty = journal_path(folder / "p.parquet"), 0
    while driver.poll() is None:
        size = journal.stat().st_size if journal.exists() else 0
        empty = empty or size
        if size > empty:
            break
        time.sleep(0.01)
    driver.kill()
    _, errors = driver.communicate()
    assert driver.returncode == -signal.SIGKILL, errors.decode()
    (folder / "slow").unlink()
    time.sleep(1)  # the workers of the dead driver end with it
    before = Counter(key for _, key in scored(folder))
    summary = run(folder, "p.parquet", **on(cluster))
    assert summary.resumed in (6, 12, 18)
    assert (folder / "p.parquet").read_bytes() == (folder / "whole.parquet").read_bytes()
    after = Counter(key for _, key in scored(folder))
    assert len([key for key in after if after[key] == before[key] == N]) >= summary.resumed


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["hf", pytest.param("vllm", marks=pytest.mark.vllm)])
def test_a_model_gives_the_bytes_of_the_local_run_on_a_ray_of_its_own(tmp_path, tiny_model, engine):
    pytest.importorskip("ray", reason="ray is not installed")
    if engine == "vllm" and find_spec("vllm") is None:
        pytest.skip("vLLM is not installed here: make test-vllm")
    rows = [candidate(f"q{i}-0", state=[user("Question? " * (1 + 5 * i % 11))], tools="[]") for i in range(12)]
    write(tmp_path / "m.parquet", [row.model_copy(update={"expected_action": says("yes")}) for row in rows])
    model = str(tiny_model) if engine == "hf" else "desk"
    arguments = ["--engine", engine, "--model", model, "--device", "cpu", "--verifier", "exact"]
    arguments += ["-n", "3", "--window", "4", "--max-new-tokens", "8"]
    for output, executor in (("whole.parquet", ["local"]), ("p.parquet", ["ray", "--workers", "2"])):
        command = [sys.executable, "-m", "pivotrl_cli", "profile", "m.parquet", *arguments, "-o", output]
        done = subprocess.run(  # a process of its own, for Ray does not go from one cluster to another and back
            [*command, "--executor", *executor],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "p.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()


@pytest.mark.slow
def test_the_limit_on_errors_is_over_all_workers(folder, cluster):
    with Table.open(folder / "c.parquet", Candidate) as table:
        keys = table.frame(["candidate_id"])["candidate_id"].to_list()
    bad = {key for key in keys if key.endswith("-0")}
    script(folder / "r.jsonl", {key: [FAILED if key in bad else RIGHT] * 20 for key in keys})
    with pytest.raises(RunError, match=r"(?m)rollouts failed, the first: engine down$") as raised:
        run(folder, "p.parquet", n=20, max_error_rate=0.2, max_retries=0, **on(cluster))
    assert raised.value.hint is not None
    assert raised.value.hint.startswith("run the same command again to resume and to retry the failed ones")
    summary = run(folder, "p.parquet", n=20, max_error_rate=0.4, max_retries=1, **on(cluster))
    assert (summary.errors, summary.retries) == (160, 160)


@pytest.mark.slow
def test_what_the_user_can_mend_is_one_line(folder, cluster):
    with pytest.raises(ConfigError, match=r"(?m)^4 workers need 5 CPUs and 0 GPUs, and Ray has 4 and 0$"):
        run(folder, "p.parquet", **on(cluster, workers=4))
    with pytest.raises(ConfigError, match=r"(?m)^--tensor-parallel is for engine vllm, and the engine is replay$"):
        run(folder, "p.parquet", tensor_parallel=2, **on(cluster))


def test_without_ray_the_error_names_the_extra(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"(?m)^--executor ray needs the ray extra$"):
        run(folder, "p.parquet", executor="ray")
    assert sorted(path.name for path in folder.glob("*p.parquet*")) == []


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--workers", "2"], "error: --workers and --ray-address are for executor ray"),
        (["--executor", "ray"], "error: --executor ray needs a file for -o"),
        (["--executor", "ray", "-o", "p.parquet", "--verifier", "judge"], "error: --executor ray has no judge"),
    ],
)
def test_options_that_contradict_each_other(folder, monkeypatch, capsys, options, complaint):
    replay = ["--engine", "replay", "--replay", "r.jsonl", "--judge-url", "http://127.0.0.1:9/v1", "--judge-model", "m"]
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["pivotrl", "profile", "c.parquet", *replay, *options])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(complaint)


def test_a_local_run_and_ray_have_one_provenance(folder):
    """So that either resumes what the other began."""
    with Table.open(folder / "whole.parquet", Profile) as table:
        assert table.provenance is not None
        assert {"executor", "workers", "ray_address"}.isdisjoint(table.provenance["config"])
