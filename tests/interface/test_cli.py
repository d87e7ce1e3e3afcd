"""The command line from outside: `main` in this process, and a process of its own where one is needed."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tables import RIGHT, TALK, WRONG, candidate, read, script, write

from pivotrl_cli.interface.cli import main
from pivotrl_cli.interface.commands import COMMANDS
from pivotrl_cli.rows import Candidate, Pivot, Profile, Reject
from pivotrl_cli.storage.table import Table

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "COLUMNS": "100"}
COMMAND = [sys.executable, "-m", "pivotrl_cli"]


@dataclass(frozen=True)
class Ended:
    """What a command left behind."""

    code: int
    out: str
    err: str


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Run `pivotrl ARGUMENTS` in a folder, in this process."""

    def run(folder: Path, *arguments: str, code: int = 0) -> Ended:
        monkeypatch.chdir(folder)
        monkeypatch.setenv("COLUMNS", "100")
        monkeypatch.setattr(sys, "argv", ["pivotrl", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        found = Ended(int(ended.value.code or 0), *capfd.readouterr())
        assert found.code == code, found.err
        return found

    return run


def piped(folder: Path, stdin: bytes, *arguments: str, code: int = 0) -> tuple[bytes, str]:
    """Standard output and standard error of a process that reads this."""
    ended = subprocess.run(
        [*COMMAND, *arguments], cwd=folder, env=ENVIRONMENT, input=stdin, capture_output=True, check=False, timeout=60
    )
    assert ended.returncode == code, ended.stderr.decode()
    return ended.stdout, ended.stderr.decode()


@pytest.fixture
def folder(tmp_path: Path, candidates_file: Path, replay_file: Path, profile_file: Path) -> Path:
    """Tables, a script, trajectories, and files that are wrong in one way each."""
    write(tmp_path / "empty.parquet", [])
    write(tmp_path / "empty_profile.parquet", [], Profile)
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "notes.txt").write_text("Dear diary,\n")
    (tmp_path / "cut.parquet").write_bytes(candidates_file.read_bytes()[:-50])
    table = pq.read_table(candidates_file)
    pq.write_table(table.drop_columns(["state"]), tmp_path / "stateless.parquet")
    record = {"messages": [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello."}]}
    (tmp_path / "t.jsonl").write_text(json.dumps(record) + "\n")
    (tmp_path / "broken.jsonl").write_text(json.dumps(record) + "\n{\n")
    (tmp_path / "broken_script.jsonl").write_text("{\n")
    (tmp_path / "bad.toml").write_text("max_mean = \n")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    (tmp_path / "unknown.toml").write_text("max_men = 0.5\n")
    return tmp_path


REPLAY = ["--engine", "replay", "--replay", "replay.jsonl", "-n", "4"]
ERRORS = [
    (["extract", "none.jsonl", "-o", "o.parquet"], "none.jsonl: ", ""),
    (["extract", "notes.txt", "-o", "o.parquet"], "notes.txt: ", ""),
    (["extract", "empty.jsonl", "-o", "o.parquet"], "empty.jsonl: ", ""),
    (["extract", "t.jsonl", "--format", "openal", "-o", "o.parquet"], "unknown format 'openal'", "did you mean"),
    (
        ["extract", "t.jsonl", "--verifier", "tool_cal", "-o", "o.parquet"],
        "unknown verifier 'tool_cal'",
        "did you mean",
    ),
    (["profile", "none.parquet", *REPLAY, "-o", "o.parquet"], "none.parquet: no such file", "check the path"),
    (["profile", "notes.txt", *REPLAY, "-o", "o.parquet"], "notes.txt: not a Parquet file, or cut short", "write it"),
    (["profile", "cut.parquet", *REPLAY, "-o", "o.parquet"], "cut.parquet: not a Parquet file", "write it"),
    (["profile", "empty.parquet", *REPLAY, "-o", "o.parquet"], "empty.parquet: no candidates", "see its rejects"),
    (
        ["profile", "stateless.parquet", *REPLAY, "-o", "o.parquet"],
        "stateless.parquet: column 'state' is missing (expected table: candidates, this one: candidates)",
        "make one with: pivotrl extract",
    ),
    (["profile", ".", *REPLAY, "-o", "o.parquet"], ".: Is a directory", "check the path"),
    (
        ["profile", "candidates.parquet", "--engine", "replay", "-o", "o.parquet"],
        "--engine replay needs a script",
        "add --replay",
    ),
    (
        ["profile", "candidates.parquet", *REPLAY, "--replay", "broken_script.jsonl", "-o", "o.parquet"],
        "broken_script.jsonl line 1: not a scripted candidate",
        "each line is",
    ),
    (
        ["profile", "candidates.parquet", *REPLAY, "--verifier", "exat", "-o", "o.parquet"],
        "unknown verifier 'exat'",
        "did you mean 'exact'?",
    ),
    (
        ["profile", "candidates.parquet", *REPLAY, "--verifier", "none.py:f", "-o", "o.parquet"],
        "verifier file 'none.py' does not exist",
        "",
    ),
    (
        ["profile", "candidates.parquet", "--model", "./none", "-o", "o.parquet"],
        "./none: no such model folder",
        "check",
    ),
    (
        ["profile", "candidates.parquet", "-n", "0", "-o", "o.parquet"],
        "-n: Input should be greater than",
        "see pivotrl",
    ),
    (
        ["filter", "candidates.parquet", "-o", "o.parquet"],
        "candidates.parquet: column 'rollouts' is missing (expected table: profile, this one: candidates)",
        "make one with: pivotrl profile",
    ),
    (["filter", "empty_profile.parquet", "-o", "o.parquet"], "empty_profile.parquet: no rows", "profile some"),
    (
        ["filter", "profile.parquet", "--max-mean", "2", "-o", "o.parquet"],
        "--max-mean: Input should be less than or equal to 1",
        "see pivotrl filter --help",
    ),
    (["filter", "profile.parquet", "--config", "none.toml"], "none.toml: No such file or directory", "check the path"),
    (["filter", "profile.parquet", "--config", "bad.toml"], "bad.toml: Invalid value", "it must be TOML"),
    (["filter", "profile.parquet", "--config", "binary.toml"], "binary.toml: ", "it must be TOML"),
    (["filter", "profile.parquet", "--config", "unknown.toml"], "unknown.toml: unknown key 'max_men'", "see pivotrl"),
    (["filter", "profile.parquet", "--level", "0.9"], "--level belongs to another rule", "add --rule posterior"),
    (["filter", "profile.parquet", "--min-signal", "0.1"], "--min-signal belongs to", "add --rule signal"),
    (["filter", "profile.parquet", "--balance", "tool"], "--balance shares a limit", "add --limit N"),
    (
        ["filter", "profile.parquet", "--select", "random"],
        "--select random says which",
        "add --limit N or another limit; for a random control: --control random",
    ),
    (["filter", "profile.parquet", "--min-pass-rate", "0.7"], "the pass rate cannot be at least 0.7 and below 0.6", ""),
    (
        ["filter", "profile.parquet", "--where", "turns > 3"],
        "--where \"turns > 3\": no column 'turns'",
        "a SQL condition on these columns: tool, candidate_id, trajectory_id, task_id, source, turn, ",
    ),
    (["filter", "profile.parquet", "--where", "turn >"], '--where "turn >": ', "a SQL condition on these columns: "),
    (["filter", "profile.parquet", "--where", "turn"], '--where "turn": it is Int64, not true or false', "a SQL "),
    (["filter", "profile.parquet", "--where", "turn = 'a'"], "--where \"turn = 'a'\": ", "a SQL condition on "),
    (["filter", "profile.parquet", "--json"], "--json needs the table to go to a file", "add -o FILE"),
    (["filter", "profile.parquet", "-o", "notes.txt"], "notes.txt exists and pivotrl did not write it", "choose"),
    (["filter", "profile.parquet", "-o", "notes.txt/o.parquet"], "notes.txt/o.parquet: ", "choose a folder"),
    (["filter", "profile.parquet", "--force", "-o", "."], ".: is a folder", "name a file in it"),
    (["train", "candidates.parquet"], "--output: is missing", "see pivotrl train --help"),
    (["compare", "candidates.parquet"], "candidates.parquet: column 'benchmark' is missing", "make one with"),
    (["inspect", "none.parquet"], "none.parquet: no such file", "check the path"),
    (["inspect", "notes.txt"], "notes.txt: not a Parquet file", "write it again"),
    (["inspect", "candidates.parquet", "--row", "x"], "candidates.parquet: no row with candidate_id 'x'", "there are"),
]


@pytest.mark.parametrize(("arguments", "error", "hint"), ERRORS, ids=[" ".join(e[0]) for e in ERRORS])
def test_what_a_user_can_fix_is_one_line_and_a_hint(cli, folder, arguments, error, hint):
    before = sorted(path.name for path in folder.iterdir())
    found = cli(folder, *arguments, code=2)
    lines = found.err.splitlines()
    assert lines[0].startswith(f"error: {error}")
    assert [line.partition(" ")[0] for line in lines] == (["error:", "hint:"] if len(lines) == 2 else ["error:"])
    assert (lines[1] if len(lines) == 2 else "hint: ").startswith(f"hint: {hint}")
    assert found.out == ""
    assert sorted(path.name for path in folder.iterdir()) == before


def test_a_model_folder_without_chat_template_is_one_line_and_a_hint(cli, folder, tiny_model):
    shutil.copytree(tiny_model, folder / "model")
    (folder / "model" / "chat_template.jinja").unlink()
    found = cli(folder, "profile", "candidates.parquet", "--model", "model", "-o", "o.parquet", code=2)
    assert found.err.splitlines() == [
        "error: model: the tokenizer has no chat template",
        "hint: add chat_template.jinja to the model folder, or use the instruction-tuned model",
    ]
    assert not (folder / "o.parquet").exists()


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (["filter"], "Missing argument", "see pivotrl filter --help"),
        (["filter", "--what"], "No such option: --what", "see pivotrl filter --help"),
        (["filer"], "No such command 'filer'", "see pivotrl --help"),
        (["filter", "x", "--max-mean", "low"], "Invalid value for '--max-mean'", "see pivotrl filter --help"),
        (["filter", "x", "--select", "best"], "Invalid value for '--select'", "see pivotrl filter --help"),
        (["filter", "x", "-o"], "Option '-o' requires an argument", "see pivotrl --help"),
    ],
)
def test_a_command_line_that_does_not_parse_is_one_line_and_a_hint(cli, tmp_path, arguments, error, hint):
    found = cli(tmp_path, *arguments, code=2).err.splitlines()
    assert found[0].startswith(f"error: {error}")
    assert found[1:] == [f"hint: {hint}"]


def test_without_a_command_the_help_is_shown(cli, tmp_path):
    assert cli(tmp_path, code=2).err.startswith("Usage: ")
    assert cli(tmp_path, "--help").out.startswith("Usage: ")


def test_a_failed_run_exits_with_one(cli, folder):
    script(folder / "nothing.jsonl", {})
    arguments = ["profile", "candidates.parquet", "--engine", "replay", "--replay", "nothing.jsonl", "-o", "o.parquet"]
    assert cli(folder, *arguments, code=1).err.splitlines() == [
        "error: no rollout could be measured",
        "hint: see the error column of o.parquet; --force samples again",
    ]


def test_a_bad_line_becomes_a_reject_that_names_it(cli, folder):
    cli(folder, "extract", "broken.jsonl", "-o", "o.parquet")
    assert len(read(folder / "o.parquet", Candidate)) == 1
    (reject,) = read(folder / "o.rejects.parquet", Reject)
    assert (reject.source, reject.line, str(reject.reason)) == ("broken.jsonl", 2, "bad_json")


def test_the_summary_goes_to_stderr_for_people_and_to_stdout_for_programs(cli, folder):
    people = cli(folder, "filter", "profile.parquet", "-o", "o.parquet")
    assert people.out == ""
    assert people.err.splitlines()[0].strip() == "filter: reward varies, mean below 0.6"
    assert people.err.splitlines()[-1] == "o.parquet written"
    assert cli(folder, "filter", "profile.parquet", "-o", "o.parquet").err.endswith("o.parquet is up to date\n")
    program = cli(folder, "filter", "profile.parquet", "-o", "o.parquet", "--json")
    assert program.err == ""
    summary = json.loads(program.out)
    assert [(step["step"], step["left"]) for step in summary["funnel"]] == [
        ("train split", 5),
        ("scored", 5),
        ("mixed", 3),
        ("in window", 2),
    ]
    assert (summary["candidates"], summary["kept"]) == (6, 2)


def test_a_dry_run_prints_the_funnel_and_writes_nothing(cli, folder):
    before = sorted(folder.iterdir())
    arguments = ["filter", "profile.parquet", "-o", "o.parquet", "--dropped", "d.parquet", "--dry-run"]
    people = cli(folder, *arguments)
    assert people.out == ""
    assert people.err.splitlines()[0].strip() == "filter: reward varies, mean below 0.6"
    assert json.loads(cli(folder, *arguments, "--json").out)["kept"] == 2
    assert sorted(folder.iterdir()) == before


def test_square_brackets_in_names_are_no_markup(cli, tmp_path):
    write(tmp_path / "c.parquet", [candidate("a-0", source="data[/red].jsonl")])
    script(tmp_path / "replay.jsonl", {"a-0": [RIGHT, WRONG]})
    cli(
        tmp_path, "profile", "c.parquet", "--engine", "replay", "--replay", "replay.jsonl", "-n", "2", "-o", "p.parquet"
    )
    assert "data[/red].jsonl" in cli(tmp_path, "filter", "p.parquet", "-o", "o.parquet").err
    assert "data[/red].jsonl" in cli(tmp_path, "inspect", "p.parquet").out


@pytest.mark.slow
def test_stages_are_piped_into_each_other(folder):
    profiled, _ = piped(folder, (folder / "candidates.parquet").read_bytes(), "profile", "-", *REPLAY)
    pivots, _ = piped(folder, profiled, "filter", "-")
    with Table("memory", io.BytesIO(pivots), Pivot) as table:
        assert [row.candidate_id for row in table.rows()] == ["b-1", "c-0"]
    overview, _ = piped(folder, pivots, "inspect", "-")
    assert overview.decode().startswith("standard input: pivots, 2 rows\n")
    assert sorted(folder.glob(".*")) == []


def test_extract_opens_a_pipe(folder):
    found, _ = piped(folder, b"", "extract", "t.jsonl", "-o", "-")
    with Table("memory", io.BytesIO(found), Candidate) as table:
        assert [row.expected_action.content for row in table.rows()] == ["Hello."]


@pytest.mark.parametrize("stdin", [b"", b"no table"])
def test_an_empty_or_foreign_pipe_is_one_line(folder, stdin):
    out, err = piped(folder, stdin, "filter", "-", code=2)
    assert out == b""
    assert err.splitlines() == [
        "error: standard input: not a Parquet file, or cut short",
        "hint: write it again with pivotrl",
    ]


@pytest.mark.slow
def test_tables_neither_come_from_a_terminal_nor_go_to_one(folder):
    keyboard, screen = os.openpty()
    try:
        for arguments, message in (
            (["filter", "profile.parquet"], b"error: standard output is a terminal"),
            (["filter", "-", "-o", "o.parquet"], b"error: standard input is a terminal"),
        ):
            ended = subprocess.run(
                [*COMMAND, *arguments],
                cwd=folder,
                env=ENVIRONMENT,
                stdin=screen,
                stdout=screen,
                stderr=subprocess.PIPE,
                check=False,
                timeout=60,
            )
            assert (ended.returncode, ended.stderr.splitlines()[0]) == (2, message)
    finally:
        os.close(keyboard)
        os.close(screen)


def test_a_reader_that_leaves_early_is_no_traceback(folder):
    rows = [candidate(f"a-{i}", provenance=json.dumps({"noise": os.urandom(2000).hex()})) for i in range(200)]
    write(folder / "big.parquet", rows)
    script(folder / "replay.jsonl", {row.candidate_id: [RIGHT, TALK] for row in rows})
    command = [*COMMAND, "profile", "big.parquet", "--engine", "replay", "--replay", "replay.jsonl", "-n", "2"]
    process = subprocess.Popen(command, cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(4)
        process.stdout.close()
        errors = process.stderr.read().decode()
        assert process.wait(timeout=60) == 1
    assert "Traceback" not in errors
    assert "BrokenPipe" not in errors


@pytest.mark.slow
def test_an_interrupt_exits_with_130_and_leaves_nothing_behind(folder):
    (folder / "slow.py").write_text(
        "import time\ndef slow(candidate, action):\n    print('in', flush=True)\n    time.sleep(30)\n"
    )
    command = [*COMMAND, "profile", "candidates.parquet", *REPLAY, "--verifier", "slow.py:slow", "-o", "o.parquet"]
    process = subprocess.Popen(command, cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"in\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in errors
    assert not (folder / "o.parquet").exists()
    assert sorted(folder.glob(".*")) == []


@pytest.mark.slow
def test_a_killed_stage_leaves_no_output_and_a_rerun_completes(cli, folder):
    (folder / "deadly.py").write_text("import os, signal\ndef deadly(*_):\n    os.kill(os.getpid(), signal.SIGKILL)\n")
    run = ["profile", "candidates.parquet", *REPLAY, "-o", "o.parquet"]
    piped(folder, b"", *run, "--verifier", "deadly.py:deadly", code=-9)
    assert not (folder / "o.parquet").exists()
    cli(folder, *run)
    assert len(read(folder / "o.parquet", Profile)) == 6
    assert sorted(folder.glob(".*")) == []


def test_a_toml_file_sets_the_options_and_flags_win(cli, folder):
    (folder / "run.toml").write_text("max_mean = 0.3\n[filter]\nmax-mean = 1.0\nlimit = 2\n[profile]\nn = 5\n")
    (folder / "flat.toml").write_text("max_mean = 1.0\n")
    flat = json.loads(cli(folder, "filter", "profile.parquet", "--config", "flat.toml", "-o", "1", "--json").out)
    assert (flat["rule"], flat["kept"]) == ("reward varies, mean below 1", 3)
    section = json.loads(cli(folder, "filter", "profile.parquet", "--config", "run.toml", "-o", "2", "--json").out)
    assert (section["rule"], section["kept"]) == ("reward varies, mean below 1", 2)
    arguments = ["filter", "profile.parquet", "--config", "run.toml", "--limit", "1", "-o", "3", "--json"]
    assert json.loads(cli(folder, *arguments).out)["kept"] == 1


def test_another_config_over_an_output_is_refused_and_forced(cli, folder):
    cli(folder, "filter", "profile.parquet", "-o", "o.parquet")
    assert cli(folder, "filter", "profile.parquet", "--max-mean", "1", "-o", "o.parquet", code=2).err.splitlines() == [
        "error: o.parquet exists and was made differently: config.max_mean: 0.6 -> 1.0",
        "hint: add --force to overwrite it, or choose another -o",
    ]
    cli(folder, "filter", "profile.parquet", "--max-mean", "1", "-o", "o.parquet", "--force")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_has_a_line_of_help(cli, tmp_path, command):
    text = cli(tmp_path, command, "--help").out
    options = [line for line in text.splitlines() if line.startswith("  -")]
    assert options
    assert all(
        len(line.split("  ")) > 2 or text.splitlines()[text.splitlines().index(line) + 1].startswith(" " * 10)
        for line in options
    )


def test_help_and_version_of_the_whole(cli, tmp_path):
    assert cli(tmp_path, "--version").out.startswith("pivotrl ")
    listed = cli(tmp_path, "--help").out.partition("Commands:\n")[2].splitlines()
    assert sorted(line.split()[0] for line in listed) == sorted(COMMANDS)
    assert all(len(line.split()) > 2 for line in listed)
