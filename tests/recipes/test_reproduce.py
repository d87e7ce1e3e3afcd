"""The study of the paper's claims: which commands it runs, how it resumes, and what it makes of the scores."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.stats import ttest_1samp

from study import tables
from study.__main__ import choose, main_jobs, tuning, variant_jobs
from study.run import Failed, run_all
from study.study import Job, Jobs, Setting, Study

STUDY = Study.read()


def scored(path: Path, desk: list[float]) -> Path:
    pl.DataFrame({"benchmark": STUDY.desk, "category": "move", "score": desk}).write_parquet(path)
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
        place / "profile.parquet",
        place / "candidates.parquet",
        place / "trajectories.jsonl",
    ]


def test_every_arm_is_tuned_alike_and_scored_on_the_test_split_once():
    jobs = Jobs(STUDY, Path("runs"))
    tuned = tuning(jobs)
    tried = Counter(name for name, _ in tuned)
    assert tried == {"sft": 8, "pivotrl": 8, "random": 8, "strict": 8, "e2e": 8}  # four rates at half and at all steps
    assert all("val" in job.command and "test" not in job.command for job in tuned.values())
    chosen = {name: Setting(4e-4, arm.steps or 10) for name, arm in STUDY.arms.items()}
    tests = main_jobs(jobs, chosen, 2) | variant_jobs(jobs, chosen, 2)
    assert len(STUDY.bases) == 3
    assert len(tests) == 2 * 3 * (1 + 5 + 2) + 2 * 6  # tuned arms and copies on every base, variants on the first
    assert all(job.command[5:8:2] == ("--split", "--limit") and "test" in job.command for job in tests.values())
    assert [seed for _, seed, _ in tests] == [0] * 24 + [1] * 24 + [0] * 6 + [1] * 6


def test_a_copy_kept_on_the_way_is_scored_without_training():
    jobs, chosen = Jobs(STUDY, Path("runs")), {"random": Setting(4e-4, 72), "random_48": Setting(4e-4, 48)}
    whole, copy = (jobs.scored(name, "b", 1, chosen) for name in ("random", "random_48"))
    assert copy.needs == whole.needs == (jobs.model("random", "b", 1, chosen["random"]),)
    assert copy.output == Path("runs/b/1/eval-random_48.parquet")
    assert [job.command[4] for job in (whole, copy)] == ["runs/b/1/random", "runs/b/1/random/steps/000048"]


def test_the_best_on_validation_is_chosen_and_the_gentlest_of_equals(tmp_path):
    settings = [Setting(1e-4, 10), Setting(1e-4, 20), Setting(1e-3, 10), Setting(1e-3, 20)]
    tuned = {
        (name, setting): Job(scored(tmp_path / f"{name}-{i}.parquet", [score, score]), ())
        for name, given in {"sft": [0, 1, 1, 0], "pivotrl": [0, 0, 0, 1]}.items()
        for i, (setting, score) in enumerate(zip(settings, given, strict=True))
    }
    arms = {name: STUDY.arms[name] for name in ("sft", "pivotrl", "no_kl", "long")}
    arms["early"] = arms["sft"].model_copy(update={"copy_of": "sft", "steps": 5})
    study = STUDY.model_copy(update={"arms": arms})
    assert choose(study, tuned) == {
        "sft": settings[1],
        "pivotrl": settings[3],
        "no_kl": settings[3],
        "long": Setting(1e-3, 120),
        "early": Setting(1e-4, 5),
    }


def test_a_row_that_was_not_measured_stops_the_study(tmp_path):
    path = scored(tmp_path / "e.parquet", [1.0, None])
    with pytest.raises(AssertionError, match="not measured"):
        tables.mean_score(path, STUDY.desk)


def test_differences_are_students_over_runs():
    delta = np.array([0.1, 0.3, 0.2, -0.1])
    found = tables.difference(delta)
    low, high = ttest_1samp(delta, 0.0).confidence_interval(0.95)
    assert found["mean"] == pytest.approx(0.125)
    assert (found["low"], found["high"]) == (pytest.approx(low), pytest.approx(high))
    assert found["p"] == 6 / 16  # of 16 sign changes, .7 once, .5 twice and their opposites are as far out
    assert tables.difference(delta[:2]) == {"n": 2, "mean": 0.2, "low": None, "high": None, "p": None}


def test_claims_are_paired_by_base_and_seed_and_a_seed_is_one_observation():
    desk = {("a", 0): (0.5, 0.6), ("b", 0): (0.6, 0.9), ("a", 1): (0.5, 0.5), ("b", 1): (0.5, 0.9)}
    desk |= {("a", 2): (0.5, 0.7), ("b", 2): (0.5, 0.7)}
    runs = pl.DataFrame(
        {"base": base, "seed": seed, "arm": arm, "desk": score, "skills": 0.5}
        for (base, seed), scores in desk.items()
        for arm, score in zip(("sft", "pivotrl"), scores, strict=True)
    )
    found = tables.differences(runs).filter(pl.col("question") == "in-domain success: PivotRL above SFT")
    means = found.select("bases", "n", pl.col("mean").round(9)).rows()
    assert means == [("all", 3, 0.2), ("a", 3, 0.1), ("b", 3, 0.3)]
    assert found["low"][0] == pytest.approx(0.2)  # every seed has .2 on the mean of the bases


def test_turns_needed_are_read_off_the_mean_curve_profiling_counted():
    points = {
        "e2e": [(100, 0.1, 0), (200, 0.3, 0)],
        "pivotrl": [(10, 0.2, 90), (20, 0.4, 90)],
        "random": [(100, 0.0, 0), (400, 0.2, 0)],
    }
    curves = pl.DataFrame(
        {"seed": seed, "arm": arm, "step": i, "train_turns": turns, "profile_turns": profiled, "desk": desk + shift}
        for seed, shift in ((0, -0.05), (1, 0.05))
        for arm, curve in points.items()
        for i, (turns, desk, profiled) in enumerate(curve)
    )
    found = [(row["arm"], round(row["target"], 9), row["turns"]) for row in tables.turns_needed(curves)]
    assert found == [("e2e", 0.3, 200.0), ("pivotrl", 0.3, pytest.approx(105.0)), ("random", 0.3, None)]
    assert tables.first_crossing([(5.0, 0.5)], 0.3) == 5.0


def test_the_winners_curse_compares_selected_turns_with_fresh_rollouts(tmp_path):
    rates = {"a": (0.25, 0.5), "b": (0.25, 0.25), "c": (0.75, 0.0), "d": (0.75, None)}
    for name, at in (("pivots", 0), ("again", 1)):
        rows = {"candidate_id": list(rates), "reward_mean": [pair[at] for pair in rates.values()]}
        pl.DataFrame(rows).write_parquet(tmp_path / f"{name}.parquet")
    again = Job(tmp_path / "again.parquet", (), (Job(tmp_path / "pivots.parquet", ()),))
    assert tables.winners_curse([again]).rows() == [(0, 0.25, 2, 0.375, 1.0), (0, 0.75, 1, 0.0, 0.0)]


def test_turns_are_compared_by_what_the_filter_said_of_them(tmp_path):
    known = {"a": 0.0, "b": 0.5, "c": 0.875, "d": 1.0, "e": 1.0, "f": None}
    fresh = {"base": [0.25, 0.5, 0.75, 1.0, 0.5, 1.0], "sft": [0.0, 1.0, 0.5, 1.0, 1.0, 1.0]}
    for name, rates in {"profile": list(known.values()), **fresh}.items():
        rows = {"candidate_id": list(known), "reward_mean": rates}
        pl.DataFrame(rows, schema={"candidate_id": pl.String, "reward_mean": pl.Float64}).write_parquet(
            tmp_path / f"{name}.parquet"
        )
    measured = {(0, name): Job(tmp_path / f"{name}.parquet", ()) for name in fresh}
    found = tables.rates(measured, [Job(tmp_path / "profile.parquet", ())], 0.8)
    assert found.rows() == [
        (0, "base", "all right", 2, 0.75),
        (0, "base", "all wrong", 1, 0.25),
        (0, "base", "selected", 1, 0.5),
        (0, "base", "too easy", 1, 0.75),
        (0, "sft", "all right", 2, 1.0),
        (0, "sft", "all wrong", 1, 0.0),
        (0, "sft", "selected", 1, 1.0),
        (0, "sft", "too easy", 1, 0.5),
    ]
    assert tables.markdown_rates(found, {"base": "base", "sft": "SFT"}).splitlines()[2:] == [
        "| all wrong | 1 | 0.250 | 0.000 |",
        "| selected | 1 | 0.500 | 1.000 |",
        "| too easy | 1 | 0.750 | 0.500 |",
        "| all right | 2 | 0.750 | 1.000 |",
    ]


@pytest.mark.slow
def test_what_does_not_need_a_failed_command_is_still_run(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    good = Job(tmp_path / "x/t.jsonl", ("desk", "-n", "1", "-o", str(tmp_path / "x/t.jsonl")))
    bad = Job(tmp_path / "bad", ("extract", str(tmp_path / "none"), "-o", str(tmp_path / "bad")))
    after = Job(tmp_path / "after", ("desk", "-n", "1", "-o", str(tmp_path / "after")), (bad,))
    with pytest.raises(Failed, match=r"bad: error: .*none") as raised:
        run_all([after, good], 1)
    assert str(raised.value).endswith(f"{after.output}: needs what failed")
    assert good.output.exists()
    assert not after.output.exists()


@pytest.mark.slow
def test_what_is_finished_is_run_again_only_if_what_it_needs_is(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    desk = Job(tmp_path / "t.jsonl", ("desk", "-n", "1", "-o", str(tmp_path / "t.jsonl")))
    table = Job(
        tmp_path / "c.parquet", ("extract", str(desk.output), "-o", str(tmp_path / "c.parquet"), "--force"), (desk,)
    )

    def ran() -> list[str]:
        run_all([table], 1)
        return [Path(line.split()[1]).name for line in capsys.readouterr().err.splitlines()]

    assert ran() == ["t.jsonl", "c.parquet"]
    assert ran() == []
    table.output.unlink()
    assert ran() == ["c.parquet"]
    desk.output.unlink()
    assert ran() == ["t.jsonl", "c.parquet"]


RESULTS = Path(__file__).parents[2] / "results"


def test_the_tables_of_the_results_are_those_of_their_parquet_files():
    frames = {path.stem: pl.read_parquet(path) for path in RESULTS.glob("*.parquet")}
    titles = {"base": "base"} | {name: arm.title for name, arm in STUDY.arms.items()}
    assert frames["differences"].equals(tables.differences(frames["runs"]))
    text = (RESULTS / "tables.md").read_text()
    for part in (
        tables.markdown_arms(frames["runs"], titles),
        tables.markdown_bases(frames["runs"], titles),
        tables.markdown_differences(frames["differences"]),
        tables.markdown_needed(tables.turns_needed(frames["curves"]), titles),
        tables.markdown_curse(frames["curse"]),
        tables.markdown_rates(frames["rates"], titles),
    ):
        assert part in text


def test_the_results_cite_their_tables():
    runs = pl.read_parquet(RESULTS / "runs.parquet")
    means = dict(runs.group_by("arm").agg(pl.col("desk").mean()).iter_rows())
    text = (RESULTS / "README.md").read_text()
    for arm in ("base", "sft", "pivotrl", "random", "strict", "e2e"):
        assert f"{means[arm]:.3f}".removeprefix("0") in text
