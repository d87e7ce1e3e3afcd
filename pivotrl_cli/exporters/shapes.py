"""Messages and tools in the forms that several targets share."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from pivotrl_cli.rows import Candidate, Message, Profile

CALL_IDS = "call ids (made up)"
NAMES = "names of tools on their replies"


def to_json(value: Any) -> str:
    """One line of JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def with_call_ids(messages: Iterable[Message]) -> Iterator[Message]:
    """The messages with an id on every call and reply; a reply without one answers the first call that is still open.

    Example: a second message with a call and a third that answers it, both without an id, have `call_1_0`.
    """
    still_open: list[str] = []
    for i, message in enumerate(messages):
        if message.tool_calls:
            named = [
                call if call.id else call.model_copy(update={"id": f"call_{i}_{j}"})
                for j, call in enumerate(message.tool_calls)
            ]
            still_open = [str(call.id) for call in named]
            yield message.model_copy(update={"tool_calls": named})
        elif message.role == "tool":
            answered = message.tool_call_id or (still_open[0] if still_open else f"call_{i}")
            still_open = [one for one in still_open if one != answered]
            yield message.model_copy(update={"tool_call_id": answered})
        else:
            yield message


def loses_names(messages: Iterable[Message]) -> bool:
    """Whether a reply names a tool that the call it answers, by its id, does not."""
    names: dict[str | None, str] = {}
    for message in messages:
        names |= {call.id: call.name for call in message.tool_calls}
        if message.name and names.get(message.tool_call_id) != message.name:
            return True
    return False


def pass_rate(candidate: Candidate) -> dict[str, Any]:
    """What the profile says of the rewards here, by the names that public pivot sets use; empty for a candidate."""
    if not isinstance(candidate, Profile) or candidate.reward_mean is None:
        return {}
    rewards = [rollout.reward for rollout in candidate.rollouts if rollout.reward is not None]
    if not rewards:
        return {"pass_rate": candidate.reward_mean} | (
            {"pass_rate_total": candidate.n_scored} if candidate.n_scored else {}
        )
    known = {"rewards": rewards, "reward_mean": candidate.reward_mean, "reward_std": candidate.reward_std}
    if set(rewards) <= {0.0, 1.0}:
        known |= {
            "pass_rate": candidate.reward_mean,
            "pass_rate_total": len(rewards),
            "pass_rate_passed": int(sum(rewards)),
        }
    return known
