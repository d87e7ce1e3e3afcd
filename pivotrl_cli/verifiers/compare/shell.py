"""Command lines by the grammar of bash, from tree-sitter: one spelling for all lines that do the same.

`read_script` gives nested tuples that are equal if two lines differ only in what says nothing: white space and comments
outside quotes, the kind of quotes, the spellings that `programs.py` knows, `$A` for `${A}`, backquotes for `$(...)`,
`&>` for `> ... 2>&1`, the order of redirections that do not depend on one another, the name that ends a here-document,
and the spelling of a document that is Python or JSON. After `cd /a`, `/a/b` is `b`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

import tree_sitter_bash
from tree_sitter import Language, Node, Parser

from pivotrl_cli.verifiers.compare.programs import Command, CommandReader
from pivotrl_cli.verifiers.compare.python_code import normal_python

MAX_CHARACTERS, MAX_PIPES, MAX_DOCUMENTS = 20_000, 500, 50
"""Longest text that is parsed, and how many `|` and `<<` it may hold: the parser's time grows with their square."""

MAX_DEPTH = 60
"""Levels of the tree, and of scripts inside scripts, that are read."""

_LANGUAGE = Language(tree_sitter_bash.language())
_MEANT = re.compile(r'[*?\[\]{}~$`"\\]')
_LATER_TILDE = re.compile(r"(?<!^)\\~")
_LONE_DOLLAR = re.compile(r"\\\$(?![\w({@*#?!$'\"-])")
_BRACE = re.compile(r"\\([{}])")
_IN_QUOTES = re.compile(r'\\([$`"\\]|\n)')
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_PLAIN_EXPANSION = re.compile(r"\$(\w+)")
_OPEN_QUOTE = re.compile(r'(?<!\\)"')
_SEPARATORS = frozenset({";", "\n", "comment"})
_LITERAL_LEAVES = frozenset({"word", "number", "test_operator", "file_descriptor", "variable_name"})


class TooDeepError(ValueError):
    """Nested beyond `MAX_DEPTH`."""


def read_script(text: str, depth: int = 0) -> Any:
    """A command line in its one spelling; None where it does not parse or is beyond the limits."""
    if len(text) > MAX_CHARACTERS or text.count("|") > MAX_PIPES or text.count("<<") > MAX_DOCUMENTS:
        return None
    source = text.encode("utf-8", "surrogatepass")
    root = Parser(_LANGUAGE).parse(source).root_node
    if root.has_error:
        return None
    try:
        return _ScriptReader(source, depth).children(root, depth)
    except TooDeepError:
        return None


class _ScriptReader:
    def __init__(self, source: bytes, depth: int) -> None:
        self._source = source
        self._commands = CommandReader(lambda text: read_script(text, depth + 10))

    def _text(self, node: Node) -> str:
        return self._source[node.start_byte : node.end_byte].decode("utf-8", "surrogatepass")

    def children(self, node: Node, depth: int) -> tuple[Any, ...]:
        """What a node consists of, without separators and comments."""
        return tuple(self.read(child, depth + 1) for child in node.children if child.type not in _SEPARATORS)

    def read(self, node: Node, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise TooDeepError
        kind = node.type
        if kind in ("command", "redirected_statement"):
            return self._command(node, depth)
        if kind in ("list", "pipeline"):
            return (kind, *self._flat(node, depth))
        if kind in ("subshell", "command_substitution", "process_substitution"):
            outside = self._commands.cwd
            found = self.children(node, depth)
            self._commands.cwd = outside
            return (kind, *found[1:-1]) if kind == "command_substitution" else (kind, *found)
        if kind == "variable_assignment":
            return self._assignment(node, depth)
        if not node.children or kind in _WORDS:
            return self.word(node, depth)
        return (kind, *self.children(node, depth))

    def _flat(self, node: Node, depth: int) -> Iterable[Any]:
        """The parts of `a && b && c`, which the grammar nests to the left."""
        nodes = [node]
        while nodes[-1].children and nodes[-1].children[0].type == node.type:
            nodes.append(nodes[-1].children[0])
        yield self.read(nodes[-1].children[0], depth + 1)
        for one in reversed(nodes):
            for child in one.children[1:]:
                if child.type not in _SEPARATORS:
                    yield self.read(child, depth + 1)

    # --- simple commands

    def _command(self, node: Node, depth: int) -> Any:
        words: list[str] = []
        settings: list[str] = []
        redirects: list[tuple[str, str, Any]] = []
        others: list[Any] = []
        documents: list[Node] = []
        queue = list(node.children)
        while queue:
            child = queue.pop(0)
            kind = child.type
            if kind == "command" and not words:
                queue = [*child.children, *queue]
            elif kind == "file_redirect":
                redirects += self._redirects(child, words, depth)
            elif kind == "heredoc_redirect":
                documents.append(child)
                queue = [*(c for c in child.children if c.type not in _DOCUMENT), *queue]
            elif kind == "herestring_redirect":
                redirects.append(("0", "<<<", self.word(child.children[-1], depth)))
            elif kind == "command_name":
                words.append(self.word(child.children[0], depth))
            elif kind == "variable_assignment" and not words:
                settings.append(self._assignment(child, depth))
            elif kind in _WORDS and (words or node.type == "command"):
                words.append(self.word(child, depth))
            elif kind not in _SEPARATORS:
                others.append(self.read(child, depth + 1))
        command = self._commands.read(words, settings) if words else None
        redirects += [self._document(one, command, redirects) for one in documents]
        if not redirects and not others and not (words and settings and command is None):
            return command
        return ("redirected", command, _ordered(redirects), *others)

    def _assignment(self, node: Node, depth: int) -> str:
        name, *value = node.children
        text = "".join(str(self.read(part, depth + 1)) for part in value)
        # a value is not split into words, so quotes around a variable say nothing
        return self._text(name) + (text if "$(" in text else _OPEN_QUOTE.sub("", text))

    def _redirects(self, node: Node, words: list[str], depth: int) -> list[tuple[str, str, Any]]:
        """Descriptor, operator and target; what stands after the target belongs to the command."""
        parts = [child for child in node.children if child.type not in _SEPARATORS]
        number = self._text(parts.pop(0)) if parts[0].type == "file_descriptor" else None
        operator, *targets = parts
        sign = operator.type
        found = [self.word(target, depth) for target in targets]
        words += found[1:]
        target = found[0] if found else ""
        if sign in ("&>", "&>>") or (sign == ">&" and number is None and not target.isdigit() and target != "-"):
            return [("1", ">>" if sign == "&>>" else ">", target), ("2", ">&", "1")]
        return [(number or ("0" if sign[0] == "<" else "1"), sign, target)]

    def _document(self, node: Node, command: Command | None, redirects: list[tuple[str, str, Any]]) -> Any:
        """A here-document: Python and JSON by their grammar, anything else as it stands."""
        start = next((self._text(c) for c in node.children if c.type == "heredoc_start"), "")
        body = next((self._text(c) for c in node.children if c.type == "heredoc_body"), "")
        if node.children[0].type == "<<-":
            body = re.sub(r"^\t+", "", body, flags=re.MULTILINE)
        is_plain = start[:1] in ("'", '"', "\\") or not re.search(r"[$`\\]", body)
        names = [str(target) for _, sign, target in redirects if sign in (">", ">>", ">|")]
        names += command.operands if command and command.program == "tee" else ()
        content: Any = body
        if (is_plain and command and command.program == "python" and set(command.operands) <= {"-"}) or (
            is_plain and names and all(name.endswith(".py") for name in names)
        ):
            content = normal_python(body) or body
        elif is_plain and names and all(name.endswith(".json") for name in names):
            content = _normal_json(body)
        elif is_plain and command and command.program in ("bash", "sh") and not command.operands:
            content = read_script(body, MAX_DEPTH - 10) or body
        return ("0", "<<" if is_plain else "<< expanded", content)

    # --- words

    def word(self, node: Node, depth: int) -> str:
        """A word without its quotes; characters that they kept from the shell have a backslash."""
        text = self._piece(node, depth)
        if "\\" not in text:
            return text
        text = _LONE_DOLLAR.sub("$", _LATER_TILDE.sub("~", text))
        return text if "," in text or ".." in text else _BRACE.sub(r"\1", text)

    def _piece(self, node: Node, depth: int) -> str:
        if depth > MAX_DEPTH:
            raise TooDeepError
        kind = node.type
        if kind in _LITERAL_LEAVES:
            text = self._text(node)
            return _ESCAPE.sub(_unquoted_escape, text) if "\\" in text else text
        if kind == "raw_string":
            return _kept(self._text(node)[1:-1])
        if kind == "string":
            return self._string(node, depth)
        if kind == "concatenation":
            return "".join(self._piece(child, depth + 1) for child in node.children)
        if kind == "command_substitution":
            return f"$({self.read(node, depth + 1)!r})"
        if kind == "arithmetic_expansion":
            return "".join(self._text(node).split())
        if kind in ("simple_expansion", "expansion"):
            return _PLAIN_EXPANSION.sub(r"${\1}", self._text(node))
        if kind == "process_substitution":
            return repr(self.read(node, depth + 1))
        return self._text(node)

    def _string(self, node: Node, depth: int) -> str:
        """A string in double quotes; what is expanded inside stays in quotes, because it is not split."""
        pieces, at, end = [], node.start_byte + 1, node.end_byte - 1
        for child in node.children:
            if child.type in ("simple_expansion", "expansion", "command_substitution", "arithmetic_expansion"):
                pieces.append(self._quoted(at, child.start_byte))
                pieces.append(f'"{self._piece(child, depth + 1)}"')
                at = child.end_byte
        return "".join([*pieces, self._quoted(at, end)])

    def _quoted(self, start: int, end: int) -> str:
        text = self._source[start:end].decode("utf-8", "surrogatepass")
        return _kept(_IN_QUOTES.sub(lambda found: found[1].strip("\n"), text) if "\\" in text else text)


_WORD_KINDS = (
    "word number raw_string string ansi_c_string translated_string concatenation simple_expansion "
    "expansion arithmetic_expansion process_substitution command_substitution brace_expression "
    "extglob_pattern regex"
)
_WORDS = frozenset(_WORD_KINDS.split())
_DOCUMENT = frozenset({"<<", "<<-", "heredoc_start", "heredoc_body", "heredoc_end"})


def _kept(text: str) -> str:
    """Quoted text: a backslash before what a shell would read otherwise."""
    return _MEANT.sub(r"\\\g<0>", text)


def _unquoted_escape(found: re.Match[str]) -> str:
    return "" if found[1] == "\n" else _kept(found[1])


def _ordered(redirects: list[tuple[str, str, Any]]) -> tuple[Any, ...]:
    """Redirections of different descriptors stand in any order, unless one copies another."""
    descriptors = [descriptor for descriptor, _, _ in redirects]
    free = len(set(descriptors)) == len(descriptors) and not any("&" in sign for _, sign, _ in redirects)
    return tuple(sorted(redirects, key=lambda one: one[0]) if free else redirects)


def _normal_json(text: str) -> str:
    try:
        return json.dumps(json.loads(text), sort_keys=True)
    except (ValueError, RecursionError):
        return text
