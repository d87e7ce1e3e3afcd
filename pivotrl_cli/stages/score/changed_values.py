"""Small changes that turn the meaning of a value round: data for the audit.

Most of the characters stay, so a verifier that compares likeness accepts them. Each kind of value has its changes; a
change applies where its pattern is found, to the first place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

OPPOSITES = (
    "install uninstall, enable disable, start stop, add remove, push pull, up down, asc desc, min max, "
    "true false, open closed, approved rejected, accepted declined, confirmed cancelled, increase decrease, two three, "
    "before after, first last, left right, always never, all none, with without, morning evening, today tomorrow, "
    "immer nie, vor nach, heute morgen, mit ohne, zwei drei, avant après, toujours jamais, antes después, "
    "siempre nunca, قبل بعد, جديد قديم"
)
"""Pairs of words, whichever case."""

OPPOSITES_WITHOUT_SPACES = "新 旧, 上午 下午, 打开 关闭, 同意 拒绝, 午前 午後, 承認 却下, 新しい 古い"
"""Pairs in scripts that do not separate words."""

NEGATIONS = (
    r"\b(can)not\b|\b(is|are|was|were|could|would|should|do|does|did|has|have)n't\b|不|没有?|"
    r"\b(?:do not|does not|not|never|no(?! worries| problem)|nicht|kein\w*|ne|pas|لا|غير)\s+"
)
"""What is dropped; a verb in a group stays."""

PROGRAMS = (
    "apt apt-get awk cat cd chmod cp curl docker find git grep kubectl ls make mv npm pip python rm sed systemctl tar"
)

LINES = r"(?:[^\n]*\n){0,20}?"

KINDS = (
    ("url", r"https?://\S+$"),
    ("query", r"\s*(?i:select|insert|update|delete|with)\s.*\s(?i:from|into|set|as)\s"),
    ("query", r".*\S\s*(?:==?|!=|<=?|>=?)\s*\S.*\b(?i:and|or|not)\b|.*\w:\S.*\b(?:AND|OR|NOT)\b"),
    ("command", rf"(?:\w+=\S+ )*(?:{PROGRAMS.replace(' ', '|')})\s"),
    ("code", rf"{LINES}[ \t]*(?:def \w+\(|(?:from \S+ )?import \w|for \w+ in |if [^\n]+:[ \t]*\n|\w+ = )"),
    ("data", rf"(?s:\s*[\[{{].*[\]}}]\s*$)|{LINES}[\w.-]+:(?: [^\n]*)?(?:\n|$)|\s*\[[\w.]+\]\n"),
    ("prose", r"\s*\S+(?:\s+\S+){3}|.*[\u3040-\u30ff\u4e00-\u9fff]{6}"),
    ("name or id", r"\S"),
)
"""What a text is: the first whose pattern matches at its start."""

MOST_READ = 1_000
"""Characters of a text that tell its kind."""

COMMAND_KEYS = frozenset({"chars", "cmd", "command", "keystrokes"})
"""Arguments that hold command lines, whatever they look like."""

ANY = frozenset(kind for kind, _ in KINDS) | {"message"}


class Change(NamedTuple):
    """A change to the first match of a pattern."""

    name: str
    kinds: frozenset[str]
    pattern: re.Pattern[str]
    replacement: str | Callable[[re.Match[str]], str]


def _pairs(text: str) -> dict[str, str]:
    pairs = [pair.split() for pair in text.split(", ")]
    return {one: other for first, second in pairs for one, other in ((first, second), (second, first))}


_OPPOSITE = _pairs(OPPOSITES) | _pairs(OPPOSITES_WITHOUT_SPACES) | {"<": ">", ">": "<", "==": "!=", "!=": "=="}
_OPPOSITE |= {"and": "or", "or": "and", "&&": "||", "||": "&&"}


def _opposite(match: re.Match[str]) -> str:
    word = match.group()
    other = _OPPOSITE[word.lower()]
    return other.upper() if word.isupper() else other.capitalize() if word.istitle() else other


def _without_negation(match: re.Match[str]) -> str:
    return match[1] or match[2] or ""


def _words(words: str) -> str:
    return "|".join(sorted(map(re.escape, _pairs(words)), key=len, reverse=True))


CHANGES = (
    Change(
        "an opposite",
        ANY - {"url", "name or id"},
        re.compile(rf"(?i)(?<![\w-])(?:{_words(OPPOSITES)})(?![\w-])|{_words(OPPOSITES_WITHOUT_SPACES)}"),
        _opposite,
    ),
    Change(
        "and for or",
        frozenset({"query", "code", "command"}),
        re.compile(r"(?i)(?<= )(?:and|or|&&|\|\|)(?= )"),
        _opposite,
    ),
    Change(
        "a comparison turned round", frozenset({"query", "code"}), re.compile(r"(?<= )(?:[<>]|[!=]=)(?= )"), _opposite
    ),
    Change(
        "a negation dropped",
        ANY - {"url", "command", "name or id"},
        re.compile(NEGATIONS, re.IGNORECASE),
        _without_negation,
    ),
    Change(
        "operands exchanged",
        frozenset({"command"}),
        re.compile(r"\b((?:cp|mv|ln|diff|rsync)(?: -\S+)*) ([^\s;&|<>]+) ([^\s;&|<>]+)"),
        r"\1 \3 \2",
    ),
    Change(
        "ends exchanged",
        frozenset({"prose", "message"}),
        re.compile(r"\b(from|von|de|du|del) (\w+) (to|nach|à|au|al) (\w+)"),
        r"\1 \4 \3 \2",
    ),
    Change(
        "a line moved into the block above",
        frozenset({"code", "data"}),
        re.compile(r"(:[ \t]*\n)([ \t]+)(\S.*\n)(?=[^\s\[\]{}])"),
        r"\1\2\3\2",
    ),
    Change("a flag changed", frozenset({"command"}), re.compile(r"(?<=\s)(--?)(?!not-)(?=[a-zA-Z])"), r"--not-"),
    Change("a number changed", ANY, re.compile(r"[0-9]++(?!\.\s)"), lambda match: str(int(match.group()[:15]) + 1)),
    Change(
        "a name changed",
        frozenset({"prose", "message"}),
        re.compile(r"(?<=[a-z,] )(?!I\b)[A-Z][a-zé]+\b"),
        lambda match: "Otto" if match.group() != "Otto" else "Anna",
    ),
)


def kind_of(key: str, text: str) -> str | None:
    """The kind of an argument by its name and its text; None for an empty one."""
    if key in COMMAND_KEYS:
        return "command"
    return next((kind for kind, pattern in KINDS if re.match(pattern, text[:MOST_READ])), None)


def changed_texts(text: str, kind: str | None) -> Iterator[tuple[str, str]]:
    """Names of the changes that apply to a text of this kind, and the text with each."""
    for change in CHANGES:
        if kind in change.kinds:
            other = change.pattern.sub(change.replacement, text, count=1)
            if other != text:
                yield change.name, other
