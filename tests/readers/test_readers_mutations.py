"""Any record of any format, damaged in any place, is read or refused with a reason, and nothing of it is lost."""

from __future__ import annotations

import copy
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_readers_agents import ASKED, BASH, CHAT, OLD, SAID, STEP, event, responded
from test_readers_anthropic import RESULT, USE, answers, asks
from test_readers_gym import ACTION, CALL, PROMPT, REPLY, TEXT, THOUGHT, row
from test_readers_logs import SAMPLE, STEPS, log, trajectory
from test_readers_text import FLAT, SPOKEN, START, got, said, transcript, tree, tried

from pivotrl_cli.configs import ExtractConfig
from pivotrl_cli.readers import READERS, load_reader
from pivotrl_cli.readers.sources import find
from pivotrl_cli.rows import Candidate, Reject
from pivotrl_cli.stages.extract.run import Extraction

CHAT_CALL = {"role": "assistant", "content": None, "tool_calls": [BASH]}
OPENAI = {"messages": [*CHAT, CHAT_CALL, {"role": "tool", "tool_call_id": "c1", "content": "x"}, STEP], "tools": FLAT}
SIMULATION = {"id": "s", "task_id": "1", "trial": 0, "reward_info": {"reward": 1}, "messages": OPENAI["messages"]}
HISTORY = [*ASKED, {"role": "assistant", "content": "x", "tool_calls": [BASH], "agent": "main"}]

RECORDS: dict[str, list[Any]] = {
    "openai": [OPENAI],
    "tau_bench": [{"task_id": 1, "trial": 0, "reward": 1.0, "info": {}, "traj": OPENAI["messages"]}],
    "tau2_bench": [
        {"info": {"environment_info": {"policy": "P", "tool_defs": []}}, "tasks": [], "simulations": [SIMULATION]},
        {"splits": {"train": [OPENAI]}},
    ],
    "nemo_gym": [
        row([*PROMPT, TEXT, *PROMPT], response={"output": [THOUGHT, CALL, REPLY, TEXT], "model": "m"}, reward=1.0),
        row(expected_action=ACTION, trajectory_id="t", pass_rate=0.5, metadata={"instance_id": "i"}),
        row(expected_action={"type": "function_call_batch", "calls": [ACTION]}),
        row(expected_answer=json.dumps({"analysis": "a", "commands": []})),
    ],
    "swe_agent": [
        {"history": HISTORY, "trajectory": [{"action": "ls", "response": "x", "observation": "y"}], "info": {}}
    ],
    "mini_swe_agent": [[*CHAT, STEP], {"info": {}, "messages": [*CHAT, STEP], "trajectory_format": "mini-swe-agent-1"}],
    "openhands": [
        {"history": OLD, "success": True, "issue": {"owner": "o", "repo": "r", "number": 1}},
        [SAID, event(1, "agent", action="run", args={}, tool_call_metadata=responded("c1", [BASH]))],
        [SAID, event(1, "agent", action="run", args={"command": "x"}), event(2, "agent", observation="run", cause=1)],
    ],
    "toolbench": [tree([*START, tried("a")], [*START, tried("a"), got("a"), tried("Finish")])],
    "inspect": [log(SAMPLE)],
    "atif": [trajectory(*STEPS, final_metrics={"extra": {"reward": 1.0}}, subagent_trajectories=[trajectory(*STEPS)])],
    "anthropic": [
        {"system": "s", "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": [USE]}]},
    ],
    "sharegpt": [
        {"conversations": said(("human", "a"), ("function_call", '{"name":"f"}'), ("gpt", "b")), "tools": FLAT},
        {"messages": [{"role": "assistant", "content": [{"type": "reasoning", "value": "a"}]}]},
    ],
    "hermes": [
        {"conversations": [{"from": who, "value": what} for who, what in SPOKEN]},
        {"text": transcript("chatml")},
    ],
}
SESSION = [asks("1", None, "hi"), answers("2", "1", [USE], "m"), asks("3", "2", [RESULT]), answers("4", "3", "ok", "n")]

ODD = st.sampled_from(
    [
        None,
        True,
        0,
        -1,
        10**400,
        1.5,
        "",
        "x",
        "\ud800",
        "9" * 5000,
        "{",
        "[]",
        '{"a": 1}',
        [],
        {},
        [[]],
        [{}],
        {"a": {}},
    ]
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [path, *(place for key in keys for place in places(value[key], (*path, key)))]


def damaged(record: Any, place: tuple[Any, ...], odd: Any, drop: bool) -> Any:
    """A copy with another value at a place, or without it."""
    whole = {"": copy.deepcopy(record)}
    at: Any = whole
    for key in ("", *place[:-1])[: len(place)]:
        at = at[key]
    last = place[-1] if place else ""
    if drop and place:
        del at[last]
    else:
        at[last] = odd
    return whole[""]


def assert_accounted(path: Path, name: str) -> None:
    config = ExtractConfig(sources=[str(path)], format=name, output=str(path.parent / "c.parquet"), dedup=True)
    extraction = Extraction.of(config)
    rows = list(extraction.rows(find(config.sources)))
    tally, kinds = extraction.tally, Counter(map(type, rows))
    assert (tally.n_candidates, tally.n_rejects) == (kinds[Candidate], kinds[Reject])
    assert tally.n_in == tally.n_candidates + tally.n_rejects + tally.n_filtered > 0
    ids = [found.candidate_id for found in rows if isinstance(found, Candidate)]
    assert len(ids) == len(set(ids))
    for found in rows:
        found.model_dump_json()


def test_every_format_is_damaged_here() -> None:
    assert RECORDS.keys() == READERS.keys()


@pytest.mark.parametrize(("name", "number"), [(name, i) for name in RECORDS for i in range(len(RECORDS[name]))])
@given(data=st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_record_is_read_or_refused(name: str, number: int, data: st.DataObject, tmp_path: Path) -> None:
    record = RECORDS[name][number]
    for _ in range(data.draw(st.integers(0, 3))):
        place = data.draw(st.sampled_from(places(record)))
        record = damaged(record, place, data.draw(ODD), data.draw(st.booleans()))
    indent = data.draw(st.sampled_from([None, 1]))
    text = json.dumps(record, indent=indent).replace('"' + "9" * 5000 + '"', "9" * 5000)
    cut = data.draw(st.sampled_from([0, 0, 0, 1, 7, 60]))
    path = tmp_path / "t.json"
    path.write_text(text[: max(1, len(text) - cut)])
    assert_accounted(path, name)


@given(data=st.data())
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_session_is_read_or_refused(data: st.DataObject, tmp_path: Path) -> None:
    lines: list[Any] = copy.deepcopy(SESSION)
    for _ in range(data.draw(st.integers(0, 4))):
        place = data.draw(st.sampled_from([place for place in places(lines) if place]))
        lines = damaged(lines, place, data.draw(ODD), data.draw(st.booleans())) or [{"type": "user"}]
    path = tmp_path / "t.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    assert_accounted(path, "anthropic")


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("text", ["[]", "{}", "3", "null", "oops", "[[]]", '{"a": 1}\n[1]', '"x"', "[" * 5000])
def test_what_is_no_record_at_all_is_refused(name: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text(text)
    assert_accounted(path, name)


@pytest.mark.parametrize("name", RECORDS)
def test_a_whole_record_is_claimed_by_its_reader_alone(name: str, tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    for record in RECORDS[name]:
        path.write_text(json.dumps(record))
        (source,) = find([str(path)])
        (document,) = source.documents()
        assert [other for other in READERS if load_reader(other).sniff(document.head)] == [name]


@pytest.mark.parametrize("depth", [400, 900, 960, 980, 990, 2000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_deep_values_are_read_or_refused(depth: int, opening: str, closing: str, tmp_path: Path) -> None:
    deep = opening * depth + ("1" if closing == "}" else "") + closing * depth
    tool = {"type": "function", "name": "find", "parameters": "@"}
    records = {
        "nemo_gym": row(expected_action=ACTION | {"arguments": "@"}, metadata="@") | {"declared_tools": [tool]},
        "inspect": log(SAMPLE | {"events": [{"event": "model", "tools": ["@"]}], "scores": {"a": {"value": "@"}}}),
        "openai": {"messages": [*CHAT, CHAT_CALL], "tools": [tool]},
    }
    path = tmp_path / "t.json"
    for name, record in records.items():
        path.write_text(json.dumps(record).replace('"@"', deep))
        assert_accounted(path, name)
