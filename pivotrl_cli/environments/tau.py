"""tau2-bench's airline and retail as worlds for `verifiers/execute.py`, through inspect-evals (extra `tau`).

Every task starts from the same database. Only the public methods of the package's tool classes can be called, with
arguments that are JSON values. The two tools that it keeps elsewhere (`calculate`, `transfer_to_human_agents`) change
nothing and are compared by their arguments.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

from pivotrl_cli.environments.tau_world import ELSEWHERE, as_text, first_database, new_kit, tools_of
from pivotrl_cli.rows import Candidate, Message
from pivotrl_cli.verifiers.compare.calls import read_object_call


def airline(candidate: Candidate) -> ReplayWorld:
    return ReplayWorld("airline", first_database("airline"))


def retail(candidate: Candidate) -> ReplayWorld:
    return ReplayWorld("retail", first_database("retail"))


class ReplayWorld:
    """One database and the tools that read and write it."""

    def __init__(self, domain: str, database: bytes) -> None:
        self.domain = domain
        self._kit = new_kit(domain, database)
        self._pickled: bytes | None = database
        self.tools = tools_of(domain, "assistant").keys() - ELSEWHERE

    def step(self, action: Message) -> Sequence[tuple[str, bool]]:
        self._pickled = None
        return [self._call(call.name, read_object_call(call).arguments) for call in action.tool_calls]

    def fork(self) -> ReplayWorld:
        self._pickled = self._pickled or pickle.dumps(self._kit.db)
        return ReplayWorld(self.domain, self._pickled)

    def state(self) -> object:
        """The database; its models compare by value."""
        return self._kit.db

    def _call(self, name: str, arguments: Any) -> tuple[str, bool]:
        if name not in self.tools or not isinstance(arguments, dict):
            return f"Error: no tool {name!r} with such arguments", True
        try:
            return as_text(getattr(self._kit, name)(**arguments)), False
        except Exception as error:  # wrong arguments may raise anything; the error is the reply
            return f"Error: {error}", True
