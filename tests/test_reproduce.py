"""The study of the paper's claims: which commands it runs, how it goes on, and what it makes of the scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.stats import ttest_1samp

from recipes.reproduce import tables
from recipes.reproduce.__main__ import choose, main_jobs, tuning
from recipes.reproduce.run import Failed, run_all
from recipes.reproduce.study import Job, Jobs, Setting, Study

STUDY = Study.read()


def scored(path: Path, desk: list[float]) -> Path:
    pl.DataFrame({"benchmark": "desk", "category": "move", "score": desk}).write_parquet(path)
    return path


def test_a_model_needs_what_its_table_needs():
    job = Jobs(STUDY, Path("runs")).model("strict", "a", 3, Setting(4e-4, 25))
    place = Path("runs/a/3")
    assert job.output == place / "strict"
    assert job.command[:6] == ("train", str(place / "strict.parquet"), "--model", "desk", "--method", "grpo")
    assert ("--verifier", "exact") in zip(job.command, job.command[1:], strict=False)
    chain = [job.output]
    while job.needs:
        (job,) = job.needs
        chain.append(job.output)
    assert chain == [
        place / "strict",
        place / "strict.parquet",
        place / "profile-strict.parquet",
        place / "candidates.parquet",
        place / "trajectories.jsonl",
    ]


def test_every_arm_is_tuned_alike_and_scored_on_the_test_split_once():
    jobs = Jobs(STUDY, Path("runs"))
    tuned = tuning(jobs)
    grids = {
        name: [rate for arm, setting in tuned if arm == name for rate in {setting.learning_rate}] for name, _ in tuned
    }
    assert {name: len(rates) for name, rates in grids.items()} == dict.fromkeys(
        ("sft", "pivotrl", "random", "strict", "e2e"), 6
    )
    assert all("val" in job.command and "test" not in job.command for job in tuned.values())
    chosen = dict.fromkeys(STUDY.arms, Setting(4e-4, 10))
    tests = main_jobs(jobs, chosen, 2)
    assert len(tests) == len(STUDY.bases) * 2 * (1 + len(STUDY.arms))
    assert all(job.command[5:8:2] == ("--split", "--limit") and "test" in job.command for job in tests.values())


def test_the_best_on_validation_is_chosen_and_the_gentlest_of_equals(tmp_path):
    settings = [Setting(1e-4, 10), Setting(1e-4, 20), Setting(1e-3, 10), Setting(1e-3, 20)]
    tuned = {
        (name, setting): Job(scored(tmp_path / f"{name}-{i}.parquet", [score, score]), ())
        for name, given in {"sft": [0, 1, 1, 0], "pivotrl": [0, 0, 0, 1]}.items()
        for i, (setting, score) in enumerate(zip(settings, given, strict=True))
    }
    arms = {name: STUDY.arms[name] for name in ("sft", "pivotrl", "no_kl")}
    study = STUDY.model_copy(update={"arms": arms})
    assert choose(study, tuned) == {"sft": settings[1], "pivotrl": settings[3], "no_kl": settings[3]}


def test_a_row_that_was_not_measured_stops_the_study(tmp_path):
    path = scored(tmp_path / "e.parquet", [1.0, None])
    with pytest.raises(AssertionError, match="not measured"):
        tables.success(path)


def test_differences_are_students_over_runs():
    delta = np.array([0.1, 0.3, 0.2, -0.1])
    found = tables.difference(delta)
    low, high = ttest_1samp(delta, 0.0).confidence_interval(0.95)
    assert found["mean"] == pytest.approx(0.125)
    assert (found["low"], found["high"]) == (pytest.approx(low), pytest.approx(high))
    assert found["p"] == 6 / 16  # of 16 sign changes, .7 once, .5 twice and their opposites are as far out
    assert tables.difference(delta[:1]) == {"n": 1, "mean": 0.1, "low": None, "high": None, "p": None}


def test_claims_are_paired_by_base_and_seed():
    runs = pl.DataFrame(
        [
            {"base": base, "seed": seed, "arm": arm, "desk": desk, "skills": 0.5}
            for base, seed, arm, desk in [
                ("a", 0, "sft", 0.5),
                ("a", 0, "pivotrl", 0.6),
                ("b", 0, "pivotrl", 0.9),
                ("b", 0, "sft", 0.6),
            ]
        ]
    )
    found = tables.differences(runs).filter(pl.col("question") == "in-domain success: PivotRL above SFT")
    assert found.select("bases", "n", pl.col("mean").round(9)).rows() == [("all", 2, 0.2), ("a", 1, 0.1), ("b", 1, 0.3)]


def test_what_does_not_need_a_failed_command_is_still_run(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    good = Job(tmp_path / "x/t.jsonl", ("desk", "-n", "1", "-o", str(tmp_path / "x/t.jsonl")))
    bad = Job(tmp_path / "bad", ("extract", str(tmp_path / "none"), "-o", str(tmp_path / "bad")))
    after = Job(tmp_path / "after", ("desk", "-n", "1", "-o", str(tmp_path / "after")), (bad,))
    with pytest.raises(Failed, match=r"bad: error: .*none") as raised:
        run_all([after, good], 1)
    assert str(raised.value).endswith(f"{after.output}: needs what failed")
    assert good.output.exists()
    assert not after.output.exists()
