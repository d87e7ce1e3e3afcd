"""Arrow data in exactly the types of a row model, whoever wrote it; dictionaries without unused entries."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pivotrl_cli.rows import Row
from pivotrl_cli.storage.arrow import fields_of, is_history, table_of


def conform(table: pa.Table, row: type[Row]) -> pa.Table:
    """The row model's columns of a table, in its types, with histories dictionary-encoded."""
    arrays = {}
    for field in fields_of(row):
        column, shared = table.column(field.name), is_history(row.model_fields[field.name].annotation)
        if not shared and column.type.equals(field.type):
            arrays[field.name] = column
        else:
            chunks = [conform_array(chunk, field.type, encode=shared) for chunk in column.chunks]
            arrays[field.name] = pa.chunked_array(chunks) if chunks else pa.array([], field.type)
    return table_of(row, arrays)


def is_readable_as(found: pa.DataType, expected: pa.DataType) -> bool:
    """Whether a column that another program wrote has the expected shape, whatever its kind of strings."""
    if pa.types.is_null(found):
        return True  # nothing but nulls, and the writer knew no type
    if is_text(found) or is_text(expected):
        return is_text(found) and is_text(expected)
    if _is_list(found) and _is_list(expected):
        return is_readable_as(found.value_type, expected.value_type)
    if pa.types.is_struct(found) and pa.types.is_struct(expected):
        names = {found.field(i).name for i in range(found.num_fields)}
        fields = [expected.field(i) for i in range(expected.num_fields)]
        return names == {f.name for f in fields} and all(
            is_readable_as(found.field(f.name).type, f.type) for f in fields
        )
    return bool(found.equals(expected))


def conform_array(array: pa.Array, kind: pa.DataType, *, encode: bool) -> pa.Array:
    """An array of `is_readable_as` type as exactly `kind`; with `encode`, string leaves as dictionaries."""
    if pa.types.is_null(array.type):
        array = pa.nulls(len(array), kind)
    if _is_list(kind):
        offsets = pc.subtract(array.offsets, array.offsets[0]).cast(pa.int32())
        values = conform_array(array.flatten(), kind.value_type, encode=encode)
        return pa.ListArray.from_arrays(offsets, values, type=pa.list_(kind.value_field.with_type(values.type)))
    if pa.types.is_struct(kind):
        fields = [kind.field(i) for i in range(kind.num_fields)]
        parts = dict(
            zip((array.type.field(i).name for i in range(array.type.num_fields)), array.flatten(), strict=True)
        )
        children = [conform_array(_fill_missing(parts[f.name], f, _mask(array)), f.type, encode=encode) for f in fields]
        typed = [f.with_type(child.type) for f, child in zip(fields, children, strict=True)]
        return pa.StructArray.from_arrays(children, fields=typed, mask=_mask(array))
    if not is_text(kind):
        return array
    if not encode:
        return array.cast(pa.string())
    dictionary = array if pa.types.is_dictionary(array.type) else array.cast(pa.string()).dictionary_encode()
    return dictionary.cast(pa.dictionary(pa.int32(), pa.string()))


def _fill_missing(child: pa.Array, field: pa.Field, missing: pa.Array | None) -> pa.Array:
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


def _drop_unused_entries(leaf: pa.Array) -> pa.Array:
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
        slim = _map_leaves(array, _drop_unused_entries)
        i = table.schema.get_field_index(name)
        table = table.set_column(i, table.schema.field(i).with_type(slim.type), slim)
    return table
