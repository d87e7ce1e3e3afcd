"""Exceptions that the user can fix; any other exception is a bug and keeps its traceback.

    PivotRLError            one line and a hint on stderr, exit 2
    ├── InputError          a file, record or folder that was given cannot be used
    ├── ConfigError         an option is wrong, or two of them contradict each other
    ├── OutputError         the output exists with another configuration, or cannot be written
    ├── MissingExtra        an optional dependency is not installed
    ├── RunError            the input was right but the run failed (exit 1)
    └── Interrupted         the user stopped a run that can be resumed (exit 130)

A message names the place (`candidates.parquet row 17: ...`); the hint names the way out.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["ConfigError", "InputError", "Interrupted", "MissingExtra", "OutputError", "PivotRLError", "RunError"]


class PivotRLError(Exception):
    """Base of the errors that are reported in one line instead of a traceback."""

    exit_code = 2

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if hint:
            self.add_note(f"hint: {hint}")

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by message and hint, because subclasses take other arguments; errors travel between processes."""
        return _unpickle, (type(self), self.message, self.hint)


class InputError(PivotRLError, ValueError):
    """A file, a record or a folder that was given cannot be used."""


class ConfigError(PivotRLError, ValueError):
    """An option has a wrong value, or options contradict each other."""


class OutputError(PivotRLError, OSError):
    """The output exists with another configuration, or cannot be written."""


class MissingExtra(PivotRLError, ImportError):
    """An optional dependency is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs the {extra} extra", f"pip install 'pivotrl[{extra}]'")


_EXTRA_OF = {"torch": "train", "transformers": "train", "huggingface_hub": "train", "datasets": "datasets"}


@contextmanager
def naming_extras(what: str) -> Iterator[None]:
    """Raise `MissingExtra` where `what` imports a library of an extra that is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        extra = _EXTRA_OF.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        raise MissingExtra(f"this {what}", extra) from error


class RunError(PivotRLError, RuntimeError):
    """The input was right, the run failed."""

    exit_code = 1


class Interrupted(PivotRLError):
    """The user stopped a run that can be resumed."""

    exit_code = 130


def _unpickle(kind: type[PivotRLError], message: str, hint: str | None) -> PivotRLError:
    error = kind.__new__(kind)
    PivotRLError.__init__(error, message, hint)
    return error
