"""Edits by the grammar of the file: pairs that change it in the same way, and pairs that do not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded import recorded
from search import examples
from verifiers_actions import call, calls, score

from pivotrl_cli.verifiers.compare.edits import Change, change_difference, edit_difference, same_code, same_path

OLD = "def total(xs):\n    return sum(xs)\n"
IF_READY = "if ready:\n    start()\nstop()\n"


def replace(old: str, new: str, path: str = "/r/src/a.py", **more: Any) -> dict[str, Any]:
    return {"command": "str_replace", "path": path, "old_str": old, "new_str": new, **more}


def create(text: str, path: str = "/r/src/a.py") -> dict[str, Any]:
    return {"command": "create", "path": path, "file_text": text}


def patch(*lines: str) -> dict[str, Any]:
    return {"patch": "\n".join(["*** Begin Patch", "*** Update File: src/a.py", "@@", *lines, "*** End Patch"])}


SAME = [
    (replace("x = 1", "x = 2"), replace("x = 1", "x  =  2", "src/a.py")),
    (replace("x = 1", "x = 'a'"), replace("x = 1", 'x = "a"')),
    (replace("x = 1", "x = 2"), replace("x = 1", "x = 2  # one more")),
    (replace("x = 1", "x = f(a, b)"), replace("x = 1", "x = f(\n    a,\n    b,\n)")),
    (replace("x = 1\n", "x = 2\n"), replace("x = 1", "x = 2")),
    (replace("    x = 1", "    x = 2"), replace("x = 1", "x = 2")),
    (replace("x = 1", "x = 2"), replace("x = 1\ny = 1", "x = 2\ny = 1")),
    (replace(OLD, OLD.replace("sum(xs)", "sum(xs, 0)")), replace("return sum(xs)", "return sum(xs, 0)")),
    (replace(OLD, f"{OLD}\n# the end"), replace(OLD, f"{OLD}\n# the end")),
    (create('"""Adds."""\nx = 1\n'), create('"""Adds numbers up."""\n\nx = 1')),
    (create('raise ValueError("the size of the file is wrong")'), create('raise ValueError("the file size is wrong")')),
    (create('{"a": 1, "b": [2]}', "/r/a.json"), create('{\n  "b": [2],\n  "a": 1\n}', "/r/a.json")),
    (create("a = 1\nb = 'x'\n", "/r/a.toml"), create('b = "x"\na = 1\n', "/r/a.toml")),
    (create("if (a) {\n  b();\n}", "/r/a.js"), create("if (a) {\n    b();\n}\n", "/r/a.js")),
    (create("a  \nb\n", "/r/a.md"), create("a\r\nb", "/r/a.md")),
    (create("x = 1"), {"path": "/r/src/a.py", "content": "x = 1\n"}),
    (replace("x = 1", "x = 2"), {"file_path": "/r/src/a.py", "old_string": "x = 1", "new_string": "x = 2"}),
    (replace("x = 1", ""), {"path": "/r/src/a.py", "old_str": "x = 1"}),
    (patch(" a = 1", "-x = 1", "+x = 2"), patch("-x = 1", "+x = 2")),
    (patch("-x = 1", "+x = 2"), {"diff": "--- a/src/a.py\n+++ b/src/a.py\n@@ -7 +7 @@\n-x = 1\n+x = 2"}),
    (
        {"path": "a.py", "edits": [{"old_string": "a", "new_string": "b"}]},
        {"path": "a.py", "edits": [{"oldText": "a", "newText": "b  # why"}]},
    ),
    ({"command": "undo_edit", "path": "a.py"}, {"command": "undo_edit", "path": "./a.py"}),
]

OTHER = [
    (replace("x = 1", "x = 2"), replace("x = 1", "x = 3")),
    (replace("x = 1", "x = 2"), replace("y = 1", "y = 2")),
    (replace("x = 1", "x = 2"), replace("x = 1", "x = 2", "/r/src/b.py")),
    (replace("x = 1", "x = 2"), replace("x = 1", "x = 2", "/other/src/a.py")),
    (replace("x = 1", "x = 2"), replace("x  = 1", "x = 2")),
    (replace("x = 2", "x = 1"), replace("x = 1", "x = 2")),
    (replace("a < b", "a <= b"), replace("a < b", "a > b")),
    (replace("a", "a and b"), replace("a", "a or b")),
    (replace("if a:", "if not a:"), replace("if a:", "if a:")),
    (replace("a", "f(x, y)"), replace("a", "f(y, x)")),
    (replace("    a", "    b"), replace("    a", "b")),
    (replace("x = 1", "# adds one to the total"), replace("x = 1", "y = 2")),
    (replace("x = 1", "x = 1  # never below zero"), replace("x = 1", "x = 1  # shown in the list of names")),
    (replace("x = f()", "x = f()  # type: ignore"), replace("x = f()", "x = f()  # noqa")),
    (
        replace("def a():\n    return 1", "def a():\n    return 2"),
        replace("def b():\n    return 1", "def b():\n    return 2"),
    ),
    (replace("x = 'red'", "x = 'blue'"), replace("x = 'red'", "x = 'green'")),
    (create(IF_READY), create(IF_READY.replace("\nstop", "\n    stop"))),
    (create("try:\n    a()\nexcept ValueError:\n    pass\n"), create("try:\n    a()\nexcept KeyError:\n    pass\n")),
    (create("a: 1\nb:\n  c: 2\n", "/r/a.yaml"), create("a: 1\nb:\nc: 2\n", "/r/a.yaml")),
    (create('{"a": 1}', "/r/a.json"), create('{"a": "1"}', "/r/a.json")),
    (create("x = 'a  b'", "/r/a.js"), create("x = 'a b'", "/r/a.js")),
    (create("return\nx", "/r/a.js"), create("return x", "/r/a.js")),
    (create("all:\n\tmake", "/r/Makefile"), create("all:\n    make", "/r/Makefile")),
    (create("x = 1"), replace("x = 1", "x = 1")),
    (patch("-x = 1", "+x = 2"), patch("-x = 2", "+x = 1")),
    (patch("-x = 1", "+x = 2"), patch("-x = 1", "+x = 2", "@@", "-y = 1", "+y = 2")),
    ({"patch": "*** Delete File: a.py"}, {"patch": "*** Delete File: b.py"}),
    (
        {"path": "a.py", "edits": [{"old_string": "a", "new_string": "b"}]},
        {"path": "a.py", "edits": [{"old_string": "a", "new_string": "c"}]},
    ),
]


@pytest.mark.parametrize(("left", "right"), SAME)
def test_edits_that_do_the_same(left: dict[str, Any], right: dict[str, Any]) -> None:
    assert edit_difference(left, right) is None
    assert edit_difference(right, left) is None
    assert score("swe", calls(call("edit", left)), calls(call("str_replace_editor", right))).reward == 1.0


@pytest.mark.parametrize(("left", "right"), OTHER)
def test_edits_that_do_not(left: dict[str, Any], right: dict[str, Any]) -> None:
    assert edit_difference(left, right) is not None
    assert edit_difference(right, left) is not None
    assert score("swe", calls(call("edit", left)), calls(call("str_replace_editor", right))).reward == 0.0


@pytest.mark.parametrize(
    ("more", "reward"),
    [({"replace_all": True}, 0.0), ({"replace_all": False}, 1.0), ({"description": "Mends it"}, 1.0), ({"x": 1}, 0.0)],
)
def test_arguments_beside_the_texts(more: dict[str, Any], reward: float) -> None:
    edit = replace("a", "b")
    assert score("swe", calls(call("edit", edit)), calls(call("edit", {**edit, **more}))).reward == reward


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("/r/src/a.py", "src/a.py", True),
        ("./src//a.py", "src/a.py", True),
        ("/r/a.py", "a.py", False),
        ("/r/src/a.py", "c/a.py", False),
        ("/r/mysrc/a.py", "src/a.py", False),
        ("/r/src/a.py", "../src/a.py", False),
        ("src/a.py", "lib/src/a.py", False),
        ("", ".", True),
    ],
)
def test_paths(left: str, right: str, same: bool) -> None:
    assert (same_path(left, right), same_path(right, left)) == (same, same)


@pytest.mark.parametrize("verifier", ["swe", "terminal"])
def test_white_space_that_means_something(verifier: str) -> None:
    """Case 19; `OTHER` has its siblings."""
    path = "cases/case19_whitespace_of_code"
    function = json.loads(recorded(f"{path}.jsonl").read_text())["messages"][-1]["tool_calls"][0]["function"]
    text = json.loads(recorded(f"{path}.replay.jsonl").read_text())["completions"][0]
    said = json.loads(text.removeprefix("<tool_call>").removesuffix("</tool_call>"))
    expected = calls(call("write_file", function["arguments"]))
    assert score(verifier, expected, expected).reward == 1.0
    assert score(verifier, expected, calls(call("write_file", said["arguments"]))).reward == 0.0


# --- properties

paths = st.sampled_from(["a.py", "a.js", "a.json", "a.toml", "a.md", ""])
texts = st.text(st.sampled_from("ab 1=:()[]{}'\"#\\\n\t,"), max_size=40)
quick = examples(150)


@quick
@given(paths, texts, texts)
def test_equality_of_texts_is_reflexive_and_symmetric(path: str, left: str, right: str) -> None:
    assert same_code(path, left, left)
    assert same_code(path, left, right) == same_code(path, right, left)


@quick
@given(texts, texts, texts, texts)
def test_context_changes_nothing(before: str, old: str, new: str, after: str) -> None:
    around = before + old + after
    if around.count(old) == 1 and old:
        less, more = Change("edit", "a.md", old, new), Change("edit", "a.md", around, before + new + after)
        difference = change_difference(less, more)
        assert (difference is None) == (change_difference(more, less) is None)


@pytest.mark.parametrize("unit", ["(", "'", '"', '"\\', "`\\", "if a:\n", "{", "#", "-", "a\n", "[1,", "'''"])
def test_any_text_is_compared_in_bounded_time(unit: str) -> None:
    text = unit * (150_000 // len(unit))
    for path in ("a.py", "a.js", "a.json", "a.toml"):
        is_comment = unit == "#" and path in ("a.py", "a.toml")
        assert same_code(path, text, f"{text}x1") == is_comment
