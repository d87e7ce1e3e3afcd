"""Reading and comparing actions: what every verifier shares.

Nothing here raises on what a model wrote. A call whose arguments cannot be read is a `Call` with a `problem`; two
things that differ yield a `Difference`, which names the category, the place and the reason. Only a malformed
*demonstration* raises, because no action could be scored against it.

Costs are linear in the texts. Nesting is read up to `MAX_NESTING` levels and integers up to the interpreter's limit of
4,300 digits; whatever lies beyond has the category `arguments_beyond_limits`.
"""

from __future__ import annotations

import json
import re
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from pivotrl_cli.rows import Message, ToolCall

MAX_NESTING = 200
"""Levels of objects and lists that are compared; fixed, because the parser's own limit moves with the call stack."""

MIN_OVERLAP = 0.5
"""Word overlap from which two pieces of prose count as saying the same."""

_MAX_SHOWN = 60
_MAX_DETAIL = 300
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
# Chinese and Japanese have no spaces, so each character is a word; 12.50, 10:30 and 2024-05-15 stay whole.
_WORD = re.compile(rf"[{_CJK}]|[^\W{_CJK}]+(?:(?<=\d)[.,:/-](?=\d)[^\W{_CJK}]+)*")
_LIST_MARKER = re.compile(r"^[ \t]*\d{1,3}[.)][ \t]", re.MULTILINE)
_DIGIT = re.compile(r"\d")


class UnverifiableError(ValueError):
    """The demonstration is malformed, so no action can be scored against it."""


class Category(StrEnum):
    """What the verifiers say of an action. The first thirteen are the names of NVIDIA's verifier in lower case."""

    NO_ACTION_FOUND = "no_action_found"
    """Neither text nor a call."""
    NO_EXPECTED_TOOL_CALL = "no_expected_tool_call"
    """Talks where a call was expected."""
    EXPECTED_CHAT_MESSAGE_FOUND = "expected_chat_message_found"
    """Accepted: a message, as expected."""
    NO_EXPECTED_CHAT_MESSAGE = "no_expected_chat_message"
    """Calls where a message was expected."""
    UNEXPECTED_TOOL = "unexpected_tool"
    """Calls another function."""
    ARGUMENTS_DECODE_ERROR = "arguments_decode_error"
    """The arguments are not JSON."""
    ARGUMENT_VALUE_TYPE_DIFFERENT = "argument_value_type_different"
    """A value has another JSON type."""
    ARGUMENT_OBJECT_KEYS_DIFFERENT = "argument_object_keys_different"
    """An object lacks a key or has one too many."""
    ARGUMENT_LIST_LENGTH_DIFFERENT = "argument_list_length_different"
    """A list has another length."""
    ARGUMENT_VALUE_DIFFERENT = "argument_value_different"
    """A value differs."""
    EXPECTED_TOOL_CALL = "expected_tool_call"
    """Accepted: the expected call."""
    FUNCTION_CALL_BATCH_LENGTH_DIFFERENT = "function_call_batch_length_different"
    """NVIDIA's rule only: the number of calls differs."""
    EXPECTED_TOOL_CALL_BATCH = "expected_tool_call_batch"
    """Accepted: all the expected calls."""

    ARGUMENTS_NOT_OBJECT = "arguments_not_object"
    """The arguments are JSON but not an object."""
    ARGUMENTS_BEYOND_LIMITS = "arguments_beyond_limits"
    """The arguments are nested too deeply or hold too long an integer."""
    MISSING_CALLS = "missing_calls"
    """Fewer calls than expected."""
    SURPLUS_CALLS = "surplus_calls"
    """More calls than expected."""
    MESSAGE_DIFFERENT = "message_different"
    """The message says something else."""
    MESSAGE_FACTS_MISSING = "message_facts_missing"
    """The message is alike but leaves out a number or an identifier."""


class Difference(NamedTuple):
    """Why two things do not match.

    Example: `Difference(Category.ARGUMENT_VALUE_DIFFERENT, "expected 'A17', got 'A71'", "order_id")`
    """

    category: Category
    reason: str
    path: str = ""

    def below(self, step: str | int) -> Difference:
        """The same difference, seen from the object or list that holds it under `step`."""
        head = step if isinstance(step, str) and step.isidentifier() else f"[{shown(step)}]"
        dot = "." if self.path and not self.path.startswith("[") else ""
        return self._replace(path=head + dot + self.path)

    @property
    def detail(self) -> str:
        """Place and reason in one bounded line."""
        line = f"{self.path}: {self.reason}" if self.path else self.reason
        return line if len(line) <= _MAX_DETAIL else line[: _MAX_DETAIL - 3] + "..."


class Call(NamedTuple):
    """A tool call whose arguments have been parsed; `problem` says why they could not be."""

    name: str
    arguments: Any
    problem: Difference | None


def read_call(call: ToolCall) -> Call:
    """Parse the arguments as any JSON value (of a repeated key the last value stands)."""
    try:
        value = json.loads(call.arguments)
    except json.JSONDecodeError as error:
        reason = f"arguments are not JSON: {error.msg} at character {error.pos}"
        return Call(call.name, None, Difference(Category.ARGUMENTS_DECODE_ERROR, reason))
    except RecursionError:
        return Call(call.name, None, _TOO_DEEP)
    except ValueError:  # the interpreter's limit on the digits of an integer
        reason = "arguments hold an integer with too many digits"
        return Call(call.name, None, Difference(Category.ARGUMENTS_BEYOND_LIMITS, reason))
    return Call(call.name, None, _TOO_DEEP) if _too_deep(value) else Call(call.name, value, None)


def read_object_call(call: ToolCall) -> Call:
    """Parse the arguments, which must be a JSON object."""
    parsed = read_call(call)
    if parsed.problem is None and not isinstance(parsed.arguments, dict):
        reason = f"arguments must be an object, got {shown(parsed.arguments)}"
        return Call(call.name, None, Difference(Category.ARGUMENTS_NOT_OBJECT, reason))
    return parsed


_TOO_DEEP = Difference(Category.ARGUMENTS_BEYOND_LIMITS, f"arguments are nested more than {MAX_NESTING} levels deep")


def _too_deep(value: Any) -> bool:
    containers = [value]
    for _ in range(MAX_NESTING):
        containers = [child for parent in containers for child in _children(parent) if isinstance(child, dict | list)]
        if not containers:
            return False
    return True


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def require_demonstration(expected: Message) -> None:
    """Raise unless the demonstrated action has text or calls."""
    if not expected.tool_calls and not expected.content.strip():
        raise UnverifiableError("the demonstrated action has neither text nor calls")


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


def count_difference(expected: Message, action: Message) -> Difference | None:
    """Call or talk, and the number of calls, where calls were demonstrated."""
    wanted, given = len(expected.tool_calls), len(action.tool_calls)
    if not given:
        talks = bool(action.content.strip())
        category = Category.NO_EXPECTED_TOOL_CALL if talks else Category.NO_ACTION_FOUND
        return Difference(category, f"expected a call of {_names(expected)}, got {shown(action.content.strip())}")
    if wanted == given:
        return None
    category = Category.MISSING_CALLS if given < wanted else Category.SURPLUS_CALLS
    return Difference(category, f"expected {wanted} calls ({_names(expected)}), got {given} ({_names(action)})")


def talk_difference(expected: Message, action: Message) -> Difference | None:
    """Where a message was demonstrated: a message, not empty, that says the same."""
    require_demonstration(expected)
    if action.tool_calls:
        return Difference(Category.NO_EXPECTED_CHAT_MESSAGE, f"expected a message, got a call of {_names(action)}")
    if not action.content.strip():
        return Difference(Category.NO_ACTION_FOUND, "expected a message, got nothing")
    return prose_difference(expected.content, action.content)


def prose_difference(expected: str, actual: str) -> Difference | None:
    """Whether two texts say the same: enough words in common, and no number or identifier left out.

    Overlap is the Dice coefficient of the multisets of case-folded words, `2 |E & A| / (|E| + |A|)`: 1 for the same
    words in any order, 0 for none in common. Texts that are equal are accepted even where they hold no words.
    """
    if expected.strip() == actual.strip():
        return None
    expected_words, actual_words = Counter(_words(expected)), Counter(_words(actual))
    overlap = _dice(expected_words, actual_words)
    if overlap < MIN_OVERLAP:
        return Difference(Category.MESSAGE_DIFFERENT, f"word overlap {overlap:.2f} is below {MIN_OVERLAP}")
    missing = [word for word in expected_words if _DIGIT.search(word) and word not in actual_words]
    if missing:
        return Difference(Category.MESSAGE_FACTS_MISSING, f"does not mention {listed(missing)}")
    return None


def _words(text: str) -> list[str]:
    return _WORD.findall(_LIST_MARKER.sub("", text).casefold())


def _dice(left: Counter[str], right: Counter[str]) -> float:
    total = left.total() + right.total()
    return 2 * (left & right).total() / total if total else 0.0


def key_difference(expected: dict[str, Any], actual: dict[str, Any]) -> Difference | None:
    """Whether two objects have the same keys."""
    missing, surplus = sorted(expected.keys() - actual.keys()), sorted(actual.keys() - expected.keys())
    if not missing and not surplus:
        return None
    parts = [f"lacks {listed(missing)}"] * bool(missing) + [f"has unexpected {listed(surplus)}"] * bool(surplus)
    return Difference(Category.ARGUMENT_OBJECT_KEYS_DIFFERENT, " and ".join(parts))


def value_difference(category: Category, expected: Any, actual: Any) -> Difference:
    """Two values that differ, shown shortened."""
    return Difference(category, f"expected {shown(expected)}, got {shown(actual)}")


def shown(value: Any) -> str:
    """A JSON value for a person: short, on one line, always encodable."""
    if isinstance(value, dict):
        return f"an object of {len(value)}"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, str):
        return repr(value if len(value) <= _MAX_SHOWN else value[: _MAX_SHOWN - 3] + "...")
    text = json.dumps(value)
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 3] + "..."


def listed(names: Sequence[str]) -> str:
    """The first few names."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(shown(name) for name in names[:3]) + more


def _names(action: Message) -> str:
    return listed([call.name for call in action.tool_calls])


def maximum_matching(edges: Sequence[Sequence[int]]) -> dict[int, int]:
    """Pair as many left nodes as possible with a right node each; `edges[left]` are the right nodes it may take.

    Augmenting paths by breadth-first search, `O(left * edges)`, meant for some dozens of calls. Nodes with the fewest
    edges come first, which decides *which* left nodes are paired where not all can be. Returns left -> right.

    >>> maximum_matching([[0, 1], [0]])
    {1: 0, 0: 1}
    """
    right_of: dict[int, int] = {}
    left_of: dict[int, int] = {}
    for root in sorted(range(len(edges)), key=lambda left: len(edges[left])):
        _augment(root, edges, right_of, left_of)
    return right_of


def _augment(root: int, edges: Sequence[Sequence[int]], right_of: dict[int, int], left_of: dict[int, int]) -> None:
    reached_from: dict[int, int] = {}
    queue = deque([root])
    while queue:
        left = queue.popleft()
        for right in edges[left]:
            if right in reached_from:
                continue
            reached_from[right] = left
            if right not in left_of:
                _flip(right, reached_from, right_of, left_of)
                return
            queue.append(left_of[right])


def _flip(free: int, reached_from: dict[int, int], right_of: dict[int, int], left_of: dict[int, int]) -> None:
    right: int | None = free
    while right is not None:
        left = reached_from[right]
        given_up = right_of.get(left)
        right_of[left], left_of[right] = right, left
        right = given_up
