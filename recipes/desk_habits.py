"""An agent with habits: the expert with faults, whose conversations the shipped policy learned from.

Each fault belongs to something visible in the state (the order is forbidden, it was paid with a gift card, the user is
gold) and is drawn at every such decision, at the rates below. So a policy trained on these conversations is right
at most turns, wrong at a rate near one half at those that need judgement, and rarely right through a long task: it
lacks judgement, not skill. Now and then a call is mistyped and refused, and then made again: so the policy knows what
an error looks like and how to continue.
"""

from __future__ import annotations

from random import Random
from typing import Any

from pivotrl_cli.environments.desk import phrases
from pivotrl_cli.environments.desk.episode import DeskEpisode
from pivotrl_cli.environments.desk.expert import Expert
from pivotrl_cli.environments.desk.tasks import DeskTask, Request
from pivotrl_cli.environments.desk.world import CREDIT, Order, Outcome, must_ask
from pivotrl_cli.rows import Message

RATES = {
    "acts_on_forbidden": 0.5,
    "does_not_ask": 0.45,
    "acts_after_no": 0.4,
    "logs_kept_as_denied": 0.4,
    "refunds_to_card": 0.45,
    "skips_refund_of_return": 0.35,
    "forgets_gold": 0.4,
    "skips_log_of_move_and_credit": 0.4,
    "mistypes": 0.04,
}
"""How often each habit of the shipped policy's teacher wins where it applies."""


def other_rates(seed: int) -> dict[str, float]:
    """Rates of another agent: each habit drawn between 0.2 and 0.7."""
    rng = Random(f"rates/{seed}")
    return {habit: rate if habit == "mistypes" else round(rng.uniform(0.2, 0.7), 2) for habit, rate in RATES.items()}


class AgentWithHabits(Expert):
    """The expert, but each decision may fall to a habit."""

    def __init__(self, episode: DeskEpisode, rng: Random, rates: dict[str, float]) -> None:
        super().__init__(episode, rng)
        self.rates = rates

    def slips(self, habit: str) -> bool:
        return self.rng.random() < self.rates[habit]

    def permits(self, request: Request, order: Order) -> bool:
        return super().permits(request, order) or self.slips("acts_on_forbidden")

    def asks(self, request: Request, order: Order) -> bool:
        return must_ask(order) and not self.slips("does_not_ask")

    def obeys(self, request: Request, order: Order) -> bool:
        return not self.slips("acts_after_no")

    def kept_outcome(self, request: Request) -> Outcome:
        return "denied" if self.slips("logs_kept_as_denied") else "kept"

    def credit(self, tier: str) -> int:
        return CREDIT["basic" if tier == "gold" and self.slips("forgets_gold") else tier]

    def refund_method(self, request: Request, order: Order) -> str | None:
        if request.verb == "return" and self.slips("skips_refund_of_return"):
            return None
        return "card" if order.paid != "card" and self.slips("refunds_to_card") else order.paid

    def logs(self, request: Request, order: Order) -> bool:
        return request.verb in ("cancel", "return") or not self.slips("skips_log_of_move_and_credit")

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Mistypes at times; the desk refuses, and the call is made again."""
        if self.slips("mistypes"):
            super().call(tool, **mistype(self.rng, arguments))
        return super().call(tool, **arguments)


def mistype(rng: Random, arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments with another last name, or one digit changed, in what names the user or the order."""
    key = next(key for key in ("order_id", "phone", "name") if key in arguments)
    value = str(arguments[key])
    if key == "name":
        first, last = value.split()
        return {**arguments, key: f"{first} {rng.choice([name for name in phrases.LAST_NAMES if name != last])}"}
    at = rng.randrange(1, len(value))
    digit = rng.choice([digit for digit in "0123456789" if digit != value[at]])
    return {**arguments, key: value[:at] + digit + value[at + 1 :]}


def converse(task: DeskTask, seed: int, rates: dict[str, float] = RATES) -> tuple[list[Message], float]:
    """A whole conversation of an agent with habits, and its score."""
    episode = DeskEpisode(task)
    AgentWithHabits(episode, Random(f"habits/{task.task_id}/{seed}"), rates).run()
    return episode.state, episode.score()
