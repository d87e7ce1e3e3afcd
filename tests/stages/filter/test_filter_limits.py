from __future__ import annotations

from collections import Counter
from fractions import Fraction

import polars as pl
import pytest
from filtering import MANY, ids, profiled, run, steps
from hypothesis import given
from hypothesis import strategies as st
from search import examples
from tables import calls, says

from pivotrl_cli.configs import FilterConfig
from pivotrl_cli.rows import DropReason
from pivotrl_cli.stages.filter import run as stage
from pivotrl_cli.stages.filter.funnel import summarize

TALKATIVE = [
    profiled(
        f"t{i}-0",
        "0" * (1 + i % 7) + "1" * (7 - i % 7),
        task_id="" if i % 3 else f"task{i % 12}",
        domain=("airline", "retail")[i % 10 == 0],
        expected_action=says("Hi.") if i % 2 else calls(("look", "move", "book")[i % 3], "{}"),
    )
    for i in range(120)
]
"""All mixed; 60 messages, 20 calls of each tool, 12 of 120 in retail."""


def messages(rows) -> int:
    return sum(not row.expected_action.tool_calls for row in rows)


def tools(rows) -> Counter[str]:
    return Counter(row.expected_action.tool_calls[0].name if row.expected_action.tool_calls else "" for row in rows)


def tenths(rows) -> list[int]:
    """Sizes of the tenths of the pass rate that have any, from low to high."""
    return [n for _, n in sorted(Counter(int(row.reward_mean * 10) for row in rows).items())]


def test_at_most_so_many_of_a_task_and_an_unknown_task_is_its_trajectory(tmp_path):
    pivots, dropped, summary = run(tmp_path, TALKATIVE, max_mean=1.0, max_per_task=2)
    known = Counter(row.task_id for row in pivots)
    assert known.pop("") == 80
    assert set(known.values()) == {2}
    assert {row.drop_reason for row in dropped} == {DropReason.TASK_CAP}
    assert steps(summary)[-1] == ("per task", 88, {"task_cap": 32})


@pytest.mark.parametrize(("ratio", "kept"), [(0.0, 0), (0.2, 15), (0.25, 20), (0.33, 29), (0.5, 60), (0.9, 60)])
def test_the_message_guard_by_hand(tmp_path, ratio, kept):
    """60 calls: at most 60 r / (1 - r) messages, the ones with the largest spread."""
    pivots, dropped, _ = run(tmp_path, TALKATIVE, max_mean=1.0, max_message_ratio=ratio)
    assert (messages(pivots), len(pivots)) == (kept, 60 + kept)
    cut = [row.reward_std for row in dropped if row.drop_reason == DropReason.MESSAGE_RATIO]
    assert len(cut) == 60 - kept
    if cut and kept:
        assert max(cut) <= min(row.reward_std for row in pivots if not row.expected_action.tool_calls)


def test_the_message_guard_holds_after_the_limit_which_is_still_reached(tmp_path):
    pivots, _, summary = run(tmp_path, TALKATIVE, max_mean=1.0, max_message_ratio=0.25, limit=40)
    assert (messages(pivots), len(pivots)) == (10, 40)
    assert [step[0] for step in steps(summary)[-2:]] == ["message ratio", "limit"]


@pytest.mark.parametrize(
    ("limit", "expected"),
    [(8, {"": 2, "look": 2, "move": 2, "book": 2}), (100, {"": 40, "look": 20, "move": 20, "book": 20})],
)
def test_a_limit_is_shared_equally_as_far_as_the_tools_reach(tmp_path, limit, expected):
    pivots, dropped, _ = run(tmp_path, TALKATIVE, max_mean=1.0, balance="tool", limit=limit)
    assert tools(pivots) == expected
    assert {row.drop_reason for row in dropped} == {DropReason.BALANCE}


def test_a_limit_shared_among_domains(tmp_path):
    pivots, _, summary = run(tmp_path, TALKATIVE, max_mean=1.0, balance="domain", limit=31)
    assert Counter(row.domain for row in pivots) == {"retail": 12, "airline": 19}
    assert steps(summary)[-1] == ("balanced", 31, {"balance": 89})


def test_the_limit_takes_the_top_any_or_all_tenths_of_the_pass_rate(tmp_path):
    top, chance, strata = (
        run(tmp_path, TALKATIVE, select, max_mean=1.0, limit=35, select=select)[0]
        for select in ("top", "random", "stratified")
    )
    assert {row.reward_mean for row in top} == {3 / 8, 4 / 8, 5 / 8} or tenths(top) == [35]
    assert tenths(strata) == [5] * 7
    assert len(chance) == 35
    assert len({frozenset(ids(rows)) for rows in (top, chance, strata)}) == 3
    assert all(sorted(row.rank for row in rows) == list(range(1, 36)) for rows in (top, chance, strata))
    best = min(chance, key=lambda row: row.rank)
    assert best.reward_std == max(row.reward_std for row in chance)


def test_a_control_with_the_same_tools(tmp_path):
    rows = [row for row in TALKATIVE if row.reward_mean != 0.5]
    pivots, _, _ = run(tmp_path, rows, "pivots", max_mean=0.3)
    control, _, summary = run(tmp_path, rows, "control", max_mean=0.3, control="random-tools")
    assert tools(control) == tools(pivots)
    assert {row.keep_reason for row in control} == {"random control, same tools"}
    assert len({row.reward_mean for row in control}) > len({row.reward_mean for row in pivots})
    assert [step[0] for step in steps(summary)] == ["train split", "scored", "drawn"]


def test_a_control_is_drawn_apart_from_what_it_is_compared_with(tmp_path):
    """Two independent draws of 20 of 100 share 4 +- 1.6."""
    chance, _, _ = run(tmp_path, MANY, "chance", select="random", limit=20, max_mean=1.0)
    control, _, _ = run(tmp_path, MANY, "control", limit=20, max_mean=1.0, control="random")
    assert len(control) == 20
    assert len(set(ids(chance)) & set(ids(control))) < 10


OPTIONS = {
    "rule": st.sampled_from(["paper", "posterior", "signal"]),
    "max_mean": st.sampled_from([0.3, 0.6, 1.0]),
    "min_pass_rate": st.sampled_from([None, 0.0, 0.1, 0.25]),
    "keep_all_zero": st.sampled_from([0.0, 0.3, 1.0]),
    "where": st.sampled_from([None, "turn > 1", "domain = 'd1' OR reward_mean IS NULL"]),
    "max_per_trajectory": st.none() | st.integers(1, 3),
    "max_per_task": st.none() | st.integers(1, 4),
    "max_message_ratio": st.sampled_from([None, 0.0, 0.2, 0.5]),
    "limit": st.none() | st.integers(1, 30),
    "select": st.sampled_from(["top", "random", "stratified"]),
    "control": st.sampled_from([None, None, "random", "random-tools"]),
    "split": st.sampled_from(["train", "holdout", "all"]),
    "seed": st.integers(0, 3),
}
ROW = st.tuples(
    st.integers(0, 9), st.integers(0, 3), st.sampled_from(["", "k0", "k1"]), st.integers(0, 8), st.integers(0, 8)
)


def narrow(rows) -> pl.DataFrame:
    """Narrow columns of random rows: trajectory, turn, task, trials and passes."""
    records = []
    for i, (trajectory, turn, task, n, passed) in enumerate(rows):
        mean = min(passed, n) / n if n else None
        records.append(
            {
                "candidate_id": f"t{trajectory}-{turn}-{i}",
                "trajectory_id": f"t{trajectory}",
                "task_id": task,
                "source": "s",
                "domain": f"d{trajectory % 3}",
                "split": "holdout" if trajectory == 0 else "train",
                "turn": turn,
                "n_scored": n,
                "reward_mean": mean,
                "reward_std": None if mean is None else (mean * (1 - mean)) ** 0.5,
                "status": "ok" if n else "not_scored",
                "tool": ("(message)", "look", "move")[i % 3],
            }
        )
    kinds = {"n_scored": pl.Int64, "reward_mean": pl.Float64, "reward_std": pl.Float64}
    return pl.DataFrame(records, schema_overrides=kinds)


@examples(100)
@given(st.lists(ROW, min_size=1, max_size=60), st.fixed_dictionaries(OPTIONS))
def test_in_is_kept_and_dropped_at_every_step_and_every_limit_holds(rows, options):
    if options["limit"] is not None and options["seed"] % 2:
        options["balance"] = "domain"
    config = FilterConfig(profile="p.parquet", **options)
    frame = narrow(rows)
    condition = pl.sql_expr(config.where) if config.where else pl.lit(True)
    decided, prior = stage.decide(frame.with_columns(where=condition), config)
    summary = summarize(decided, prior, config)

    left = summary.candidates
    for step in summary.funnel:
        assert step.left == left - sum(step.dropped.values())
        left = step.left
    kept = decided.filter(pl.col("drop_reason").is_null())
    assert (len(rows), left) == (summary.candidates, summary.kept) == (len(decided), len(kept))
    assert decided["candidate_id"].to_list() == frame["candidate_id"].to_list()
    assert sorted(kept["rank"]) == list(range(1, len(kept) + 1))
    assert decided.filter(pl.col("drop_reason").is_not_null())["rank"].is_null().all()
    assert kept["n_scored"].min() != 0
    assert len(kept) <= (config.limit or len(rows))
    if config.control is None:
        _limits_hold(kept, config)


def _limits_hold(kept: pl.DataFrame, config: FilterConfig) -> None:
    sizes = kept["trajectory_id"].value_counts()["count"]
    assert config.max_per_trajectory is None or not len(kept) or sizes.max() <= config.max_per_trajectory
    tasks = kept.filter(pl.col("task_id") != "")["task_id"].value_counts()["count"]
    assert config.max_per_task is None or not len(tasks) or tasks.max() <= config.max_per_task
    if config.max_message_ratio is not None:
        n_messages = (kept["tool"] == "(message)").sum()
        assert n_messages <= Fraction(str(config.max_message_ratio)) * len(kept)


@examples(60)
@given(st.lists(ROW, min_size=1, max_size=40), st.fixed_dictionaries(OPTIONS), st.randoms())
def test_no_option_depends_on_the_order_of_the_rows(rows, options, random):
    config = FilterConfig(profile="p.parquet", **options)
    condition = pl.sql_expr(config.where) if config.where else pl.lit(True)
    frame = narrow(rows).with_columns(where=condition)
    order = random.sample(range(len(rows)), len(rows))
    first, second = (
        stage.decide(f, config)[0].sort("candidate_id").select("candidate_id", "drop_reason", "rank", "keep_reason")
        for f in (frame, frame[order])
    )
    assert first.equals(second)
