"""Inspect logs, archives among them, and ATIF."""

from __future__ import annotations

import json
import struct
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from readings import bad_record, call, calls, nested, one, read_file, read_json, replies, says, system, user
from recorded import recorded

from pivotrl_cli.errors import InputError
from pivotrl_cli.readers import archive
from pivotrl_cli.readers.archive import ZipDocument
from pivotrl_cli.rows import Fault, Reject, RejectReason, Trajectory

# Inspect

EVAL = {"task": "browse", "model": "openai/gpt-4o", "run_id": "r1"}
TOOL = {"name": "go", "description": "Go.", "parameters": {"type": "object"}}
SAMPLE: dict[str, Any] = {
    "id": 7,
    "epoch": 2,
    "messages": [
        {"role": "user", "content": "attachment://abc", "source": "input"},
        {"role": "assistant", "content": "An example.", "source": "input"},
        {
            "role": "assistant",
            "source": "generate",
            "content": [{"type": "reasoning", "reasoning": "why"}, {"type": "text", "text": "Go."}],
            "tool_calls": [{"id": "c1", "function": "go", "arguments": {"n": 1.0}, "type": "function"}],
        },
        {
            "role": "tool",
            "tool_call_id": "c1",
            "function": "go",
            "content": "",
            "error": {"type": "timeout", "message": "slow"},
        },
        {"role": "assistant", "content": "Done.", "source": "generate"},
    ],
    "scores": {"includes": {"value": "C", "answer": "x"}},
    "events": [{"event": "state"}, {"event": "model", "tools": [TOOL]}, {"event": "model", "tools": [TOOL]}],
    "attachments": {"abc": "find it"},
}
READ = Trajectory(
    source="t.json",
    line=1,
    messages=[
        *(user("find it"), says("An example.")),
        calls(call("go", '{"n":1.0}', "c1"), text="Go.", reasoning="why"),
        *(replies("slow", "c1", "go"), says("Done.")),
    ],
    context=[1],
    tools=nested("go", description="Go.", parameters={"type": "object"}),
    domain="browse",
    task_id="7",
    trial="2",
    outcome=1.0,
    provenance='{"model":"openai/gpt-4o","run_id":"r1","scores":{"includes":"C"}}',
)


def log(*samples: Any) -> dict[str, Any]:
    return {"version": 2, "status": "success", "eval": EVAL, "plan": {}, "samples": list(samples)}


BROKEN = '{"cmd": "ls'
QUOTED = f"Error parsing the following tool call arguments:\n\n{BROKEN}\n\nError details: Unterminated string"


def test_inspect_call_that_could_not_be_parsed_in_the_shared_case() -> None:
    (found,) = read_file(recorded("cases/case12_inspect_parse_error.json"))[1]
    assert isinstance(found, Trajectory)
    (fault,) = found.faults
    assert (fault.message, fault.reason) == (1, RejectReason.BAD_ARGUMENTS)
    assert [c.arguments for m in found.messages for c in m.tool_calls] == ['{"cmd": "ls', '{"cmd":"ls"}']


@pytest.mark.parametrize(
    ("error", "arguments", "later"),
    [(QUOTED, BROKEN, []), ("unknown tool", "{}", ["the arguments of a call before it were not recorded (message 1)"])],
)
def test_inspect_rejects_a_turn_with_a_call_that_could_not_be_parsed(
    tmp_path: Path, error: str, arguments: str, later: list[str]
) -> None:
    good = {"id": "c1", "function": "go", "arguments": {"n": 1}}
    bad = {"id": "c2", "function": "bash", "arguments": {}, "parse_error": error}
    messages = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "", "tool_calls": [good, bad]},
        {"role": "assistant", "content": "Done."},
    ]
    found = one(read_json(tmp_path, log({"id": 1, "epoch": 1, "messages": messages})), "inspect")
    assert found.messages[1].tool_calls == [call("go", '{"n":1}', "c1"), call("bash", arguments, "c2")]
    assert found.faults == [
        Fault(message=1, reason=RejectReason.BAD_ARGUMENTS, detail=f"call of bash: {' '.join(error.split())}"),
        *(Fault(message=2, reason=RejectReason.INCOMPLETE, detail=detail) for detail in later),
    ]


def zipped(folder: Path, *samples: Any, name: str = "t.eval") -> Path:
    path = folder / name
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("_journal/start.json", "{}")
        for number, sample in enumerate(samples, 1):
            file.writestr(f"samples/{number}_epoch_1.json", json.dumps(sample))
        file.writestr("header.json", json.dumps(log() | {"samples": None}))
    return path


def test_inspect_json(tmp_path: Path) -> None:
    assert one(read_json(tmp_path, log(SAMPLE)), "inspect") == READ


def test_inspect_archive_reads_the_same(tmp_path: Path) -> None:
    assert one(read_file(zipped(tmp_path, SAMPLE)), "inspect") == READ.model_copy(update={"source": "t.eval"})


@pytest.mark.parametrize(
    ("scores", "outcome"),
    [
        ({"a": {"value": "I"}}, 0.0),
        ({"a": {"value": "P"}}, 0.5),
        ({"a": {"value": "N"}}, 0.0),
        ({"a": {"value": 0.25}}, 0.25),
        ({"a": {"value": True}}, 1.0),
        ({"a": {"value": {"x": 1}}, "b": {"value": "C"}}, 1.0),
        ({"a": {"value": "perhaps"}}, None),
        ({}, None),
        (None, None),
    ],
)
def test_inspect_scores(tmp_path: Path, scores: Any, outcome: float | None) -> None:
    assert one(read_json(tmp_path, log(SAMPLE | {"scores": scores})), "inspect").outcome == outcome


def test_inspect_log_without_samples(tmp_path: Path) -> None:
    assert read_json(tmp_path, log()) == ("inspect", [bad_record("no record in this document", line=0)])


# archives


def test_a_member_that_declares_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = zipped(tmp_path, SAMPLE, SAMPLE | {"store": "x" * 10_000})
    monkeypatch.setattr(archive, "MAX_MEMBER", 5_000)
    name, rows = read_file(path)
    large = next(info.file_size for info in zipfile.ZipFile(path).infolist() if "/2_" in info.filename)
    assert name == "inspect"
    assert [type(row) for row in rows] == [Trajectory, Reject]
    detail = f"samples/2_epoch_1.json declares {large:,} bytes"
    assert rows[1] == Reject(source="t.eval", line=2, reason=RejectReason.TOO_LARGE, detail=detail)


def test_an_archive_with_the_ratio_of_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "t.eval"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("header.json", "{}")
        for number in range(10):
            file.writestr(f"samples/{number}.json", b" " * (7 << 20))
    (row,) = read_file(path)[1]
    assert isinstance(row, Reject)
    assert (row.line, row.reason) == (0, RejectReason.TOO_LARGE)
    assert row.detail == "the archive declares 73,400,322 bytes, more than 200 times its own size"


def test_a_member_that_unpacks_to_more_than_it_declares_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path, SAMPLE)
    data = bytearray(path.read_bytes())
    size = next(info.file_size for info in zipfile.ZipFile(path).infolist() if "samples" in info.filename)
    for at in (i for i in range(len(data)) if data[i : i + 4] == struct.pack("<I", size)):
        data[at : at + 4] = struct.pack("<I", 100)
    path.write_bytes(bytes(data))
    (row,) = read_file(path)[1]
    assert isinstance(row, Reject)
    assert (row.reason, row.line) == (RejectReason.BAD_RECORD, 1)
    assert row.detail.startswith("samples/1_epoch_1.json cannot be unpacked: Bad CRC-32")


def test_unknown_compressions_and_broken_archives(tmp_path: Path) -> None:
    path = tmp_path / "t.eval"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as file:
        file.writestr("samples/1.json", json.dumps(SAMPLE))
    expected = bad_record("samples/1.json: compression 14 is unknown", source="t.eval")
    assert read_file(path) == ("inspect", [expected])
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(InputError, match=r"t\.eval: File is not a zip file"):
        ZipDocument(path, "t.eval").keys()


def test_members_are_values_at_a_path(tmp_path: Path) -> None:
    document = ZipDocument(zipped(tmp_path, SAMPLE), "t.eval")
    assert document.keys() == ["header.json"]
    assert document.keys("samples") == ["samples/1_epoch_1.json"]
    assert len(list(document.records())) == 3
    assert BytesIO(document.path.read_bytes()).read(4) == archive.MAGIC


# ATIF

STEPS: list[dict[str, Any]] = [
    {"step_id": 1, "source": "system", "message": "Policy"},
    {"step_id": 2, "source": "agent", "message": "Hi!", "llm_call_count": 1},
    {"step_id": 3, "source": "user", "message": [{"type": "text", "text": "find"}]},
    {
        "step_id": 4,
        "source": "agent",
        "message": "",
        "reasoning_content": "why",
        "tool_calls": [
            {"tool_call_id": "a", "function_name": "find", "arguments": {"q": 1}},
            {"tool_call_id": "b", "function_name": "find", "arguments": {}},
        ],
        "observation": {"results": [{"source_call_id": "a", "content": "1"}, {"source_call_id": "b", "content": None}]},
    },
    {"step_id": 5, "source": "agent", "message": "Done."},
]


def trajectory(*steps: dict[str, Any], **fields: Any) -> dict[str, Any]:
    agent = {"name": "a", "version": "1", "model_name": "m", "tool_definitions": json.loads(nested("find"))}
    return {"schema_version": "ATIF-v1.7", "session_id": "s", "agent": agent, "steps": list(steps), **fields}


def test_atif(tmp_path: Path) -> None:
    record = trajectory(*STEPS, final_metrics={"extra": {"reward": 0.5, "task_id": "13"}})
    assert one(read_json(tmp_path, record), "atif") == Trajectory(
        source="t.json",
        line=1,
        messages=[
            *(system("Policy"), says("Hi!"), user("find")),
            calls(call("find", '{"q":1}', "a"), call("find", "{}", "b"), reasoning="why"),
            *(replies("1", "a"), replies("", "b"), says("Done.")),
        ],
        tools=nested("find"),
        task_id="13",
        outcome=0.5,
        provenance='{"agent":"a","model":"m","session_id":"s"}',
    )


def test_atif_copied_dispatched_and_merged_steps(tmp_path: Path) -> None:
    marks = [{"is_copied_context": True}, {"llm_call_count": 0}, {"llm_call_count": 3}, {"llm_call_count": 1}, {}]
    steps = [{"source": "agent", "message": str(i), **mark} for i, mark in enumerate(marks)]
    found = one(read_json(tmp_path, trajectory(STEPS[0], *steps)), "atif")
    assert found.context == [1, 2]
    detail = "the step merges 3 calls of the model"
    assert found.faults == [Fault(message=3, reason=RejectReason.MERGED_TURNS, detail=detail)]


def test_atif_subagents_are_trajectories_of_their_own(tmp_path: Path) -> None:
    inner = trajectory(STEPS[2], STEPS[4], trajectory_id="sub-1")
    rows = read_json(tmp_path, trajectory(*STEPS, subagent_trajectories=[inner]))[1]
    found = [row for row in rows if isinstance(row, Trajectory)]
    assert [len(row.messages) for row in found] == [7, 2]
    assert json.loads(found[1].provenance) == {"agent": "a", "model": "m", "session_id": "s", "subagent": "sub-1"}


@pytest.mark.parametrize(
    ("record", "detail"),
    [
        (trajectory() | {"steps": None}, "steps: expected a list, got nothing"),
        (
            trajectory({"source": "robot", "message": "x"}),
            "steps.0.source: expected system, user or agent, got 'robot'",
        ),
        (
            trajectory({"source": "user", "message": [{"type": "image", "source": {}}]}),
            "steps.0.message.0.type: only text blocks can be used, got 'image'",
        ),
        (trajectory({"source": "agent", "message": "x", "llm_call_count": "2"}), None),
    ],
)
def test_atif_that_does_not_fit(tmp_path: Path, record: dict[str, Any], detail: str | None) -> None:
    expected = detail or "steps.0.llm_call_count: expected a number, got '2'"
    assert read_json(tmp_path, record) == ("atif", [bad_record(expected)])
