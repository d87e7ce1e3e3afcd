"""Whether two command lines do the same, without running them: by the grammar of bash and what programs make of words.

`shell.py` and `programs.py` bring a line into one spelling, and lines are equal if those are. A line that does not
parse has to be equal word for word. Left out: other commands with the same effect (`cat a | grep b` and `grep b a`).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from pivotrl_cli.verifiers.compare.differences import Category, Difference, value_difference
from pivotrl_cli.verifiers.compare.shell import MAX_CHARACTERS, read_script

PATH_PARTS = 3
"""Last components of a path that count in NVIDIA's rules."""

_QUOTES = str.maketrans("", "", "\"'\\")
_NAME = re.compile(r"(?<![-\w])[^\W\d_]{4,}")
_FREE = ("<<", " #", "\t#", "\n#", "\\u", "c '", 'c "', "ssh ")
"""Marks of documents, comments and code, where equal lines may have other words."""
_ALIASES = "egrep fgrep grep fdfind gawk install uninstall remove docker compose podman clang test python"
_OTHER_NAMES = frozenset(_ALIASES.split())


def normal(command: str) -> str:
    """With line ends unified and without white space around."""
    return (command.replace("\r\n", "\n").replace("\r", "\n") if "\r" in command else command).strip()


def path_end(path: str, parts: int = PATH_PARTS) -> str:
    """The last components of a path.

    >>> path_end("/workspace/repo/src/a.py", 2)
    'src/a.py'
    """
    return "/".join(path.strip("/").rsplit("/", parts)[-parts:])


def command_difference(expected: str, actual: str) -> Difference | None:
    """Whether two command lines do something else; symmetric."""
    expected, actual = normal(expected), normal(actual)
    if expected == actual:
        return None
    if expected and actual and _shares_names(expected, actual):
        wanted, given = _read(expected), _read(actual)
        same = wanted == given if wanted is not None else _stripped(expected) == _stripped(actual)
        if same:
            return None
    return value_difference(Category.COMMAND_DIFFERENT, expected, actual)


@lru_cache(maxsize=1024)
def _read(command: str) -> Any:
    return read_script(command)


def _shares_names(expected: str, actual: str) -> bool:
    """Whether two lines may be equal: a cheap test, for a parser costs more than all the rest."""
    names = _names(expected)
    if names is None or _is_free(actual):
        return True
    missing = [name for name in names if name not in actual]
    bare = actual.translate(_QUOTES) if missing else ""
    return all(name in bare for name in missing)


def _is_free(command: str) -> bool:
    return len(command) > MAX_CHARACTERS or command[0] == "#" or any(mark in command for mark in _FREE)


@lru_cache(maxsize=64)
def _names(command: str) -> frozenset[str] | None:
    """Words that a line has in common with all that equal it; None where that cannot be told."""
    return None if _is_free(command) else frozenset(_NAME.findall(command.translate(_QUOTES))) - _OTHER_NAMES


def _stripped(command: str) -> str:
    """Without white space that means nothing in any reading: at the ends of lines."""
    return "\n".join(line.rstrip() for line in command.split("\n"))
