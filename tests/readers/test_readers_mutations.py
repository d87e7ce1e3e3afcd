"""Any record of any format, damaged in any place, is read or refused with a reason, and nothing of it is lost."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import RECORDS, SESSION, assert_accounted, damaged, places
from search import examples

from pivotrl_cli.readers import READERS, detect
from pivotrl_cli.readers.sources import find_sources

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


@pytest.mark.parametrize(("name", "number"), [(name, i) for name in RECORDS for i in range(len(RECORDS[name]))])
@given(data=st.data())
@examples(40)
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
@examples(100)
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
def test_the_first_reader_that_recognises_a_record_is_its_own(name: str, tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    for record in RECORDS[name]:
        path.write_text(json.dumps(record))
        (source,) = find_sources([str(path)])
        (document,) = source.documents()
        found = detect(document)
        assert found is not None
        assert found[0] == name


@pytest.mark.parametrize("depth", [400, 900, 960, 980, 990, 2000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_deep_values_are_read_or_refused(depth: int, opening: str, closing: str, tmp_path: Path) -> None:
    deep = opening * depth + ("1" if closing == "}" else "") + closing * depth
    tool = {"type": "function", "name": "find", "parameters": "@"}
    action = {"type": "function_call", "name": "find", "arguments": "@"}
    log, chat = RECORDS["inspect"][0], RECORDS["openai"][0]
    sample = log["samples"][0] | {"events": [{"event": "model", "tools": ["@"]}], "scores": {"a": {"value": "@"}}}
    records = {
        "nemo_gym": RECORDS["nemo_gym"][1] | {"expected_action": action, "metadata": "@", "declared_tools": [tool]},
        "inspect": log | {"samples": [sample]},
        "openai": chat | {"tools": [tool]},
    }
    path = tmp_path / "t.json"
    for name, record in records.items():
        path.write_text(json.dumps(record).replace('"@"', deep))
        assert_accounted(path, name)
