"""The first requests to a server: does it answer, accept the key, have the model, and parse tool calls?

A server that does not parse tool calls returns them as text, and every rollout would count as a message. So one call
must come back parsed before anything is measured: of a trivial tool, or, if the model does not call that one, at some
of the states to sample. Raw calls in the text and no parsed one mean that the parser is missing or wrong. No call of
either sort is a warning only, since the model may be like that.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Protocol

from pivotrl_cli.endpoint import Endpoint, Reply
from pivotrl_cli.engines import Request
from pivotrl_cli.engines.openai import content_of, has_tools
from pivotrl_cli.errors import ConfigError, RunError
from pivotrl_cli.model.formats.known import RAW_CALL
from pivotrl_cli.rows import Message

MAX_STATES = 8
"""States that are tried where the model does not call the trivial tool."""

_ROOM_TO_THINK = 512
_TOOL = {
    "type": "function",
    "function": {
        "name": "report_ready",
        "description": "Report that you are ready.",
        "parameters": {"type": "object", "properties": {"ready": {"type": "boolean"}}, "required": ["ready"]},
    },
}
_WITH_TOOL = Request(
    key="canary",
    state=[Message(role="user", content="Call the tool report_ready with ready = true. Do nothing else.")],
    tools=json.dumps([_TOOL]),
)
_WITHOUT_TOOL = Request(key="canary", state=[Message(role="user", content="Say yes.")], tools="[]")


class Ask(Protocol):
    """Sends one request's question, greedily and for one sample."""

    def __call__(self, request: Request, max_new_tokens: int) -> Reply | None:
        """The reply; None where there is nothing to ask."""
        ...


def check_server(ask: Ask, server: Endpoint, model: str, key_variable: str) -> None:
    """One request without tools; raises where nothing will come of the others."""
    raise_refusal(ask(_WITHOUT_TOOL, 1), server, model, key_variable)


def check_model(server: Endpoint, model: str, key_variable: str) -> None:
    """Raise unless the server answers and has the model, where it lists its models."""
    models, reply = served_models(server)
    if reply.status is None or reply.status in (401, 403) or reply.status >= 500:
        raise_refusal(reply, server, model, key_variable)
    if models and model not in _names(models):
        raise _no_model(server, model, models)


def check_tools(ask: Ask, server: Endpoint, model: str, key_variable: str, requests: Sequence[Request]) -> str:
    """Raises unless a tool call comes back parsed; returns a warning where the model made none at all."""
    with_tools = [request for request in requests if has_tools(request)]
    step = max(1, len(with_tools) // MAX_STATES)
    raw = ""
    for number, request in enumerate([_WITH_TOOL, *with_tools[::step][:MAX_STATES]]):
        reply = ask(request, _ROOM_TO_THINK)
        if number == 0:
            raise_refusal(reply, server, model, key_variable)
        message = _message(reply)
        if message.get("tool_calls"):
            return ""
        text = content_of(message)
        if RAW_CALL.search(text) or text.lstrip().startswith(("{", "[")):
            raw = raw or text
    if raw:
        raise _no_parser(f"a tool call came back as text: {' '.join(raw.split())[:120]}")
    return "the model called no tool in the first requests; if it should have, check the server's tool-call parser"


def raise_refusal(reply: Reply | None, server: Endpoint, model: str, key_variable: str) -> None:
    """Raise where a server's first reply says that no other will do better."""
    if reply is None or reply.error is None:
        return
    words = reply.error
    if reply.status in (401, 403):
        hint = f"put the server's key into the environment variable {key_variable}, or name another variable"
        raise ConfigError(f"{server.address} refuses the key: {words}", f"{hint} with --endpoint-key-variable")
    if reply.status == 404:
        raise _not_found(server, model, words)
    if reply.status == 400 and "tool" in words and ("parser" in words or "choice" in words):
        raise _no_parser(words)
    if reply.status is None and reply.n_retries == 0:
        raise RunError(f"nothing answers at {server.address}: {words}", "start the server, or correct --endpoint")
    raise RunError(f"{server.address} fails at the first request: {words}", "see the server's log")


def served_models(server: Endpoint) -> tuple[list[dict[str, Any]], Reply]:
    """The models that a server says it has, and its reply."""
    reply = server.get("models")
    data = (reply.body or {}).get("data")
    return [one for one in data if isinstance(one, dict)] if isinstance(data, list) else [], reply


def _not_found(server: Endpoint, model: str, words: str) -> ConfigError:
    models = served_models(server)[0]
    if models and model not in _names(models):
        return _no_model(server, model, models)
    return ConfigError(f"{server.address}: {words}", "the address is that up to and including /v1")


def _no_model(server: Endpoint, model: str, models: Sequence[dict[str, Any]]) -> ConfigError:
    names = _names(models)
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return ConfigError(f"{server.address} has no model {model}", f"it serves {shown}: choose with --model")


def _names(models: Sequence[dict[str, Any]]) -> list[str]:
    return [str(one.get("id")) for one in models]


def _no_parser(what: str) -> RunError:
    return RunError(
        f"the server does not parse tool calls: {what}",
        "start vLLM with --enable-auto-tool-choice --tool-call-parser NAME, SGLang with --tool-call-parser NAME; NAME "
        "depends on the model (Qwen: hermes, qwen25), or use --endpoint-api completions",
    )


def _message(reply: Reply | None) -> dict[str, Any]:
    """The first choice's message; empty where there is none."""
    try:
        message = ((reply.body if reply else None) or {})["choices"][0]["message"]
    except (KeyError, IndexError, TypeError):
        return {}
    return message if isinstance(message, dict) else {}
