"""Whether two calls of an editing tool change a file in the same way.

A call is read as a list of changes, whatever the harness calls its arguments, and changes are compared one by one:

- the file: the same path, or a relative one of two parts and more at the end of an absolute one;
- what is replaced, character for character but for white space at the ends of lines; more lines of context around the
  same change are the same change;
- what is written, by the grammar of the file: Python by its syntax tree, where comments, docstrings and the wording of
  messages may differ; JSON and TOML by their values; languages with braces but for white space outside quotes;
  anything else but for white space at the ends of lines.

A change of comments alone has to say the same. Patches (unified diffs and the `apply_patch` form) are read as
replacements, so line numbers and surplus context do not count.
"""

from __future__ import annotations

import json
import posixpath
import re
import tomllib
from collections.abc import Iterator
from typing import Any, NamedTuple

from pivotrl_cli.verifiers.compare.basis import note_likeness
from pivotrl_cli.verifiers.compare.differences import Category, Difference, shown, value_difference
from pivotrl_cli.verifiers.compare.prose import prose_difference
from pivotrl_cli.verifiers.compare.python_code import comments_of, names_in, read_fragment

PATH_KEYS = ("path", "file", "file_path", "filePath", "filepath", "filename", "file_name", "target_file")
"""Where a tool names its file, in any harness; the first one counts."""

OLD_KEYS = ("old_str", "old_string", "oldString", "old_text", "oldText", "search", "original")
NEW_KEYS = ("new_str", "new_string", "newString", "new_text", "newText", "replace", "replacement", "insert_text")
CONTENT_KEYS = ("content", "contents", "file_text", "text", "code")
PATCH_KEYS = ("patch", "diff", "input")
"""Where the texts of a change are."""

TEXTS = frozenset((*PATH_KEYS, *OLD_KEYS, *NEW_KEYS, *CONTENT_KEYS, *PATCH_KEYS))
"""All of them."""

_CREATES = frozenset({"create", "write"})
_REPLACEMENT = frozenset((*OLD_KEYS, *NEW_KEYS))

MIN_PARTS = 2
"""Parts that a relative path must have to be found at the end of an absolute one."""

_SUFFIXES = (
    ".js .jsx .ts .tsx .mjs .cjs .java .c .h .cc .cpp .hpp .cs .go .rs .kt .swift .scala .php .css .scss "
    ".html .xml .vue .svelte .sql .proto .graphql"
)
_BRACES = frozenset(_SUFFIXES.split())
_STRING = re.compile(r"""\"(?:[^"\\\n]|\\.)*+"?|'(?:[^'\\\n]|\\.)*+'?|`(?:[^`\\]|\\.)*+`?|[^\S\n]++""", re.DOTALL)
_PATCH_FILE = re.compile(r"\*\*\* (Add|Update|Delete) File: (.+)|\+\+\+ (?:b/)?([^\t]+)")
_PATCH_HEAD = re.compile(r"(?:\*\*\* (?:Begin|End)|--- |diff --git|index |new file mode|similarity |rename )")


class Change(NamedTuple):
    """One change of one file.

    Example: `Change("replace", "src/a.py", "x = 1", "x = 2")`
    """

    action: str
    path: str
    old: str = ""
    new: str = ""


def edit_difference(expected: dict[str, Any], actual: dict[str, Any]) -> Difference | None:
    """Whether two calls change files in another way; arguments that are no texts are the caller's to compare."""
    wanted, given = list(changes(expected)), list(changes(actual))
    if len(wanted) != len(given):
        return Difference(Category.EDIT_DIFFERENT, f"expected {len(wanted)} changes, got {len(given)}")
    return next(filter(None, map(change_difference, wanted, given)), None)


def changes(arguments: dict[str, Any]) -> Iterator[Change]:
    """The changes that a call makes, in order."""
    path, old, new = (_text(arguments, keys) for keys in (PATH_KEYS, OLD_KEYS, NEW_KEYS))
    action = arguments.get("command")
    action = action if isinstance(action, str) else ""
    several = arguments.get("edits")
    if patch := _text(arguments, PATCH_KEYS):
        yield from _patched(normal_lines(patch), path)
    elif several is not None:
        if isinstance(several, list) and all(isinstance(one, dict) and one.keys() <= _REPLACEMENT for one in several):
            for one in several:
                yield from changes({**one, "path": path})
        else:
            yield Change(action, path, "", _text(arguments, ("edits",)))
    elif action in _CREATES or (not action and not any(key in arguments for key in OLD_KEYS)):
        yield Change("create", path, "", _text(arguments, CONTENT_KEYS) or new)
    else:
        yield Change(action or "str_replace", path, old, new or _text(arguments, CONTENT_KEYS))


def _text(arguments: dict[str, Any], keys: tuple[str, ...]) -> str:
    found = next((arguments[key] for key in keys if arguments.get(key) is not None), "")
    return found if isinstance(found, str) else json.dumps(found, sort_keys=True)


def _patched(patch: str, path: str) -> Iterator[Change]:
    action, old, new = "Update", list[str](), list[str]()
    for line in [*patch.split("\n"), "@@"]:
        named = _PATCH_FILE.match(line)
        if (named or line.startswith(("@@", "*** End"))) and (old or new):
            yield Change("create" if action == "Add" else "str_replace", path, "\n".join(old), "\n".join(new))
            old, new = [], []
        if named:
            action, path = named[1] or "Update", (named[2] or named[3]).strip()
            if action == "Delete":
                yield Change("delete", path)
        elif line.startswith("@@") or _PATCH_HEAD.match(line):
            continue
        else:
            old += [line[1:]] * (line[:1] != "+")
            new += [line[1:]] * (line[:1] != "-")


def change_difference(expected: Change, actual: Change) -> Difference | None:
    """Whether two changes differ in their file, their kind or their effect."""
    if not same_path(expected.path, actual.path):
        return value_difference(Category.TARGET_DIFFERENT, expected.path, actual.path)
    if expected.action != actual.action:
        return value_difference(Category.TARGET_DIFFERENT, expected.action, actual.action)
    wanted, given = (one._replace(old=normal_lines(one.old), new=normal_lines(one.new)) for one in (expected, actual))
    if wanted.old == given.old:
        same = _same_new(wanted, given.new)
    else:
        same = _same_with_context(wanted, given) or _same_with_context(given, wanted)
    return None if same else Difference(Category.EDIT_DIFFERENT, f"{_shown(expected)} is not {_shown(actual)}")


def _shown(change: Change) -> str:
    return shown(change.new) if not change.old else f"{shown(change.old)} -> {shown(change.new)}"


def _same_with_context(less: Change, more: Change) -> bool:
    """Whether `more` is `less` with further lines around it that stay as they are."""
    if not less.old or more.old.count(less.old) != 1:
        return False
    return _same_new(more._replace(new=more.old.replace(less.old, less.new)), more.new)


def _same_new(expected: Change, actual: str) -> bool:
    if expected.new == actual:
        return True
    if not same_code(expected.path, expected.new, actual):
        return False
    if expected.old and expected.path.endswith(".py") and same_code(expected.path, expected.old, expected.new):
        return prose_difference(_said(expected.new), _said(actual)) is None
    return True


def _said(text: str) -> str:
    """What a piece of Python says to people: its comments, or all of it where there are none."""
    return "\n".join(comments_of(text)[0]) or text


def same_path(left: str, right: str) -> bool:
    """Whether two paths name one file, as far as can be told without the file system."""
    left, right = (posixpath.normpath(path.strip() or ".") for path in (left, right))
    if left == right:
        return True
    inner, outer = sorted((left, right), key=lambda path: path.startswith("/"))
    return (
        outer.startswith("/")
        and not inner.startswith(("/", ".."))
        and inner.count("/") + 1 >= MIN_PARTS
        and outer.endswith(f"/{inner}")
    )


def normal_lines(text: str) -> str:
    """Without white space at the ends of lines and without empty lines around."""
    return "\n".join(line.rstrip() for line in text.replace("\r\n", "\n").split("\n")).strip("\n")


def same_code(path: str, left: str, right: str) -> bool:
    """Whether two texts of a file mean the same by the grammar that its name stands for."""
    left, right = normal_lines(left), normal_lines(right)
    if left == right:
        return True
    if not left.strip() or not right.strip():
        return False
    suffix = posixpath.splitext(path)[1].lower()
    if suffix in (".py", ".pyi"):
        return _same_python(left, right)
    if suffix in (".json", ".toml"):
        loads = json.loads if suffix == ".json" else tomllib.loads
        try:
            return repr(_sorted(loads(left))) == repr(_sorted(loads(right)))
        except (ValueError, RecursionError):
            return False
    return suffix in _BRACES and _spaced(left) == _spaced(right)


def _same_python(left: str, right: str) -> bool:
    if _indent(left) != _indent(right) or names_in(left) != names_in(right):
        return False
    wanted, given = read_fragment(left), read_fragment(right)
    if wanted is None or given is None or wanted[0] != given[0] or len(wanted[1]) != len(given[1]):
        return False
    (wanted_comments, wanted_rules), (given_comments, given_rules) = comments_of(left), comments_of(right)
    if wanted_rules != given_rules:
        return False
    if wanted_comments != given_comments:
        note_likeness()
    return all(prose_difference(want, got) is None for want, got in zip(wanted[1], given[1], strict=True))


def _indent(text: str) -> int:
    """White space before the first line that is no comment."""
    line = next((line for line in text.split("\n") if line.strip() and line.lstrip()[0] != "#"), text)
    return len(line) - len(line.lstrip())


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return sorted((key, _sorted(item)) for key, item in value.items())
    return [_sorted(item) for item in value] if isinstance(value, list) else value


def _spaced(text: str) -> list[str]:
    """Lines with one blank for any run outside quotes, and none around."""
    lines = _STRING.sub(lambda found: " " if found[0].isspace() else found[0], text).split("\n")
    return [line.strip() for line in lines if line.strip()]
