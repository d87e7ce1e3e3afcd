"""Texts in a formal language, compared as it reads them: SQL and filters, Python and other code, data, markup.

Each function gives True, False, or None where a side is not in that language. Texts beyond `MAX_CHARACTERS` are not
parsed. Foreign parsers raise many kinds of errors on broken text; any of them means "not in that language".
"""

from __future__ import annotations

import ast
import configparser
import csv
import json
import re
import tomllib
import warnings
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import yaml

MAX_CHARACTERS = 50_000
"""Longest text that is parsed."""

MAX_QUERY = 5_000
"""Longest query or filter that is parsed."""

MAX_NESTING = 60
"""Open brackets beyond which a text is not parsed."""

SQL_VERB = re.compile(
    r"\A(?:\s|--[^\n]*\n|/\*[^*]*\*/)*"
    r"(?:SELECT|INSERT\s+INTO|UPDATE|DELETE\s+FROM|WITH|CREATE|DROP|ALTER|TRUNCATE|MERGE)\s",
    re.I,
)
_WORD_OPERATORS = {"eq": "=", "ne": "<>", "gt": ">", "ge": ">=", "lt": "<", "le": "<="}
_QUOTED = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\""


def _parsed(parse: Callable[[str], Any], *sides: str) -> list[Any] | None:
    """Both sides parsed, or None."""
    try:
        if any(len(side) > MAX_CHARACTERS or _depth(side) > MAX_NESTING for side in sides):
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return [parse(side) for side in sides]
    except Exception:  # a foreign parser on text that a model wrote
        return None


def _depth(text: str) -> int:
    depth = most = 0
    for sign in re.findall(r"[()\[\]{}]|\b(?:not|case)\b|(?<!\w)-", text, re.I) if len(text) > MAX_NESTING else []:
        depth = depth + 1 if sign not in ")]}" else max(0, depth - 1)
        most = max(most, depth)
        if sign not in "()[]{}" and len(text) < 2_000:
            depth = max(0, depth - 1)
    return most


# --- queries


def same_sql(expected: str, actual: str) -> bool | None:
    if max(len(expected), len(actual)) > MAX_QUERY:
        return None
    trees = _parsed(_normal_sql, expected, actual)
    return None if trees is None else bool(trees[0] == trees[1])


def _normal_sql(text: str) -> str:
    import sqlglot

    return ";".join(_normal_tree(tree) for tree in sqlglot.parse(text) if tree is not None)


def _normal_tree(tree: Any) -> str:
    """SQL text that is one for all spellings of a query."""
    from sqlglot import exp
    from sqlglot.optimizer.simplify import simplify

    aliases = {}
    for table in list(tree.find_all(exp.Table)):
        if table.alias and [t.name for t in tree.find_all(exp.Table)].count(table.name) == 1:
            aliases[table.alias.lower()] = table.name.lower()
            table.set("alias", None)
    for name in tree.find_all(exp.Identifier):
        lowered = name.name.lower() if not name.quoted or re.fullmatch(r"[a-z_]\w*", name.name) else name.name
        name.set("this", lowered)
        name.set("quoted", lowered != lowered.lower() or re.fullmatch(r"\w+", lowered) is None)
    for column in tree.find_all(exp.Column):
        if column.table in aliases:
            column.set("table", exp.to_identifier(aliases[column.table]))
    tables = {table.name for table in tree.find_all(exp.Table)}
    if len(tables) == 1 and not tree.find(exp.Join):
        for column in tree.find_all(exp.Column):
            column.set("table", None)
    tree = tree.transform(_normal_node)
    tree = simplify(tree)
    for node in list(tree.walk(bfs=True))[::-1]:
        if isinstance(node, exp.And | exp.Or) and not isinstance(node.parent, type(node)):
            parts = sorted((part.copy() for part in node.flatten()), key=lambda part: part.sql())
            node.replace(exp.Anonymous(this=type(node).__name__, expressions=parts)) if node.parent else None
        elif isinstance(node, exp.In) and node.expressions:
            node.set("expressions", sorted(node.expressions, key=lambda part: part.sql()))
    return str(tree.sql(comments=False))


def _normal_node(node: Any) -> Any:
    from sqlglot import exp

    node.comments = None
    if isinstance(node, exp.Between):
        this, low, high = node.this, node.args["low"], node.args["high"]
        return exp.Paren(
            this=exp.And(this=exp.GTE(this=this, expression=low), expression=exp.LTE(this=this.copy(), expression=high))
        )
    if isinstance(node, exp.Join) and node.kind.upper() in ("INNER", "OUTER"):
        node.set("kind", None)
    if isinstance(node, exp.Ordered) and not node.args.get("desc"):
        node.set("desc", None)
    if isinstance(node, exp.Ordered):
        node.set("nulls_first", None)
    if isinstance(node, exp.Count) and isinstance(node.this, exp.Literal):
        node.set("this", exp.Star())
    return node


def same_filter(expected: str, actual: str) -> bool | None:
    """Conditions as of a WHERE clause, in the notations of JQL, OData, pandas and search boxes."""
    if max(len(expected), len(actual)) > MAX_QUERY:
        return None
    terms = _parsed(_qualifiers, expected, actual)
    if terms is not None and None not in terms:
        return bool(terms[0] == terms[1])
    groups = _parsed(_ldap, expected, actual)
    if groups is not None:
        return bool(groups[0] == groups[1])
    # as a condition, `152 + 103` is true, and so is any other sum
    named = all(_NAME.search(side) for side in (expected, actual))
    trees = named and _parsed(lambda text: _normal_sql(f"SELECT * FROM t WHERE {_filter_text(text)}"), expected, actual)
    if trees and trees[0] == trees[1]:
        return True
    if same_python(expected, actual):
        return True
    tokens = [["'" + t[1:-1] + "'" if t[0] in "'\"" else t for t in _TOKEN.findall(s)] for s in (expected, actual)]
    return tokens[0] == tokens[1]


def _ldap(text: str) -> Any:
    """`(&(a=1)(b=2))` (RFC 4515) with sorted parts."""
    if not re.match(r"\s*\([&|!(]", text):
        _refuse()
    stack: list[list[Any]] = [[]]
    for token in re.findall(r"\(|\)|[&|!](?=\()|[^()]+", text):
        if token == "(":
            stack.append([])
        elif token == ")":
            parts = stack.pop()
            stack[-1].append(
                tuple(
                    [p for p in parts if isinstance(p, str)]
                    + sorted((p for p in parts if not isinstance(p, str)), key=repr)
                )
            )
        elif token.strip():
            stack[-1].append(token.strip())
    return stack[0] if len(stack) == 1 else _refuse()


def _qualifiers(text: str) -> list[str] | None:
    """The terms of `is:open label:bug author:ann`, sorted."""
    term = rf"(?<![\w.@])[-+]?[\w.@]+:(?:{_QUOTED}|\[[^\]]*\]|[^\s\"'()\[]+)"
    terms = re.findall(term, text)
    rest = re.sub(r"\bAND\b|[()]", "", re.sub(term, "", text)).strip()  # parentheses mean nothing among ANDs alone
    return None if rest or not terms else sorted(re.sub(r"[\"']", "", term) for term in terms)


def _filter_text(text: str) -> str:
    def part(found: re.Match[str]) -> str:
        token = found[0]
        if token[0] in "'\"":
            return "'" + token[1:-1].replace("'", "''") + "'"
        if token in ("&&", "||", "==", "!", "&", "|"):
            return {"&&": " AND ", "||": " OR ", "==": "=", "!": " NOT ", "&": " AND ", "|": " OR "}[token]
        return _WORD_OPERATORS.get(token.lower(), token)

    return re.sub(rf"{_QUOTED}|&&|\|\||==|!(?!=)|&|\||\b(?:eq|ne|gt|ge|lt|le)\b", part, text, flags=re.I)


# --- code


def same_python(expected: str, actual: str) -> bool | None:
    trees = _parsed(lambda text: ast.dump(ast.parse(text)), expected, actual)
    return None if trees is None else bool(trees[0] == trees[1])


_BRACED = re.compile(r"[{;][ \t]*(?:\n|$)|=>|\b(?:function|const|let|var|public|void|fn|func)\b")
_MAKEFILE = re.compile(r"^[\w.%/$() -]+:[^\n]*\n\t", re.M)
_NAME = re.compile(r"(?<![\w.])[^\W\d]")
_TOKEN = re.compile(rf"{_QUOTED}|`[^`]*`|\w+|[^\w\s]")


def same_layout(expected: str, actual: str) -> bool:
    """Equal up to white space that no language reads: at the ends of lines, and between tokens where braces stand."""
    if all(_BRACED.search(side) for side in (expected, actual)) and not re.search(
        r"//|^\t|^@@|#", expected + actual, re.M
    ):
        return _TOKEN.findall(expected) == _TOKEN.findall(actual)
    sides = [[line.rstrip() for line in side.strip("\n").splitlines()] for side in (expected, actual)]
    if all(_MAKEFILE.search(side) for side in (expected, actual)):
        sides = [[line for line in side if line and not line.startswith("#")] for side in sides]
    if len(sides[0]) == len(sides[1]) == 1:
        return _TOKEN_GAPS(sides[0][0]) == _TOKEN_GAPS(sides[1][0])
    return sides[0] == sides[1]


def _TOKEN_GAPS(line: str) -> list[str]:  # noqa: N802
    """Quoted parts as they stand, and what is between them with single spaces."""
    return [p if p[:1] in "'\"" else " ".join(p.split()) for p in re.split(rf"({_QUOTED})", line.strip())]


# --- data and markup


def same_data(expected: str, actual: str, hint: str = "") -> bool | None:
    """JSON, TOML, INI, `NAME=value` lines, YAML, and CSV where the parameter says so."""
    if expected.lstrip()[:1] in ("{", "[") and (read := _parsed(json.loads, expected, actual)) is not None:
        return bool(typed(read[0]) == typed(read[1]))
    for parse in (_toml, _variables, _ini, *([_csv] if "csv" in hint else []), _yaml):
        read = _parsed(parse, expected, actual)
        if read is not None:
            return bool(typed(read[0]) == typed(read[1]))
    return None


def typed(value: Any) -> Any:
    """A value that equals another only if types agree; 5 is 5.0, key order is free."""
    if isinstance(value, dict):
        return ("object", sorted(((str(key), typed(item)) for key, item in value.items()), key=repr))
    if isinstance(value, list):
        return ("list", [typed(item) for item in value])
    if isinstance(value, bool) or not isinstance(value, int | float):
        return (type(value).__name__, repr(value))
    return ("number", int(value) if isinstance(value, float) and value.is_integer() else value)


def _toml(text: str) -> Any:
    return tomllib.loads(text) or _refuse()


def _variables(text: str) -> dict[str, str]:
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]
    pairs = [re.fullmatch(rf"(?:export\s+)?([\w.-]+)\s*=\s*({_QUOTED}|[^'\"\s#]*)\s*(?:#.*)?", line) for line in lines]
    found = {pair[1]: re.sub(r"^(['\"])(.*)\1$", r"\2", pair[2]) for pair in pairs if pair}
    return found if len(found) == len(lines) > 0 else _refuse()


def _ini(text: str) -> Any:
    if not re.match(r"\s*(?:[#;][^\n]*\n\s*)*\[", text):
        _refuse()
    reader = configparser.RawConfigParser()
    reader.read_string(text)
    return {name: dict(reader[name]) for name in reader.sections()} or _refuse()


_YAML_LINE = re.compile(r"\s*(?:#.*|---|-(?:\s.*)?|(?:- )?['\"]?[\w./$-]+['\"]?\s*:(?:\s.*)?|[}\]],?)?")


def _yaml(text: str) -> Any:
    lines = text.strip().splitlines()
    if re.search(r"(?:^|[\s:-])[&*]\w", text) or not all(_YAML_LINE.fullmatch(line) for line in lines):
        _refuse()
    if not re.search(r"^\s*['\"]?[\w./$-]+['\"]?\s*:", text, re.M):
        _refuse()
    value = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text).get_single_data()
    return value if isinstance(value, dict | list) else _refuse()


def _csv(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in row] for row in csv.reader(text.strip().splitlines()) if row]


def _refuse() -> Any:
    raise ValueError("not in this language")


class _Markup(HTMLParser):
    """Tags with sorted attributes, and texts with single spaces."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[Any] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.parts.append((tag, sorted((key, value or "") for key, value in attrs)))

    def handle_endtag(self, tag: str) -> None:
        self.parts.append(f"/{tag}")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in ("br", "hr", "img", "input", "meta", "link"):
            self.handle_endtag(tag)

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.parts.append(("", " ".join(data.split())))

    def handle_decl(self, decl: str) -> None:
        self.parts.append(("!", decl.casefold()))


MARKUP = re.compile(r"\A\s*<[a-zA-Z!?][^<]*>.*>\s*", re.S)


def same_markup(expected: str, actual: str) -> bool | None:
    def parse(text: str) -> list[Any]:
        reader = _Markup()
        reader.feed(text)
        reader.close()
        return reader.parts

    if not all(side.strip()[:1] == "<" and side.strip()[-1:] == ">" for side in (expected, actual)):
        return None
    read = _parsed(parse, expected, actual)
    return None if read is None else bool(read[0] == read[1])
