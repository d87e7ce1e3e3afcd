"""The desk's database, its tools and its rules.

The tools check types and identifiers but not policy: a forbidden cancellation goes through and leaves its mark in the
database, so that judgement is the policy's job and the final state shows it. All state is plain dictionaries; one
`World` belongs to one episode. Left out: stock, payments that fail, clocks; a day count stands in the order itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

Verb = Literal["cancel", "return", "move", "credit"]
Outcome = Literal["done", "denied", "kept"]

ASK_ABOVE = 99
"""Orders above this amount are acted on only after the user has agreed."""
RETURN_DAYS = 30
"""A delivered order may be returned for this many days."""
LATE_DAYS = 3
"""An order later than this many days earns a credit."""
CREDIT = {"gold": 10, "basic": 5}
"""Credit by the user's tier."""

SYSTEM = (
    "You are a shop's service desk. Find the user, then handle the orders one by one: get it, decide, act, log.\n"
    "cancel, move: only pending orders. return: only orders delivered at most 30 days ago. "
    "credit: only orders over 3 days late, 10 for gold users, 5 for basic.\n"
    "Not allowed: do not act, log denied with a note.\n"
    "Amount over 99: ask before you act; if the user says no, do not act, log kept.\n"
    "After cancel and return: refund the amount to the method it was paid with. "
    "Log every order once. At the end report every order."
)
"""System prompt: every rule that decides an episode is stated here."""


@dataclass(frozen=True)
class User:
    """A customer. Example: `User("U317", "Mia Stone", "5512", "gold")`."""

    user_id: str
    name: str
    phone: str
    tier: str


@dataclass(frozen=True)
class Order:
    """An order. Example: `Order("K482", "delivered", days=12, late=0, amount=140, paid="gift", city="Rome")`."""

    order_id: str
    status: str
    days: int
    late: int
    amount: int
    paid: str
    city: str


def allowed(verb: Verb, order: Order) -> bool:
    if verb == "return":
        return order.status == "delivered" and order.days <= RETURN_DAYS
    if verb == "credit":
        return order.late > LATE_DAYS
    return order.status == "pending"


def must_ask(order: Order) -> bool:
    """Whether the user has to agree before anything is done to the order."""
    return order.amount > ASK_ABOVE


def _schema(name: str, description: str, required: dict[str, Any], optional: dict[str, Any] | None = None) -> Any:
    parameters = {"type": "object", "properties": {**required, **(optional or {})}, "required": list(required)}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


_TEXT, _NUMBER = {"type": "string"}, {"type": "integer"}
_ID = {"order_id": _TEXT}
_METHOD = {"type": "string", "enum": ["card", "gift", "bank"]}
_OUTCOME = {"type": "string", "enum": ["done", "denied", "kept"]}

SCHEMAS: list[dict[str, Any]] = [
    _schema("find_user", "Find a user by name or phone.", {}, {"name": _TEXT, "phone": _TEXT}),
    _schema("get_order", "Read an order.", _ID),
    _schema("cancel_order", "Cancel an order.", _ID),
    _schema("return_order", "Take an order back.", _ID),
    _schema("set_address", "Change the city.", {**_ID, "city": _TEXT}),
    _schema("refund", "Pay back.", {**_ID, "amount": _NUMBER, "method": _METHOD}),
    _schema("add_credit", "Credit a user.", {"user_id": _TEXT, **_ID, "amount": _NUMBER}),
    _schema("log_case", "Log the outcome.", {**_ID, "outcome": _OUTCOME}, {"note": _TEXT}),
]
TOOLS = json.dumps(SCHEMAS)
"""Tool schemas as the JSON list that an episode carries."""


class ToolError(ValueError):
    """A call that the desk refuses; the text goes to the policy."""


class World:
    """One episode's database and the tools that read and write it."""

    def __init__(self, user: User, orders: Iterable[Order]) -> None:
        self.user = user
        self.db: dict[str, Any] = {
            "orders": {order.order_id: asdict(order) for order in orders},
            "refunds": {},
            "credits": {},
            "cases": {},
            "unasked": [],
        }
        self.agreed: set[str] = set()
        self._tools: dict[str, Callable[..., Any]] = {
            "find_user": self._find_user,
            "get_order": self._get_order,
            "cancel_order": partial(self._act, status="cancelled"),
            "return_order": partial(self._act, status="returned"),
            "set_address": self._act,
            "refund": self._refund,
            "add_credit": self._add_credit,
            "log_case": self._log_case,
        }

    def call(self, name: str, arguments: str) -> str:
        """Run one tool and return its reply as JSON text; a bad call gets an error instead of an exception."""
        try:
            values = parse_arguments(SCHEMAS, name, arguments)
            reply = self._tools[name](**values)
        except ToolError as error:
            reply = {"error": str(error)}
        return json.dumps(reply)

    def _order(self, order_id: str) -> dict[str, Any]:
        if order_id not in self.db["orders"]:
            raise ToolError("no such order")
        order: dict[str, Any] = self.db["orders"][order_id]
        return order

    def _find_user(self, name: str | None = None, phone: str | None = None) -> Any:
        if (name, phone) not in [(self.user.name, None), (None, self.user.phone), (self.user.name, self.user.phone)]:
            raise ToolError("no such user")
        return {"user_id": self.user.user_id, "tier": self.user.tier}

    def _get_order(self, order_id: str) -> Any:
        hidden = {"city"} if self._order(order_id)["status"] == "delivered" else {"city", "days"}
        return {key: value for key, value in self._order(order_id).items() if key not in hidden}

    def _act(self, order_id: str, **change: str) -> Any:
        order = self._order(order_id)
        if order["amount"] > ASK_ABOVE and order_id not in self.agreed:
            self.db["unasked"].append(order_id)
        order.update(change)
        return {"ok": True}

    def _refund(self, order_id: str, amount: int, method: str) -> Any:
        self._order(order_id)
        self.db["refunds"].setdefault(order_id, []).append([amount, method])
        return {"ok": True}

    def _add_credit(self, user_id: str, order_id: str, amount: int) -> Any:
        if user_id != self.user.user_id:
            raise ToolError("no such user")
        self._act(order_id)
        self.db["credits"].setdefault(order_id, []).append(amount)
        return {"ok": True}

    def _log_case(self, order_id: str, outcome: str, note: str = "") -> Any:
        self._order(order_id)
        self.db["cases"].setdefault(order_id, []).append([outcome, bool(note.strip())])
        return {"ok": True}


_TYPES: dict[str, type] = {"string": str, "integer": int, "boolean": bool}


def parse_arguments(schemas: list[dict[str, Any]], name: str, arguments: str) -> dict[str, Any]:
    """Arguments of a call, validated against the tool's schema; raises `ToolError`."""
    parameters = next((s["function"]["parameters"] for s in schemas if s["function"]["name"] == name), None)
    if parameters is None:
        raise ToolError("no such tool")
    try:
        values = json.loads(arguments)
    except (ValueError, RecursionError):
        raise ToolError("arguments are not JSON") from None
    if not isinstance(values, dict):
        raise ToolError("arguments are not an object")
    if missing := [key for key in parameters["required"] if key not in values]:
        raise ToolError(f"missing {', '.join(missing)}")
    for key, value in values.items():
        wanted = parameters["properties"].get(key)
        if wanted is None:
            raise ToolError("unknown argument")
        if type(value) is not _TYPES[wanted["type"]]:
            raise ToolError(f"{key} must be {wanted['type']}")
        if value not in wanted.get("enum", [value]):
            raise ToolError(f"{key} must be one of {', '.join(wanted['enum'])}")
    return values
