from __future__ import annotations

from pathlib import Path

import pytest

from pivotrl_cli.errors import ConfigError, MissingExtra
from pivotrl_cli.registry import load

TABLE = {"tool_call": "json:dumps", "exact": "json:loads", "broken": "json:nothing"}


def problem(name: str) -> tuple[str, str | None]:
    with pytest.raises(ConfigError) as caught:
        load("verifier", name, TABLE)
    assert "\n" not in caught.value.message
    return caught.value.message, caught.value.hint


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_name_of_the_table() -> None:
    assert load("verifier", "tool_call", TABLE)([1]) == "[1]"


def test_an_unknown_name_is_guessed() -> None:
    assert problem("tool_cal") == (
        "unknown verifier 'tool_cal'",
        "did you mean 'tool_call'? known: broken, exact, tool_call",
    )
    assert problem("zzz") == ("unknown verifier 'zzz'", "known: broken, exact, tool_call")


def test_a_users_attribute() -> None:
    assert load("verifier", "json:loads", TABLE)("[1]") == [1]
    assert load("verifier", "pathlib:Path.exists", TABLE) is Path.exists


@pytest.mark.parametrize("name", [":f", "json:", ":"])
def test_half_a_name(name: str) -> None:
    assert problem(name)[0] == f"verifier {name!r} is not of the form module:attribute"


def test_a_missing_module() -> None:
    assert problem("no_such_module_here:f") == (
        "cannot import verifier module 'no_such_module_here': "
        "ModuleNotFoundError: No module named 'no_such_module_here'",
        "name a file by its path: path/to/file.py:attribute",
    )


def test_a_missing_attribute() -> None:
    message, hint = problem("json:dump5")
    assert message == "verifier module 'json' has no attribute 'dump5'"
    assert hint is not None
    assert hint.startswith("did you mean 'dump'? known: ")


def test_a_users_file(tmp_path: Path) -> None:
    file = write(
        tmp_path / "mine.py",
        "from dataclasses import dataclass\n"
        "@dataclass\nclass Rule:\n    limit: 'int' = 3\n"
        "def verify(candidate, action):\n    return Rule().limit\n",
    )
    verify = load("verifier", f"{file}:verify", TABLE)
    assert verify(None, None) == 3
    assert load("verifier", f"{file}:verify", TABLE) is verify


def test_a_file_that_does_not_exist() -> None:
    assert problem("nowhere/mine.py:verify")[0] == "verifier file 'nowhere/mine.py' does not exist"


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("import no_such_module_here", "ModuleNotFoundError: No module named 'no_such_module_here'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("raise ValueError('two\\nlines')", "ValueError: two lines"),
        ("def f(:", "SyntaxError: invalid syntax (mine.py, line 1)"),
    ],
)
def test_a_file_that_fails_stays_unloaded(tmp_path: Path, source: str, error: str) -> None:
    file = write(tmp_path / "mine.py", source)
    assert problem(f"{file}:f")[0] == f"cannot import verifier module {str(file)!r}: {error}"
    write(file, "def f(): return 7")
    assert load("verifier", f"{file}:f", TABLE)() == 7


def test_our_own_errors_pass_through(tmp_path: Path) -> None:
    file = write(
        tmp_path / "mine.py", "from pivotrl_cli.errors import MissingExtra\nraise MissingExtra('engine x', 'x')"
    )
    with pytest.raises(MissingExtra):
        load("engine", f"{file}:f", TABLE)


def test_a_broken_table_is_a_bug() -> None:
    with pytest.raises(AttributeError):
        load("verifier", "broken", TABLE)
