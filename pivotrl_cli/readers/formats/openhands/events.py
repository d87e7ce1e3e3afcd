"""Events of OpenHands to our messages and tools.

A condensation takes events out of what the model sees, and may put a summary there. The turns behind it are incomplete:
their state is not the record's history.
"""

from __future__ import annotations

from pivotrl_cli.readers.fields import Json, compact
from pivotrl_cli.readers.messages import message_of, text_of, tools_of
from pivotrl_cli.rows import Fault, Message, RejectReason, ToolCall

_SILENT_ACTIONS = ("change_agent_state", "null", "recall", "condensation", "condensation_request", "loop_recovery")
_SILENT_OBSERVATIONS = ("agent_state_changed", "null", "recall", "condense")
_BOOKKEEPING = frozenset(
    (
        *("id", "timestamp", "source", "message", "cause", "timeout", "action", "args", "thought"),
        *("tool_call_metadata", "keep_prompt", "hidden", "blocking", "is_input", "is_static", "include_extra"),
        *("return_all", "impl_source", "is_confirmed", "confirmation_state", "action_risk", "security_risk"),
        *("kernel_init_code", "llm_metrics", "image_urls", "images_urls", "wait_for_response", "cwd"),
        "translated_ipython_code",
    )
)
"""Fields of an action that the harness adds; the others are the model's."""


def conversation(history: list[Json]) -> tuple[list[Message], str, list[Fault]]:
    """Messages of the events, the tools that they declare, and the turns behind a condensation."""
    found = _Conversation()
    for one in history:
        for event in one.list() if isinstance(one.value, list) else [one]:  # older records nest pairs
            if event:
                found.add(event)
    behind = found.messages[found.condensed_at :] if found.condensed_at is not None else []
    faults = [
        Fault(message=place, reason=RejectReason.INCOMPLETE, detail="the context was condensed before")
        for place, message in enumerate(behind, start=found.condensed_at or 0)
        if message.role == "assistant"
    ]
    return found.messages, found.tools, faults


class _Conversation:
    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.tools = "[]"
        self.condensed_at: int | None = None
        """Number of messages at the first condensation."""
        self._responses: set[str] = set()
        self._calls: dict[str, str | None] = {}
        self._last_call = False

    def add(self, event: Json) -> None:
        if event["observation"]:
            self._add_observation(event)
        elif event["action"]:
            self._add_action(event, event["action"].text())

    def _add_action(self, event: Json, action: str) -> None:
        if action == "condensation" and _forgets(event["args"].fields()) and self.condensed_at is None:
            self.condensed_at = len(self.messages)
        if action in _SILENT_ACTIONS:
            return
        self._last_call = False
        arguments = event["args"] if event["args"] else event
        metadata = event["tool_call_metadata"]
        if action == "system":
            self.messages.append(Message(role="system", content=text_of(arguments["content"])))
            self.tools = tools_of(arguments["tools"])
        elif metadata:
            self._add_response(event, metadata)
        elif action == "message":
            self._add_message(event, arguments)
        elif event["source"].value in (None, "agent"):  # users may run commands too
            self._last_call = True
            self._remember_call(event, None)
            chosen = {key: value for key, value in arguments.object().items() if key not in _BOOKKEEPING}
            call = ToolCall(name=action, arguments=compact(chosen))
            thought = arguments["thought"].text_or_none() or ""
            self.messages.append(Message(role="assistant", content=thought, tool_calls=[call]))

    def _add_response(self, event: Json, metadata: Json) -> None:
        """The model's own response, once for all of its actions."""
        response = metadata["model_response"]
        self._remember_call(event, metadata["tool_call_id"].text_or_none())
        self._last_call = True
        name = response["id"].text_or_none()
        if name is None or name not in self._responses:
            self._responses.add(name or "")
            choices = response["choices"].list()
            if not choices:
                raise response["choices"].error("expected the model's choice")
            message = choices[0]["message"]
            self.messages.append(message_of(Json({**message.object(), "role": "assistant"}, message.path)))

    def _add_message(self, event: Json, arguments: Json) -> None:
        """Without a source the first message is the user's, and later ones the agent's where it waits for an answer."""
        source = event["source"].value
        waits = arguments["wait_for_response"].value is True
        agents = source == "agent" or (source is None and waits and bool(self.messages))
        self.messages.append(Message(role="assistant" if agents else "user", content=text_of(arguments["content"])))

    def _add_observation(self, event: Json) -> None:
        cause = event["cause"].label()
        metadata = event["tool_call_metadata"]
        if event["observation"].value == "condense" and self.condensed_at is None:
            self.condensed_at = len(self.messages)
        if event["observation"].value in _SILENT_OBSERVATIONS:
            return
        if metadata:
            call_id = metadata["tool_call_id"].text_or_none()
        elif cause in self._calls:
            call_id = self._calls[cause]
        elif not self._last_call or cause:
            return  # the model did not ask for it
        else:
            call_id, self._last_call = None, False
        self.messages.append(Message(role="tool", content=text_of(event["content"]), tool_call_id=call_id))

    def _remember_call(self, event: Json, call_id: str | None) -> None:
        if event["id"]:
            self._calls[event["id"].label()] = call_id


def _forgets(arguments: Json) -> bool:
    """Whether a condensation takes any event out; a listed or a spanned one."""
    return bool(arguments["forgotten_event_ids"].value) or arguments["forgotten_events_start_id"].value is not None
