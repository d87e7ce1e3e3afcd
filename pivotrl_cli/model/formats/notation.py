"""The notation of a format: marks as literal text, grammar as regular expressions."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

Body = Literal[
    "call", "calls", "keyed", "arguments", "tags", "elements", "python", "gemma", "harmony", "template", "none"
]
"""What stands between a call's opening and its close:

- `call`: a JSON object with the name and the arguments; `calls`: one or more of them, or a list;
- `keyed`: a JSON list of `{name: arguments}`; `arguments`: the JSON arguments of a call named by the opening;
- `tags`: one tag per argument with raw text; `elements`: nested tags, `<item>` for what stands in a list;
- `python`: `[f(a=1), g()]`; `gemma`: `{key:<|"|>text<|"|>}`;
- `harmony`: messages on channels, the recipient in the header;
- `template`: as the tokenizer's own response template says; `none`: the model writes no calls.
"""


_THINK = ("<think>", "</think>")


@dataclass(frozen=True)
class Format:
    """How one family writes an action. Marks of reasoning are plain text, the other marks regular expressions."""

    name: str
    body: Body = "call"
    open: str = ""
    """Where a call begins; group `name` where the opening names the tool."""
    close: str = ""
    """What follows a call's body."""
    section: tuple[str, str] | None = None
    """Marks around all calls; between the calls inside nothing else counts."""
    argument: str = ""
    """`tags`: an argument's opening; groups `key`, and `type` or `string` where the tag says what the value is."""
    argument_end: str = ""
    """`tags`: an argument's close. It counts where another argument or the call's close follows."""
    unclosed: str = ""
    """`tags`: where a value ends whose close the model forgot."""
    anywhere: bool = True
    """Whether the opening is a mark of its own; otherwise it is plain text, a call where it begins the reply or names
    a tool that is offered."""
    reasoning: tuple[str, str] | None = _THINK
    implied: bool = True
    """Whether the close of reasoning alone means that the prompt opened it."""
    blank: str = ""
    """Marks that carry nothing: channel heads, ends of sections."""
    stray: str = ""
    """Marks that must not be left in the text: half of a pair."""
    lead: str = ""
    """What the prompt may end with that belongs to the reply."""
    prefix: str = ""
    """What elements begin with (MiniMax M3)."""
    stops: tuple[str, ...] = ()
    """Tokens that end a turn beside those of the tokenizer and of the generation config."""
    families: str = ""


OWN_FORMAT = "pivotrl_format"
"""The key under which `tokenizer_config.json` keeps a record of this notation."""
_REGULAR_EXPRESSIONS = ("open", "close", "argument", "argument_end", "unclosed", "blank", "stray")


def to_format(record: dict[str, Any]) -> Format:
    """A record of `families.toml`, checked; raises `ValueError`. `reasoning = []` says that there are no marks."""
    if unknown := set(record) - {one.name for one in fields(Format)}:
        raise ValueError(f"no such field: {', '.join(sorted(unknown))}")
    try:
        form = TypeAdapter(Format).validate_python({**record, "reasoning": record.get("reasoning", _THINK) or None})
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    for name in _REGULAR_EXPRESSIONS:
        try:
            re.compile(getattr(form, name))
        except re.error as error:
            raise ValueError(f"{name}: {error}") from error
    return form
