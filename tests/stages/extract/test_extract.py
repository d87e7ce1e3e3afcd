"""extract: every turn is accounted for, ids and splits derive from content, outputs are whole."""

from __future__ import annotations

import gc
import io
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from pivotrl_cli.configs import ExtractConfig
from pivotrl_cli.errors import ConfigError, InputError, OutputError
from pivotrl_cli.readers.sources import find_sources
from pivotrl_cli.rows import Candidate, Message, Reject, RejectReason, ToolCall, Trajectory
from pivotrl_cli.stages.extract.extraction import Extraction
from pivotrl_cli.stages.extract.run import describe, output_paths, run
from pivotrl_cli.stages.extract.summary import Splits
from pivotrl_cli.stages.extract.turns import candidates_of, trajectory_id, uniform
from pivotrl_cli.storage.table import Table
from pivotrl_cli.verifiers import UnverifiableError, Verdict

TOOLS = '[{"type":"function","function":{"name":"find","parameters":{}}}]'
USER = Message(role="user", content="hi")
TALK = Message(role="assistant", content="hello")


def accept(candidate: Candidate, action: Message) -> Verdict:
    return Verdict(1.0, "ok")


def trajectory(*messages: Message, **fields: Any) -> Trajectory:
    return Trajectory(**({"source": "t.jsonl", "line": 1, "messages": list(messages)} | fields))


def calls(*arguments: str, name: str = "find") -> Message:
    return Message(role="assistant", tool_calls=[ToolCall(id="c", name=name, arguments=a) for a in arguments])


def rows_of(found: Trajectory, verify: Any = accept) -> list[Candidate | Reject]:
    return list(candidates_of(found, "id", "train", lambda *_: ("tool_call", verify)))


def reject(reason: RejectReason, detail: str, turn: int | None = 0) -> Reject:
    return Reject(source="t.jsonl", line=1, trajectory_id="id", turn=turn, reason=reason, detail=detail)


def chat_record(**fields: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
    return {"messages": messages} | fields


def write_jsonl(path: Path, *records: Any) -> str:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(path)


def config(tmp_path: Path, *sources: str | Path, **fields: Any) -> ExtractConfig:
    words = [str(source) for source in sources]
    return ExtractConfig(**({"sources": words, "output": str(tmp_path / "out" / "c.parquet")} | fields))


def candidates(tmp_path: Path) -> list[Candidate]:
    with Table.open(tmp_path / "out/c.parquet", Candidate) as table:
        return list(table.rows())


def rejects(path: Path) -> list[Reject]:
    with Table.open(path, Reject) as table:
        return list(table.rows())


# one trajectory


def test_a_candidate_is_a_state_and_the_action_after_it() -> None:
    tool = Message(role="tool", content="[]", tool_call_id="c")
    found = trajectory(USER, calls("{}"), tool, TALK, task_id="7", domain="shop", outcome=0.5, tools=TOOLS)
    first, second = rows_of(found)
    assert first == Candidate(
        candidate_id="id-000",
        trajectory_id="id",
        task_id="7",
        source="t.jsonl",
        turn=0,
        n_turns=2,
        domain="shop",
        verifier="tool_call",
        state=[USER],
        tools=TOOLS,
        expected_action=calls("{}"),
        outcome=0.5,
        split="train",
        provenance="{}",
    )
    assert isinstance(second, Candidate)
    assert (second.candidate_id, second.turn, second.expected_action) == ("id-001", 1, TALK)
    assert second.state == [USER, calls("{}"), tool]


def test_candidates_of_a_trajectory_share_their_message_objects() -> None:
    found = trajectory(USER, TALK, USER, TALK)
    for candidate in rows_of(found):
        assert isinstance(candidate, Candidate)
        assert all(a is b for a, b in zip(candidate.state, found.messages, strict=False))


def test_greetings_and_turns_in_a_row_are_turns_too() -> None:
    system = Message(role="system", content="Policy")
    found = rows_of(trajectory(system, TALK, USER, TALK, TALK))
    assert [len(row.state) for row in found if isinstance(row, Candidate)] == [1, 3, 4]


@pytest.mark.parametrize(
    ("messages", "tools", "expected"),
    [
        ([USER], "[]", [reject(RejectReason.NO_ASSISTANT_TURN, "no message is the assistant's", turn=None)]),
        ([TALK], "[]", [reject(RejectReason.EMPTY_STATE, "nothing stands before it")]),
        (
            [USER, Message(role="assistant", content=" \n", reasoning="hm")],
            "[]",
            [reject(RejectReason.EMPTY_ACTION, "neither text nor calls")],
        ),
        (
            [USER, calls("{}", "[1]")],
            "[]",
            [reject(RejectReason.BAD_ARGUMENTS, "call 1 of 'find': arguments must be an object, got a list of 1")],
        ),
        (
            [USER, calls("{}", name="drop")],
            TOOLS,
            [reject(RejectReason.UNDECLARED_TOOL, "call 0: 'drop' is not among the 1 tools")],
        ),
    ],
)
def test_turns_that_cannot_be_used_are_rejected(
    messages: list[Message], tools: str, expected: list[Candidate | Reject]
) -> None:
    assert rows_of(trajectory(*messages, tools=tools)) == expected


@pytest.mark.parametrize("arguments", ["", "oops", "null", '{"a": 1', '"{}"'])
def test_arguments_must_be_an_object(arguments: str) -> None:
    (row,) = rows_of(trajectory(USER, calls(arguments)))
    assert isinstance(row, Reject)
    assert row.reason is RejectReason.BAD_ARGUMENTS


def test_undeclared_tools_pass_where_no_tool_is_declared() -> None:
    (row,) = rows_of(trajectory(USER, calls("{}", name="drop")))
    assert isinstance(row, Candidate)


def test_a_verifier_must_accept_its_own_demonstration() -> None:
    def refuse(candidate: Candidate, action: Message) -> Verdict:
        return Verdict(0.5, "half", "not quite")

    def give_up(candidate: Candidate, action: Message) -> Verdict:
        raise UnverifiableError("no sense in it")

    refused = reject(RejectReason.REJECTED_BY_VERIFIER, "half: not quite")
    malformed = reject(RejectReason.REJECTED_BY_VERIFIER, "no sense in it")
    assert rows_of(trajectory(USER, TALK), refuse) == [refused]
    assert rows_of(trajectory(USER, TALK), give_up) == [malformed]


# ids and splits


def test_ids_are_stable_and_derive_from_content() -> None:
    base = trajectory(USER, TALK)
    assert trajectory_id(base) == "f8b9aabcdb1a36bd"
    same = base.model_copy(update={"source": "other.json", "line": 9, "outcome": 1.0, "provenance": '{"id":"x"}'})
    assert trajectory_id(same) == trajectory_id(base)
    others = [{"task_id": "1"}, {"trial": "1"}, {"tools": TOOLS}, {"messages": [USER, TALK, USER]}]
    assert len({trajectory_id(base.model_copy(update=other)) for other in others} | {trajectory_id(base)}) == 5


def test_repetitions_have_ids_of_their_own_in_any_file(tmp_path: Path) -> None:
    one = write_jsonl(tmp_path / "a.jsonl", chat_record(), chat_record())
    two = write_jsonl(tmp_path / "b.jsonl", chat_record(), chat_record(task_id=1))
    summary = run(config(tmp_path, one, two))
    first, second, third, other = [candidate.candidate_id for candidate in candidates(tmp_path)]
    assert (second, third) == (first.replace("-", "~2-"), first.replace("-", "~3-"))
    assert other[:16] != first[:16]
    assert summary.n_repeated_trajectories == 2


def test_uniform_is_even() -> None:
    drawn = [uniform(str(i)) for i in range(10_000)]
    assert 0.0 <= min(drawn) < max(drawn) < 1.0
    assert abs(sum(value < 0.1 for value in drawn) / 10_000 - 0.1) < 0.01


def test_the_split_goes_by_task_never_by_row(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "a"}] * 3
    records = [{"messages": turns, "task_id": task, "trial": trial} for task in range(60) for trial in range(3)]
    source = write_jsonl(tmp_path / "t.jsonl", *records)
    summary = run(config(tmp_path, source, holdout=0.3))
    by_task: dict[str, set[str]] = {}
    for candidate in candidates(tmp_path):
        by_task.setdefault(candidate.task_id, set()).add(candidate.split)
    assert all(len(splits) == 1 for splits in by_task.values())
    held_out = sum(splits == {"holdout"} for splits in by_task.values())
    assert 9 <= held_out <= 27
    assert summary.splits == Splits(train=540 - 9 * held_out, holdout=9 * held_out)


def test_another_seed_holds_out_other_tasks(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "t.jsonl", *(chat_record(task_id=task) for task in range(60)))

    def held_out(seed: int) -> set[str]:
        run(config(tmp_path, source, holdout=0.3, seed=seed, force=True))
        return {candidate.task_id for candidate in candidates(tmp_path) if candidate.split == "holdout"}

    assert held_out(0) == held_out(0) != held_out(1)


def test_without_tasks_repetitions_share_the_split(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "t.jsonl", *(chat_record(trial=i // 2) for i in range(80)))
    run(config(tmp_path, source, holdout=0.5))
    splits = {(c.trajectory_id[:16], c.split) for c in candidates(tmp_path)}
    assert len(splits) == 40
    assert {split for _, split in splits} == {"train", "holdout"}


# the stage


def test_everything_is_accounted_for(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    source = write_jsonl(
        tmp_path / "logs/t.jsonl",
        chat_record(reward=1, domain="shop"),
        chat_record(reward=0, domain="shop"),
        chat_record(messages=[{"role": "user", "content": "hi"}]),
        chat_record(messages=[{"role": "assistant", "content": "hello"}], reward=1),
        {"messages": 3},
    )
    with Path(source).open("a") as file:
        file.write("oops\n")
    (tmp_path / "logs/notes.txt").write_text("not a trajectory")
    summary = run(config(tmp_path, tmp_path / "logs", only_successful=True))
    assert summary.model_dump(exclude_defaults=True) == {
        "n_in": 7,
        "n_candidates": 1,
        "n_rejects": 5,
        "n_filtered": 1,
        "n_trajectories": 2,
        "n_filtered_trajectories": 1,
        "n_repeated_trajectories": 0,
        "n_known_outcomes": 3,
        "n_successful": 2,
        "supplied": {},
        "splits": {"train": 1, "holdout": 0},
        "verifiers": {"tool_call": 1},
        "rejects": {"unknown_format": 1, "no_assistant_turn": 1, "empty_state": 1, "bad_record": 1, "bad_json": 1},
        "first_reject": {
            "unknown_format": "notes.txt: not JSON",
            "no_assistant_turn": "t.jsonl line 3: no message is the assistant's",
            "empty_state": "t.jsonl line 4 turn 0: nothing stands before it",
            "bad_record": "t.jsonl line 5: messages: expected a list, got a number",
            "bad_json": "t.jsonl line 6: Expecting value at column 1",
        },
        "sources": {
            "notes.txt": {"rejects": 1},
            "t.jsonl": {
                "format": "openai",
                "because": "records have messages with roles",
                "trajectories": 2,
                "filtered": 1,
                "candidates": 1,
                "rejects": 4,
            },
        },
        "domains": {
            "": {"rejects": 5, "trajectories": 1},
            "shop": {"trajectories": 1, "filtered": 1, "candidates": 1},
        },
    }
    written = rejects(tmp_path / "out/c.rejects.parquet")
    assert [(row.source, row.line, row.turn, row.reason.value) for row in written] == [
        ("notes.txt", 0, None, "unknown_format"),
        ("t.jsonl", 3, None, "no_assistant_turn"),
        ("t.jsonl", 4, 0, "empty_state"),
        ("t.jsonl", 5, None, "bad_record"),
        ("t.jsonl", 6, None, "bad_json"),
    ]


MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "user", "assistant", "assistant", "tool", "narrator"])},
        optional={
            "content": st.sampled_from(["", "hi", None, [{"type": "text", "text": "x"}], 3]),
            "tool_calls": st.lists(
                st.fixed_dictionaries(
                    {"name": st.sampled_from(["find", "drop", None])},
                    optional={"arguments": st.sampled_from(["{}", "[", "", '{"a":1}', None])},
                ),
                max_size=2,
            ),
        },
    ),
    max_size=5,
)
RECORDS = st.one_of(
    st.fixed_dictionaries(
        {"messages": MESSAGES},
        optional={"reward": st.sampled_from([0, 0.5, 1, None, "x"]), "tools": st.sampled_from(["[]", TOOLS, "["])},
    ),
    st.sampled_from([None, 3, [], {}, {"messages": None}]),
)


@given(
    records=st.lists(RECORDS, max_size=6),
    cut=st.integers(0, 60),
    as_array=st.booleans(),
    only_successful=st.booleans(),
    min_outcome=st.sampled_from([None, 0.0, 0.5]),
)
def test_in_is_candidates_and_rejects_and_filtered(
    tmp_path: Path, records: list[Any], cut: int, as_array: bool, only_successful: bool, min_outcome: float | None
) -> None:
    text = json.dumps(records) if as_array else "\n".join(map(json.dumps, records))
    path = tmp_path / "t.jsonl"
    path.write_text(text[: max(1, len(text) - cut)] or "x")
    chosen = config(
        tmp_path, path, format="openai", only_successful=only_successful, min_outcome=min_outcome, tools=None
    )
    extraction = Extraction.from_config(chosen)
    rows = list(extraction.rows(find_sources(chosen.sources)))
    totals = extraction.counts.totals
    kinds = Counter(type(row) for row in rows)
    assert (totals["n_candidates"], totals["n_rejects"]) == (kinds[Candidate], kinds[Reject])
    assert totals["n_in"] == totals["n_candidates"] + totals["n_rejects"] + totals["n_filtered"]
    ids = [row.candidate_id for row in rows if isinstance(row, Candidate)]
    assert len(ids) == len(set(ids))


def test_outcomes_filter_on_request(tmp_path: Path) -> None:
    rewards = [None, 0, 0.5, 1, 1.5]
    source = write_jsonl(tmp_path / "t.jsonl", *(chat_record(reward=reward) for reward in rewards))

    def outcomes(**fields: Any) -> list[float | None]:
        summary = run(config(tmp_path, source, force=True, **fields))
        assert summary.n_in == 5 == summary.n_candidates + summary.n_filtered
        return [candidate.outcome for candidate in candidates(tmp_path)]

    assert outcomes() == [None, 0.0, 0.5, 1.0, 1.5]
    assert outcomes(min_outcome=0.0) == [0.0, 0.5, 1.0, 1.5]
    assert outcomes(min_outcome=0.5) == [0.5, 1.0, 1.5]
    assert outcomes(only_successful=True) == [1.0, 1.5]
    assert outcomes(only_successful=True, min_outcome=1.2) == [1.5]


def test_limit_counts_trajectories_that_pass(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "t.jsonl", *(chat_record(reward=i % 2, task_id=i) for i in range(8)))
    summary = run(config(tmp_path, source, limit=2, only_successful=True))
    assert [candidate.task_id for candidate in candidates(tmp_path)] == ["1", "3"]
    assert (summary.n_in, summary.n_trajectories, summary.n_filtered) == (4, 2, 2)


def test_tools_and_system_fill_only_what_a_record_lacks(tmp_path: Path) -> None:
    own = [{"role": "system", "content": "Own"}, *chat_record()["messages"]]
    drop = [{"type": "function", "function": {"name": "drop"}}]
    source = write_jsonl(tmp_path / "t.jsonl", chat_record(), chat_record(messages=own, tools=drop))
    (tmp_path / "tools.json").write_text(json.dumps({"domain": "x", "tools": json.loads(TOOLS)}))
    (tmp_path / "system.txt").write_text("Given\n")
    summary = run(config(tmp_path, source, tools=tmp_path / "tools.json", system=tmp_path / "system.txt"))
    first, second = candidates(tmp_path)
    assert (first.state[0], first.tools) == (Message(role="system", content="Given\n"), TOOLS)
    assert (second.state[0].content, json.loads(second.tools)) == ("Own", drop)
    assert summary.supplied == {"system": 1, "tools": 1}


def test_supplied_files_that_are_wrong_are_errors(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "t.jsonl", chat_record())
    bad = tmp_path / "tools.json"
    bad.write_text('[{"type": "function"}]')
    with pytest.raises(InputError, match=r"tools\.json: 0\.name: expected text, got nothing"):
        run(config(tmp_path, source, tools=bad))
    with pytest.raises(InputError, match="No such file"):
        run(config(tmp_path, source, system=tmp_path / "nowhere.txt"))


def test_an_up_to_date_output_is_left_alone_and_another_is_refused(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "t.jsonl", chat_record())
    summary = run(config(tmp_path, source))
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert sorted(before) == ["c.parquet", "c.rejects.parquet"]
    assert run(config(tmp_path, source)) == summary.model_copy(update={"cached": True})
    with pytest.raises(OutputError, match=r"config\.seed: 0 -> 1"):
        run(config(tmp_path, source, seed=1))
    system = tmp_path / "system.txt"
    system.write_text("Given")
    with pytest.raises(OutputError, match="fingerprint of system"):
        run(config(tmp_path, source, system=system))
    (tmp_path / "out/c.rejects.parquet").unlink()
    assert run(config(tmp_path, source)) == summary
    assert run(config(tmp_path, source, force=True)) == summary
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_no_path_of_the_machine_reaches_the_tables(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "t.jsonl", chat_record(), 3)
    run(config(tmp_path, source))
    for path in (tmp_path / "out").iterdir():
        assert str(tmp_path).encode() not in path.read_bytes()


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"output": "runs/c.parquet"}, Path("runs/c.rejects.parquet")),
        ({"output": "-"}, None),
        ({"output": "-", "rejects": Path("r.parquet")}, Path("r.parquet")),
    ],
)
def test_where_the_rejects_go(fields: dict[str, Any], expected: Path | None) -> None:
    assert output_paths(ExtractConfig(sources=["t.jsonl"], **fields)).get(Reject) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "t.jsonl: the file is empty"),
        ('{"a": 1}\n', "t.jsonl: unknown format (JSON lines with a)"),
        (
            '{"messages": [{"role": "user"\n',
            "no candidate: 1 of 1 turns and records are bad_json, first t.jsonl line 1: Expecting ',' delimiter at"
            " column 30",
        ),
        (
            '{"messages": [{"role": "user"}]}\n' * 2 + "oops",
            "no candidate: 2 of 3 turns and records are no_assistant_turn, first t.jsonl line 1: no message is the"
            " assistant's",
        ),
    ],
)
def test_input_without_a_candidate_is_an_error_and_leaves_nothing(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.jsonl").write_text(text)
    with pytest.raises(InputError) as caught:
        run(config(tmp_path, tmp_path / "t.jsonl"))
    assert caught.value.message == message
    assert caught.value.hint
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "t.jsonl"]


def test_filtering_everything_out_is_an_error(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "t.jsonl", chat_record())
    with pytest.raises(InputError, match="all 1 turns were filtered"):
        run(config(tmp_path, source, only_successful=True))


def test_a_forced_format_is_not_questioned(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "t.jsonl", {"a": 1}, chat_record())
    summary = run(config(tmp_path, source, format="openai"))
    assert (summary.n_candidates, summary.rejects) == (1, {"bad_record": 1})
    assert summary.sources["t.jsonl"].because == "--format"
    with pytest.raises(ConfigError, match="unknown format 'opanai'"):
        run(config(tmp_path, source, format="opanai", force=True))


def test_the_summary_reads_well_on_a_narrow_terminal(tmp_path: Path) -> None:
    files = [tmp_path / "logs" / f"{'x' * 60}{i:02d}.jsonl" for i in range(15)]
    files[0].parent.mkdir()
    for i, file in enumerate(files):
        write_jsonl(file, chat_record(trial=i), 3)
    summary = run(config(tmp_path, tmp_path / "logs", tools=None))
    out = io.StringIO()
    Console(file=out, width=80, color_system=None).print(describe(summary))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[:2] == [
        "30 in = 15 candidates + 15 rejects + 0 filtered",
        "15 trajectories, 15 train and 0 holdout candidates",
    ]
    assert any(line.startswith("…") and line.split()[1:] == ["openai", "1", "1", "1", "0"] for line in lines)
    assert any(line.strip() == "and 3 more" for line in lines)
    assert any(line.startswith("15 bad_record, first ") for line in lines)


def test_extract_imports_nothing_heavy(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "t.jsonl", chat_record())
    code = (
        "import sys; from pivotrl_cli.configs import ExtractConfig; from pivotrl_cli.stages.extract.run import run;"
        f"run(ExtractConfig(sources=[{source!r}], output={str(tmp_path / 'c.parquet')!r}));"
        "print([m for m in ('torch', 'transformers', 'datasets', 'vllm') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_a_broken_file_of_rows_does_not_stop_its_folder(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/broken.parquet").write_bytes(b"PAR1 but no more")
    write_jsonl(tmp_path / "logs/t.jsonl", chat_record())
    assert run(config(tmp_path, tmp_path / "logs")).rejects == {"bad_record": 1}
    with pytest.raises(InputError, match=r"broken\.parquet: not a parquet file that pyarrow reads"):
        run(config(tmp_path, tmp_path / "logs/broken.parquet", force=True))
    (tmp_path / "logs/broken.parquet").unlink()
    with pytest.raises(InputError, match=r"c\.parquet: unknown format \(a data set with candidate_id, "):
        run(config(tmp_path, tmp_path / "out/c.parquet", force=True))


def test_outputs_may_stand_in_the_folder_that_is_read(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "t.jsonl", chat_record())
    chosen = ExtractConfig(sources=[str(tmp_path)], output=str(tmp_path / "c.parquet"))
    assert run(chosen).model_copy(update={"cached": True}) == run(chosen)


# verifiers by tool and by domain


def test_a_tools_verifier_wins_over_the_domains_and_that_over_the_default(tmp_path: Path) -> None:
    def record(action: dict[str, Any], domain: str) -> dict[str, Any]:
        messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "", **action}]
        return chat_record(messages=messages, domain=domain)

    def call(*names: str) -> dict[str, Any]:
        return {
            "tool_calls": [{"id": n, "type": "function", "function": {"name": n, "arguments": "{}"}} for n in names]
        }

    talk = {"content": "hello"}
    actions = [(call("find"), "shop"), (call("other"), "shop"), (call("other", "find"), "shop"), (talk, "shop")]
    source = write_jsonl(tmp_path / "t.jsonl", *(record(a, d) for a, d in [*actions, (call("find"), ""), (talk, "")]))
    given = ["find=tool_name", "shop=exact", "lost=swe+judge"]
    summary = run(config(tmp_path, source, verifier="tool_call+judge", verifier_for=given))
    assert [c.verifier for c in candidates(tmp_path)] == [
        "tool_name", "exact", "tool_name", "exact", "tool_name", "tool_call+judge"
    ]  # fmt: skip
    assert summary.verifiers == {"exact": 2, "tool_call+judge": 1, "tool_name": 3}
    assert summary.unused_verifier_keys == ["lost"]
    console = Console(width=100)
    with console.capture() as printed:
        console.print(describe(summary))
    assert "2 scored by exact, 1 scored by tool_call+judge, 3 scored by tool_name" in printed.get()
    assert "--verifier-for lost=... was not used" in printed.get()


def test_a_demonstration_is_checked_with_the_verifier_of_its_turn(tmp_path: Path) -> None:
    (tmp_path / "no.py").write_text(
        "from pivotrl_cli.verifiers import Verdict\n\ndef never(candidate, action):\n    return Verdict(0.0, 'never')\n"
    )
    source = write_jsonl(tmp_path / "t.jsonl", chat_record(domain="shop"), chat_record(domain="bank"))
    run(config(tmp_path, source, verifier_for=[f"shop={tmp_path}/no.py:never"]))
    assert [c.domain for c in candidates(tmp_path)] == ["bank"]
    (refused,) = rejects(tmp_path / "out/c.rejects.parquet")
    assert (refused.reason, refused.line, refused.detail) == (RejectReason.REJECTED_BY_VERIFIER, 1, "never: ")
    with pytest.raises(OutputError, match=r"verifier_for"):
        run(config(tmp_path, source))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["shop"], "--verifier-for shop: not KEY=NAME"),
        (["=exact"], "--verifier-for =exact: not KEY=NAME"),
        (["shop="], "--verifier-for shop=: not KEY=NAME"),
        (["shop=exact", "shop=swe"], "--verifier-for shop is given twice"),
        (["shop=exat"], "unknown verifier 'exat'"),
    ],
)
def test_a_verifier_for_nothing_is_refused(tmp_path: Path, given: list[str], message: str) -> None:
    source = write_jsonl(tmp_path / "t.jsonl", chat_record())
    with pytest.raises(ConfigError) as raised:
        run(config(tmp_path, source, verifier_for=given))
    assert raised.value.message == message


def test_nothing_holds_a_trajectory_when_it_has_ended(tmp_path: Path) -> None:
    """What is written then may be as large as it, and so may the one that is read next."""
    source = write_jsonl(tmp_path / "t.jsonl", *(chat_record(task_id=str(i)) for i in range(3)))
    extraction = Extraction.from_config(config(tmp_path, source))
    alive = []

    def count() -> None:
        alive.append(sum(type(found) is Message for found in gc.get_objects()))

    count()
    for row in extraction.rows(find_sources([source]), count):
        del row
    assert alive == alive[:1] * 4
