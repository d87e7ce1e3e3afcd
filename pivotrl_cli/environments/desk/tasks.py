"""Tasks: users with their requests, and the right database afterwards.

A task is drawn from its own seed, so any task can be made again from its id. Splits are disjoint by construction: the
last digit of the user's number belongs to one split. Families differ in the kinds of request, in length and in how
often the rules forbid a request.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count, islice
from random import Random
from typing import Any, Literal

from pivotrl_cli.environments.desk import phrases
from pivotrl_cli.environments.desk.world import CREDIT, Order, Outcome, User, Verb, World, allowed, must_ask
from pivotrl_cli.errors import InputError

Split = Literal["train", "val", "test", "base"]
"""`base` is what the shipped policy was pretrained on; the other three do not overlap with it."""

USER_DIGITS: dict[Split, str] = {"train": "012", "val": "3", "test": "456", "base": "789"}
"""Last digits of user numbers, by split."""

MIN_TURNS, MAX_TURNS = 5, 20
"""Assistant turns that the expert may need."""


@dataclass(frozen=True)
class Request:
    """One request of the user. `answer` is the reply to a question about it, `city` is for `move` alone."""

    verb: Verb
    order_id: str
    answer: str
    city: str = ""

    @property
    def agrees(self) -> bool:
        return self.answer.startswith("Yes")


@dataclass(frozen=True)
class DeskTask:
    """One task of the desk."""

    task_id: str
    family: str
    user: User
    orders: tuple[Order, ...]
    requests: tuple[Request, ...]
    request_text: str
    by_phone: bool

    def order(self, order_id: str) -> Order:
        return next(order for order in self.orders if order.order_id == order_id)


@dataclass(frozen=True)
class Family:
    """A kind of task: verbs to draw from, how many requests (with weights), how likely each is forbidden."""

    verbs: tuple[Verb, ...]
    lengths: dict[int, int]
    forbidden: float
    weight: int


FAMILIES: dict[str, Family] = {
    "cancel": Family(("cancel",), {1: 3, 2: 4, 3: 1}, 0.15, 3),
    "return": Family(("return",), {1: 3, 2: 4, 3: 1}, 0.15, 3),
    "move": Family(("move",), {1: 3, 2: 4, 3: 2}, 0.15, 3),
    "credit": Family(("credit",), {1: 3, 2: 4, 3: 2}, 0.15, 3),
    "forbidden": Family(("cancel", "return", "move", "credit"), {2: 3, 3: 2, 4: 1}, 0.7, 4),
    "combined": Family(("cancel", "return", "move", "credit"), {2: 2, 3: 4, 4: 2}, 0.15, 6),
}


def tasks(split: Split, n: int, seed: int, min_turns: int = MIN_TURNS) -> list[DeskTask]:
    """Draw `n` tasks for which the expert needs at least `min_turns` turns.

    Equal arguments give equal tasks; another `n` gives a prefix or a continuation.
    """
    drawn = (make_task(split, f"{split}-{seed}-{index}") for index in count())
    return list(islice((task for task in drawn if expert_turns(task) >= min_turns), n))


def task_by_id(task_id: str) -> DeskTask:
    world, _, name = task_id.partition("-")
    split = next((split for split in USER_DIGITS if name.startswith(f"{split}-")), None)
    if world != "desk" or split is None:
        raise InputError(f"the desk has no task {task_id!r}", "its tasks are those that `pivotrl desk` writes")
    return make_task(split, name)


def make_task(split: Split, name: str) -> DeskTask:
    """Draw the task of this name, redrawing until the expert's turns are within the limits."""
    rng = Random(f"desk/{name}")
    family = rng.choices(list(FAMILIES), [family.weight for family in FAMILIES.values()])[0]
    while True:
        task = _draw(rng, split, f"desk-{name}", family)
        denied = any(not allowed(request.verb, task.order(request.order_id)) for request in task.requests)
        if MIN_TURNS <= expert_turns(task) <= MAX_TURNS and (denied or family != "forbidden"):
            return task


def right_outcome(request: Request, order: Order) -> Outcome:
    """Outcome of a request under the rules."""
    if not allowed(request.verb, order):
        return "denied"
    return "kept" if must_ask(order) and not request.agrees else "done"


def goal(task: DeskTask) -> dict[str, Any]:
    """The database after everything right and nothing else was done."""
    db = World(task.user, task.orders).db
    for request in task.requests:
        order = task.order(request.order_id)
        outcome = right_outcome(request, order)
        db["cases"][order.order_id] = [[outcome, outcome == "denied"]]
        if outcome != "done":
            continue
        if request.verb == "move":
            db["orders"][order.order_id]["city"] = request.city
        elif request.verb == "credit":
            db["credits"][order.order_id] = [CREDIT[task.user.tier]]
        else:
            db["orders"][order.order_id]["status"] = {"cancel": "cancelled", "return": "returned"}[request.verb]
            db["refunds"][order.order_id] = [[order.amount, order.paid]]
    return db


def expert_turns(task: DeskTask) -> int:
    """Assistant turns that the expert needs: find the user, work the orders, report."""
    turns = 2
    for request in task.requests:
        order = task.order(request.order_id)
        outcome = right_outcome(request, order)
        asks = int(outcome != "denied" and must_ask(order))
        acts = 0 if outcome != "done" else 2 if request.verb in ("cancel", "return") else 1
        turns += 2 + asks + acts
    return turns


def _draw(rng: Random, split: Split, task_id: str, name: str) -> DeskTask:
    family = FAMILIES[name]
    length = rng.choices(list(family.lengths), list(family.lengths.values()))[0]
    letters = rng.sample("ABCDEFGHJKLMNPQRSTVWXYZ", length)
    verbs = [rng.choice(family.verbs) for _ in letters]
    forbidden = [rng.random() < family.forbidden for _ in letters]
    ids = [f"{letter}{rng.randint(100, 999)}" for letter in letters]
    orders = tuple(_draw_order(rng, *drawn) for drawn in zip(ids, verbs, forbidden, strict=True))
    requests = tuple(_draw_request(rng, verb, order) for verb, order in zip(verbs, orders, strict=True))
    number = f"U{rng.randint(10, 99)}{rng.choice(USER_DIGITS[split])}"
    called = f"{rng.choice(phrases.FIRST_NAMES)} {rng.choice(phrases.LAST_NAMES)}"
    user = User(number, called, str(rng.randint(1000, 9999)), rng.choice(("gold", "basic")))
    by_phone = rng.random() < 0.4
    opener = phrases.opener(rng, user, by_phone=by_phone)
    wishes = [phrases.wish(rng, request.verb, request.order_id, request.city) for request in requests]
    return DeskTask(task_id, name, user, orders, requests, f"{opener} {phrases.join(wishes)}", by_phone)


def _draw_order(rng: Random, order_id: str, verb: Verb, forbidden: bool) -> Order:
    status, days, late = rng.choice(("pending", "shipped", "delivered")), rng.randint(1, 60), rng.randint(0, 9)
    if verb == "return":
        status = "delivered" if not forbidden else rng.choice(("delivered", "shipped"))
        days = rng.randint(31, 60) if forbidden else rng.randint(1, 30)
    elif verb == "credit":
        late = rng.randint(0, 3) if forbidden else rng.randint(4, 9)
    else:
        status = rng.choice(("shipped", "delivered")) if forbidden else "pending"
    amount = rng.randint(100, 299) if rng.random() < 0.3 else rng.randint(10, 99)
    return Order(order_id, status, days, late, amount, rng.choice(("card", "gift", "bank")), rng.choice(phrases.CITIES))


def _draw_request(rng: Random, verb: Verb, order: Order) -> Request:
    answer = rng.choice(phrases.YES if rng.random() < 0.65 else phrases.NO)
    cities = [city for city in phrases.CITIES if city != order.city]
    return Request(verb, order.order_id, answer, rng.choice(cities) if verb == "move" else "")
