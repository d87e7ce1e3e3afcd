"""One part of what doctor looks at, and how a terminal shows it."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass

_WIDTH, _INDENT = 79, 18


@dataclass(frozen=True, slots=True)
class Finding:
    """State of one part: `Finding("vllm", "no", "not installed", "pip install 'pivotrl[vllm]'")`."""

    name: str
    state: str
    """`ok`, `no` (something is not available), `slow`, `low` (disk) or `broken` (every run would fail)."""
    found: str
    hint: str | None = None
    """How to fix it."""

    def lines(self) -> str:
        """Lines of 79 characters, the state in front: `no     engine vllm       not installed`."""
        head = f"{self.state:<7}{self.name:<{_INDENT}}"
        texts = [self.found] + ([f"to fix it: {self.hint}"] if self.hint else [])
        space = " " * len(head)
        lines = [textwrap.fill(text, _WIDTH, initial_indent=space, subsequent_indent=space) for text in texts]
        return head + "\n".join(lines)[len(head) :]


def probe(name: str, look: Callable[[], str], hint: str) -> Finding:
    try:
        return Finding(name, "ok", look())
    except Exception as error:  # a broken installation can raise anything
        first_line = (str(error).strip().splitlines() or [""])[0]
        return Finding(name, "broken", f"{type(error).__name__}: {first_line}", hint)
