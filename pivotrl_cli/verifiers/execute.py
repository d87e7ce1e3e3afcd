"""Equivalent is what does the same: run both actions from the same state of the world, compare what comes of them.

The world is the one of the candidate's domain, put where it stood before the turn by replaying the recorded actions; a
reply that differs from the recorded one makes the measurement an error, never a zero. Then the demonstrated and the
sampled calls run on copies. Equal are the same state afterwards and the same replies, in any order: reads are told
apart by what they return. A call that fails equals nothing, for two failures leave the same state.

Where a message was demonstrated it is compared as `tool_call` does, and so are calls of tools that the world does not
have (handing over to a human). Nothing reaches a shell or an interpreter: a world calls its own tools, by name, with
JSON values. Left out: partial credit, worlds with a clock or chance.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from pivotrl_cli.registry import load
from pivotrl_cli.rows import Candidate, Message
from pivotrl_cli.verifiers import Verdict, compare_calls
from pivotrl_cli.verifiers.compare.batches import MAX_SURPLUS, call_credit
from pivotrl_cli.verifiers.compare.calls import UnverifiableError, demonstrated_calls
from pivotrl_cli.verifiers.compare.differences import shown
from pivotrl_cli.verifiers.compare.messages import accepted_category, call_count_difference

WORLDS: dict[str, str] = {
    "desk": "pivotrl_cli.environments.desk.world_before:start",
    "airline": "pivotrl_cli.environments.tau:airline",
    "retail": "pivotrl_cli.environments.tau:retail",
}
"""Domain -> a function from a candidate to its world as it stood at the beginning of the task."""


class World(Protocol):
    """What an action can be tried in."""

    tools: frozenset[str]
    """Names of the tools that it can run."""

    def step(self, action: Message) -> Sequence[tuple[str, bool]]:
        """Take an action of the assistant; the reply to each of its calls, and whether that call failed."""
        ...

    def fork(self) -> World:
        """A copy that shares nothing that can change."""
        ...

    def state(self) -> object:
        """What can be compared with `==` to the state of another."""
        ...


class Effect(NamedTuple):
    """What an action did."""

    state: object
    replies: list[tuple[str, bool]]
    failure: str | None
    """Reply to the first call that failed."""


def _compare(candidate: Candidate, action: Message) -> Verdict:
    """The verdict of `tool_call`."""
    return compare_calls(candidate, action, lambda want, got: call_credit(want, got, candidate.tools))


class Execute:
    """The verifier; keeps the world of the last candidate, because its rollouts come one after the other."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: tuple[Candidate, World, Effect | None] | None = None

    def __call__(self, candidate: Candidate, action: Message) -> Verdict:
        expected = candidate.expected_action
        if not expected.tool_calls:
            return _compare(candidate, action)
        demonstrated_calls(expected)
        with self._lock:
            before, wanted = self._world_before(candidate)
            if wanted is None:
                return _compare(candidate, action)
            if not action.tool_calls or len(action.tool_calls) > len(expected.tool_calls) + MAX_SURPLUS:
                return Verdict.of(call_count_difference(expected, action), expected)
            return _compare_effects(wanted, _effect(before, action), expected)

    def _world_before(self, candidate: Candidate) -> tuple[World, Effect | None]:
        """The world before the turn, and what the demonstration does in it; None where the world lacks its tools."""
        if self._last is None or self._last[0] is not candidate:
            world = world_before(candidate)
            runs = all(call.name in world.tools for call in candidate.expected_action.tool_calls)
            wanted = _effect(world, candidate.expected_action) if runs else None
            self._last = candidate, world, wanted
        _, world, wanted = self._last
        if wanted and wanted.failure is not None:
            raise UnverifiableError(f"the demonstrated call fails in the world: {shown(wanted.failure)}")
        return world, wanted


verify = Execute()


def world_before(candidate: Candidate) -> World:
    """The world as it stood before the turn; raises `UnverifiableError` where it cannot be had."""
    if candidate.domain not in WORLDS:
        known = ", ".join(WORLDS)
        raise UnverifiableError(f"no world to execute in for domain {candidate.domain!r}; known: {known}")
    world: World = load("world", candidate.domain, WORLDS)(candidate)
    for i, message in enumerate(candidate.state):
        if message.role == "assistant":
            _replay(world, message, candidate.state[i + 1 : i + 1 + len(message.tool_calls)], i)
    return world


def _replay(world: World, message: Message, recorded: Sequence[Message], place: int) -> None:
    """Take a recorded action; its replies must be the recorded ones."""
    replies = world.step(message)
    if len(recorded) < len(replies) or any(reply.role != "tool" for reply in recorded):
        raise UnverifiableError(f"state {place}: a call has no recorded reply")
    for call, (text, failed), reply in zip(message.tool_calls, replies, recorded, strict=True):
        both_failed = failed and reply.content.lower().startswith("error")
        if call.name in world.tools and not both_failed and _content(text) != _content(reply.content):
            raise UnverifiableError(
                f"state {place}: replaying {call.name} gives {shown(text)}, recorded is {shown(reply.content)}"
            )


def _effect(before: World, action: Message) -> Effect:
    world = before.fork()
    replies = list(world.step(action))
    return Effect(world.state(), replies, next((text for text, failed in replies if failed), None))


def _compare_effects(wanted: Effect, got: Effect, expected: Message) -> Verdict:
    if got.failure is not None:
        return Verdict(0.0, "execution_failed", f"a call fails: {shown(got.failure)}")
    if got.state != wanted.state:
        return Verdict(0.0, "state_different", "leaves another state")
    if len(got.replies) == len(wanted.replies) == 1:
        same = _content(got.replies[0][0]) == _content(wanted.replies[0][0])
    else:
        texts = [sorted(json.dumps(_content(r), sort_keys=True) for r, _ in side.replies) for side in (got, wanted)]
        same = texts[0] == texts[1]
    if not same:
        listed = ", ".join(shown(text) for text, _ in got.replies)
        return Verdict(0.0, "output_different", f"returns something else: {listed}")
    return Verdict(1.0, str(accepted_category(expected)))


def _content(text: str) -> Any:
    """A reply as JSON where it is JSON, so that spelling does not count."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text.strip()
