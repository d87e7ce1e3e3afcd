"""Worlds in which a policy acts over several turns.

An `Episode` is one run of one task. The same members serve a multi-turn world, a one-turn question and a held-out
pivot, so one loop (`stages/shared/episodes.py`) drives them all, many at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from pivotrl_cli.errors import ConfigError
from pivotrl_cli.registry import load
from pivotrl_cli.rows import Candidate, Message


class WorldError(Exception):
    """The world failed, not the policy, such as a simulated user that does not answer: the run is not measured."""


class Episode(Protocol):
    """One run of one task; `state` grows as the policy acts."""

    task_id: str
    """Task, unique within the benchmark."""
    cluster: str
    """Tasks with the same cluster are not independent of each other."""
    category: str
    """Kind of task, for break-downs."""
    tools: str
    """Tool schemas, a JSON list in OpenAI's form."""
    state: list[Message]
    """The policy's next prompt; starts with the system prompt and the user's request."""
    done: bool
    """True once the episode takes no more actions."""

    def step(self, action: Message) -> None:
        """Apply the policy's action: append it and its consequences to `state`. A bad action never raises.

        Raises `WorldError` where the consequences are unknown.
        """

    def score(self) -> float:
        """Score in [0, 1] of the episode in its current state; 0 for one that did not finish."""


Environment = Callable[[Candidate], Episode]
"""Makes a new episode of the task that a row comes from."""

ENVIRONMENTS = {"desk": "pivotrl_cli.environments.desk:episode_for_row"}
"""Worlds to train in, by the domain of their rows."""


def load_environment(name: str) -> Environment:
    """One of `ENVIRONMENTS`, or a user's `path/to/file.py:function`."""
    if name not in ENVIRONMENTS and ":" not in name:
        known = ", ".join(ENVIRONMENTS)
        raise ConfigError(
            f"no environment is known for {name!r}",
            f"use --environment with {known} or path/to/file.py:function, which makes an episode of a row's task",
        )
    environment: Environment = load("environment", name, ENVIRONMENTS)
    return environment


@runtime_checkable
class Measured(Protocol):
    """An episode with metrics beside its score."""

    def metrics(self) -> dict[str, float]:
        """Further metrics of the episode in its current state, by name; only those that apply to it."""


@runtime_checkable
class Begins(Protocol):
    """An episode with work to do before the first action, such as asking a user."""

    def begin(self) -> None:
        """Complete `state`; raises `WorldError` on failure."""


class SimulatedUser(Protocol):
    """A user who talks to the policy, and may have tools of their own."""

    def __call__(self, key: str, state: list[Message], tools: str) -> Message:
        """The user's next message, as an assistant message; `key` names the question and is used once. Raises
        `WorldError` where there is no answer.
        """
