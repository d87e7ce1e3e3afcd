"""Prompts for targets that sample and score by themselves: messages, or text rendered as in profiling."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

import pyarrow as pa

from pivotrl_cli.exporters.destination import Destination
from pivotrl_cli.exporters.messages import openai_calls
from pivotrl_cli.exporters.scoring import NEEDS_JUDGE, ground_truth
from pivotrl_cli.model.chat import UnrenderableError
from pivotrl_cli.rows import Candidate, Message, Pivot, Profile

BATCH_ROWS = 256
"""Rows that are written together."""

_TEXT = pa.string()
_CALL = pa.struct([("id", _TEXT), ("type", _TEXT), ("function", pa.struct([("name", _TEXT), ("arguments", _TEXT)]))])
_TEXTS = [(name, _TEXT) for name in ("role", "content", "reasoning_content")]
_REPLY = [(name, _TEXT) for name in ("tool_call_id", "name")]
MESSAGES = pa.list_(pa.struct([*_TEXTS, ("tool_calls", pa.list_(_CALL)), *_REPLY]))
"""Arrow type of messages in OpenAI's form, arguments as JSON text; absent fields are null."""

TOOLS_UNSEEN = "tools in the prompt (--model renders them)"


class PromptRow(NamedTuple):
    """A row that can be sampled at and scored."""

    candidate: Candidate
    ground_truth: str
    text: str | None
    """The rendered prompt; None without a model."""

    def weight_and_mean(self) -> dict[str, float | None]:
        """`weight` of a pivot and `reward_mean` of a profile; null where the table has none."""
        return {
            "weight": self.candidate.weight if isinstance(self.candidate, Pivot) else None,
            "reward_mean": self.candidate.reward_mean if isinstance(self.candidate, Profile) else None,
        }


def prompt_batches(rows: Iterator[Candidate], to: Destination) -> Iterator[list[PromptRow]]:
    """Batches of the rows that a reward file can score and, with a model, whose state its chat template renders."""
    prompts = _prompts(rows, to)
    while batch := list(islice(prompts, BATCH_ROWS)):
        yield batch


def _prompts(rows: Iterator[Candidate], to: Destination) -> Iterator[PromptRow]:
    for candidate in rows:
        truth = ground_truth(candidate)
        if truth is None:
            to.counts.leave_out(candidate.candidate_id, NEEDS_JUDGE)
            continue
        try:
            text = to.chat.prompt_text(candidate.state, candidate.tools) if to.chat else None
        except UnrenderableError:
            to.counts.leave_out(candidate.candidate_id, "the chat template refuses the state")
            continue
        if to.chat is None and candidate.tools != "[]":
            to.counts.note_loss(candidate, TOOLS_UNSEEN)
        to.counts.n_rows += 1
        yield PromptRow(candidate, truth, text)


def message_values(state: list[Message]) -> list[dict[str, Any]]:
    return [
        {
            "role": message.role,
            "content": message.content,
            "reasoning_content": message.reasoning,
            "tool_calls": openai_calls(message.tool_calls) or None,
            "tool_call_id": message.tool_call_id,
            "name": message.name,
        }
        for message in state
    ]
