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

_SPELLED = re.compile(r"[\"'\\]")
_NAME = re.compile(r"(?<![-\w])[^\W\d_]{4,}")
_FREE = re.compile(r"<<|#|\\u|\bpython|\b(?:ba|z)?sh\b")
_ALIASES = "egrep fgrep grep fdfind gawk install uninstall remove docker compose podman clang test"
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
    if expected and actual and _shares_names(expected, actual) and _shares_names(actual, expected):
        wanted, given = _read(expected), _read(actual)
        same = wanted == given if wanted is not None else _stripped(expected) == _stripped(actual)
        if same:
            return None
    return value_difference(Category.COMMAND_DIFFERENT, expected, actual)


@lru_cache(maxsize=1024)
def _read(command: str) -> Any:
    return read_script(command)


def _shares_names(left: str, right: str) -> bool:
    """Whether two lines may be equal: a cheap test, for a parser costs more than all the rest."""
    names = _names(left)
    return names is None or _FREE.search(right) is not None or all(map(_SPELLED.sub("", right).__contains__, names))


@lru_cache(maxsize=64)
def _names(command: str) -> frozenset[str] | None:
    """Words that equal lines have in common; None where code or comments may stand in it."""
    if len(command) > MAX_CHARACTERS or _FREE.search(command):
        return None
    return frozenset(_NAME.findall(_SPELLED.sub("", command))) - _OTHER_NAMES


def _stripped(command: str) -> str:
    """Without white space that means nothing in any reading: at the ends of lines."""
    return "\n".join(line.rstrip() for line in command.split("\n"))
