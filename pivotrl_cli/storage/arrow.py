"""Row models to Arrow: the schema, columns of it, and the dictionary encoding that keeps shared histories linear.

A state repeats the whole history, so written plainly a trajectory of T turns costs T squared. Messages that rows share
are therefore stored once per row group: the leaves of a `list[Message]` column are dictionary arrays whose entries are
the distinct messages' values. Readers see ordinary strings. The schema follows from the row model alone, so an empty
table and an all-null column keep their types.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Any, Literal, Union, get_args, get_origin

import numpy as np
import pyarrow as pa

from pivotrl_cli.rows import Message, Row


def arrow_type(annotation: Any) -> tuple[pa.DataType, bool]:
    """Arrow type of a Python annotation, and whether it may be null."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        inner = [a for a in args if a is not type(None)]
        assert len(inner) == 1, annotation
        return arrow_type(inner[0])[0], True
    if origin is Literal:
        return pa.string(), False
    if origin is list:
        return pa.list_(pa.field("element", *arrow_type(args[0]))), False
    if isinstance(annotation, type) and issubclass(annotation, Row):
        return pa.struct(list(fields_of(annotation))), False
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return pa.string(), False
    scalars = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    return scalars[annotation], False


def fields_of(row: type[Row]) -> Iterator[pa.Field]:
    """Arrow fields of a row model, in the order of its fields."""
    for name, field in row.model_fields.items():
        yield pa.field(name, *arrow_type(field.annotation))


def arrow_schema(row: type[Row]) -> pa.Schema:
    """Arrow schema of a row model, strings plain; what a reader of the file sees."""
    return pa.schema(list(fields_of(row)))


def dictionary_leaves(row: type[Row]) -> list[str]:
    """Parquet paths of the string leaves that are written as dictionaries: those of the `list[Message]` columns."""
    return [
        path
        for name, field in row.model_fields.items()
        if is_history(field.annotation)
        for path in _string_leaves(arrow_type(field.annotation)[0], name)
    ]


def is_history(annotation: Any) -> bool:
    """Whether a column holds message histories, which rows share with each other."""
    return bool(get_origin(annotation) is list and get_args(annotation)[0] is Message)


def histories(row: type[Row]) -> list[str]:
    """The columns of a row model that hold message histories."""
    return [name for name, field in row.model_fields.items() if is_history(field.annotation)]


def _string_leaves(kind: pa.DataType, path: str) -> Iterator[str]:
    if pa.types.is_list(kind):
        yield from _string_leaves(kind.value_type, f"{path}.list.element")
    elif pa.types.is_struct(kind):
        for i in range(kind.num_fields):
            yield from _string_leaves(kind.field(i).type, f"{path}.{kind.field(i).name}")
    elif pa.types.is_string(kind):
        yield path


def rows_to_table(row: type[Row], rows: Sequence[Row]) -> pa.Table:
    """Rows as one Arrow table with message histories dictionary-encoded; `Message` objects are shared by identity."""
    arrays = {
        name: _history_array([getattr(r, name) for r in rows])
        if is_history(field.annotation)
        else _plain_array(field.annotation, [getattr(r, name) for r in rows])
        for name, field in row.model_fields.items()
    }
    return table_of(row, arrays)


def with_columns(table: pa.Table, row: type[Row], values: dict[str, list[Any]]) -> pa.Table:
    """The table with those columns added that `row` has beyond it."""
    arrays: dict[str, Any] = {name: table.column(name) for name in table.column_names}
    arrays |= {name: _plain_array(row.model_fields[name].annotation, column) for name, column in values.items()}
    return table_of(row, arrays)


def table_of(row: type[Row], arrays: dict[str, Any]) -> pa.Table:
    """A table with the row model's nullability, whatever the encodings of the arrays."""
    fields = [f.with_type(arrays[f.name].type) for f in fields_of(row)]
    return pa.table([arrays[f.name] for f in fields], schema=pa.schema(fields))


def _plain_array(annotation: Any, values: list[Any]) -> pa.Array:
    kind = arrow_type(annotation)[0]
    return pa.array([_plain(v) for v in values], kind)


def _plain(value: Any) -> Any:
    if isinstance(value, Row):
        return value.model_dump()
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return value


def _history_array(histories: list[list[Message]]) -> pa.Array:
    """`list<struct>` whose struct leaves are dictionary arrays over the distinct messages."""
    slots: dict[int, int] = {}
    distinct: list[Message] = []
    indices: list[int] = []
    offsets = [0]
    for history in histories:
        for message in history:
            slot = slots.get(id(message))
            if slot is None:
                slot = slots[id(message)] = len(distinct)
                distinct.append(message)
            indices.append(slot)
        offsets.append(len(indices))
    values = _encode_strings([m.model_dump() for m in distinct], arrow_type(Message)[0])
    return pa.ListArray.from_arrays(
        pa.array(offsets, pa.int32()),
        values.take(pa.array(indices, pa.int64())),
        type=pa.list_(pa.field("element", values.type, nullable=False)),
    )


def _encode_strings(values: list[Any], kind: pa.DataType) -> pa.Array:
    """Python values as an Arrow array whose string leaves are dictionaries; each distinct string is copied once."""
    if pa.types.is_struct(kind):
        children = [
            _encode_strings([v[kind.field(i).name] for v in values], kind.field(i).type) for i in range(kind.num_fields)
        ]
        fields = [kind.field(i).with_type(child.type) for i, child in enumerate(children)]
        return pa.StructArray.from_arrays(children, fields=fields)
    if pa.types.is_list(kind):
        offsets = np.cumsum([0, *(len(v) for v in values)])
        inner = _encode_strings([item for v in values for item in v], kind.value_type)
        field = kind.value_field.with_type(inner.type)
        return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), inner, type=pa.list_(field))
    assert pa.types.is_string(kind), kind
    slots: dict[str, int] = {}
    indices = [None if v is None else slots.setdefault(v, len(slots)) for v in values]
    return pa.DictionaryArray.from_arrays(pa.array(indices, pa.int32()), pa.array(list(slots), pa.string()))
