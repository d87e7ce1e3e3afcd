"""Message or call: the comparison of whole actions that comes before any call is looked at."""

from __future__ import annotations

from pivotrl_cli.rows import Message
from pivotrl_cli.verifiers.compare.calls import UnverifiableError
from pivotrl_cli.verifiers.compare.differences import Category, Difference, listed, shown
from pivotrl_cli.verifiers.compare.prose import prose_difference


def require_demonstration(expected: Message) -> None:
    """Raise unless the demonstrated action has text or calls."""
    if not expected.tool_calls and not expected.content.strip():
        raise UnverifiableError("the demonstrated action has neither text nor calls")


def message_difference(expected: Message, action: Message) -> Difference | None:
    """Where a message was demonstrated: the action is a message, is not blank and says the same."""
    return message_mismatch(expected, action) or prose_difference(expected.content, action.content)


def message_mismatch(expected: Message, action: Message) -> Difference | None:
    """Where a message was demonstrated: the action is a message and is not blank, whatever it says."""
    require_demonstration(expected)
    if action.tool_calls:
        return Difference(Category.NO_EXPECTED_CHAT_MESSAGE, f"expected a message, got a call of {names(action)}")
    if not action.content.strip():
        return Difference(Category.NO_ACTION_FOUND, "expected a message, got nothing")
    return None


def missing_call(expected: Message, action: Message) -> Difference | None:
    """Where calls were demonstrated: the action has any call at all."""
    if action.tool_calls:
        return None
    said = action.content.strip()
    category = Category.NO_EXPECTED_TOOL_CALL if said else Category.NO_ACTION_FOUND
    return Difference(category, f"expected a call of {names(expected)}, got {shown(said)}")


def call_count_difference(expected: Message, action: Message) -> Difference | None:
    """Where calls were demonstrated: the action has as many calls."""
    wanted, given = len(expected.tool_calls), len(action.tool_calls)
    if not given or wanted == given:
        return missing_call(expected, action)
    category = Category.MISSING_CALLS if given < wanted else Category.SURPLUS_CALLS
    return Difference(category, f"expected {wanted} calls ({names(expected)}), got {given} ({names(action)})")


def accepted_category(expected: Message) -> Category:
    """The category of an accepted action: a message, one call or several."""
    if not expected.tool_calls:
        return Category.EXPECTED_CHAT_MESSAGE_FOUND
    return Category.EXPECTED_TOOL_CALL_BATCH if len(expected.tool_calls) > 1 else Category.EXPECTED_TOOL_CALL


def names(action: Message) -> str:
    return listed([call.name for call in action.tool_calls])
