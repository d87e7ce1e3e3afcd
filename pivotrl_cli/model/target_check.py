"""What is wrong with the target of a row: the text that imitation trains on, and that a rollout would have to equal.

A target must end with the only token in it at which generation stops, and read back as the demonstrated action. Formats
without escapes fail here: two actions can have one text, and the text is read as one of them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pivotrl_cli.model.chat import ChatFormat, UnparsableError, UnrenderableError
from pivotrl_cli.model.shape import arguments_of
from pivotrl_cli.rows import Message

LOSSY = ("target_without_text", "target_without_reasoning")
"""What a template leaves out of an action that it otherwise writes; the rest can be trained."""


def target_fault(chat: ChatFormat, state: Sequence[Message], tools: str, action: Message) -> str:
    """Kind and detail, `target_changed: the calls came back as ...`; empty for a target that is right."""
    try:
        tail = chat.encode(chat.prompt_text(list(state), tools)[-200:])  # all that the reply goes on from
        target = chat.completion_ids(list(state), tools, action)
    except UnrenderableError as error:
        return f"target_refused: {error}"
    stops = chat.stop_ids.intersection(target)
    if target[-1] not in stops:
        return "target_endless: it ends with no token at which generation stops"
    if early := chat.stop_ids.intersection(target[:-1]):
        return f"target_cut: generation would stop in the middle, at {chat.decode([min(early), target[-1]])}"
    try:
        return _difference(chat, chat.parse_tokens(target, tail, tools), action)
    except UnparsableError as error:
        return f"target_unreadable: {error}"


def _difference(chat: ChatFormat, back: Message, action: Message) -> str:
    calls = [(call.name, json.loads(call.arguments)) for call in back.tool_calls]
    if calls != (expected := [(call.name, arguments_of(call)) for call in action.tool_calls]):
        return f"target_changed: {_shown(expected)} came back as {_shown(calls)}"
    content = action.content
    if chat.found.format.reasoning and action.reasoning is None:  # reasoning may have been recorded in the text
        content = content.rpartition(chat.found.format.reasoning[1].strip())[2]
    if back.content != content.strip():
        kind = "target_changed" if back.content else "target_without_text"
        return f"{kind}: {content.strip()[:80]!r} came back as {back.content[:80]!r}"
    if action.reasoning and (back.reasoning or "") != action.reasoning.strip():
        kind = "target_changed" if back.reasoning else "target_without_reasoning"
        return f"{kind}: {action.reasoning[:80]!r} came back as {(back.reasoning or '')[:80]!r}"
    return ""


def _shown(calls: list[tuple[str, Any]]) -> str:
    return json.dumps(calls, ensure_ascii=False)[:160]
