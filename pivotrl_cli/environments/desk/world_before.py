"""A desk task from its id, as a world for the verifier that runs actions (`verifiers/execute.py`)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

from pivotrl_cli.environments.desk.episode import DeskEpisode
from pivotrl_cli.environments.desk.tasks import task_by_id
from pivotrl_cli.environments.desk.world import SCHEMAS
from pivotrl_cli.errors import InputError
from pivotrl_cli.rows import Candidate, Message
from pivotrl_cli.verifiers.compare.calls import UnverifiableError


def start(candidate: Candidate) -> DeskWorld:
    try:
        task = task_by_id(candidate.task_id)
    except InputError as error:
        raise UnverifiableError(error.message) from error
    asked = [message.content for message in candidate.state if message.role == "user"][:1]
    if asked != [task.request_text]:
        raise UnverifiableError(f"task {candidate.task_id!r} has another request in this version of the desk")
    return DeskWorld(DeskEpisode(task))


class DeskWorld:
    """An episode that can be forked."""

    tools = frozenset(str(schema["function"]["name"]) for schema in SCHEMAS)

    def __init__(self, episode: DeskEpisode) -> None:
        self.episode = episode

    def step(self, action: Message) -> Sequence[tuple[str, bool]]:
        before = len(self.episode.state)
        self.episode.step(action)
        replies = [m.content for m in self.episode.state[before:] if m.role == "tool"]
        return [(reply, "error" in json.loads(reply)) for reply in replies]

    def fork(self) -> DeskWorld:
        copy = DeskEpisode(self.episode.task)
        copy.state, copy.done = list(self.episode.state), self.episode.done
        copy.world.db = deepcopy(self.episode.world.db)
        copy.world.agreed = set(self.episode.world.agreed)
        return DeskWorld(copy)

    def state(self) -> dict[str, Any]:
        return self.episode.world.db
