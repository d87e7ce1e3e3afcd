"""What the words of a simple command mean: the program, its sub-command, its options, its operands.

`programs.toml` says which options of common programs take a value, which spellings are one option, and where the order
of operands means nothing. An option of any other program has the value after `=`, or the next word that is no option;
`-abc` stays one option there, because some programs write long names with one dash.

Words come from `shell.py`: without quotes, with a backslash before each character that a shell would read otherwise.
"""

from __future__ import annotations

import json
import posixpath
import re
import tomllib
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from pivotrl_cli.verifiers.compare.python_code import normal_python

TABLE: dict[str, dict[str, Any]] = tomllib.loads((Path(__file__).parent / "programs.toml").read_text(encoding="utf-8"))

_NUMBER = "-#"
_SHELLS = frozenset({"bash", "sh", "zsh"})
_PATH = re.compile(r"[\w.@+,~%\-*/]*/[\w.@+,~%\-*/]*")
_SYSTEM = re.compile(r"/(?:usr/(?:local/)?)?s?bin/(?=[^/]+$)")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*\+?=")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_EXPANSION = re.compile(r"(?<!\\)(?:\\\\)*[$\"]")
_PATTERN = re.compile(r"\\([*?\[\]{}~])")
_JOINED = frozenset({"-o", "-or", "!", "-not", "(", ")", ",", "-a", "-and"})
_ACTION_NAMES = "-delete -exec -execdir -ok -okdir -print -print0 -printf -fprint -ls -prune -quit"
_FIND_ACTIONS = frozenset(_ACTION_NAMES.split())

Option = tuple[str, str | None]


class Options(NamedTuple):
    """How a program spells its options.

    Example: `Options({"-n": "-n", "--lines": "-n"}, {"-n"}, {}, {})` of `-n --lines=`.
    """

    names: dict[str, str]
    """Every spelling -> the first one."""
    valued: frozenset[str]
    attached: frozenset[str]
    """Those with a value only where it stands in the same word."""
    numbered: frozenset[str]
    """Those with a value only where it stands in the same word or is a number."""


class Command(NamedTuple):
    """A simple command in its one spelling: two that are equal do the same.

    Example: `Command("git log", (), (("--oneline", None), ("-n", "5")), ("src",), None)` of
    `git log -5 --oneline src/`.
    """

    program: str
    settings: tuple[str, ...]
    """Variables set for this command alone."""
    options: tuple[Option, ...]
    operands: tuple[str, ...]
    inner: Any
    """What this one runs: a command, a script, code; None for most."""


@cache
def options_of(name: str) -> Options:
    """The options of a program or a sub-command, those of what it belongs to included."""
    names: dict[str, str] = {}
    kinds: dict[str, set[str]] = {"=": set(), "=?": set(), "=#": set()}
    words = name.split()
    for i in range(len(words)):
        listed = TABLE.get(" ".join(words[: i + 1]), {}).get("options", "")
        for group in filter(None, (group.split() for group in listed.split(","))):
            first = group[0].partition("=")[0]
            names |= {spelling.partition("=")[0]: first for spelling in group}
            for others in kinds.values():
                others.discard(first)  # a sub-command may give the program's letter another meaning
            for _, equals, kind in (spelling.partition("=") for spelling in group):
                kinds.get(equals + kind, set()).add(first)
    return Options(names, *map(frozenset, kinds.values()))


def literal(word: str) -> str | None:
    """The text of a word as the program gets it; None where that depends on variables."""
    if "\\" not in word:
        return None if "$" in word or '"' in word else word
    return None if _EXPANSION.search(word) else _ESCAPED.sub(r"\1", word)


class Words:
    """Sorts the words of one command into options, operands and the words of what it runs."""

    def __init__(self, name: str, words: Sequence[str]) -> None:
        self.known = name in TABLE
        self._enter(name)
        self.options: list[Option] = []
        self.operands: list[str] = []
        self.rest: Sequence[str] = ()
        if self.entry.get("bundle") and words and words[0][:1] not in ("-", ""):
            words = [f"-{words[0]}", *words[1:]]
        self._read(words)

    def _enter(self, name: str) -> None:
        self.name, self.entry = name, TABLE.get(name, {})
        self.table = options_of(name if self.known else "*")

    def _read(self, words: Sequence[str]) -> None:
        at = 0
        while at < len(words):
            word, limit = words[at], self.entry.get("rest")
            if word == "--":
                self.operands += ["--"] * self._keeps_dashes() + list(words[at + 1 :])
                return
            is_option = _is_option(word)
            if limit is not None and len(self.operands) >= limit and (limit or not is_option):
                self.rest = words[at:]
                return
            if is_option:
                at += 1 + self._option(word, words[at + 1] if at + 1 < len(words) else None)
                if self.options[-1][0] in self.entry.get("stops", ()):
                    self.rest = words[at:]
                    return
                continue
            if self.entry.get("commands"):
                self._enter(f"{self.name} {self.entry.get('aliases', {}).get(word, word)}")
            else:
                self.operands.append(word)
            at += 1

    def trait(self, key: str) -> Any:
        """What the table says of the program that a sub-command belongs to."""
        return TABLE.get(self.name.partition(" ")[0], {}).get(key)

    def _keeps_dashes(self) -> bool:
        return bool(self.trait("dashes")) and self.entry.get("order") != "any"

    def _option(self, word: str, following: str | None) -> int:
        """Take an option; how many further words it takes."""
        whole = not self.known or word[1] == "-" or word in self.table.names
        if whole or self.trait("words") is False:
            name, equals, value = word.partition("=")
            known = self.table.names.get(name, name)
            takes = following is not None and self._takes(known, following)
            self.options.append((known, value if equals else following if takes else None))
            return int(takes and not equals)
        return self._letters(word, following)

    def _takes(self, option: str, following: str) -> bool:
        """Whether an option has the next word as its value, if none is attached."""
        if not self.known:
            return not (option in self.table.names or option.startswith("--no-") or _is_option(following))
        return option in self.table.valued or (option in self.table.numbered and following.isdigit())

    def _letters(self, word: str, following: str | None) -> int:
        """Take options of one letter each, the last one perhaps with its value."""
        names = self.table.names
        if _NUMBER in names and (number := re.match(r"-(\d+)", word)):
            self.options.append((names[_NUMBER], number[1]))
            word = word[number.end() - 1 :]
        for i, letter in enumerate(word[1:], 2):
            known = names.get(f"-{letter}", f"-{letter}")
            if following is not None and self._takes(known, following):
                self.options.append((known, word[i:] or following))
                return int(not word[i:])
            if known in self.table.attached | self.table.numbered | self.table.valued:
                self.options.append((known, word[i:] or None))
                return 0
            self.options.append((known, None))
        return 0


def _is_option(word: str) -> bool:
    return len(word) > 1 and word[0] == "-"


class CommandReader:
    """Brings simple commands into their one spelling; `read_script` does so for a whole command line."""

    def __init__(self, read_script: Callable[[str], Any]) -> None:
        self.cwd: str | None = None
        """The folder that commands run in, where a `cd` has said so."""
        self._read_script = read_script

    def read(self, words: Sequence[str], settings: Sequence[str] = ()) -> Command:
        given = list(settings)
        while len(words) > 1 and _ASSIGNMENT.match(words[0]):
            given.append(words[0])
            words = words[1:]
        set_first = tuple(given if any("$" in text for text in given) else sorted(given))
        name, rest = _SYSTEM.sub("", words[0]), list(words[1:])
        if same := TABLE.get(name, {}).get("same"):
            name, *more = same.split()
            rest = [*more, *rest]
        if name == "env" and rest and not _is_option(rest[0]):
            return self.read(rest, given)
        if TABLE.get(name, {}).get("verbatim"):
            return Command(name, set_first, (), tuple(rest), None)
        if name == "find":
            return self._find(set_first, rest)
        if name not in TABLE and "/" in name:
            path = self._text(name)
            name = path if path[0] in "/~$" else f"./{path}"
        return self._command(Words(name, rest), set_first)

    def _command(self, found: Words, settings: tuple[str, ...]) -> Command:
        entry, options, operands = found.entry, found.options, found.operands
        if (script := entry.get("script")) and operands and not {script, "-f"} & {name for name, _ in options}:
            options = [*options, (script, operands[0])]
            operands = operands[1:]
        text = partial(self._text, is_literal=bool(found.trait("literal")), slash=bool(entry.get("slash")))
        texts = [text(word) for word in operands] or ([entry["default"]] if "default" in entry else [])
        values = [(k, v if v is None or k == script else text(_PATTERN.sub(r"\1", v))) for k, v in options]
        inner = self._inner(found) if found.rest or entry.get("stops") else None
        if inner is not None and values and values[-1][0] in entry.get("stops", ()):
            values[-1] = (values[-1][0], None)
        if found.name == "python" and isinstance(inner, Command) and [name for name, _ in options] == ["-m"]:
            return inner._replace(settings=settings)
        if found.name == "cd" and len(texts) == 1:
            self._enter(texts[0])
        ordered = tuple(sorted(texts) if entry.get("order") == "any" else texts)
        return Command(found.name, settings, tuple(sorted(values, key=lambda option: option[0])), ordered, inner)

    def _enter(self, path: str) -> None:
        known = path if path.startswith("/") else f"{self.cwd}/{path}" if self.cwd else ""
        self.cwd = posixpath.normpath(known) if known and "$" not in known else None

    def _inner(self, found: Words) -> Any:
        """What a command runs: the value of its last option, or the words after its operands."""
        option, value = found.options[-1] if found.options else ("", None)
        stopped = option in found.entry.get("stops", ()) and value is not None
        if stopped and option == "-m":
            name = value if value in TABLE else f"python -m {value}"
            return self.read([name, *found.rest]) if value in TABLE else self._command(Words(name, found.rest), ())
        if stopped or found.name == "ssh":
            texts = [literal(word) for word in ((value or "",) if stopped else found.rest)]
            code = None if None in texts else " ".join(text for text in texts if text is not None)
            read = normal_python if found.name == "python" else self._read_script
            return (tuple(texts) if code is None else read(code) or code, tuple(found.rest) if stopped else ())
        if found.name in _SHELLS or found.name in ("python", "node"):
            return self._command(Words("script", found.rest), ())
        return self.read(found.rest) if found.rest else None

    def _find(self, settings: tuple[str, ...], words: list[str]) -> Command:
        """Tests before the first action hold in any order; what is joined by more than "and" stays as it is."""
        start = next((i for i, word in enumerate(words) if word[:1] in ("-", "!", "(")), len(words))
        folders, expression = [self._text(word) for word in words[:start]] or ["."], words[start:]
        valued = options_of("find").valued
        if _JOINED & set(expression):
            return Command("find", settings, (), (*folders, *expression), None)
        tests: list[Option] = []
        at = 0
        while at < len(expression) and expression[at] not in _FIND_ACTIONS:
            takes = expression[at] in valued and at + 1 < len(expression)
            tests.append((expression[at], expression[at + 1] if takes else None))
            at += 1 + takes
        actions = () if expression[at:] == ["-print"] else tuple(expression[at:])
        return Command("find", settings, tuple(sorted(tests, key=str)), (*folders, *actions), None)

    def _text(self, word: str, is_literal: bool = False, slash: bool = False) -> str:
        """A word in its one spelling: data as data, a path without what says nothing."""
        if "\\" in word and (is_literal or "://" in word):
            word = _PATTERN.sub(r"\1", word)
        if word.lstrip("\\")[:1] in ("{", "[") and (data := literal(word)) is not None:
            try:
                return json.dumps(json.loads(data), sort_keys=True)
            except (ValueError, RecursionError):
                return word
        if _PATH.fullmatch(word) is None:
            return word
        path = posixpath.normpath(word)
        if self.cwd and f"{path}/".startswith(f"{self.cwd.rstrip('/')}/"):
            path = path[len(self.cwd) :].strip("/") or "."
        return f"{path}/" if word.endswith("/") and slash and path != "/" else path
