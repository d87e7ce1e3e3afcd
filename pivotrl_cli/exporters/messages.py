"""Messages in the forms that several targets share, and the facts that these forms cannot hold."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from pivotrl_cli.rows import Candidate, Message, Profile, ToolCall

CALL_IDS = "call ids (made up)"
NAMES = "names of tools on their replies"


def json_line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n"


def openai_calls(calls: Iterable[ToolCall]) -> list[dict[str, Any]]:
    """Calls as OpenAI's chat messages have them, arguments as JSON text."""
    return [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in calls
    ]


def with_call_ids(messages: Iterable[Message]) -> Iterator[Message]:
    """The messages with an id on every call and reply; a reply without one answers the first unanswered call.

    Example: a call in the second message and the reply to it in the third, both without an id, get `call_1_0`.
    """
    unanswered: list[str] = []
    for i, message in enumerate(messages):
        if message.tool_calls:
            named = [
                call if call.id else call.model_copy(update={"id": f"call_{i}_{j}"})
                for j, call in enumerate(message.tool_calls)
            ]
            unanswered = [str(call.id) for call in named]
            yield message.model_copy(update={"tool_calls": named})
        elif message.role == "tool":
            answered = message.tool_call_id or (unanswered[0] if unanswered else f"call_{i}")
            unanswered = [one for one in unanswered if one != answered]
            yield message.model_copy(update={"tool_call_id": answered})
        else:
            yield message


def loses_names(messages: Iterable[Message]) -> bool:
    """Whether a reply names another tool than the call that it answers by its id."""
    names: dict[str | None, str] = {}
    for message in messages:
        names |= {call.id: call.name for call in message.tool_calls}
        if message.name and names.get(message.tool_call_id) != message.name:
            return True
    return False


RATES = ("rewards", "reward_mean", "reward_std", "pass_rate", "pass_rate_total", "pass_rate_passed")
"""Keys of what was measured at a row, as public pivot sets name them."""


def pass_rate(candidate: Candidate) -> dict[str, Any]:
    """The profile's rewards, by the names that public pivot sets use; empty for a candidate."""
    if not isinstance(candidate, Profile) or candidate.reward_mean is None:
        return {}
    rewards = [rollout.reward for rollout in candidate.rollouts if rollout.reward is not None]
    rate: dict[str, Any] = {"pass_rate": candidate.reward_mean}
    if not rewards:
        return rate | ({"pass_rate_total": candidate.n_scored} if candidate.n_scored else {})
    known = {"rewards": rewards, "reward_mean": candidate.reward_mean, "reward_std": candidate.reward_std}
    if set(rewards) <= {0.0, 1.0}:
        known |= rate | {"pass_rate_total": len(rewards), "pass_rate_passed": int(sum(rewards))}
    return known
