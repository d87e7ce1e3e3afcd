"""The notation of a format: marks as literal text, grammar as regular expressions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

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
    reasoning: tuple[str, str] | None = ("<think>", "</think>")
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
