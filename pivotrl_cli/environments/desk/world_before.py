"""A desk task from its id, for the verifier that runs actions: what `verifiers/execute.py` calls a world."""

from __future__ import annotations

import json
from collections.abc import Sequence
from copy import deepcopy
from typing import Any, get_args

from pivotrl_cli.environments.desk.episode import DeskEpisode
from pivotrl_cli.environments.desk.tasks import DeskTask, Split, make_task
from pivotrl_cli.environments.desk.world import SCHEMAS
from pivotrl_cli.rows import Candidate, Message
from pivotrl_cli.verifiers.compare import UnverifiableError

_PREFIX = "desk-"


def start(candidate: Candidate) -> DeskWorld:
    """The candidate's task, before its first turn."""
    task = task_of(candidate.task_id)
    episode = DeskEpisode(task)
    asked = [message.content for message in candidate.state if message.role == "user"][:1]
    if asked != [task.request_text]:
        raise UnverifiableError(f"task {candidate.task_id!r} of this version of the desk asks for something else")
    return DeskWorld(episode)


def task_of(task_id: str) -> DeskTask:
    """The task of an id such as `desk-train-0-17`."""
    name = task_id.removeprefix(_PREFIX)
    split = name.partition("-")[0]
    for known in get_args(Split):
        if split == known and task_id.startswith(_PREFIX):
            return make_task(known, name)
    raise UnverifiableError(f"{task_id!r} is not the id of a desk task")


class DeskWorld:
    """An episode that can be forked."""

    tools = frozenset(str(schema["function"]["name"]) for schema in SCHEMAS)

    def __init__(self, episode: DeskEpisode) -> None:
        self.episode = episode

    def step(self, action: Message) -> Sequence[tuple[str, bool]]:
        """Take the action; the desk replies to every call."""
        before = len(self.episode.state)
        self.episode.step(action)
        replies = [m.content for m in self.episode.state[before:] if m.role == "tool"]
        return [(reply, "error" in json.loads(reply)) for reply in replies]

    def fork(self) -> DeskWorld:
        """An episode of the same task with the same database."""
        copy = DeskEpisode(self.episode.task)
        copy.state, copy.done = list(self.episode.state), self.episode.done
        copy.world.db = deepcopy(self.episode.world.db)
        copy.world.agreed = set(self.episode.world.agreed)
        return DeskWorld(copy)

    def state(self) -> dict[str, Any]:
        """The database."""
        return self.episode.world.db
