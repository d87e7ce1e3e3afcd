"""Splitting: the values at a path come out as they stand, wherever the chunks of the file end."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pivotrl_cli.readers.split import CUT_OFF, EACH, Splitter, close_brackets

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=20,
)


class Trickle(BytesIO):
    """A file that gives a few bytes at a time, whatever is asked for."""

    def __init__(self, data: bytes, size: int) -> None:
        super().__init__(data)
        self.size = size

    def read(self, size: int | None = -1) -> bytes:
        return super().read(self.size)


def split(text: str, *path: str, size: int = 1 << 20) -> tuple[list[str], str | None]:
    splitter = Splitter(path)
    found = [value.decode() for value in splitter.values(Trickle(text.encode(), size))]
    return found, splitter.fault


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize(
    ("text", "path", "values"),
    [
        ('[1, "a,]", {"b": [2]} , [ ]]', (EACH,), ["1", '"a,]"', '{"b": [2]}', "[ ]"]),
        ("[]", (EACH,), []),
        ("[ ]", (EACH,), []),
        ('{"a": {"b": [1, 2]}, "b": [3]}', ("a", "b", EACH), ["1", "2"]),
        ('{"a": 1, "b": {"a": 2}}', ("a",), ["1"]),
        ('{"a": [[1, 2], [3]]}', ("a", EACH, EACH), ["1", "2", "3"]),
        ('{"\\"q\\\\": "x\\\\", "a": 1}', ('"q\\',), ['"x\\\\"']),
        ('{"\\u0061": 1}', ("a",), ["1"]),
        ('{"a": {"b": 1}}', ("a", EACH), []),
        ('{"a": null}', ("a", EACH), []),
        ("[1,,2]", (EACH,), ["1", "", "2"]),
    ],
)
def test_values_at_a_path(text: str, path: tuple[str, ...], values: list[str], size: int) -> None:
    assert split(text, *path, size=size) == (values, None)


@given(
    values=st.lists(JSON, max_size=5), indent=st.sampled_from([None, 1]), size=st.integers(1, 40), ascii=st.booleans()
)
def test_elements_are_those_of_the_parser(values: list[Any], indent: int | None, size: int, ascii: bool) -> None:
    text = json.dumps({"x": {"y": values}, "items": values, "z": ["]"]}, indent=indent, ensure_ascii=ascii)
    found, fault = split(text, "items", EACH, size=size)
    assert ([json.loads(value) for value in found], fault) == (values, None)


@given(value=JSON, cut=st.integers(0, 200))
def test_what_was_cut_off_can_be_closed(value: Any, cut: int) -> None:
    text = json.dumps({"a": value}).encode()[:cut]
    kept = close_brackets(text)
    assert not text.strip().startswith(b"{") or isinstance(json.loads(kept), dict)


@given(text=st.text(alphabet='[]{}",:\\ a1\n', max_size=60), size=st.integers(1, 9))
def test_no_text_stops_the_splitter(text: str, size: int) -> None:
    for path in [(EACH,), ("a", EACH)]:
        values, _ = split(text, *path, size=size)
        assert all(value in text for value in values)
    assert text.startswith(close_brackets(text.encode()).decode().rstrip("]}"))


@pytest.mark.parametrize(
    ("text", "values", "fault"),
    [
        ("[1, 2", ["1"], CUT_OFF),
        ('[1, "a', ["1"], CUT_OFF),
        ("[1] x", ["1"], "something stands behind the end"),
        ("[1]]", ["1"], "something stands behind the end"),
        ("", [], CUT_OFF),
    ],
)
def test_faults(text: str, values: list[str], fault: str) -> None:
    assert split(text, EACH) == (values, fault)


def test_keys_of_the_last_object() -> None:
    splitter = Splitter(("splits", EACH))
    list(splitter.values(BytesIO(b'{"x": {"no": 1}, "splits": {"train": [{"no": 1}], "test": []}}')))
    assert splitter.keys == ["train", "test"]


def test_depth_and_length_cost_no_more_than_they_are_long() -> None:
    deep = "[" * 200_000 + "]" * 200_000
    assert split(f"[{deep}, {'9' * 200_000}]", EACH) == ([deep, "9" * 200_000], None)
    assert close_brackets(b"[" * 100_000) == b"[" * 100_000 + b"]" * 100_000
