"""Base of all rows; chat messages and tool calls."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict


class Row(BaseModel):
    """Base of all rows: frozen, unknown keys refused, field docstrings are the schema descriptions."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class ToolCall(Row):
    """One function call.

    Example: `ToolCall(id="call_1", name="get_order", arguments='{"order_id": "A17"}')`
    """

    id: str | None = None
    """Call id that the tool's reply refers to."""
    name: str
    """Function name."""
    arguments: str
    """Arguments as the raw JSON text that the model wrote."""


class Message(Row):
    """One chat message; an assistant message is an *action*."""

    role: Literal["system", "user", "assistant", "tool"]
    """Role of the author."""
    content: str = ""
    """Visible text; empty if the message has only tool calls."""
    reasoning: str | None = None
    """Reasoning text, separate from the content."""
    tool_calls: list[ToolCall] = []
    """Tool calls in order; several calls in one message are one action."""
    tool_call_id: str | None = None
    """Tool messages: id of the call that it answers."""
    name: str | None = None
    """Tool messages: name of the tool."""
