"""Messages and calls, and what all rows share."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict


class Row(BaseModel):
    """Base of all rows: frozen, unknown keys refused, field docstrings become schema descriptions."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class ToolCall(Row):
    """One function call.

    Example: `ToolCall(id="call_1", name="get_order", arguments='{"order_id": "A17"}')`
    """

    id: str | None = None
    """Identifier that the tool's reply refers to."""
    name: str
    """Name of the function."""
    arguments: str
    """Arguments as the raw JSON text that the model wrote."""


class Message(Row):
    """One chat message; the assistant's message is an *action*."""

    role: Literal["system", "user", "assistant", "tool"]
    """Who speaks."""
    content: str = ""
    """Visible text; empty when the message is only tool calls."""
    reasoning: str | None = None
    """Hidden reasoning, kept apart from the content."""
    tool_calls: list[ToolCall] = []
    """Function calls, in order; several in one message are one action."""
    tool_call_id: str | None = None
    """On a tool message: the call it answers."""
    name: str | None = None
    """On a tool message: the tool that answered."""
