from __future__ import annotations

import json
from typing import Any

import pytest
from verifiers_actions import call, calls, says, score, tool

from pivotrl_cli.rows import Message, ToolCall
from pivotrl_cli.verifiers import Verdict
from pivotrl_cli.verifiers.compare.terminus import typed as received
from pivotrl_cli.verifiers.compare.terminus import typed_difference

LONG = "cd /app && python3 train.py --data data/train.csv --epochs 20 --output runs/first 2>&1 | tee train.log\n"


def typed(*commands: dict[str, Any], done: bool | None = None) -> Message:
    """A terminus_2 message."""
    flag = {} if done is None else {"task_complete": done}
    return says(json.dumps({"analysis": "a", "plan": "p", "commands": list(commands), **flag}))


def keys(text: str, **more: Any) -> dict[str, Any]:
    return {"keystrokes": text, **more}


def blocking(text: str, is_blocking: bool, seconds: float = 5) -> Message:
    """A terminus_1 message."""
    command = {"keystrokes": text, "is_blocking": is_blocking, "timeout_sec": seconds}
    return says(
        json.dumps({"state_analysis": "s", "explanation": "e", "commands": [command], "is_task_complete": False})
    )


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        (typed(keys("ls -la\n")), typed(keys("ls -la\n", duration=0.1), done=False)),
        (typed(keys("ls -la\n")), says("<think>{}</think>\n" + typed(keys("ls -la\n")).content)),
        (typed(keys("ls"), keys("\n")), typed(keys("ls\n"))),
        (
            typed(keys(LONG)),
            typed(keys(LONG.replace("--epochs 20 --output runs/first", "--output=runs/first --epochs=20"))),
        ),
        (typed(keys(LONG, duration=60)), typed(keys(LONG, duration=20))),
        (typed(), typed()),
        (blocking("ls\n", True), blocking("ls\n", True)),
    ],
)
def test_terminus_accepts_what_does_the_same(expected: Message, actual: Message) -> None:
    assert score("terminal", expected, actual) == Verdict(1.0, "expected_chat_message_found")


@pytest.mark.parametrize(
    ("expected", "actual", "category"),
    [
        (typed(keys("ls\n")), says("ls"), "harness_format"),
        (typed(keys("ls\n")), blocking("ls\n", True), "harness_format"),
        (typed(keys("ls\n")), says('{"analysis": "", "plan": "", "commands": [{}]}'), "harness_format"),
        (typed(keys("ls\n")), says(""), "no_action_found"),
        (typed(keys("ls\n")), calls(call("ls")), "no_expected_chat_message"),
        (typed(keys("ls\n")), typed(keys("ls\n"), done=True), "task_complete_different"),
        (typed(keys("ls\n"), done=True), typed(keys("ls\n")), "task_complete_different"),
        (typed(keys("ls\n")), typed(keys("rm -rf /\n")), "command_different"),
        (typed(keys(LONG)), typed(keys(LONG.replace("20", "90"))), "command_different"),
        (typed(keys(LONG)), typed(keys(LONG.replace("data/train", "data/test"))), "command_different"),
        (typed(keys(LONG)), typed(keys(LONG.replace("tee", "rm"))), "command_different"),
        (typed(keys("make\n", duration=60)), typed(keys("make\n", duration=1)), "wait_different"),
        (blocking("ls\n", True), blocking("ls\n", False), "wait_different"),
    ],
)
def test_terminus_refuses_what_does_not(expected: Message, actual: Message, category: str) -> None:
    verdict = score("terminal", expected, actual)
    assert (verdict.reward, verdict.category) == (0.0, category)


def test_text_that_is_no_terminus_message_is_compared_as_text() -> None:
    assert score("terminal", says("All done."), says("all done")).reward == 1.0
    assert score("terminal", says('{"analysis": 1}'), says('{"analysis": 1}')).reward == 1.0
    assert score("terminal", says("All done."), says("Something else")).category == "message_different"


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        (call("exec_command", cmd="pwd"), call("exec_command", cmd="pwd\r\n", justification="to see")),
        (call("bash", command="git status", description="Shows"), call("bash", command="git status", timeout=5)),
        (
            call("write", filePath="/a.py", content="x = 'a'"),
            call("write", filePath="/a.py", content='x = "a"  # why\n'),
        ),
        (call("web_search", query="python async tutorial"), call("web_search", query="Tutorial python async")),
        (
            call("webfetch", url="https://a.org/x/", format="text"),
            call("webfetch", url="http://A.org/x", format="text"),
        ),
        (
            call("finish", reason="All is done", paths=["/a", "/b"]),
            call("finish", reason="all is done", paths=["/b", "/a"]),
        ),
        (
            call("update_plan", plan=[{"step": "Read the file now please", "status": "done"}]),
            call("update_plan", plan=[{"step": "please read the file now", "status": "done"}], explanation="x"),
        ),
    ],
)
def test_calls_that_do_the_same(expected: ToolCall, actual: ToolCall) -> None:
    assert score("terminal", calls(expected), calls(actual)) == Verdict(1.0, "expected_tool_call")


@pytest.mark.parametrize(
    ("expected", "actual", "category"),
    [
        (call("exec_command", cmd="pwd"), call("bash", command="pwd"), "unexpected_tool"),
        (call("exec_command", cmd="pwd"), call("exec_command", cmd="ls"), "command_different"),
        (
            call("exec_command", cmd="pwd", workdir="/a"),
            call("exec_command", cmd="pwd", workdir="/b"),
            "argument_value_different",
        ),
        (call("bash", command="pwd"), call("bash", command=["pwd"]), "argument_value_type_different"),
        (call("bash", command="pwd"), call("bash", description="pwd"), "argument_object_keys_different"),
        (
            call("write", filePath="/a", content="expected text"),
            call("write", filePath="/a", content="other"),
            "edit_different",
        ),
        (
            call("edit", filePath="/a", oldString="x", newString="y"),
            call("edit", filePath="/a", oldString="p", newString="q"),
            "edit_different",
        ),
        (call("read", filePath="/a", offset=1), call("read", filePath="/a", offset=200), "argument_value_different"),
        (call("grep", pattern="a b c d e f"), call("grep", pattern="f a b c d e"), "argument_value_different"),
        (
            call("write_stdin", session_id=7, chars="y\n"),
            call("write_stdin", session_id=7, chars="n\n"),
            "command_different",
        ),
        (call("unlisted", x=1), call("unlisted", x=2), "argument_value_different"),
        (call("webfetch", url="https://a.org/x"), call("webfetch", url="https://a.org/y"), "url_different"),
        (
            call("finish", reason="done", paths=["/a"]),
            call("finish", reason="done", paths=["/b"]),
            "argument_value_different",
        ),
        (call("execute_python", code=LONG), call("execute_python", code=LONG.replace("20", "30")), "edit_different"),
        (
            call("update_plan", plan=[{"status": "done"}]),
            call("update_plan", plan=[{"status": "pending"}]),
            "argument_value_different",
        ),
    ],
)
def test_calls_that_do_not(expected: ToolCall, actual: ToolCall, category: str) -> None:
    verdict = score("terminal", calls(expected), calls(actual))
    assert (verdict.reward, verdict.category) == (0.0, category)


def test_several_calls_and_defaults() -> None:
    pwd, plan = call("exec_command", cmd="pwd"), call("update_plan", plan=[])
    assert score("terminal", calls(pwd, plan), calls(plan, pwd)).reward == 1.0
    assert score("terminal", calls(pwd), calls(pwd, plan)).reward == 2 / 3
    tools = tool("bash", command={"type": "string"}, workdir={"type": "string", "default": "/"})
    expected, action = calls(call("bash", command="ls")), calls(call("bash", command="ls", workdir="/"))
    assert [score("terminal", expected, action, t).reward for t in (tools, "[]")] == [1.0, 0.0]


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        (["ls", "Enter", "C-c"], ["ls\n", "\x03"]),
        (["ls\r", "\x03"], ["ls\n", "\x03"]),
        (["C-C", "", "C-d"], ["\x03", "\x04"]),
        (["Up", "Enter"], ["\x1f", "Up", "\x1f", "\n"]),
        (["press C-c"], ["press C-c"]),
        ([], []),
    ],
)
def test_keys_as_the_terminal_receives_them(pieces: list[str], text: list[str]) -> None:
    assert received(pieces) == text


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        (["ls -la\n"], ["ls -al\n"], True),
        (["ls\n"], ["ls", "\n"], True),
        (["ls\n"], ["ls", "Enter"], True),
        (["C-c"], ["C-c"], True),
        (["C-c"], ["\x03"], True),
        (["C-C"], ["C-c"], True),
        (["a\n", "b\n"], ["a\nb\n"], True),
        (["\n"], ["Enter"], True),
        (["q"], ["q"], True),
        ([":wq\n"], [":wq\n"], True),
        (["y\n"], ["y", "Enter"], True),
        (["cat > a <<'EOF'\nx\nEOF\n"], ["cat <<'EOF' > a\nx\nEOF\n"], True),
        ([], [], True),
        ([""], [], True),
        (["grep -rn foo .\n"], ["grep -nr 'foo' .\n"], True),
        (["C-[", ":q!\n"], ["Escape", ":q!\n"], True),
        (["ls \n"], ["ls\n"], True),
        (["ls\r"], ["ls\n"], True),
        (["ls\n"], ["ls\n\n"], True),
        (["C-c"], ["C-d"], False),
        (["ls\n"], ["ls"], False),
        (["y\n"], ["n\n"], False),
        ([":wq\n"], [":q!\n"], False),
        (["q"], ["Q"], False),
        (["C-c"], ["c"], False),
        (["Up"], ["Down"], False),
        (["ls\n", "C-c"], ["ls\n"], False),
        (["a\n", "C-c"], ["C-c", "a\n"], False),
        (["sudo reboot\n"], ["reboot\n"], False),
        (["dd"], ["d"], False),
        (["\n"], [""], False),
        (["1\n"], ["2\n"], False),
        (["kill %1\n"], ["kill %2\n"], False),
        (["Tab"], ["Space"], False),
        (["x"], ["x "], False),
        (["C-z"], ["C-c"], False),
        (["rm a\n"], ["rm b\n"], False),
        (["Up", "Enter"], ["Up", "Up", "Enter"], False),
        (["Enter"], ["Enter", "Enter"], False),
        (["print(1)\n"], ["print(2)\n"], False),
        (["    x = 1\n"], ["x = 1\n"], False),
        (["iab  c"], ["iab c"], False),
    ],
)
def test_keystrokes(left: list[str], right: list[str], same: bool) -> None:
    assert (typed_difference(left, right) is None) == same
    assert (typed_difference(right, left) is None) == same
