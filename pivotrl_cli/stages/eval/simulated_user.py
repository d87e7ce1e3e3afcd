"""The simulated user of one run: a model behind a server of its own, whose answers the journal keeps.

It samples with a seed that derives from the question's key, so that trials differ and a rerun asks for the same.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

from pivotrl_cli.configs import EngineConfig, EvalConfig
from pivotrl_cli.engines import ENGINES, Engine, Request, Sampling, each_group
from pivotrl_cli.environments import WorldError
from pivotrl_cli.errors import ConfigError
from pivotrl_cli.rows import Message
from pivotrl_cli.storage.journal import Journal, MemoryJournal


@contextmanager
def open_user(config: EvalConfig) -> Iterator[Engine | None]:
    """The engine that plays the user, if a server is named; nothing is sent before the first question."""
    if config.user_url is None:
        yield None
        return
    if config.user_model is None:
        raise ConfigError("--user-url needs a model", "add --user-model NAME, as the server calls it")
    server = EngineConfig.model_validate(
        {name: getattr(config, name) for name in ("endpoint_concurrency", "endpoint_timeout", "endpoint_retries")}
        | {"model": config.user_model, "engine": "endpoint", "endpoint": config.user_url}
        | {"endpoint_key_variable": config.user_key_variable}
    )
    engine: Engine = import_module(ENGINES["endpoint"]).open_engine(server)
    try:
        yield engine
    finally:
        engine.close()


class JournaledUser:
    """Implements `SimulatedUser`; may be called from several threads."""

    def __init__(self, engine: Engine, config: EvalConfig, journal: Journal | MemoryJournal) -> None:
        self._engine, self._journal = engine, journal
        self._sampling = Sampling(
            temperature=config.user_temperature, max_new_tokens=config.user_max_new_tokens, seed=config.seed
        )
        self.concurrency = config.endpoint_concurrency
        self._lock = threading.Lock()

    def __call__(self, key: str, state: list[Message], tools: str) -> Message:
        """The user's next message; raises `WorldError` if the server gave none."""
        name = f"user/{key}"
        with self._lock:
            kept = self._journal.read([name])
        if name in kept:
            return Message.model_validate(kept[name])
        message = self._ask(name, state, tools)
        with self._lock:
            self._journal.add({name: message.model_dump()})
        return message

    def _ask(self, name: str, state: list[Message], tools: str) -> Message:
        (group,) = each_group(self._engine, [Request(key=name, state=state, tools=tools)], self._sampling)
        if group.status != "ok":
            raise WorldError(f"the simulated user: {group.status}: {group.detail}")
        completion = group.completions[0]
        if completion.action is None:
            why = completion.error or completion.problem or f"cut after {self._sampling.max_new_tokens} tokens"
            raise WorldError(f"the simulated user: {why}")
        return completion.action
