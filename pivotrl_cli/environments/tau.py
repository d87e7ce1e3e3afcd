"""tau2-bench's airline and retail as worlds for `verifiers/execute.py`, through inspect-evals (extra `tau`).

Every task starts from the same database. Only the public methods of the package's tool classes can be called, with
arguments that are JSON values. The two tools that it keeps elsewhere (`calculate`, `transfer_to_human_agents`) change
nothing and are compared by their arguments.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from inspect import isfunction
from typing import Any

from pivotrl_cli.actions import read_object_call
from pivotrl_cli.errors import MissingExtra
from pivotrl_cli.rows import Candidate, Message

_CLASSES = {"airline": "AirlineAgentTools", "retail": "RetailAgentTools"}
_NOT_TOOLS = {"initialize"}


def airline(candidate: Candidate) -> TauWorld:
    """The airline's database before any turn."""
    return TauWorld("airline", _first_database("airline"))


def retail(candidate: Candidate) -> TauWorld:
    """The shop's database before any turn."""
    return TauWorld("retail", _first_database("retail"))


class TauWorld:
    """One database and the tools that read and write it."""

    def __init__(self, domain: str, database: bytes) -> None:
        self.domain = domain
        self._kit = _new_kit(domain)
        self._kit.initialized = True
        self._kit.db = pickle.loads(database)  # written below by this process
        self._pickled: bytes | None = database
        self.tools = tool_names(domain)

    def step(self, action: Message) -> Sequence[tuple[str, bool]]:
        """Run the calls in order."""
        self._pickled = None
        return [self._call(call.name, read_object_call(call).arguments) for call in action.tool_calls]

    def fork(self) -> TauWorld:
        """The same database once more."""
        self._pickled = self._pickled or pickle.dumps(self._kit.db)
        return TauWorld(self.domain, self._pickled)

    def state(self) -> object:
        """The database; its models compare by value."""
        return self._kit.db

    def _call(self, name: str, arguments: Any) -> tuple[str, bool]:
        if name not in self.tools or not isinstance(arguments, dict):
            return f"Error: no tool {name!r} with such arguments", True
        try:
            reply = getattr(self._kit, name)(**arguments)
        except Exception as error:  # the tools raise whatever wrong arguments lead to; that is their reply
            return f"Error: {error}", True
        return (reply if isinstance(reply, str) else json.dumps(reply)), False


@cache
def tool_names(domain: str) -> frozenset[str]:
    """The public methods that the tool class itself defines."""
    own = vars(_kit_class(domain)).items()
    return frozenset(name for name, value in own if isfunction(value) and name[0] != "_" and name not in _NOT_TOOLS)


@cache
def _first_database(domain: str) -> bytes:
    kit = _new_kit(domain)
    kit.initialize()
    return pickle.dumps(kit.db)


def _new_kit(domain: str) -> Any:
    kit = _kit_class(domain)
    return kit(store=import_module("inspect_ai.util").Store(), instance="pivotrl")


def _kit_class(domain: str) -> Any:
    name = _CLASSES[domain]
    try:
        return getattr(import_module(f"inspect_evals.tau2.{domain}.{name}"), name)
    except ModuleNotFoundError as error:
        raise MissingExtra(f"executing in the tau world {domain!r}", "tau") from error
