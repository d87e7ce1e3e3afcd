"""extract --dedup, --check-against, --drop-contaminated, --success-threshold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from readings import call, calls, replies, says, system, user

from pivotrl_cli.configs import ExtractConfig
from pivotrl_cli.errors import ConfigError, InputError, OutputError
from pivotrl_cli.rows import Candidate, Reject, Trajectory
from pivotrl_cli.stages.extract.hygiene import prefix_hashes, prompt_of
from pivotrl_cli.stages.extract.run import run
from pivotrl_cli.stages.extract.turns import trajectory_id, turns_of
from pivotrl_cli.storage.table import Table

LONG = " ".join(f"word{i}" for i in range(40))


def record(asked: str, *answers: str, **fields: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": asked}]
    return {"messages": messages + [{"role": "assistant", "content": answer} for answer in answers], **fields}


def extract(
    folder: Path, *records: dict[str, Any], **fields: Any
) -> tuple[dict[str, Any], list[Candidate], list[Reject]]:
    source = folder / "t.jsonl"
    source.write_text("".join(json.dumps(one) + "\n" for one in records))
    output = folder / "c.parquet"
    summary = run(ExtractConfig(sources=[str(source)], output=str(output), force=True, **fields))
    with Table.open(output, Candidate) as kept, Table.open(folder / "c.rejects.parquet", Reject) as rejected:
        return summary, list(kept.rows()), list(rejected.rows())


def test_dedup_keeps_the_first_of_equal_states_and_actions(tmp_path: Path) -> None:
    records = [
        record("hi", "a", "b", task_id=1),
        record("hi", "a", "c", task_id=2, trial=1),
        record("hi", "a", "b", task_id=1),
    ]
    summary, kept, rejected = extract(tmp_path, *records, dedup=True)
    assert [c.expected_action.content for c in kept] == ["a", "b", "c"]
    assert [(r.line, r.turn, r.reason.value) for r in rejected] == [
        (2, 0, "duplicate"),
        (3, 0, "duplicate"),
        (3, 1, "duplicate"),
    ]
    assert rejected[0].detail == f"repeats {kept[0].candidate_id}"
    assert (summary.n_in, summary.n_candidates, summary.n_rejects) == (6, 3, 3)
    assert len(extract(tmp_path, *records)[1]) == 6


def test_ids_of_calls_tell_nothing_apart() -> None:
    def trajectory(name: str, arguments: str = "{}", tools: str = "[]") -> Trajectory:
        messages = [user("hi"), calls(call("f", arguments, name)), replies("1", name), says("ok")]
        return Trajectory(source="t", line=1, messages=messages, tools=tools)

    base = prefix_hashes(trajectory("a"))
    assert base == prefix_hashes(trajectory("b"))
    other = prefix_hashes(trajectory("a", '{"x":1}'))
    assert [one == two for one, two in zip(base, other, strict=True)] == [True, False, False, False]
    assert base[0] != prefix_hashes(trajectory("a", tools='[{"type":"function","function":{"name":"f"}}]'))[0]


def test_the_prompt_is_what_users_say_before_the_first_answer() -> None:
    assert prompt_of([system("s"), says("Hi!"), user("a"), user("b"), says("c"), user("d")]) == "a\nb"
    assert prompt_of([system("s")]) == ""


BENCHMARKS = {
    "questions.jsonl": '{"question": "What is it?", "answer": "x"}\n' + json.dumps({"question": LONG}),
    "deep.json": json.dumps([{"question": [[{"role": "user", "content": LONG}]]}]),
    "chats.jsonl": json.dumps(record(LONG, "a")) + "\n" + json.dumps(record("What is it?", "b")),
    "texts.txt": f"What is it?\n\n{LONG}\n",
    "strings.json": json.dumps([LONG]),
}


@pytest.mark.parametrize("name", BENCHMARKS)
def test_overlap_is_reported_whatever_holds_the_prompts(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text(BENCHMARKS[name])
    records = [record("Another thing.", "a"), record(f"Please: {LONG}", "b", "c")]
    summary, kept, rejected = extract(tmp_path, *records, check_against=path)
    found = summary.contamination.model_dump()
    number = next(i for i in (1, 2) if found["first"] == [f"t.jsonl line 2: 100% of prompt {i} of {name}"])
    assert found == {
        "file": name,
        "n_prompts": max(number, BENCHMARKS[name].count("What") + 1),
        "n_trajectories": 1,
        "n_equal": 0,
        "first": found["first"],
    }
    assert (len(kept), rejected) == (3, [])


def test_contaminated_trajectories_are_dropped_on_request(tmp_path: Path) -> None:
    path = tmp_path / "b.txt"
    path.write_text(LONG)
    summary, kept, rejected = extract(
        tmp_path, record("x", "a"), record(LONG, "b", "c"), check_against=path, drop_contaminated=True
    )
    assert [c.expected_action.content for c in kept] == ["a"]
    assert [(r.turn, r.reason.value, r.detail) for r in rejected] == [
        (turn, "contaminated", "100% of prompt 1 of b.txt") for turn in (0, 1)
    ]
    assert (summary.rejects, summary.contamination.n_equal) == ({"contaminated": 2}, 1)


def test_another_file_to_check_against_is_another_extraction(tmp_path: Path) -> None:
    path = tmp_path / "b.txt"
    path.write_text(LONG)
    extract(tmp_path, record("x", "a"), check_against=path)
    path.write_text("other")
    config = ExtractConfig(sources=[str(tmp_path / "t.jsonl")], output=str(tmp_path / "c.parquet"), check_against=path)
    with pytest.raises(OutputError, match="fingerprint of check_against"):
        run(config)


def test_options_that_have_nothing_to_work_on(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--drop-contaminated has nothing to check"):
        extract(tmp_path, record("x", "a"), drop_contaminated=True)
    empty = tmp_path / "b.json"
    empty.write_text('[{"answer": 3}]')
    with pytest.raises(InputError, match=r"b\.json: no prompt found"):
        extract(tmp_path, record("x", "a"), check_against=empty)


def test_success_threshold(tmp_path: Path) -> None:
    records = [record("x", str(reward), reward=reward) for reward in (None, 0, 0.5, 0.8, 1)]

    def successful(**fields: Any) -> tuple[list[str], int, int]:
        summary, kept, _ = extract(tmp_path, *records, **fields)
        return [c.expected_action.content for c in kept], summary.n_successful, summary.n_known_outcomes

    assert successful(only_successful=True) == (["1"], 1, 4)
    assert successful(only_successful=True, success_threshold=0.5) == (["0.5", "0.8", "1"], 3, 4)
    assert successful(success_threshold=0.8) == (["None", "0", "0.5", "0.8", "1"], 2, 4)


def test_a_supplied_system_prompt_moves_context_and_faults(tmp_path: Path) -> None:
    (tmp_path / "s.txt").write_text("Policy")
    steps = [
        {"source": "user", "message": "hi"},
        {"source": "agent", "message": "copied", "is_copied_context": True},
        {"source": "agent", "message": "merged", "llm_call_count": 2},
        {"source": "agent", "message": "own"},
    ]
    atif = {"schema_version": "ATIF-v1.7", "agent": {}, "steps": steps}
    _, (kept,), (rejected,) = extract(tmp_path, atif, system=tmp_path / "s.txt")
    assert (kept.expected_action, kept.turn, kept.n_turns, len(kept.state)) == (says("own"), 2, 3, 4)
    assert (rejected.turn, rejected.reason.value) == (1, "merged_turns")


def test_turns_are_numbered_over_context_too() -> None:
    messages = [user("hi"), says("a"), says("b"), says("c")]
    trajectory = Trajectory(source="t", line=1, messages=messages, context=[1])
    assert turns_of(trajectory) == [(1, 2), (2, 3)]
    piece = trajectory.model_copy(update={"run": "r", "messages": messages[:2]})
    assert trajectory_id(piece) == trajectory_id(piece.model_copy(update={"messages": messages}))
    assert trajectory_id(piece) != trajectory_id(trajectory)
