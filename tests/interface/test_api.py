"""The Python API: the same tables as the shell's, the same options, and provenance that says no more than it knows."""

from __future__ import annotations

import gc
import os
import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

import pivotrl_cli as pv
from pivotrl_cli.configs import FilterConfig
from pivotrl_cli.interface import api, frames
from pivotrl_cli.interface.commands import COMMANDS
from pivotrl_cli.rows import EvalResult
from pivotrl_cli.stages.filter import run as filter_stage
from pivotrl_cli.storage.arrow import arrow_schema

ROOT = Path(__file__).parents[2]
RECORD = {"messages": [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello."}]}


def test_every_public_name_is_on_the_page_and_loads():
    page = (ROOT / "docs" / "python.md").read_text()
    named = {name for row in re.findall(r"^\| (`.*?) \|", page, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    assert sorted(named) == api.__all__
    assert {*api.__all__, "FilterConfig", "PivotRLError", "__version__"} <= set(dir(pv))
    assert all(getattr(pv, name) is not None for name in dir(pv))
    with pytest.raises(AttributeError, match="has no attribute 'evalute'"):
        pv.evalute  # noqa: B018


def test_importing_it_loads_nothing():
    code = "import sys, pivotrl_cli; print(sorted({'torch', 'polars', 'pyarrow', 'pydantic'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, check=True
    )
    assert done.stdout == b"[]\n"


def test_options_come_as_config_keywords_or_both(profile_file):
    by_keyword = pv.filter(profile_file, max_mean=1.0, limit=1)
    assert by_keyword.equals(pv.filter(profile_file, pv.FilterConfig(max_mean=1.0, limit=1)))
    assert by_keyword.equals(pv.filter(profile_file, pv.FilterConfig(max_mean=0.1, limit=1), max_mean=1.0))
    assert by_keyword.equals(pv.filter(profile_file, pv.FilterConfig(max_mean=1.0, limit=1, dry_run=True)))


def test_an_output_of_the_config_is_written(tmp_path, profile_file):
    path = tmp_path / "pivots.parquet"
    assert pv.filter(profile_file, pv.FilterConfig(output=path)) == path
    assert pv.read(path).height == 2


def test_one_text_stands_for_a_list_and_a_path_for_its_name(tmp_path):
    config = pv.ScoreConfig(rollouts=tmp_path, verifier="exact", candidates="c.parquet", output=tmp_path)
    assert (config.rollouts, config.verifier, config.candidates) == (str(tmp_path), ["exact"], Path("c.parquet"))
    assert config.output == str(tmp_path)


def test_every_command_is_here_or_for_the_terminal():
    named = {"eval": "evaluate", "import-eval": "import_eval"}
    for_the_terminal = {"inspect", "doctor", "report", "harness"}
    assert [c for c in COMMANDS if c not in for_the_terminal and named.get(c, c) not in pv.__all__] == []


def test_a_frame_counts_as_its_file(tmp_path, profile_file):
    shell = FilterConfig(profile=str(profile_file), max_mean=1.0, output=str(tmp_path / "pivots.parquet"))
    filter_stage.run(shell)
    pivots = pv.filter(pv.read(profile_file), max_mean=1.0)
    assert pv.write(pivots, tmp_path / "mine.parquet").read_bytes() == (tmp_path / "pivots.parquet").read_bytes()
    assert pv.summary(pivots) == pv.summary(tmp_path / "pivots.parquet")
    assert pv.filter(profile_file, max_mean=1.0, output=tmp_path / "pivots.parquet") == tmp_path / "pivots.parquet"


def test_a_changed_frame_says_nothing_of_its_origin(tmp_path, profile_file):
    profile = pv.read(profile_file)
    fewer = profile.filter(pl.col("turn") == 0)
    with pytest.raises(pv.PivotRLError, match="changed or made by hand"):
        pv.lineage(fewer)
    profile[0, "domain"] = "elsewhere"
    assert frames.file_of(profile) is None
    pv.write(fewer, tmp_path / "plain.parquet")
    with pytest.raises(pv.PivotRLError, match="not one that pivotrl wrote"):
        pv.lineage(tmp_path / "plain.parquet")
    pv.write(fewer, tmp_path / "derived.parquet", derived_from=profile_file)
    found = pv.lineage(tmp_path / "derived.parquet")
    assert (found["table"], found["command"]) == ("profile", "python")
    assert found["inputs"][0]["provenance"] == pv.lineage(profile_file)


def test_a_file_that_changed_is_not_behind_its_frame_any_more(tmp_path, profile_file):
    profile = pv.read(profile_file)
    assert frames.file_of(profile) == profile_file.resolve()
    pv.read(profile_file).head(1).write_parquet(profile_file)
    assert frames.file_of(profile) is None
    assert len(pv.filter(profile, max_mean=1.0, split="all")) == 3


def test_columns_of_ones_own_are_kept(tmp_path, profile_file):
    mine = pv.read(profile_file).with_columns(note=pl.col("candidate_id"))
    assert pv.filter(mine, max_mean=1.0, where="note = 'a-0'")["candidate_id"].to_list() == ["a-0"]
    again = pv.read(pv.write(mine, tmp_path / "mine.parquet"))
    assert again.equals(mine)


def test_an_empty_frame_keeps_its_types(tmp_path, profile_file):
    empty = pv.read(profile_file).clear()
    assert pv.read(pv.write(empty, tmp_path / "empty.parquet")).schema == empty.schema
    with pytest.raises(pv.PivotRLError, match="no rows"):
        pv.filter(empty)


def test_what_was_left_out_is_at_hand(profile_file):
    candidates = pv.extract([RECORD, {"messages": "?"}])
    assert candidates.select("source", "turn").rows() == [("records.jsonl", 0)]
    assert pv.left_out(candidates)["reason"].to_list() == ["bad_record"]
    dropped = pv.left_out(pv.filter(profile_file, max_mean=1.0))
    assert dict(dropped.select("candidate_id", "drop_reason").rows())["b-0"] == "all_wrong"
    with pytest.raises(pv.PivotRLError, match="no rejects or dropped rows belong to this frame"):
        pv.left_out(dropped)


def test_the_files_of_a_frame_go_with_it():
    candidates = pv.extract([RECORD])
    folder = frames.file_of(candidates).parent
    assert folder.is_dir()
    del candidates
    gc.collect()
    assert not folder.exists()


def test_profile_and_score_in_memory(candidates_file, replay_file):
    profile = pv.profile(pv.read(candidates_file), engine="replay", replay=replay_file, n=4)
    assert profile["reward_mean"].to_list() == [2 / 3, 1.0, 0.0, 0.5, 0.25, None]
    assert pv.score(profile, verifier="tool_name")["n_scored"].to_list() == profile["n_scored"].to_list()
    assert pv.agreement(profile, verifier=["exact"])["rollouts"] == 19
    assert pv.audit(profile, verifier="tool_call")["verifiers"] == ["tool_call"]


def evaluation(scores: dict[str, float | None]) -> pl.DataFrame:
    """An eval table made by hand: `{"desk/a": 1.0}`."""
    schema = pl.DataFrame(arrow_schema(EvalResult).empty_table()).schema
    empty = {name: "" if kind == pl.String else [] if kind == pl.List else 0 for name, kind in schema.items()}
    named = {tuple(name.split("/")): score for name, score in scores.items()}
    rows = [empty | {"benchmark": b, "task_id": t, "cluster": t, "score": score} for (b, t), score in named.items()]
    return pl.DataFrame(rows, schema=schema)


def test_a_comparison_counts_what_it_leaves_out():
    base = evaluation({"desk/a": 1.0, "desk/b": 0.0, "desk/c": None, "skills/a": 1.0})
    tuned = evaluation({"desk/a": 1.0, "desk/b": 1.0, "desk/c": 1.0, "desk/d": 0.0})
    found = pv.compare({"base": base, "tuned": tuned})
    counts = found.select("benchmark", "model", "n", "n_unscored", "n_missing", "mean", "mean_errors_as_zero").rows()
    assert counts == [
        ("desk", "base", 2, 1, 1, 0.5, 1 / 3),
        ("desk", "tuned", 2, 0, 0, 1.0, 1.0),
        ("skills", "tuned", 0, None, 1, None, None),
    ]
    assert found.row(1, named=True)["difference"] == 0.5
    assert found.select("wins", "losses").row(1) == (1, 0)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda p: pv.filter(p, max_mean=3), ValueError, "max_mean: Input should be less than or equal to 1"),
        (
            lambda p: pv.filter(p, max_men=1),
            TypeError,
            "unexpected keyword argument 'max_men'; did you mean 'max_mean'?",
        ),
        (lambda p: pv.filter(p, dry_run=True), TypeError, "filter: got an unexpected keyword argument 'dry_run'"),
        (lambda p: pv.filter(p, output="-"), ValueError, "output='-' is for the command line"),
        (lambda p: pv.filter("-"), ValueError, "'-' is for the command line"),
        (lambda p: pv.read("nowhere.parquet"), ValueError, "nowhere.parquet: no such file"),
        (lambda p: pv.read(__file__), ValueError, "not a Parquet file, or cut short"),
        (
            lambda p: pv.filter(pl.DataFrame({"a": [1]})),
            ValueError,
            "a frame with the columns a is not a pivotrl table",
        ),
        (lambda p: pv.filter(pv.read(p).with_columns(pl.lit(1).alias("domain"))), ValueError, "column 'domain'"),
        (
            lambda p: pv.filter(pv.read(p).with_columns(pl.lit(None, pl.String).alias("domain"))),
            ValueError,
            "has nulls",
        ),
        (lambda p: pv.compare([p]), ValueError, "compare takes the tables by name"),
        (lambda p: pv.train(p), TypeError, "train: missing a required argument: 'output'"),
    ],
)
def test_bad_arguments_are_named(profile_file, call, error, message):
    with pytest.raises(error, match=re.escape(message)):
        call(profile_file)


def test_a_hint_is_shown_under_the_message(profile_file):
    with pytest.raises(pv.PivotRLError) as raised:
        pv.filter("nowhere.parquet")
    assert raised.value.__notes__ == ["hint: check the path, or run the stage before this one"]


@pytest.mark.slow
def test_the_notebook_of_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cells = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), re.DOTALL)
    assert len(cells) == 10
    notebook: dict[str, object] = {}
    for cell in cells:
        exec(cell, notebook)
    scores = notebook["scores"]
    assert isinstance(scores, pl.DataFrame)
    assert scores.select("benchmark", "domain", "model").rows() == [
        ("skills", "out", "base"),
        ("skills", "out", "tuned"),
        ("pivots", "in", "base"),
        ("pivots", "in", "tuned"),
    ]
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "early.parquet",
        "pivots.parquet",
        "profile.parquet",
        "trajectories.jsonl",
        "tuned",
    ]
