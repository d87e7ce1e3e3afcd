"""Python by its grammar: texts are equal that are the same program, whatever their quotes, spaces and comments."""

from __future__ import annotations

import ast
import io
import re
import textwrap
import tokenize
import warnings
from functools import lru_cache

MAX_CHARACTERS = 200_000
"""Longest text that is parsed."""

PROSE_WORDS = 5
"""Words from which a string is a message for people."""

_BEGINNINGS = {
    "else": "if 0:\n pass\n",
    "elif": "if 0:\n pass\n",
    "except": "try:\n pass\n",
    "finally": "try:\n pass\n",
}
_FIRST_WORD = re.compile(r"\w*")
# A string without its end goes to the end of its line or of the text, so that one pass is enough.
_TOKEN = re.compile(
    r"""#[^\n]*|[rbfuRBFU]{0,2}(?:\"{3}(?:[^\\]|\\.)*?(?:\"{3}|\Z)|'{3}(?:[^\\]|\\.)*?(?:'{3}|\Z)"""
    r"""|"(?:[^"\\\n]|\\.)*+"?|'(?:[^'\\\n]|\\.)*+'?)|([^\W\d]\w*+)""",
    re.DOTALL,
)
_FREE_NAMES = frozenset({"", "if", "elif", "else", "pass"})
_DIRECTIVE = re.compile(r"#\s*(?:type:|noqa|pragma|pylint:|fmt:|ruff:|mypy:|isort:|-\*-)|#!")


def parse_python(text: str) -> ast.Module | None:
    """The syntax tree; None where the text is no Python, or is too long or too deep to tell."""
    if len(text) > MAX_CHARACTERS:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of doubtful escapes
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def normal_python(text: str) -> str | None:
    """One spelling for all texts of a program; None where the text is no Python."""
    tree = parse_python(text)
    try:
        return None if tree is None else ast.dump(tree)
    except RecursionError:
        return None


@lru_cache(maxsize=64)
def names_in(text: str) -> frozenset[str]:
    """Names outside strings and comments, which equal programs have in common; a hundredth of the cost of a tree."""
    return frozenset(_TOKEN.findall(text)) - _FREE_NAMES


@lru_cache(maxsize=64)
def read_fragment(text: str) -> tuple[str, list[str]] | None:
    """Some lines of a program: one spelling for what they do, and the messages in them, in order.

    Docstrings are left out, and strings of `PROSE_WORDS` words and more have no text. None where the lines are no
    whole statements.
    """
    lines = textwrap.dedent(text)
    first = _FIRST_WORD.match(lines.lstrip("\n"))
    tree = parse_python(lines) or parse_python(_BEGINNINGS.get(first[0] if first else "", "") + lines)
    if tree is None:
        return None
    messages: list[str] = []
    try:
        for node in ast.walk(tree):
            if body := getattr(node, "body", None):
                _drop_texts(node, body)
            if (
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and len(node.value.split()) >= PROSE_WORDS
            ):
                messages.append(node.value)
                node.value = ""
        return ast.dump(tree), messages
    except RecursionError:
        return None


def _drop_texts(node: ast.AST, body: object) -> None:
    """Remove the statements that are a string: docstrings, and comments in their place."""
    if isinstance(body, list):
        kept = [one for one in body if not (isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant)
                                            and isinstance(one.value.value, str))]  # fmt: skip
        node.body = kept or [ast.Pass()]  # type: ignore[attr-defined]


def comments_of(text: str) -> tuple[list[str], list[str]]:
    """The comments for people, and those that tools read; as far as the text can be cut into tokens."""
    found: list[str] = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            found += [token.string] * (token.type == tokenize.COMMENT)
    except (tokenize.TokenError, SyntaxError):  # the rest is inside an open bracket or string, or is indented otherwise
        pass
    directives = [comment for comment in found if _DIRECTIVE.match(comment)]
    return [comment for comment in found if comment not in directives], directives
