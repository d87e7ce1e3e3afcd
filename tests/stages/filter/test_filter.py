from __future__ import annotations

from collections import Counter

import pytest
from filtering import MANY, ROWS, ids, profiled, run, steps
from tables import calls, candidate, read, says, write

from pivotrl_cli.configs import FilterConfig
from pivotrl_cli.errors import InputError, OutputError
from pivotrl_cli.rows import Candidate, DropReason, Pivot, Profile
from pivotrl_cli.stages.filter import run as stage
from pivotrl_cli.storage.table import Table

VERDICTS = {
    "a-0": DropReason.ALL_WRONG,
    "a-1": None,
    "a-2": None,
    "b-0": DropReason.TOO_EASY,
    "b-1": DropReason.ALL_RIGHT,
    "b-2": DropReason.NO_VARIANCE,
    "c-0": DropReason.NOT_SCORED,
    "c-1": None,
    "c-2": DropReason.OTHER_SPLIT,
    "d-0": DropReason.TOO_EASY,
    "d-1": None,
}
"""What the rule says of each row, with lambda 0.6."""


def test_the_papers_rule_by_hand(tmp_path):
    pivots, dropped, _ = run(tmp_path)
    assert {row.candidate_id: row.drop_reason for row in dropped} | dict.fromkeys(ids(pivots)) == VERDICTS


def test_pivots_keep_their_row_and_get_a_rank_by_spread(tmp_path):
    pivots, _, _ = run(tmp_path)
    assert pivots[0] == Pivot(**ROWS[1].model_dump(), weight=1.0, rank=3, keep_reason="reward varies, mean below 0.6")
    # spreads: a-1 0.433, a-2 0.5, c-1 0.5, d-1 0.25; of the two equal ones the draw decides
    assert [pivots[i].rank for i in (0, 3)] == [3, 4]
    assert {pivots[i].rank for i in (1, 2)} == {1, 2}


def test_kept_and_dropped_rows_partition_the_table(tmp_path):
    pivots, dropped, _ = run(tmp_path)
    together = {
        row.candidate_id: Profile(**row.model_dump(include=set(Profile.model_fields))) for row in pivots + dropped
    }
    assert len(together) == len(pivots) + len(dropped) == len(ROWS)
    assert [together[row.candidate_id] for row in ROWS] == ROWS


def test_the_summary_is_the_funnel_with_its_reasons(tmp_path):
    _, _, summary = run(tmp_path)
    found = summary.model_dump(exclude={"prior", "expected_reward_mean"})
    by_tool = [("look", 10, 9, 6, 3, (0 + 0.25 + 0.5 + 0.75 + 1 + 0.5 + 0.5 + 0.6 + 0.5) / 9)]
    by_tool += [("(message)", 1, 1, 1, 1, 0.5)]
    by_source = [("t.jsonl", 9, 8, 5, 3, 4 / 8), ("u.jsonl", 2, 2, 2, 1, 0.55)]
    by_domain = [("", 11, 10, 7, 4, (4 + 1.1) / 10)]
    assert found == {
        "cached": False,
        "rule": "reward varies, mean below 0.6",
        "control": None,
        "candidates": 11,
        "kept": 4,
        "funnel": [
            {"step": "train split", "left": 10, "dropped": {"other_split": 1}},
            {"step": "scored", "left": 9, "dropped": {"not_scored": 1}},
            {"step": "mixed", "left": 6, "dropped": {"all_wrong": 1, "all_right": 1, "no_variance": 1}},
            {"step": "in window", "left": 4, "dropped": {"too_easy": 2}},
        ],
        "all_zero_drawn": 0,
        "reward_mean": pytest.approx((0.25 + 0.5 + 0.5 + 0.5) / 4),
        "by_tool": counts(by_tool),
        "by_source": counts(by_source),
        "by_domain": counts(by_domain),
    }


def counts(rows) -> list[dict]:
    """A break-down, from its columns."""
    return [
        {"name": name, "candidates": n, "scored": s, "mixed": m, "kept": k, "reward_mean": pytest.approx(mean)}
        for name, n, s, m, k, mean in rows
    ]


@pytest.mark.parametrize(
    ("max_mean", "kept"),
    [
        (0.5, ["a-1"]),
        (0.51, ["a-1", "a-2", "c-1", "d-1"]),
        (0.75, ["a-1", "a-2", "c-1", "d-0", "d-1"]),
        (1.0, ["a-1", "a-2", "b-0", "c-1", "d-0", "d-1"]),
    ],
)
def test_a_mean_at_the_limit_is_dropped_and_one_keeps_every_mixed_row(tmp_path, max_mean, kept):
    assert ids(run(tmp_path, max_mean=max_mean)[0]) == kept


def test_the_limits_keep_the_largest_spread_and_say_what_they_cut(tmp_path):
    pivots, dropped, summary = run(tmp_path, max_mean=1.0, max_per_trajectory=1, limit=3)
    reasons = {row.candidate_id: row.drop_reason for row in dropped}
    # trajectory a: a-2 (0.5) before a-1 (0.433); b: b-0 (0.433); c: c-1 (0.5); d: d-0 (0.49) before d-1 (0.25)
    assert ids(pivots) == ["a-2", "c-1", "d-0"]
    assert reasons["a-1"] == reasons["d-1"] == DropReason.TRAJECTORY_CAP
    assert reasons["b-0"] == DropReason.LIMIT
    assert sorted(p.rank for p in pivots) == [1, 2, 3]
    assert steps(summary)[3:] == [
        ("in window", 6, {}),
        ("per trajectory", 4, {"trajectory_cap": 2}),
        ("limit", 3, {"limit": 1}),
    ]


@pytest.mark.parametrize(("split", "kept"), [("holdout", ["c-2"]), ("all", ["a-1", "a-2", "c-1", "c-2", "d-1"])])
def test_another_split(tmp_path, split, kept):
    assert ids(run(tmp_path, split=split)[0]) == kept


def test_the_random_control_has_the_size_of_the_rule_and_its_own_rows(tmp_path):
    pivots, _, _ = run(tmp_path, MANY, "pivots")
    control, dropped, summary = run(tmp_path, MANY, "control", control="random")
    assert len(pivots) == len(control) == 40
    assert steps(summary) == [("train split", 100, {}), ("scored", 100, {}), ("drawn", 40, {"not_drawn": 60})]
    assert Counter(row.drop_reason for row in dropped) == {DropReason.NOT_DRAWN: 60}
    assert sorted(row.rank for row in control) == list(range(1, 41))
    assert {row.keep_reason for row in control} == {"random control"}
    # 40 of 100 at random: 20 are all wrong, 20 all right, and each of these has 8 +- 2.2 drawn
    drawn = Counter(row.reward_mean for row in control)
    assert all(1 < drawn[mean] < 16 for mean in (0.0, 0.25, 0.5, 0.75, 1.0))


def test_the_random_control_follows_its_seed_and_leaves_out_what_cannot_train(tmp_path):
    first, _, _ = run(tmp_path, MANY, "one", control="random")
    again, _, _ = run(tmp_path, MANY, "two", control="random")
    other, _, _ = run(tmp_path, MANY, "three", control="random", seed=1)
    assert ids(first) == ids(again) != ids(other)
    control, dropped, _ = run(tmp_path, ROWS, "few", control="random")
    assert len(control) == 4
    reasons = {row.candidate_id: row.drop_reason for row in dropped}
    assert (reasons["c-0"], reasons["c-2"]) == (DropReason.NOT_SCORED, DropReason.OTHER_SPLIT)


def test_selection_does_not_depend_on_the_order_of_the_rows(tmp_path):
    kept = [sorted(ids(run(tmp_path, rows, f"{i}", limit=20)[0])) for i, rows in enumerate((MANY, MANY[::-1]))]
    assert kept[0] == kept[1]


def test_histories_are_copied_row_group_by_row_group(tmp_path, monkeypatch):
    in_one = run(tmp_path, MANY, "one")[:2]
    monkeypatch.setattr("pivotrl_cli.storage.table_writer._FLUSH_ROWS", 7)
    in_many = run(tmp_path, MANY, "many")[:2]
    with Table.open(tmp_path / "profile.parquet", Profile) as table:
        assert len(list(table.tables())) == 15
    with Table.open(tmp_path / "many.parquet", Pivot) as table:
        assert len(list(table.tables())) > 3
    assert in_many == in_one


def test_pivots_are_candidates_and_can_be_filtered_again(tmp_path):
    pivots, _, _ = run(tmp_path)
    with Table.open(tmp_path / "pivots.parquet", Candidate) as table:
        assert ids(table.rows()) == ids(pivots)
    again = FilterConfig(profile=str(tmp_path / "pivots.parquet"), output=str(tmp_path / "again.parquet"), max_mean=0.3)
    stage.run(again)
    assert ids(read(tmp_path / "again.parquet", Pivot)) == ["a-1"]


def test_tools_are_named_by_all_their_calls(tmp_path):
    two = calls("look", '{"order": 7}').tool_calls * 2
    rows = [
        profiled("a-0", "10", expected_action=calls("move", "{}")),
        profiled("a-1", "10", expected_action=says("").model_copy(update={"tool_calls": two})),
        profiled("a-2", "10", expected_action=says("Hi.")),
    ]
    _, _, summary = run(tmp_path, rows)
    assert [row.name for row in summary.by_tool] == ["(message)", "look + look", "move"]


def test_when_nothing_is_kept_the_table_is_empty(tmp_path):
    pivots, dropped, summary = run(tmp_path, [profiled("a-0", "0000")])
    assert (pivots, ids(dropped)) == ([], ["a-0"])
    assert (summary.reward_mean, summary.expected_reward_mean, summary.kept) == (None, None, 0)


def test_up_to_date_only_with_the_dropped_rows_too(tmp_path):
    source = write(tmp_path / "profile.parquet", ROWS, Profile)
    config = FilterConfig(profile=str(source), output=str(tmp_path / "p.parquet"))
    summary = stage.run(config)
    assert stage.run(config) == summary.model_copy(update={"cached": True})
    both = config.model_copy(update={"dropped": tmp_path / "d.parquet"})
    assert stage.run(both) == summary
    assert stage.run(both) == summary.model_copy(update={"cached": True})
    with pytest.raises(OutputError, match=r"config\.max_mean: 0\.6 -> 0\.5\n"):
        stage.run(config.model_copy(update={"max_mean": 0.5}))


def test_a_dropped_file_of_something_else_is_not_overwritten(tmp_path):
    source = write(tmp_path / "profile.parquet", ROWS, Profile)
    (tmp_path / "d.parquet").write_text("precious")
    config = FilterConfig(profile=str(source), output=str(tmp_path / "p.parquet"), dropped=tmp_path / "d.parquet")
    with pytest.raises(OutputError, match="pivotrl did not write it"):
        stage.run(config)
    assert (tmp_path / "d.parquet").read_text() == "precious"
    assert not (tmp_path / "p.parquet").exists()


def test_inputs_that_cannot_be_filtered_say_so(tmp_path):
    with pytest.raises(InputError, match=r"no rows\n"):
        run(tmp_path, [])
    candidates_only = write(tmp_path / "c.parquet", [candidate("a-0")])
    with pytest.raises(InputError) as error:
        stage.run(FilterConfig(profile=str(candidates_only), output=str(tmp_path / "p.parquet")))
    assert error.value.message == (
        f"{candidates_only}: column 'rollouts' is missing (expected table: profile, this one: candidates)"
    )
    assert error.value.hint == "make one with: pivotrl profile candidates.parquet -o profile.parquet"
