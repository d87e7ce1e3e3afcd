"""Shell commands as far as they can be compared without being run: programs, paths, numbers, and likeness of text.

Nothing is parsed as a shell would: words are cut at white space, quotes and operators. That is enough to tell
`pytest tests/a.py` from `pytest tests/b.py`, which any measure of likeness confuses, and costs one pass.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache, wraps
from typing import TypeVar

from pivotrl_cli.verifiers.compare.differences import Category, Difference, listed, value_difference
from pivotrl_cli.verifiers.compare.similarity import indel_ratio

T = TypeVar("T")

PATH_PARTS = 3
"""Last components of a path that count; the root of a repository differs between machines."""

_MAX_REMEMBERED = 20_000
_SEGMENT = re.compile(r"[\n;|&]+")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_CUT = r"""\s'"`;|&<>()=,"""
_QUOTED = re.compile(r"""'([^']*)'|"([^"]*)\"""")
# A word with a path or a digit in it, tried once for each word and without going back, so that one pass is enough.
_PATH = re.compile(rf"(?<![^{_CUT}])[^{_CUT}/]*+/[^{_CUT}]*+")
_FACT = re.compile(rf"(?<![^{_CUT}])[^{_CUT}\d/]*+[\d/][^{_CUT}]*+")
_PREFIXES = frozenset({"sudo", "env", "time", "nohup", "exec"})


def remembered(function: Callable[[str], T]) -> Callable[[str], T]:
    """Keep the last results for texts that are not too long: one demonstration is compared with a group of actions."""
    cached = lru_cache(maxsize=64)(function)

    @wraps(function)
    def answer(text: str) -> T:
        return cached(text) if len(text) <= _MAX_REMEMBERED else function(text)

    return answer


def normal(command: str) -> str:
    """With line ends unified and without white space around."""
    return (command.replace("\r\n", "\n").replace("\r", "\n") if "\r" in command else command).strip()


@remembered
def programs(command: str) -> list[str]:
    """The program of each simple command, up to the first here-document: `cd a && ls | wc` -> cd, ls, wc."""
    found = []
    for segment in _SEGMENT.split(command.partition("<<")[0]):
        words = (word for word in segment.split(None, 8)[:8] if word not in _PREFIXES)
        named = next((word for word in words if not ("=" in word and _ASSIGNMENT.match(word))), "")
        if program := named.rsplit("/", 1)[-1]:
            found.append(program)
    return found


@remembered
def paths(command: str) -> frozenset[str]:
    """The words that hold a slash, by their last two components: one may be relative, roots differ between machines."""
    return frozenset(path_end(word, 2) for word in _PATH.findall(command))


@remembered
def facts(command: str) -> frozenset[str]:
    """The words that hold a digit or a slash: paths by their last components, numbers, versions."""
    return frozenset(path_end(word) for word in _FACT.findall(command))


def quoted(command: str) -> str:
    """All that stands in quotes, a line each."""
    return "\n".join(single or double for single, double in _QUOTED.findall(command))


def path_end(path: str, parts: int = PATH_PARTS) -> str:
    """The last components of a path.

    >>> path_end("/workspace/repo/src/a.py", 2)
    'src/a.py'
    """
    return "/".join(path.strip("/").rsplit("/", parts)[-parts:])


def command_difference(expected: str, actual: str, threshold: float) -> Difference | None:
    """Same programs in order, same paths and numbers, and texts alike up to `threshold`."""
    difference = code_difference(expected, actual, threshold)
    if difference is not None:
        return difference
    wanted, given = programs(normal(expected)), programs(normal(actual))
    return None if wanted == given else value_difference(Category.FACTS_DIFFERENT, " ".join(wanted), " ".join(given))


def code_difference(expected: str, actual: str, threshold: float) -> Difference | None:
    """Same paths and numbers, and texts alike up to `threshold`."""
    expected, actual = normal(expected), normal(actual)
    if expected == actual:
        return None
    difference = text_difference(expected, actual, threshold)
    if difference is not None:
        return difference
    other = sorted(facts(expected) ^ facts(actual))
    return Difference(Category.FACTS_DIFFERENT, f"one of them lacks {listed(other)}") if other else None


def text_difference(expected: str, actual: str, threshold: float) -> Difference | None:
    """Texts alike up to `threshold`."""
    ratio = indel_ratio(expected, actual, threshold)
    if ratio is None:
        return Difference(Category.COMPARISON_BEYOND_LIMITS, f"differs, in {len(actual)} characters")
    if ratio >= threshold:
        return None
    reason = f"similarity is below {threshold}: expected {listed([expected])}, got {listed([actual])}"
    return Difference(Category.SIMILARITY_BELOW_THRESHOLD, reason)
