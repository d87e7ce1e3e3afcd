"""Tool calls with their arguments parsed.

Nothing here raises on what a model wrote: a call whose arguments cannot be read carries a `problem`. Only a malformed
*demonstration* raises, because no action could be scored against it.

Bounds: `MAX_CHARACTERS` of arguments, `MAX_NESTING` levels of objects and lists, integers up to the interpreter's 4,300
digits. Whatever lies beyond has the category `arguments_beyond_limits`.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from pivotrl_cli.rows import Message, ToolCall
from pivotrl_cli.verifiers.compare.differences import Category, Difference, shown

MAX_CHARACTERS = 2**24
"""Longest arguments that are parsed; parsed JSON takes up to a hundred times the memory of its text."""

MAX_NESTING = 200
"""Levels of objects and lists that are compared; fixed, because the parser's own limit moves with the call stack."""


class UnverifiableError(ValueError):
    """The demonstration is malformed, so no action can be scored against it."""


class Call(NamedTuple):
    """A tool call whose arguments have been parsed; `problem` says why they could not be.

    Example: `Call("get_order", {"order_id": "A17"}, None)`
    """

    name: str
    arguments: Any
    problem: Difference | None


def read_call(call: ToolCall) -> Call:
    """Parse the arguments as any JSON value (of a repeated key the last value stands)."""
    value, problem = read_json(call.arguments, "arguments")
    return Call(call.name, value, problem)


def read_object_call(call: ToolCall) -> Call:
    """Parse the arguments, which must be a JSON object."""
    parsed = read_call(call)
    if parsed.problem is None and not isinstance(parsed.arguments, dict):
        reason = f"arguments must be an object, got {shown(parsed.arguments)}"
        return Call(call.name, None, Difference(Category.ARGUMENTS_NOT_OBJECT, reason))
    return parsed


def read_json(text: str, what: str) -> tuple[Any, Difference | None]:
    """Parse any JSON value within the bounds; `what` names it in the reason."""
    if len(text) > MAX_CHARACTERS:
        return None, _beyond(f"{what} are longer than {MAX_CHARACTERS} characters")
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        reason = f"{what} are not JSON: {error.msg} at character {error.pos}"
        return None, Difference(Category.ARGUMENTS_DECODE_ERROR, reason)
    except RecursionError:
        is_deep = True
    except ValueError:  # the interpreter's limit on the digits of an integer
        return None, _beyond(f"{what} hold an integer with too many digits")
    else:
        is_deep = _is_deep(value)
    return (None, _beyond(f"{what} are nested more than {MAX_NESTING} levels deep")) if is_deep else (value, None)


def canonical(value: Any) -> str:
    """JSON text that is the same for equal values: sorted keys, no white space, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _beyond(reason: str) -> Difference:
    return Difference(Category.ARGUMENTS_BEYOND_LIMITS, reason)


def _is_deep(value: Any) -> bool:
    containers = [value] if isinstance(value, dict | list) else []
    for _ in range(MAX_NESTING):
        children = (child for one in containers for child in (one.values() if isinstance(one, dict) else one))
        containers = [child for child in children if isinstance(child, dict | list)]
        if not containers:
            return False
    return True


def demonstrated_calls(expected: Message) -> list[Call]:
    """The demonstrated calls, each with an object as arguments."""
    calls = [read_object_call(call) for call in expected.tool_calls]
    for call in calls:
        require_sound(call)
    return calls


def require_sound(call: Call) -> None:
    """Raise if a demonstrated call could not be read."""
    if call.problem is not None:
        raise UnverifiableError(f"the demonstrated call of {shown(call.name)}: {call.problem.detail}")
