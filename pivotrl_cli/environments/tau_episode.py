"""tau2-bench's customer service over several turns: the policy talks to a simulated user and calls tools.

The agent opens with a greeting and the user answers, as in the published runs. An action with calls gets the tools'
replies; any other is sent to the user, who may use tools of their own (telecom) before answering. The user ends the
conversation. Tasks, policy, tools and the user's guidelines are the package's; the words around the policy are ours.

The score is 1 if every criterion in the task's reward basis holds, as tau2-bench defines them: the final databases are
those of the reference actions (DB), assertions on them hold (ENV_ASSERTION), the reference actions were taken (ACTION),
the requested information was given (COMMUNICATE). A criterion that needs a judge (NL_ASSERTION) raises: the run is not
measured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pivotrl_cli.environments import SimulatedUser, WorldError
from pivotrl_cli.environments.tau_world import MadeCall, Side, TauWorld
from pivotrl_cli.rows import Message

GREETING = "Hi! How can I help you today?"
STOPS = ("###STOP###", "###TRANSFER###", "###OUT-OF-SCOPE###")
MAX_USER_CALLS = 50
"""Maximum number of messages with calls that a user may send before a text."""

_INSTRUCTIONS = """\
You serve the customers of a company. Follow the policy below, and help as far as it allows.
At each turn either write to the customer or call tools, never both.

<policy>
{policy}
</policy>"""


@dataclass(frozen=True, slots=True)
class Domain:
    """The part that all tasks of a domain share."""

    name: str
    policy: str
    agent_tools: str
    """Schemas, a JSON list in OpenAI's form."""
    user_tools: str


class TauEpisode:
    """Implements `Episode` for a task, given as the package's model and the prompt of its user."""

    def __init__(self, domain: Domain, task: Any, user_prompt: str, user: SimulatedUser, key: str) -> None:
        self.task_id = self.cluster = str(task.id)
        # Telecom's tasks name their kind: `[mms_issue]bad_wifi|...`.
        self.category = self.task_id[1:].partition("]")[0] if self.task_id.startswith("[") else domain.name
        self.tools = domain.agent_tools
        self.state = [
            Message(role="system", content=_INSTRUCTIONS.format(policy=domain.policy)),
            Message(role="assistant", content=GREETING),
        ]
        self.done = False
        self.concurrency = getattr(user, "concurrency", 1)
        self._domain, self._task, self._key = domain, task, key
        self._user, self._n_asked = user, 0
        self._user_view = [Message(role="system", content=user_prompt), Message(role="user", content=GREETING)]
        self._world: TauWorld | None = None

    def begin(self) -> None:
        """Get the user's first message; raises `WorldError` where there is none."""
        self._world = TauWorld(self._domain.name, self._task.initial_state)
        self._ask_user()

    def step(self, action: Message) -> None:
        self.state.append(action)
        if action.tool_calls:
            self.state += self._replies("assistant", action)
        else:
            self._user_view.append(Message(role="user", content=action.content))
            self._ask_user()

    def score(self) -> float:
        """1 if all criteria hold, else 0; 0 for a conversation without an end."""
        if not self.done or self._world is None:
            return 0.0
        world, self._world = self._world, None  # databases are large, and many episodes are kept
        criteria = self._task.evaluation_criteria
        if criteria is None:
            return 1.0
        checks = [CHECKS[kind.value] for kind in criteria.reward_basis if kind.value in CHECKS]
        if len(checks) < len(criteria.reward_basis):
            raise WorldError("a criterion of this task needs a judge of the conversation, and there is none here")
        return float(all(check(criteria, world, self.state) for check in checks))

    def _ask_user(self) -> None:
        """Get the user's next message, after any calls of their own tools."""
        for _ in range(MAX_USER_CALLS):
            message = self._user(f"{self._key}/{self._n_asked}", list(self._user_view), self._domain.user_tools)
            self._n_asked += 1
            calls = [c.model_copy(update={"id": f"user_{self._n_asked}_{i}"}) for i, c in enumerate(message.tool_calls)]
            message = message.model_copy(update={"tool_calls": calls, "reasoning": None})
            self._user_view.append(message)
            if not calls:
                self.state.append(Message(role="user", content=message.content))
                self.done = any(stop in message.content for stop in STOPS)
                return
            self._user_view += self._replies("user", message)
        raise WorldError(f"the simulated user called tools {MAX_USER_CALLS} times without a message")

    def _replies(self, side: Side, message: Message) -> list[Message]:
        assert self._world is not None, "the episode has not begun"
        return [
            Message(role="tool", content=self._world.call(side, call), tool_call_id=call.id, name=call.name)
            for call in message.tool_calls
        ]


def _same_databases(criteria: Any, world: TauWorld, state: list[Message]) -> bool:
    """Whether the databases equal those after the reference actions; actions that fail change nothing."""
    wanted = TauWorld(world.domain)
    for action in criteria.actions or []:
        try:
            wanted.run(action.requestor, action.name, action.arguments)
        except Exception:  # tools may raise anything; some reference actions are refused
            continue
    return wanted.databases() == world.databases()


def _assertions_hold(criteria: Any, world: TauWorld, state: list[Message]) -> bool:
    return all(
        getattr(world.kits[one.env_type], one.func_name)(**one.arguments) == one.assert_value
        for one in criteria.env_assertions or []
    )


def _actions_taken(criteria: Any, world: TauWorld, state: list[Message]) -> bool:
    """Whether each reference action is among the calls made, by the arguments that count."""

    def is_action(made: MadeCall, action: Any) -> bool:
        keys = set(made.arguments) | set(action.arguments) if action.compare_args is None else action.compare_args
        return (made.side, made.name) == (action.requestor, action.name) and all(
            made.arguments.get(key) == action.arguments.get(key) for key in keys
        )

    return all(any(is_action(made, action) for made in world.made) for action in criteria.actions or [])


def _information_given(criteria: Any, world: TauWorld, state: list[Message]) -> bool:
    """Whether each piece of information stands in one of the agent's messages, commas and case aside."""
    texts = [m.content.lower().replace(",", "") for m in state if m.role == "assistant"]
    return all(any(info.lower() in text for text in texts) for info in criteria.communicate_info or [])


CHECKS: dict[str, Callable[[Any, TauWorld, list[Message]], bool]] = {
    "DB": _same_databases,
    "ENV_ASSERTION": _assertions_hold,
    "ACTION": _actions_taken,
    "COMMUNICATE": _information_given,
}
"""Criteria of a reward basis that need no judge."""
