"""One run of one desk task.

A message with calls runs them in order. A message without calls that asks something (it contains a question mark) is
answered by the scripted user; any other ends the episode. The score is 1 when the database equals the goal and the last
message reports every order, and only those, with the one right word; else 0.
"""

from __future__ import annotations

from pivotrl_cli.environments.desk import phrases
from pivotrl_cli.environments.desk.tasks import DeskTask, goal, right_outcome
from pivotrl_cli.environments.desk.world import SYSTEM, TOOLS, Outcome, World
from pivotrl_cli.rows import Message


class DeskEpisode:
    """Implements `Episode` for a `DeskTask`."""

    def __init__(self, task: DeskTask) -> None:
        self.task = task
        self.task_id = self.cluster = task.task_id
        self.category = task.family
        self.tools = TOOLS
        self.world = World(task.user, task.orders)
        self.state = [Message(role="system", content=SYSTEM), Message(role="user", content=task.request_text)]
        self.done = False

    def step(self, action: Message) -> None:
        if self.done:
            return
        self.state.append(action)
        for call in action.tool_calls:
            reply = self.world.call(call.name, call.arguments)
            self.state.append(Message(role="tool", content=reply, tool_call_id=call.id, name=call.name))
        if not action.tool_calls and "?" in action.content:
            self.state.append(Message(role="user", content=self._answer(action.content)))
        elif not action.tool_calls:
            self.done = True

    def score(self) -> float:
        """1.0 for the right database and the right report, else 0.0."""
        if not self.done or self.world.db != goal(self.task):
            return 0.0
        words = {r.order_id: {phrases.outcome_word(r.verb, self._outcome(r.order_id))} for r in self.task.requests}
        return float(phrases.read_report(self.state[-1].content) == words)

    def _outcome(self, order_id: str) -> Outcome:
        request = next(r for r in self.task.requests if r.order_id == order_id)
        return right_outcome(request, self.task.order(order_id))

    def _answer(self, question: str) -> str:
        asked = [request for request in self.task.requests if request.order_id in question]
        if len(asked) != 1:
            return "Which order do you mean?"
        if asked[0].agrees:
            self.world.agreed.add(asked[0].order_id)
        return asked[0].answer
