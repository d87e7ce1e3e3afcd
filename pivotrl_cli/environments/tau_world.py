"""One task's world in tau2-bench: the agent's tools, the user's where they have some, and the databases behind them.

Everything that decides a result comes from the package inspect-evals (extra `tau`): tools, databases, tasks and
policies. Only its tools can be called, with arguments that are JSON values.
"""

from __future__ import annotations

import asyncio
import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, Literal

from pivotrl_cli.errors import MissingExtra
from pivotrl_cli.rows import ToolCall
from pivotrl_cli.verifiers.compare.calls import read_object_call

Side = Literal["assistant", "user"]

_KITS: dict[str, dict[Side, str]] = {
    "airline": {"assistant": "AirlineAgentTools"},
    "retail": {"assistant": "RetailAgentTools"},
    "telecom": {"assistant": "TelecomAgentTools", "user": "TelecomUserTools"},
}
_LISTS: dict[tuple[str, Side], str] = {
    ("airline", "assistant"): "tools:all_airline_tools",
    ("retail", "assistant"): "tools:all_retail_tools",
    ("telecom", "assistant"): "tools:all_telecom_agent_tools",
    ("telecom", "user"): "user_tools:all_telecom_user_tools",
}


@dataclass(frozen=True, slots=True)
class MadeCall:
    """A call that was made, as the task's criteria compare it."""

    side: Side
    name: str
    arguments: dict[str, Any]


class TauWorld:
    """The databases of one run."""

    def __init__(self, domain: str, initial: Any = None) -> None:
        """`initial` is the task's initial state, as the package's model, if it has one."""
        self.domain = domain
        sides = _KITS[domain]
        self.kits: dict[Side, Any] = {side: new_kit(domain, first_database(domain, side), side) for side in sides}
        self.made: list[MadeCall] = []
        self._linked: Any = None
        if "user" in self.kits:  # the package's environment syncs the two databases
            environment = _module(domain, "environment").Environment
            self._linked = environment(user_tools=self.kits["user"], tools=self.kits["assistant"])
        for action in (initial.initialization_actions or []) if initial is not None else []:
            getattr(self.kits[action.env_type], action.func_name)(**action.arguments)
            self._sync()

    def call(self, side: Side, call: ToolCall) -> str:
        """Run one call; the reply to a bad one is the tools' own error."""
        arguments = read_object_call(call).arguments
        if not isinstance(arguments, dict):
            return "Error: the arguments are not a JSON object"
        self.made.append(MadeCall(side, call.name, arguments))
        if call.name not in tools_of(self.domain, side):
            return f"Error: no tool {call.name!r}"
        try:
            return as_text(self.run(side, call.name, arguments))
        except Exception as error:  # wrong arguments may raise anything; the error is the reply
            return f"Error: {error}"

    def run(self, side: Side, name: str, arguments: Mapping[str, Any]) -> Any:
        method = getattr(self.kits[side], name, None)
        try:
            if method is None or name in ELSEWHERE:
                return asyncio.run(tools_of(self.domain, side)[name](**arguments))
            return method(**arguments)
        finally:
            self._sync()

    def databases(self) -> list[Any]:
        """Of all sides; the package's models compare by value."""
        return [kit.db for kit in self.kits.values()]

    def _sync(self) -> None:
        if self._linked is not None:
            self._linked.sync_tools()


ELSEWHERE = frozenset({"calculate", "transfer_to_human_agents"})
"""Tools that the package keeps outside the classes; they change nothing."""


def schemas(domain: str, side: Side) -> str:
    """The tools of one side as a JSON list in OpenAI's form; `[]` for a side without tools."""
    if (domain, side) not in _LISTS:
        return "[]"
    functions = []
    for tool in tools_of(domain, side).values():
        one = import_module("inspect_ai.tool").ToolDef(tool)
        parameters = one.parameters.model_dump(exclude_none=True)
        functions.append({"name": one.name, "description": one.description, "parameters": parameters})
    return json.dumps([{"type": "function", "function": function} for function in functions])


@cache
def tools_of(domain: str, side: Side) -> dict[str, Any]:
    if (domain, side) not in _LISTS:
        return {}
    module, _, name = _LISTS[domain, side].partition(":")
    definition = import_module("inspect_ai.tool").ToolDef
    made = [make() for make in getattr(_module(domain, module), name)]
    return {definition(tool).name: tool for tool in made}


@cache
def first_database(domain: str, side: Side = "assistant") -> bytes:
    """The database before any task, pickled."""
    kit = _bare_kit(domain, side)
    kit.initialize()
    return pickle.dumps(kit.db)


def new_kit(domain: str, database: bytes, side: Side = "assistant") -> Any:
    """The tools' class over a database that this process has pickled."""
    kit = _bare_kit(domain, side)
    kit.initialized = True
    kit.db = pickle.loads(database)
    return kit


def _bare_kit(domain: str, side: Side) -> Any:
    kind = getattr(_module(domain, _KITS[domain][side]), _KITS[domain][side])
    return kind(store=import_module("inspect_ai.util").Store(), instance="pivotrl")


def _module(domain: str, name: str) -> Any:
    try:
        return import_module(f"inspect_evals.tau2.{domain}.{name}")
    except ModuleNotFoundError as error:
        raise MissingExtra(f"the tau world {domain!r}", "tau") from error


def as_text(reply: Any) -> str:
    """A tool's reply as the agent reads it: JSON, unless it is text."""
    return reply if isinstance(reply, str) else json.dumps(_plain(reply), default=str)


def _plain(value: Any) -> Any:
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
