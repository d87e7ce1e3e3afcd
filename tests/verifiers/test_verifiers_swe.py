from __future__ import annotations

from typing import Any

import pytest
from verifiers_actions import call, calls, says, score

from pivotrl_cli.rows import ToolCall
from pivotrl_cli.verifiers import Verdict

EDIT = call("str_replace_editor", command="str_replace", path="/workspace/src/a.py", old_str="x = 1\n", new_str="x = 2")
ACCEPTED = Verdict(1.0, "expected_tool_call")


def view(lines: Any, path: str = "/w/s/a.py") -> ToolCall:
    return call("str_replace_editor", command="view", path=path, **({"view_range": lines} if lines else {}))


def bash(command: str) -> ToolCall:
    return call("execute_bash", command=command)


def category(expected: ToolCall, actual: ToolCall) -> str:
    verdict = score("swe", calls(expected), calls(actual))
    assert verdict.reward == float(verdict.category == "expected_tool_call")
    return verdict.category


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        (EDIT, call("CodeEditor", command="str_replace", path="src/a.py", old_str="x = 1\n", new_str="x = 2")),
        (bash("pytest tests/test_a.py -v"), call("bash", cmd="pytest -v ./tests/test_a.py", timeout=60)),
        (bash("cd /repo && pytest tests/test_a.py"), bash("cd /repo && pytest /repo/tests/test_a.py")),
        (call("grep", pattern="def total", path="src"), call("search_text", query="def total", path="src")),
        (call("read_file", path="src/a.py"), call("view_file", file_path="/r/src/a.py")),
        (call("read_file", path="src/a.py", offset=10, limit=20), view([10, 29], "src/a.py")),
        (call("finish", message="All tests pass now."), call("submit", result="Now all tests pass.")),
        (call("finish", {}), call("submit", result="Whatever.")),
        (
            call("update_plan", plan=[{"step": "Fix it", "done": True}]),
            call("update_plan", plan=[{"step": "fix  it", "done": True}]),
        ),
        (call("my_tool", x=1), call("MY_TOOL", x=1.0)),
        (
            call("write_file", path="a.py", content="x = '1'\n" * 50),
            call("write", path="a.py", content='x = "1"\n' * 50),
        ),
        (call("apply_patch", patch="+ x = 1"), call("apply_patch", patch="+ x = 1")),
        (
            call("edit", filePath="a", oldString="x", newString="y"),
            call("Edit", file_path="a", old_string="x", new_string="y"),
        ),
    ],
)
def test_the_same_work_is_accepted(expected: ToolCall, actual: ToolCall) -> None:
    assert score("swe", calls(expected), calls(actual)) == ACCEPTED
    assert score("swe_continuous", calls(expected), calls(actual)) == ACCEPTED


@pytest.mark.parametrize(
    ("expected", "actual", "found"),
    [
        (EDIT, bash("sed -i s/1/2/ src/a.py"), "unexpected_tool"),
        (EDIT, call("edit", command="str_replace", old_str="x = 1\n", new_str="x = 2"), "target_different"),
        (EDIT, call("edit", command="insert", path="src/a.py", old_str="x = 1\n", new_str="x = 2"), "target_different"),
        (
            EDIT,
            call("edit", command="str_replace", path="src/b.py", old_str="x = 1\n", new_str="x = 2"),
            "target_different",
        ),
        (
            EDIT,
            call("edit", command="str_replace", path="src/a.py", old_str="x = 1\n", new_str="import os"),
            "edit_different",
        ),
        (EDIT, call("edit", command="str_replace", path="src/a.py", old_str="x = 1\n"), "edit_different"),
        (EDIT, call("edit", "[1]"), "arguments_not_object"),
        (EDIT, call("edit", "{x"), "arguments_decode_error"),
        (bash("ls"), bash(""), "command_different"),
        (bash("ls"), call("bash", {}), "command_different"),
        (bash("ls"), call("bash", "{bad"), "arguments_decode_error"),
        (bash("ls src"), bash("rm src"), "command_different"),
        (bash("pytest tests/a.py"), bash("pytest tests/b.py"), "command_different"),
        (bash("pytest tests/a.py"), bash("pytest -q -x a.py"), "command_different"),
        (bash("pytest tests/aaaaaaaa.py"), bash("pytest tests.aaaaaaaa.py"), "command_different"),
        (
            bash('grep -rn "foo" src/models/views'),
            bash('grep -rn "bar" src/models/views'),
            "command_different",
        ),
        (
            call("edit", filePath="a", oldString="x", newString="y"),
            call("edit", filePath="a", oldString="p", newString="q"),
            "edit_different",
        ),
        (
            call("edit", path="a", edits=[{"a": "import os"}]),
            call("edit", path="a", edits=[{"b": "x = 2"}, 1]),
            "edit_different",
        ),
        (
            call("edit", command="insert", path="a", insert_line=3, new_str="x"),
            call("edit", command="insert", path="a", insert_line=4, new_str="x"),
            "argument_value_different",
        ),
        (bash("git status"), bash("git push --force"), "command_different"),
        (call("grep", path="src", pattern="a"), call("glob", path="src", pattern="a"), "unexpected_tool"),
        (call("grep", path="src", pattern="a"), call("grep_files", path="lib", pattern="a"), "target_different"),
        (call("grep", path="src", pattern="a"), call("grep", pattern="a"), "target_different"),
        (call("think", thought="The loop ends one early."), call("think", thought="zzz"), "message_facts_missing"),
        (call("finish", message="done"), call("submit", x=1), "message_different"),
        (call("update_plan", plan=[1]), call("edit_plan", plan=[1]), "unexpected_tool"),
        (call("my_tool", x=1), call("my_tool", x=2), "argument_value_different"),
    ],
)
def test_other_work_is_not(expected: ToolCall, actual: ToolCall, found: str) -> None:
    assert category(expected, actual) == found


@pytest.mark.parametrize(
    ("expected", "actual", "same"),
    [
        ([1, -1], [1, -1], True),
        ([1, -1], None, True),
        (None, [1, -1], True),
        (None, [1, 50], False),
        ([1, -1], [1, 50], False),
        ([1, 50], None, False),
        ([1, 50], [1, 40], True),
        ([1, 50], [1, 39], False),
        ([200, 250], "[210, 260]", True),
        ([7, 7], [7, 7], True),
        ([7, 7], [8, 8], False),
        ([1, 10**400], [1, 10**400], True),
    ],
)
def test_views_cover_four_fifths_of_the_lines(expected: Any, actual: Any, same: bool) -> None:
    assert category(view(expected), view(actual)) == ("expected_tool_call" if same else "target_different")


def test_part_of_the_reward_for_part_of_the_likeness() -> None:
    expected = calls(call("edit", path="a", old_str="abcdefghij", new_str="z"))
    half = calls(call("edit", path="a", old_str="abcdefXYZW", new_str="z"))
    # 6 of 10 characters are shared: 0.5 + 0.5 * (0.6 - 0.4) / 0.4
    assert score("swe_continuous", expected, half) == Verdict(
        0.75, "similarity_below_threshold", "similarity 0.60: 'abcdefghij' -> 'z' is not 'abcdefXYZW' -> 'z'"
    )
    assert score("swe", expected, half).reward == 0.0
    less = calls(call("edit", path="a", old_str="abcXYZWVUT", new_str="z"))
    assert score("swe_continuous", expected, less).reward == 0.0


def test_a_longer_edit_than_the_demonstrated_one_costs() -> None:
    expected = calls(call("write", path="a", content="x" * 1_000))
    # alike enough for all but what equal edits alone earn
    assert score("swe_continuous", expected, calls(call("write", path="a", content="x" * 900))).reward == 0.9
    # 0.9 times 1 - 0.1 * 250 / 500
    assert score("swe_continuous", expected, calls(call("write", path="a", content="x" * 1_250))).reward == 0.9 * 0.95
    old, new = "a = 1\nb = 2\nc = 3", "a = 1\nb = 4\nc = 3"
    longer = calls(call("edit", path="a", old_str=old, new_str=new))
    shorter = calls(call("edit", path="a", old_str="b = 2", new_str="b = 4"))
    # the same change with 24 characters more of context: 1 - 0.1 * 24 / 500
    assert score("swe_continuous", shorter, longer) == Verdict(0.9952, "similarity_below_threshold", "a longer edit")
    assert score("swe_continuous", longer, shorter) == ACCEPTED


def test_several_calls() -> None:
    expected = calls(EDIT, bash("pytest tests/a.py"))
    assert score("swe", expected, calls(bash("pytest tests/a.py"), EDIT)).reward == 1.0
    assert score("swe", expected, calls(EDIT)).reward == 2 / 3
    assert score("swe", calls(EDIT), calls(EDIT, call("finish"))).reward == 2 / 3
    # the first call is like both of the expected ones; a full match comes first
    near = call("edit", path="a", old_str="abcdefghij", new_str="z")
    nearer = call("edit", path="a", old_str="abcdefghXY", new_str="zz")
    assert score("swe_continuous", calls(near, nearer), calls(near, nearer)).reward == 1.0


def test_messages() -> None:
    assert score("swe", says("All done now."), says("all done NOW")).reward == 1.0
    assert score("swe", says("All done now."), calls(EDIT)).category == "no_expected_chat_message"
    assert score("swe", calls(EDIT), says("Let me look.")).category == "no_expected_tool_call"
