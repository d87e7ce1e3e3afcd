"""Worlds in which a policy acts over several turns.

An `Episode` is one run of one task. The same four members serve a multi-turn world, a one-turn question and a held-out
pivot, so one loop (`stages/eval.py`) drives them all, many at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from pivotrl_cli.errors import ConfigError
from pivotrl_cli.registry import load
from pivotrl_cli.rows import Candidate, Message


class WorldError(Exception):
    """The world failed, not the policy: a simulated user that does not answer. The run is then not measured."""


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
    """What the policy sees next; starts with the system prompt and the user's request."""
    done: bool
    """True once the episode takes no more actions."""

    def step(self, action: Message) -> None:
        """Take the policy's action: append it and what it causes to `state`. Never raises on a bad action.

        Raises `WorldError` where what follows could not be found out.
        """
        ...

    def score(self) -> float:
        """Score in [0, 1] of the episode as it stands; 0 for one that did not finish."""
        ...


Environment = Callable[[Candidate], Episode]
"""Makes a new episode of the task that a row comes from; its name and further columns are the row's."""

ENVIRONMENTS = {"desk": "pivotrl_cli.environments.desk:again"}
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
    """An episode with more to measure than its score."""

    def metrics(self) -> dict[str, float]:
        """Further measurements of the episode as it stands, by name; only those that apply to it."""
        ...


@runtime_checkable
class Begins(Protocol):
    """An episode that has to do something before the first action, such as asking somebody."""

    def begin(self) -> None:
        """Complete `state`; raises `WorldError` where that fails."""
        ...


class SimulatedUser(Protocol):
    """Somebody who talks to the policy, and may have tools of their own."""

    def __call__(self, key: str, state: list[Message], tools: str) -> Message:
        """The user's next message, written as an assistant's; `key` names the question, and the same one is not asked
        twice. Raises `WorldError` where there is none.
        """
        ...
