"""The scripted expert: always right, in varied style.

It reads the tools' replies, never the task's hidden half. Style (a word before a call, key order, phrasing) is drawn
per turn and never changes the effect of a call. Every decision is a method of its own, so that a habit can override it.
Left out on purpose: looking up all orders first. It would be as good, but a one-turn verifier accepts only one of two
equally right next calls.
"""

from __future__ import annotations

import json
from random import Random
from typing import Any

from pivotrl_cli.environments.desk import phrases
from pivotrl_cli.environments.desk.episode import DeskEpisode
from pivotrl_cli.environments.desk.tasks import DeskTask, Request
from pivotrl_cli.environments.desk.world import CREDIT, Order, Outcome, Verb, allowed, must_ask
from pivotrl_cli.rows import Message, ToolCall

_TOOL: dict[Verb, str] = {
    "cancel": "cancel_order",
    "return": "return_order",
    "move": "set_address",
    "credit": "add_credit",
}


class Expert:
    """Works one episode to its end."""

    def __init__(self, episode: DeskEpisode, rng: Random) -> None:
        self.episode, self.rng = episode, rng
        self.n_calls = 0

    def run(self) -> None:
        """Find the user, handle every request in the order asked, report."""
        task = self.episode.task
        user = self.call("find_user", **({"phone": task.user.phone} if task.by_phone else {"name": task.user.name}))
        words = {r.order_id: phrases.outcome_word(r.verb, self.handle(r, user)) for r in task.requests}
        self.say(phrases.report(self.rng, words))

    def handle(self, request: Request, user: dict[str, Any]) -> Outcome:
        """Look up, check, ask, act, refund and log one request; the outcome that was logged."""
        order = Order(**{"days": 0, "city": "", **self.call("get_order", order_id=request.order_id)})
        if not self.permits(request, order):
            note = phrases.denial_note(self.rng, request.verb, order)
            self.call("log_case", order_id=order.order_id, outcome="denied", note=note)
            return "denied"
        if self.asks(request, order):
            answer = self.say(phrases.question(self.rng, request.verb, order))
            if answer.startswith("No") and self.obeys(request, order):
                self.call("log_case", order_id=order.order_id, outcome=self.kept_outcome(request))
                return "kept"
        self.act(request, order, user)
        if self.logs(request, order):
            self.call("log_case", order_id=order.order_id, outcome="done")
        return "done"

    def act(self, request: Request, order: Order, user: dict[str, Any]) -> None:
        extra: dict[Verb, dict[str, Any]] = {
            "move": {"city": request.city},
            "credit": {"user_id": user["user_id"], "amount": self.credit(str(user["tier"]))},
        }
        self.call(_TOOL[request.verb], order_id=order.order_id, **extra.get(request.verb, {}))
        if request.verb in ("cancel", "return") and (method := self.refund_method(request, order)):
            self.call("refund", order_id=order.order_id, amount=order.amount, method=method)

    def permits(self, request: Request, order: Order) -> bool:
        return allowed(request.verb, order)

    def asks(self, request: Request, order: Order) -> bool:
        return must_ask(order)

    def obeys(self, request: Request, order: Order) -> bool:
        """Whether to leave the order alone after the user's no."""
        return True

    def kept_outcome(self, request: Request) -> Outcome:
        """Outcome to log after the user's no."""
        return "kept"

    def credit(self, tier: str) -> int:
        return CREDIT[tier]

    def refund_method(self, request: Request, order: Order) -> str | None:
        """Where the refund goes; None for no refund."""
        return order.paid

    def logs(self, request: Request, order: Order) -> bool:
        return True

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool in some style and read its reply."""
        keys = list(arguments)
        if self.rng.random() < 0.3:
            self.rng.shuffle(keys)
        text = json.dumps({key: arguments[key] for key in keys})
        content = phrases.preamble(self.rng) if self.rng.random() < 0.15 else ""
        self.n_calls += 1
        call = ToolCall(id=f"call_{self.n_calls}", name=tool, arguments=text)
        self.episode.step(Message(role="assistant", content=content, tool_calls=[call]))
        reply = json.loads(self.episode.state[-1].content)
        assert isinstance(reply, dict)
        return reply

    def say(self, text: str) -> str:
        """Say something to the user; their answer, or the text itself when it ended the episode."""
        self.episode.step(Message(role="assistant", content=text))
        return self.episode.state[-1].content


def demonstrate(task: DeskTask, seed: int) -> list[Message]:
    """The expert's whole conversation, from the system prompt to the report."""
    episode = DeskEpisode(task)
    Expert(episode, Random(f"expert/{task.task_id}/{seed}")).run()
    return episode.state
