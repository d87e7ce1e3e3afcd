"""Tables: the nulls that were recorded stay, those that Arrow invents for structs go."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet
from readings import read, read_file
from recorded import recorded

from pivotrl_cli.readers.sources import find_sources
from pivotrl_cli.rows import Trajectory

SCHEMA = {"type": "object", "properties": {"owner": {"type": ["string", "null"], "default": None}}}
TOOL = {"type": "function", "function": {"name": "assign", "parameters": SCHEMA}}
CALL = {"id": "c1", "function": {"name": "assign", "arguments": {"ticket": 7, "owner": None}}}
ACTION = {"role": "assistant", "content": None, "tool_calls": [CALL]}
GO = {"role": "user", "content": "go"}


def trajectories(path: Path) -> list[Trajectory]:
    return [row for row in read_file(path)[1] if isinstance(row, Trajectory)]


def arguments(path: Path) -> list[str]:
    return [call.arguments for one in trajectories(path) for message in one.messages for call in message.tool_calls]


def texts(*values: Any) -> list[str]:
    return [json.dumps(value) for value in values]


def test_json_column_of_the_shared_case() -> None:
    path = recorded("cases/case10_null_argument.parquet")
    assert arguments(path) == [
        '{"ticket":7,"owner":null}',
        '{"q":"x","limit":2.5}',
        '{"ticket":8,"owner":"ann"}',
        '{"q":"y","limit":3}',
    ]


@pytest.mark.parametrize("kind", ["arrow.json", "text with the metadata of datasets"])
def test_nulls_of_json_stay_in_calls_and_schemas(tmp_path: Path, kind: str) -> None:
    item = pa.json_() if kind == "arrow.json" else pa.string()
    feature = {"_type": "List", "feature": {"_type": "Json"}}
    features = {"info": {"features": {"messages": feature, "tools": feature}}}
    metadata = None if kind == "arrow.json" else {"huggingface": json.dumps(features)}
    schema = pa.schema({"messages": pa.list_(item), "tools": pa.list_(item)}, metadata=metadata)
    columns = [pa.array([texts(GO, ACTION)], pa.list_(pa.string())), pa.array([texts(TOOL)], pa.list_(pa.string()))]
    parquet.write_table(
        pa.table([column.cast(schema.types[0]) for column in columns], schema=schema), tmp_path / "t.parquet"
    )
    (found,) = trajectories(tmp_path / "t.parquet")
    assert found.messages[1].tool_calls[0].arguments == '{"ticket":7,"owner":null}'
    assert json.loads(found.tools) == [TOOL]


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        (pa.json_(), '{"ticket":7,"owner":null}', '{"ticket":7,"owner":null}'),
        (pa.map_(pa.string(), pa.string()), {"ticket": "7", "owner": None}, '{"ticket":"7","owner":null}'),
        (pa.string(), '{"ticket": 7, "owner": null}', '{"ticket": 7, "owner": null}'),
        (pa.struct({"city": pa.string(), "flight": pa.string()}), {"city": "Rome"}, '{"city":"Rome"}'),
    ],
    ids=["json in a struct", "map", "text", "struct"],
)
@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_arguments_by_the_type_of_their_column(
    tmp_path: Path, kind: pa.DataType, given: Any, expected: str, suffix: str
) -> None:
    function = pa.struct({"name": pa.string(), "arguments": kind})
    call = pa.struct({"id": pa.string(), "function": function})
    message = pa.struct({"role": pa.string(), "content": pa.string(), "tool_calls": pa.list_(call)})
    made = pa.array([given], pa.string() if kind == pa.json_() else kind).cast(kind)
    functions = pa.StructArray.from_arrays([pa.array(["f"]), made], fields=list(function))
    calls = pa.StructArray.from_arrays([pa.nulls(1, pa.string()), functions], fields=list(call))
    lists = pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), calls)
    spoken = [pa.array(["assistant"]), pa.nulls(1, pa.string()), lists]
    messages = pa.ListArray.from_arrays(
        pa.array([0, 1], pa.int32()), pa.StructArray.from_arrays(spoken, fields=list(message))
    )
    table, path = pa.table({"messages": messages}), tmp_path / f"t.{suffix}"
    if suffix == "parquet":
        parquet.write_table(table, path)
    else:
        with pa.ipc.new_file(path, table.schema) as file:
            file.write_table(table)
    assert arguments(path) == [expected]


def test_json_column_of_a_data_set(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"messages": datasets.List(datasets.Json())})
    rows = datasets.Dataset.from_dict({"messages": [[GO, ACTION]]}, features=features)
    (tmp_path / "set").mkdir()
    rows.to_parquet(tmp_path / "set" / "train.parquet")
    (source,) = find_sources([f"hf:{tmp_path / 'set'}"])
    (document,) = source.documents()
    (found,) = read(document)[1]
    assert isinstance(found, Trajectory)
    assert found.messages[1].tool_calls[0].arguments == '{"ticket":7,"owner":null}'


def test_json_lines_as_a_data_set(tmp_path: Path) -> None:
    """`datasets` takes what differs from row to row as JSON, so the nulls stay."""
    pytest.importorskip("datasets")
    other = {**ACTION, "tool_calls": [{"id": "c2", "function": {"name": "find", "arguments": {"ticket": "x"}}}]}
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.jsonl").write_text(
        "".join(json.dumps({"messages": [GO, one]}) + "\n" for one in (ACTION, other))
    )
    (source,) = find_sources([f"hf:{tmp_path / 'set'}"])
    (document,) = source.documents()
    found = [row.messages[1].tool_calls[0].arguments for row in read(document)[1] if isinstance(row, Trajectory)]
    assert found == ['{"ticket":7,"owner":null}', '{"ticket":"x"}']
