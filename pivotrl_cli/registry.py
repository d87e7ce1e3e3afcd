"""Plug-ins by name: a table maps a short name to `module:attribute`; users name their own plug-ins the same way.

Importing happens on demand, so that a table may name modules with heavy dependencies. An exception in a user's module
while it is imported is reported in one line; an exception in one of our modules is a bug and keeps its traceback.

Left out: registration at import and discovery of subclasses (nothing is known unless a table names it), entry points of
installed packages (`module:attribute` reaches them).
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from pivotrl_cli.errors import ConfigError, PivotRLError


def load(kind: str, name: str, table: Mapping[str, str]) -> Any:
    """Resolve `name` through `table`, or as a user's `package.module:attribute` or `path/to/file.py:attribute`.

    `kind` is the word for messages: `unknown verifier 'tool_cal'`.
    """
    if name in table:
        module, _, attribute = table[name].partition(":")
        return getattr(importlib.import_module(module), attribute)
    module, colon, attribute = name.rpartition(":")
    if not colon:
        raise ConfigError(f"unknown {kind} {name!r}", suggest(name, table))
    if not module or not attribute:
        raise ConfigError(f"{kind} {name!r} is not of the form module:attribute", "for example my_module:my_function")
    return _attribute(kind, module, attribute)


def suggest(name: str, known: Iterable[str]) -> str:
    """The hint for an unknown name: the closest known one, and all of them."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    guess = f"did you mean {close[0]!r}? " if close else ""
    return f"{guess}known: {', '.join(names)}"


def _attribute(kind: str, module: str, attribute: str) -> Any:
    found: Any = _import(kind, module)
    for part in attribute.split("."):
        if not hasattr(found, part):
            public = [name for name in dir(found) if not name.startswith("_")]
            raise ConfigError(f"{kind} module {module!r} has no attribute {attribute!r}", suggest(part, public))
        found = getattr(found, part)
    return found


def _import(kind: str, module: str) -> ModuleType:
    try:
        if module.endswith(".py"):
            return _import_file(kind, Path(module))
        return importlib.import_module(module)
    except PivotRLError:
        raise
    except Exception as error:  # the user's code runs here and may raise anything
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"cannot import {kind} module {module!r}: {type(error).__name__}: {reason}",
            "name a file by its path: path/to/file.py:attribute",
        ) from error


def _import_file(kind: str, path: Path) -> ModuleType:
    if not path.is_file():
        raise ConfigError(f"{kind} file {str(path)!r} does not exist")
    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]
    name = f"pivotrl_user_{path.stem}_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None  # a .py suffix always has one
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up while it is being executed
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
