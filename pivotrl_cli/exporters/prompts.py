"""Prompts of targets that sample and score by themselves: messages, or text rendered as profiling renders it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from pivotrl_cli.exporters.scoring import NEEDS_JUDGE, ground_truth
from pivotrl_cli.exporters.tally import Tally
from pivotrl_cli.model.chat import UnrenderableError
from pivotrl_cli.rows import Candidate, Message

if TYPE_CHECKING:
    from pivotrl_cli.model.chat import ChatFormat

BATCH_ROWS = 256
"""Rows that are written together."""

_TEXT = pa.string()
_CALL = pa.struct([("id", _TEXT), ("type", _TEXT), ("function", pa.struct([("name", _TEXT), ("arguments", _TEXT)]))])
MESSAGES = pa.list_(
    pa.struct(
        [
            ("role", _TEXT),
            ("content", _TEXT),
            ("reasoning_content", _TEXT),
            ("tool_calls", pa.list_(_CALL)),
            ("tool_call_id", _TEXT),
            ("name", _TEXT),
        ]
    )
)
"""Arrow type of messages in OpenAI's form, arguments as JSON text; what a message lacks is null."""

TOOLS_UNSEEN = "tools in the prompt (--model renders them)"


class Prompted(NamedTuple):
    """A row that can be sampled at and scored."""

    candidate: Candidate
    truth: str
    text: str | None
    """The rendered prompt; None without a model."""


def prompted(rows: Iterator[Candidate], tally: Tally, chat: ChatFormat | None) -> Iterator[Prompted]:
    """The rows that a reward file can score and, where a model is given, that its chat template accepts."""
    for candidate in rows:
        truth = ground_truth(candidate)
        if truth is None:
            tally.leave_out(candidate, NEEDS_JUDGE)
            continue
        try:
            text = chat.prompt_text(candidate.state, candidate.tools) if chat else None
        except UnrenderableError:
            tally.leave_out(candidate, "the chat template refuses the state")
            continue
        if chat is None and candidate.tools != "[]":
            tally.not_held(candidate, TOOLS_UNSEEN)
        tally.n_rows += 1
        yield Prompted(candidate, truth, text)


def batches(rows: Iterator[Prompted]) -> Iterator[list[Prompted]]:
    """The rows, some at a time."""
    batch: list[Prompted] = []
    for row in rows:
        batch.append(row)
        if len(batch) == BATCH_ROWS:
            yield batch
            batch = []
    if batch:
        yield batch


def messages(state: list[Message]) -> list[dict[str, Any]]:
    """The state as values of `MESSAGES`."""
    return [
        {
            "role": message.role,
            "content": message.content,
            "reasoning_content": message.reasoning,
            "tool_calls": [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                for call in message.tool_calls
            ]
            or None,
            "tool_call_id": message.tool_call_id,
            "name": message.name,
        }
        for message in state
    ]
