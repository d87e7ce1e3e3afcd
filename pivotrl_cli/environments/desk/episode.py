"""One run of one desk task.

A message with calls runs them in order. A message without calls that asks something (it contains a question mark) is
answered by the scripted user; any other ends the episode. The score is 1 when the database equals the goal and the last
message reports every order, and only those, with the one right word; else 0.
"""

from __future__ import annotations

from pivotrl_cli.environments.desk import phrases
from pivotrl_cli.environments.desk.tasks import DeskTask, goal, right_outcome
from pivotrl_cli.environments.desk.world import SYSTEM, TOOLS, World
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
            asked = [request for request in self.task.requests if request.order_id in action.content]
            if len(asked) == 1 and asked[0].agrees:
                self.world.agreed.add(asked[0].order_id)
            answer = asked[0].answer if len(asked) == 1 else "Which order do you mean?"
            self.state.append(Message(role="user", content=answer))
        elif not action.tool_calls:
            self.done = True

    def score(self) -> float:
        if not self.done or self.world.db != goal(self.task):
            return 0.0
        outcomes = [(r, right_outcome(r, self.task.order(r.order_id))) for r in self.task.requests]
        words = {request.order_id: {phrases.outcome_word(request.verb, outcome)} for request, outcome in outcomes}
        return float(phrases.read_report(self.state[-1].content) == words)
