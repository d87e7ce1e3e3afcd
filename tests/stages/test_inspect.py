"""Inspect: every view of a table, finished or not, as a terminal of 80 columns and as JSON."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tables import RIGHT, TALK, WRONG, calls, candidate, read, script, user, write

from pivotrl_cli.configs import EvalConfig, InspectConfig, ProfileConfig, TrainConfig
from pivotrl_cli.errors import ConfigError, InputError
from pivotrl_cli.rows import EvalResult, Profile, StepMetrics, TrainRollout
from pivotrl_cli.stages.inspect import run as inspect
from pivotrl_cli.stages.profile import run as profile
from pivotrl_cli.stages.profile.samples import Samples, journal_key
from pivotrl_cli.stages.train.run_folder import RunFolder
from pivotrl_cli.storage.files import partial_path
from pivotrl_cli.storage.journal import Journal
from pivotrl_cli.storage.provenance import Input, Provenance
from pivotrl_cli.storage.table import Table
from pivotrl_cli.storage.table_writer import TableWriter

ROOT = Path(__file__).parents[2]


@pytest.fixture
def look(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """What `inspect` prints, at 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")

    def run(file: Path, **options: object) -> str:
        inspect.run(InspectConfig.model_validate({"file": str(file)} | options))
        return capsys.readouterr().out

    return run


def test_the_overview_of_a_profile_has_filters_funnel(look, profile_file):
    out = look(profile_file)
    assert [line.split() for line in out.splitlines()[out.splitlines().index("candidates by mean reward") :][:4]] == [
        ["candidates", "by", "mean", "reward"],
        ["0", "#" * 40, "1"],
        ["0.0-0.1", "0"],
        ["0.1-0.2", "0"],
    ]
    found = json.loads(look(profile_file, json_summary=True))
    assert found["funnel"]["funnel"] == [
        {"step": "train split", "left": 5, "dropped": {"other_split": 1}},
        {"step": "scored", "left": 5, "dropped": {}},
        {"step": "mixed", "left": 3, "dropped": {"all_right": 1, "all_wrong": 1}},
        {"step": "in window", "left": 2, "dropped": {"too_easy": 1}},
    ]
    assert (found["rows"], found["matching"], found["table"]) == (6, 6, "profile")
    assert found["numbers"]["n_scored"] == {"null": 0, "min": 0, "median": 4.0, "mean": 3.1666666666666665, "max": 4}


def test_an_overview_names_a_few_of_many_inputs(look, tmp_path):
    made = Provenance.of(
        "profile", Profile, ProfileConfig(candidates="c"), [Input(f"{i}.jsonl", "0") for i in range(9)]
    )
    with TableWriter(tmp_path / "p.parquet", Profile, made):
        pass
    lines = look(tmp_path / "p.parquet").splitlines()
    assert [line for line in lines if line.startswith("  from ")][-1] == "  from 4.jsonl (sha256 0)"
    assert "  and from 4 more (--json has them)" in lines


def test_where_narrows_the_overview(look, profile_file):
    found = json.loads(look(profile_file, where="tool = 'look' and reward_mean > 0", json_summary=True))
    assert (found["rows"], found["matching"]) == (6, 3)
    assert found["pass_rates"]["1"] == 1
    assert found["funnel"]["funnel"][1] == {"step": "where", "left": 3, "dropped": {"where_false": 2}}
    assert json.loads(look(profile_file, where="1 = 1", json_summary=True))["matching"] == 6
    with pytest.raises(ConfigError, match="no column 'turns'"):
        look(profile_file, where="turns > 3")


def test_a_sample_is_seeded_and_of_the_rows_asked_for(look, profile_file):
    def ids(**options: object) -> list[str]:
        return [row["candidate_id"] for row in json.loads(look(profile_file, json_summary=True, **options))["rows"]]

    assert ids(sample=99) == ["a-0", "a-1", "b-0", "b-1", "c-0", "c-1"]
    assert ids(sample=9, where="n_scored = 3") == ["a-0"]
    assert ids(sample=3, seed=5) == ids(sample=3, seed=5)
    assert len({tuple(ids(sample=3, seed=seed)) for seed in range(9)}) > 1
    with pytest.raises(InputError, match="no row to sample"):
        look(profile_file, sample=1, where="turn > 5")


def test_a_row_is_named_by_the_beginning_of_its_id(look, profile_file):
    assert look(profile_file, row="a-1").splitlines()[0] == "candidate_id: a-1"
    with pytest.raises(InputError, match="no row with candidate_id 'a-'"):
        look(profile_file, row="a-")
    with pytest.raises(ConfigError, match="--row and --sample show different things"):
        look(profile_file, row="a-1", sample=2)


@pytest.fixture
def story_file(tmp_path: Path) -> Path:
    """A trajectory of two turns, the first with rewards 1, 0, the second with 1, 1."""
    first = candidate("a-0", n_turns=2)
    told = [*first.state, first.expected_action, user("And order 8?\x1b[31m")]
    second = candidate("a-1", turn=1, n_turns=2, state=told, expected_action=calls("look", '{"order": 8}'))
    rows = write(tmp_path / "candidates.parquet", [second, first, candidate("b-0")])
    replay = script(tmp_path / "r.jsonl", {"a-0": [RIGHT, TALK], "a-1": [WRONG, WRONG], "b-0": [RIGHT, RIGHT]})
    output = tmp_path / "profile.parquet"
    profile.run(ProfileConfig(candidates=str(rows), engine="replay", replay=replay, n=2, output=str(output)))
    return output


def test_a_trajectory_is_told_turn_by_turn(look, story_file):
    lines = [line.rstrip() for line in look(story_file, trajectory="a").splitlines()]
    assert lines == [
        "trajectory a: 2 turns, from t.jsonl",
        "",
        " turn  pass rate        of  demonstrated action",
        '    0* #####..... 0.50   2  look {"order": 7}',
        '    1  ########## 1.00   2  look {"order": 8}',
        "* its rewards differ, or filter kept it",
        "",
        "turn 0 of 2: pass rate 0.50 [0.06, 0.94] of 2",
        "  a-0",
        "  user: a-0: look at order 7.",
        "demonstrated:",
        '  assistant calls look {"order": 7}',
        "rollouts:",
        "  expected_tool_call (equal, reward 1), 1 rollout",
        '    1 x <tool_call> {"name": "look", "arguments": {"order": 7}} </tool_call>',
        "  no_expected_tool_call (reward 0), 1 rollout",
        "    1 x Which order?",
        "        expected a call of 'look', got 'Which order?'",
        "",
        "turn 1 of 2: pass rate 1.00 [0.33, 1.00] of 2",
        "  a-1",
        "  user: And order 8?\\x1b[31m",
        "demonstrated:",
        '  assistant calls look {"order": 8}',
        "rollouts:",
        "  expected_tool_call (equal, reward 1), 2 rollouts",
        '    2 x <tool_call> {"name": "look", "arguments": {"order": 8}} </tool_call>',
    ]
    with pytest.raises(InputError, match="no trajectory 'x'"):
        look(story_file, trajectory="x")


def test_disagreements_are_between_reward_and_likeness(look, profile_file):
    found = json.loads(look(profile_file, disagreements=1, json_summary=True))
    refused, accepted = found["refused"][0], found["accepted"][0]
    assert (refused["demonstrated"], refused["text"]) == (
        'look {"order": 8}',
        '<tool_call> {"name": "look", "arguments": {"order": 7}} </tool_call>',
    )
    assert refused["likeness"] == round(2 * 16 / 34, 4)  # 16 of 17 characters in common
    assert refused["reward"] == 0.0
    assert accepted["candidate_id"] == "b-1"
    assert (accepted["reward"], accepted["text"]) == (1.0, "Which order?")
    with pytest.raises(InputError, match="has no rollouts beside their demonstration"):
        look(profile_file.with_name("candidates.parquet"), disagreements=1)


# ---- while a stage writes ---------------------------------------------------------------------------------------


def unfinished_profile(finished: Path, keys: list[str]) -> Path:
    """A journal with what is sampled at these candidates, as a run that is not done leaves it beside its output."""
    output = finished.with_name("later.parquet")
    with Table.open(finished, Profile) as table:
        stored = table.provenance or {}
    inputs = [Input(i["name"], i["sha256"]) for i in stored["inputs"]]
    made = Provenance(stored["table"], stored["command"], stored["config"], inputs, stored["fingerprints"])
    with Journal.beside(output, made) as journal:
        for row in read(finished, Profile):
            if row.candidate_id in keys:  # two rounds, the later one first
                halves = {(2, 2): row.rollouts[2:], (0, 2): row.rollouts[:2]}
                for span, part in halves.items():
                    sampled = Samples(rollouts=part, prompt_tokens=row.prompt_tokens)
                    journal.add({journal_key(row.candidate_id, span): sampled.model_dump()})
    return output


def test_of_an_unfinished_profile_it_is_said_how_far_it_is(look, profile_file):
    output = unfinished_profile(profile_file, ["a-0", "b-1"])
    with pytest.raises(InputError, match="still being written, 2 candidates so far"):
        look(output)
    assert sorted(p.name for p in output.parent.glob("later*")) == ["later.parquet.journal"]


def test_of_an_unfinished_evaluation_it_is_said_how_far_it_is(look, tmp_path):
    made = Provenance.of("eval", EvalResult, EvalConfig(benchmarks=["desk"]), [])
    with Journal.beside(tmp_path / "e.parquet", made) as journal:
        with pytest.raises(InputError, match="still being written, nothing is finished yet"):
            look(tmp_path / "e.parquet")
        journal.add({f"desk/t{i}/0/{turn}": {} for i in range(3) for turn in range(2)} | {"user/desk/t0/0/1": {}})
        with pytest.raises(InputError, match="still being written, 6 turns of 3 episodes so far"):
            look(tmp_path / "e.parquet")


def test_what_has_no_readable_part_yet_is_said(look, tmp_path):
    partial_path(tmp_path / "c.parquet").write_bytes(b"PAR1" + b"x" * 2_000_000)
    with pytest.raises(InputError, match=r"still being written, 2\.0 MB so far"):
        look(tmp_path / "c.parquet")
    with pytest.raises(InputError, match="no such file"):
        look(tmp_path / "d.parquet")


def test_a_table_that_is_about_to_be_replaced_is_shown_with_a_word_on_it(look, profile_file):
    partial_path(profile_file).write_bytes(b"PAR1")
    assert "is about to replace this" in look(profile_file).splitlines()[0]
    assert json.loads(look(profile_file, json_summary=True))["unfinished"].startswith("an unfinished run")


def step(number: int) -> StepMetrics:
    known = dict.fromkeys(StepMetrics.model_fields, 0) | {"skipped": None}
    return StepMetrics.model_validate(known | {"step": number, "rollout_turns": 8 * number, "reward_mean": 0.5})


def test_a_training_run_is_looked_at_while_it_goes_on(look, tmp_path):
    made = Provenance.of("train", StepMetrics, TrainConfig(pivots="p.parquet", output="tuned"), [])
    run = RunFolder(tmp_path / "tuned", made, force=False, keep=1)
    with pytest.raises(InputError, match="has not finished a step yet"):
        look(tmp_path / "tuned")
    rollout = TrainRollout(
        step=1,
        candidate_id="a-0",
        sample=0,
        text=RIGHT,
        reward=1.0,
        verdict="match",
        advantage=0.0,
        n_tokens=9,
        finish_reason="stop",
    )
    run.write_step(step(1), [rollout])
    run.write_step(step(2), [rollout.model_copy(update={"step": 2})])
    assert look(tmp_path / "tuned").splitlines()[:2] == [
        f"{tmp_path}/tuned: the run is unfinished: 2 steps so far",
        f"{tmp_path}/tuned: metrics, 2 rows",
    ]
    with pytest.raises(InputError, match="still being written, 2 steps so far, each in a table of its own") as error:
        look(tmp_path / "tuned" / "rollouts.parquet")
    last = Path(str(error.value.hint).removeprefix("look at one of them, such as "))
    assert [row["step"] for row in json.loads(look(last, sample=9, json_summary=True))["rows"]] == [2]
    assert look(tmp_path / "tuned", row="2").splitlines()[1] == "step: 2"


# ---- how it looks -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"row": "a-0"}, {"trajectory": "a"}, {"disagreements": 3}, {"sample": 2}])
def test_nothing_is_wider_than_80_columns_or_coloured_in_a_pipe(look, profile_file, monkeypatch, options):
    monkeypatch.chdir(profile_file.parent)
    out = look(Path("profile.parquet"), **options)
    assert max(map(len, out.splitlines())) <= 80
    assert "\x1b" not in out


def test_no_color_and_the_pager_are_honoured_on_a_terminal(story_file):
    terminal, theirs = pty.openpty()
    env = os.environ | {"PYTHONPATH": str(ROOT), "NO_COLOR": "1", "TERM": "xterm", "PAGER": "sed s/^/paged:/"}
    command = [sys.executable, "-m", "pivotrl_cli", "inspect", story_file.name, "--trajectory", "a"]
    subprocess.run(command, cwd=story_file.parent, env=env, stdin=theirs, stdout=theirs, check=True, timeout=60)
    os.close(theirs)
    out = os.read(terminal, 1 << 16).decode()
    os.close(terminal)
    assert out.startswith("paged:trajectory a: 2 turns, from t.jsonl\r\n")
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", out)
