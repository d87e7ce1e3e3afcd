"""What kind of value a string argument is, and whether two of that kind mean the same.

First the schema decides, by format and by the words of the parameter's name and description, then the text. Likeness
is for natural language alone. A kind whose grammar a text does not follow falls to the next; what no kind knows must be
equal up to insignificant white space.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from pivotrl_cli.verifiers.compare.commands import command_difference
from pivotrl_cli.verifiers.compare.formal import (
    MARKUP,
    SQL_VERB,
    same_data,
    same_filter,
    same_layout,
    same_markup,
    same_python,
    same_sql,
)
from pivotrl_cli.verifiers.compare.names import same_identifier, same_name, same_phone
from pivotrl_cli.verifiers.compare.quantities import same_quantity
from pivotrl_cli.verifiers.compare.tables import TABLE, wording
from pivotrl_cli.verifiers.compare.urls import IS_ADDRESS, full_address, same_address

PROSE_WORDS = 2
"""Words with letters from which a string may be natural language; a single one is a value."""

MAX_SIGNS = 0.2
"""Share of words with signs of commands and code from which a string is not natural language."""

_LETTER = re.compile(r"[^\W\d_]")
_SIGN = re.compile(r"^-|[/\\=|&<>{}\[\]()*_`~^#@$;]|\w\.\w+\(|^\w+\.\w+\.\w|:\w")
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\u0e00-\u0e7f]")

_TOKENS = re.compile(r"\s*[\w#+./-]{1,40}(?:[ -][\w.-]{1,20}){0,5}\s*")

_IS = {
    kind: re.compile(rf"(?:^|[_\W])(?:{'|'.join(names.split())})s?(?:$|[_\W])", re.I)
    for kind, names in TABLE["names"].items()
}
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_FIXED, _FREE = wording("fixed"), wording("free")


def same_format(expected: str, actual: str, node: Mapping[str, Any]) -> bool:
    """Whether two strings with a `format` or `pattern` are the same: instants and addresses by their standard."""
    if node.get("format") in ("uri", "url", "iri", "uri-reference"):
        return same_address(expected, actual)
    if node.get("format") == "uuid":
        return expected.strip().casefold() == actual.strip().casefold()
    return node.get("format") in ("date-time", "time") and same_quantity(expected, actual) is True


def string_equal(expected: str, actual: str, name: str, about: str) -> bool | None:
    """Whether two strings, which differ, mean the same; None where they are natural language.

    `name` is the parameter's, `about` its description and the tool's.
    """
    name = _CAMEL.sub("_", name)
    if _COMMAND.search(name) or _COMMAND_WORDS.search(about):
        return command_difference(expected, actual) is None
    expected, actual = full_address(expected, about), full_address(actual, about)
    if all(IS_ADDRESS.match(side) for side in (expected, actual)):
        return same_address(expected, actual)
    for applies, same in _GRAMMARS:
        if applies(name, expected, actual) or (same is same_filter and _FILTER_WORDS.search(about)):
            verdict = same_data(expected, actual, name) if same is same_data else same(expected, actual)
            if verdict is not None:
                return verdict
    if _PATH.search(name) or all(_IS_PATH.fullmatch(side) for side in (expected, actual)):
        return _normal_path(expected, name, about) == _normal_path(actual, name, about)
    if _ANY_ORDER.search(about) and "," in expected and "," in actual and not _IS["person"].search(name):
        sides = [sorted(part.strip() for part in side.split(",")) for side in (expected, actual)]
        return sides[0] == sides[1]
    verdict = _notation_equal(expected, actual, name, about)
    if verdict is not None:
        return verdict
    if same_layout(expected, actual) and not (_IS["identifier"].search(name) and _TOKENS.fullmatch(expected)):
        return True
    return None if _is_prose(expected, name) and _is_prose(actual, name) else False


def _normal_path(text: str, name: str, about: str) -> str:
    path = text.strip()
    if ".." not in path:
        path = re.sub(r"/(?:\.?/)+", "/", path)
        path = path.removeprefix("./") if path not in ("./", ".") else "."
    if len(path) > 1 and (re.search(r"fold|dir", name, re.I) or re.search(r"last slash|trailing slash", about, re.I)):
        path = path.rstrip("/")
    return path


def _notation_equal(expected: str, actual: str, name: str, about: str) -> bool | None:
    """Numbers, dates, names, identifiers: in another notation only where the schema's words leave it open."""
    free = _FREE.search(about) is not None or len(re.findall("YYYY", about)) > 1
    allowed = bool(about.strip()) and (free or _FIXED.search(about) is None)
    if all(_ISO_DURATION.fullmatch(side.strip()) for side in (expected, actual)):
        return same_quantity(expected, actual)
    amount = same_quantity(expected, actual, about)
    if amount is not None:
        return (amount and allowed) or (allowed and same_identifier(expected, actual, about))
    if _HEAD_ALONE.search(about) and ("," in expected) != ("," in actual):
        return expected.partition(",")[0].strip().casefold() == actual.partition(",")[0].strip().casefold()
    if _IS["phone"].search(name):
        return allowed and same_phone(expected, actual)
    short = max(len(expected), len(actual)) <= 200
    if (
        _IS["person"].search(name)
        and short
        and not any(c.isdigit() for c in expected + actual)
        and not _IS["identifier"].search(name)
    ):
        spaced = " " in expected.strip() and " " in actual.strip()
        return not _FIXED.search(about) and spaced and same_name(expected, actual)
    if all(_TOKENS.fullmatch(side) for side in (expected, actual)) and (
        _IS["identifier"].search(name) or any(c.isdigit() for c in expected)
    ):
        if allowed and same_identifier(expected, actual, about):
            return True
        return False if _IS["identifier"].search(name) and not _IS["prose"].search(name) else None
    return None


def _is_prose(text: str, name: str) -> bool:
    if _UNSPACED.search(text):
        return True
    words = text.split()
    n_letters = sum(1 for word in words if _LETTER.search(word))
    if n_letters < PROSE_WORDS or any(_IS[kind].search(name) for kind in ("layout", "filter", "sql", "data", "python")):
        return False
    if re.search(r"^(?: {2,}|\t)\S", text, re.M) and re.search(r"[{};=]|:\s*$", text, re.M):
        return False
    return sum(1 for word in words if _SIGN.search(word)) <= MAX_SIGNS * len(words)


def _either(kind: str, looks: re.Pattern[str]) -> Callable[[str, str, str], bool]:
    def applies(name: str, expected: str, actual: str) -> bool:
        return _IS[kind].search(name) is not None or all(looks.search(side) for side in (expected, actual))

    return applies


def _is_python(name: str, expected: str, actual: str) -> bool:
    return _IS["python"].search(name) is not None or all(_PYTHON.search(side) for side in (expected, actual))


_HEAD_ALONE = re.compile(r"with or without (?:the |its )?(?:country|state|region|province)", re.I)
_COMMAND = re.compile(r"(?:^|_)(?:command|cmd|shell|bash|command_line|cmdline|commandline)$", re.I)
_COMMAND_WORDS = re.compile(r"^(?:an? |the )?(?:shell|bash|sh) (?:command|script)|^command line", re.I)
_PATH = re.compile(r"(?:^|_)(?:path|file|filename|file_path|filepath|folder|dir|directory|cwd|workdir)$", re.I)
_IS_PATH = re.compile(r"\.{0,2}/[\w./@ +-]*|(?:[\w.@+-]+/)+[\w.@+-]*\.\w{1,5}")
_ISO_DURATION = re.compile(r"P[\dDWTHMS]+")
_ANY_ORDER = re.compile(r"any order|order (?:does not|doesn't) matter", re.I)
_FILTER_WORDS = wording("filter")


def _is_filter(name: str, expected: str, actual: str) -> bool:
    return _IS["filter"].search(name) is not None or all(
        _CONDITION.fullmatch(side) or _TERMS.fullmatch(side) for side in (expected, actual)
    )


_PYTHON = re.compile(
    r"^[ \t]*(?:def \w+\(|class \w+|import \w|from \w[\w.]* import"
    r"|(?:if|for|while|with|elif|else|try|except)\b[^\n]*:"
    r"|print\(|return\b|\w[\w.\[\]]*\s*[-+*/]?=\s|\w[\w.]*\([^\n]*\)\s*$)",
    re.M,
)
_CONDITION = re.compile(
    r"\s*[\w.\"'`]+\s*(?:=|==|!=|<>|<=|>=|<|>|\b(?:eq|ne|gt|ge|lt|le|in|like|is)\b)\s*\S.*", re.S | re.I
)
_TERMS = re.compile(r"\s*(?:[-+]?[\w.@]+:(?:\"[^\"]*\"|[^\s\"'()]+)\s*(?:AND\s+)?){2,}")
_DATA = re.compile(
    r"^[ \t]*(?:[\[{]|['\"]?[\w./$-]+['\"]?\s*[:=]\s*\S*.*\n|-\s+\S|---|export \w+=|\w+=\S*\s*$|#)", re.M
)

_GRAMMARS: list[tuple[Callable[[str, str, str], bool], Callable[[str, str], bool | None]]] = [
    (_either("sql", SQL_VERB), same_sql),
    (_either("data", _DATA), same_data),
    (_is_python, same_python),
    (_either("data", MARKUP), same_markup),
    (_is_filter, same_filter),
]
