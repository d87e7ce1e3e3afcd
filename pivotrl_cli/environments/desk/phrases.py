"""Sentences of the user and the agent at the desk, and the parser of a report.

Phrasings of one thing share their facts and at least half of their words, so that a verifier which compares words
accepts any of them for any other.
"""

from __future__ import annotations

import re
from random import Random

from pivotrl_cli.environments.desk.world import Order, Outcome, User, Verb

FIRST_NAMES = (
    *("Mia", "Leo", "Ada", "Tom", "Eva", "Max", "Ida", "Ben"),
    *("Zoe", "Sam", "Amy", "Jan", "Lea", "Kim", "Rob", "Uma"),
)
LAST_NAMES = (
    *("Stone", "Marsh", "Field", "Brook", "Hill", "Wood", "Lake", "Frost"),
    *("Reed", "Vale", "Ford", "Holm", "Gray", "West", "Lane", "Park"),
)
CITIES = ("Rome", "Oslo", "Bern", "Paris", "Porto", "Riga", "Vienna", "Lyon", "Turin", "Graz", "Malmo", "Ghent")
YES = ("Yes, go ahead.", "Yes, please do.", "Yes, that is fine.")
NO = ("No, leave it.", "No, rather not.", "No, I changed my mind.")

_OPENERS = {
    False: ("Hello, I am {name}.", "Hi, {name} here.", "Good day, my name is {name}."),
    True: ("Hello, my phone is {phone}.", "Hi, you find me under phone {phone}.", "Good day, phone {phone} here."),
}
_WISHES: dict[Verb, tuple[str, ...]] = {
    "cancel": ("cancel order {id}", "call off order {id}"),
    "return": ("return order {id}", "take back order {id}"),
    "move": ("move order {id} to {city}", "ship order {id} to {city}"),
    "credit": ("credit the late order {id}", "pay for the delay of order {id}"),
}
_PREAMBLES = ("One moment, please.", "Let me do that.", "I will see to it.")
_QUESTIONS = (
    "Order {id} costs {amount} euros. Shall I {verb} it?",
    "Order {id} is over the limit: it costs {amount} euros. Shall I {verb} it?",
    "Your order {id} costs {amount} euros. Shall I really {verb} it?",
)
_REPORTS = ("All done: {facts}.", "Thank you: {facts}.", "Here is the result: {facts}.")
_NOTES = ("order is {}", "this order is {}", "the order is {}")
_PAST: dict[Verb, str] = {"cancel": "cancelled", "return": "returned", "move": "moved", "credit": "credited"}


def opener(rng: Random, user: User, *, by_phone: bool) -> str:
    """The user's introduction, by name or by phone, never both."""
    return rng.choice(_OPENERS[by_phone]).format(name=user.name, phone=user.phone)


def wish(rng: Random, verb: Verb, order_id: str, city: str) -> str:
    return rng.choice(_WISHES[verb]).format(id=order_id, city=city)


def join(wishes: list[str]) -> str:
    return "Please " + " and ".join([", ".join(wishes[:-1]), wishes[-1]] if len(wishes) > 1 else wishes) + "."


def preamble(rng: Random) -> str:
    return rng.choice(_PREAMBLES)


def question(rng: Random, verb: Verb, order: Order) -> str:
    """The agent's question before it touches an expensive order."""
    return rng.choice(_QUESTIONS).format(id=order.order_id, amount=order.amount, verb=verb)


def denial_note(rng: Random, verb: Verb, order: Order) -> str:
    """The reason for a denial, for the log."""
    delivery = "delivered too long ago" if order.status == "delivered" else "not delivered to you yet"
    reason = {"credit": "not late enough for credit", "return": delivery}.get(verb, "not pending any more")
    return rng.choice(_NOTES).format(reason)


def outcome_word(verb: Verb, outcome: Outcome) -> str:
    """The word that reports an outcome: `cancelled`, `denied`, `kept`, ..."""
    return _PAST[verb] if outcome == "done" else outcome


def report(rng: Random, words: dict[str, str]) -> str:
    """The agent's last message. Example of `words`: `{"K482": "cancelled", "B113": "denied"}`."""
    facts = ", ".join(f"order {order_id} is {word}" for order_id, word in words.items())
    return rng.choice(_REPORTS).format(facts=facts)


_FACT = re.compile(r"\b(?:([A-Z]\d{3})|(cancelled|returned|moved|credited|denied|kept))\b")


def read_report(text: str) -> dict[str, set[str]]:
    """Outcome words after each order id, up to the next id.

    Example: `"order K482 is cancelled, B113 denied"` is `{"K482": {"cancelled"}, "B113": {"denied"}}`.
    """
    stated: dict[str, set[str]] = {}
    current = ""
    for match in _FACT.finditer(text):
        if match[1]:
            current = match[1]
        stated.setdefault(current, set()).update([match[2]] if match[2] else [])
    return stated
