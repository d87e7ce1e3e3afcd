"""Letters that spell a mark, kept apart from the mark's own token.

`</tool_call>` inside an argument is text, and a token of the vocabulary ends a call; rendered text shows no difference.
Where the tokens are known, a guard breaks what is spelled in letters: before it is read, and before it is encoded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from pivotrl_cli.rows import Message, ToolCall

GUARD = "\ufdd0"
"""A code point that no text uses (Unicode: not a character)."""


def mark_pattern(tokens: Iterable[str]) -> re.Pattern[str]:
    """What matches a token that is a mark; short ones and runs of spaces are words like others."""
    marks = sorted((one for one in tokens if len(one) > 2 and not one.isspace()), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, marks)) or "(?!)")


def break_marks(text: str, pattern: re.Pattern[str]) -> str:
    return pattern.sub(lambda match: f"{match[0][0]}{GUARD}{match[0][1:]}", text)


def guarded(action: Message, pattern: re.Pattern[str]) -> Message:
    """The action with the marks in its arguments broken; the marks of its text may be meant, as recorded reasoning."""
    return action.model_copy(update={"tool_calls": _calls(action, lambda text: break_marks(text, pattern))})


def without_guard(action: Message) -> Message:
    reasoning = None if action.reasoning is None else _unbroken(action.reasoning)
    changed = {"content": _unbroken(action.content), "reasoning": reasoning, "tool_calls": _calls(action, _unbroken)}
    return action.model_copy(update=changed)


def _calls(action: Message, change: Callable[[str], str]) -> list[ToolCall]:
    return [call.model_copy(update={"arguments": change(call.arguments)}) for call in action.tool_calls]


def _unbroken(text: str) -> str:
    return text.replace(GUARD, "")
