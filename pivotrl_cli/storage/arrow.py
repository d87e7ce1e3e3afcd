"""Row models to Arrow: the schema, columns of it, and the dictionary encoding that keeps shared histories linear.

A state repeats the whole history, so written plainly a trajectory of T turns costs T squared. Messages that rows share
are therefore stored once per row group: the leaves of a `list[Message]` column are dictionary arrays whose entries are
the distinct messages' values. Readers see ordinary strings. The schema follows from the row model alone, so an empty
table and an all-null column keep their types.
"""

from __future__ import annotations

import types
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from typing import Any, Literal, Union, get_args, get_origin

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

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
        if is_shared(field.annotation)
        for path in _string_leaves(arrow_type(field.annotation)[0], name)
    ]


def is_shared(annotation: Any) -> bool:
    """Whether a column holds message histories, which rows share with each other."""
    return bool(get_origin(annotation) is list and get_args(annotation)[0] is Message)


def histories(row: type[Row]) -> list[str]:
    """The columns of a row model that hold message histories."""
    return [name for name, field in row.model_fields.items() if is_shared(field.annotation)]


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
        if is_shared(field.annotation)
        else _plain_array(field.annotation, [getattr(r, name) for r in rows])
        for name, field in row.model_fields.items()
    }
    return table_of(row, arrays)


def conform(table: pa.Table, row: type[Row]) -> pa.Table:
    """The row model's columns of a table, in its types, histories dictionary-encoded, whoever wrote the file."""
    arrays = {}
    for field in fields_of(row):
        column, shared = table.column(field.name), is_shared(row.model_fields[field.name].annotation)
        if not shared and column.type.equals(field.type):
            arrays[field.name] = column
        else:
            chunks = [conformed(chunk, field.type, encode=shared) for chunk in column.chunks]
            arrays[field.name] = pa.chunked_array(chunks) if chunks else pa.array([], field.type)
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
    values = _encoded([m.model_dump() for m in distinct], arrow_type(Message)[0])
    return pa.ListArray.from_arrays(
        pa.array(offsets, pa.int32()),
        values.take(pa.array(indices, pa.int64())),
        type=pa.list_(pa.field("element", values.type, nullable=False)),
    )


def _encoded(values: list[Any], kind: pa.DataType) -> pa.Array:
    """Python values as an Arrow array whose string leaves are dictionaries; each distinct string is copied once."""
    if pa.types.is_struct(kind):
        children = [
            _encoded([v[kind.field(i).name] for v in values], kind.field(i).type) for i in range(kind.num_fields)
        ]
        fields = [kind.field(i).with_type(child.type) for i, child in enumerate(children)]
        return pa.StructArray.from_arrays(children, fields=fields)
    if pa.types.is_list(kind):
        offsets = np.cumsum([0, *(len(v) for v in values)])
        inner = _encoded([item for v in values for item in v], kind.value_type)
        field = kind.value_field.with_type(inner.type)
        return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), inner, type=pa.list_(field))
    assert pa.types.is_string(kind), kind
    slots: dict[str, int] = {}
    indices = [None if v is None else slots.setdefault(v, len(slots)) for v in values]
    return pa.DictionaryArray.from_arrays(pa.array(indices, pa.int32()), pa.array(list(slots), pa.string()))


def readable_as(found: pa.DataType, expected: pa.DataType) -> bool:
    """Whether a column that another program wrote holds what is expected: the same shape, string kinds aside."""
    if pa.types.is_null(found):
        return True  # nothing but nulls, and the writer knew no type
    if is_text(found) or is_text(expected):
        return is_text(found) and is_text(expected)
    if _is_list(found) and _is_list(expected):
        return readable_as(found.value_type, expected.value_type)
    if pa.types.is_struct(found) and pa.types.is_struct(expected):
        names = {found.field(i).name for i in range(found.num_fields)}
        fields = [expected.field(i) for i in range(expected.num_fields)]
        return names == {f.name for f in fields} and all(readable_as(found.field(f.name).type, f.type) for f in fields)
    return bool(found.equals(expected))


def conformed(array: pa.Array, kind: pa.DataType, *, encode: bool) -> pa.Array:
    """An array of `readable_as` type as exactly `kind`; with `encode`, string leaves as dictionaries."""
    if pa.types.is_null(array.type):
        array = pa.nulls(len(array), kind)
    if _is_list(kind):
        offsets = pc.subtract(array.offsets, array.offsets[0]).cast(pa.int32())
        values = conformed(array.flatten(), kind.value_type, encode=encode)
        return pa.ListArray.from_arrays(offsets, values, type=pa.list_(kind.value_field.with_type(values.type)))
    if pa.types.is_struct(kind):
        fields = [kind.field(i) for i in range(kind.num_fields)]
        parts = dict(
            zip((array.type.field(i).name for i in range(array.type.num_fields)), array.flatten(), strict=True)
        )
        children = [conformed(_placed(parts[f.name], f, _mask(array)), f.type, encode=encode) for f in fields]
        typed = [f.with_type(child.type) for f, child in zip(fields, children, strict=True)]
        return pa.StructArray.from_arrays(children, fields=typed, mask=_mask(array))
    if not is_text(kind):
        return array
    if not encode:
        return array.cast(pa.string())
    dictionary = array if pa.types.is_dictionary(array.type) else array.cast(pa.string()).dictionary_encode()
    return dictionary.cast(pa.dictionary(pa.int32(), pa.string()))


def _placed(child: pa.Array, field: pa.Field, missing: pa.Array | None) -> pa.Array:
    """A struct's child that may not be null, with an empty value where the struct itself is null."""
    if missing is None or field.nullable or not (is_text(child.type) or pa.types.is_primitive(child.type)):
        return child
    child = child.cast(pa.string()) if is_text(child.type) else child
    return pc.if_else(missing, pa.scalar("" if is_text(child.type) else 0).cast(child.type), child)


def is_text(kind: pa.DataType) -> bool:
    """A string column, however it is stored."""
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(value) or pa.types.is_large_string(value) or pa.types.is_string_view(value))


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _map_leaves(array: pa.Array, change: Any) -> pa.Array:
    """Rebuild a nested array with every string or dictionary leaf replaced by `change(leaf)`."""
    kind = array.type
    if pa.types.is_list(kind):
        values = _map_leaves(array.flatten(), change)
        offsets = pc.subtract(array.offsets, array.offsets[0])
        field = kind.value_field.with_type(values.type)
        return pa.ListArray.from_arrays(offsets, values, type=pa.list_(field), mask=_mask(array))
    if pa.types.is_struct(kind):
        children = [_map_leaves(child, change) for child in array.flatten()]
        fields = [kind.field(i).with_type(child.type) for i, child in enumerate(children)]
        return pa.StructArray.from_arrays(children, fields=fields, mask=_mask(array))
    if pa.types.is_string(kind) or pa.types.is_dictionary(kind):
        return change(array)
    return array


def _mask(array: pa.Array) -> pa.Array | None:
    return array.is_null() if array.null_count else None


def _used_entries_only(leaf: pa.Array) -> pa.Array:
    if not pa.types.is_dictionary(leaf.type):
        return leaf
    used = pc.unique(leaf.indices).drop_null()
    indices = pc.index_in(leaf.indices, value_set=used)
    return pa.DictionaryArray.from_arrays(indices, leaf.dictionary.take(used))


def compact(table: pa.Table, names: Iterable[str]) -> pa.Table:
    """One chunk per column, and in the named columns only those dictionary entries that rows still use.

    After rows were selected a dictionary still holds every message of the row group it came from.
    """
    table = table.combine_chunks()
    for name in names:
        column = table.column(name)
        array = column.chunk(0) if column.num_chunks else pa.array([], column.type)
        slim = _map_leaves(array, _used_entries_only)
        i = table.schema.get_field_index(name)
        table = table.set_column(i, table.schema.field(i).with_type(slim.type), slim)
    return table
