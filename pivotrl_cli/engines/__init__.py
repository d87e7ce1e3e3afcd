"""Engines sample actions from a policy: n completions at each state.

An engine renders the state, samples, and reads the completions back as actions. A failure at one state is a value, not
an exception: a state that does not fit comes back as a group without completions and a status with the reason. A new
engine is a new file here and a line in `ENGINES`.
"""

from __future__ import annotations

import hashlib
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from itertools import chain
from typing import TYPE_CHECKING, Literal

from pivotrl_cli.configs import EngineConfig
from pivotrl_cli.errors import ConfigError
from pivotrl_cli.model.folder import template_fingerprints
from pivotrl_cli.rows import Message

if TYPE_CHECKING:  # torch costs seconds, and an endpoint needs none
    from torch import Tensor

ENGINES = {
    "endpoint": "pivotrl_cli.engines.endpoint",
    "hf": "pivotrl_cli.engines.hf",
    "replay": "pivotrl_cli.engines.replay",
    "vllm": "pivotrl_cli.engines.vllm",
}
"""Engine modules by name. Each has `open_engine(config)`, and `fingerprints(config)` for what it samples from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How to sample."""

    n: int = 1
    first: int = 0
    """Index of the first sample: `n=8, first=8` are the next eight after `n=8`."""
    temperature: float = 1.0
    """0 is greedy."""
    top_p: float = 1.0
    """Sample from the most likely tokens that together have this probability."""
    top_k: int | None = None
    """Sample from this many of the most likely tokens."""
    max_new_tokens: int = 256
    seed: int = 0
    prefix_cache: Literal["off", "start", "continue"] = "off"
    """Whether this call leaves its prompts' keys and values for the next one (`start`), and begins with what the last
    one left (`continue`): faster where states go on from each other, and then equal from run to run only if all calls
    are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One state to act at. Seeds derive from `key`, so it must name the state and nothing else."""

    key: str
    state: list[Message]
    tools: str
    expected_action: Message | None = None
    """The demonstrated action: whether the model can write it is looked at where it is given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """One sampled action.

    Example: `Completion(text="Done.", action=Message(role="assistant", content="Done."), token_ids=[31, 4, 2],
    logprobs=[-0.1, -0.7, 0.0], finish_reason="stop", seed=17)`
    """

    text: str
    action: Message | None
    """None where the text is not an action; `problem` says why."""
    problem: str | None = None
    token_ids: list[int] = field(default_factory=list)
    """Sampled tokens, the end token included."""
    logprobs: list[float] = field(default_factory=list)
    """Of each sampled token, in nats, in the distribution that it was drawn from (for greedy, at temperature 1)."""
    finish_reason: Literal["stop", "length", "error"] = "stop"
    seed: int = 0
    error: str | None = None
    """What failed; the completion is then not a measurement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The completions at one state, or why there are none."""

    request: Request
    completions: list[Completion]
    prompt_ids: list[int] = field(default_factory=list)
    status: Literal["ok", "too_long", "unrenderable"] = "ok"
    detail: str = ""
    template_fault: str = ""
    """What the rendering lost of the state, where the engine renders it and something is lost."""


class Engine(ABC):
    """Samples actions from a policy; in training the policy changes, and `push` brings its weights.

    What an engine does not need does nothing: one that samples from the trained model itself always has its weights.
    """

    @abstractmethod
    def sample(
        self, requests: Sequence[Request], sampling: Sampling, done: Container[str] = ()
    ) -> Iterator[list[Group]]:
        """One group per request, in any order; those that were sampled together come together.

        What is sampled together depends on all `requests`, never on `done`: batches whose keys are all in `done` are
        left out, and the others are what they would have been, to the bit.
        """

    def push(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:  # noqa: B027
        """Sample from these weights from here on, unless they are of the same version as the last ones.

        Names are those of the model folder. Collective: taking a weight is, so every rank must call it.
        """

    def sleep(self) -> None:  # noqa: B027
        """Free device memory until the next push."""

    def close(self) -> None:  # noqa: B027
        """Release what the engine holds."""


def each_group(engine: Engine, requests: Sequence[Request], sampling: Sampling) -> Iterator[Group]:
    """The groups of a whole run, one by one."""
    return chain.from_iterable(engine.sample(requests, sampling))


def notes(engine: Engine) -> dict[str, float]:
    """What the engine tells of its run beside the samples, such as `{"prefix cache hits": 0.83}`; most tell nothing."""
    tell: Callable[[], dict[str, float]] = getattr(engine, "notes", dict)
    return tell()


def choose(config: EngineConfig) -> str:
    """Name of the engine that a config asks for."""
    if config.engine != "auto":
        return config.engine
    return "hf" if _why_not_vllm(config) else "vllm"


def announce(config: EngineConfig) -> None:
    """Say on standard error what `auto` stands for, where it was asked for."""
    if config.engine == "auto":
        reason = _why_not_vllm(config)
        print(f"engine hf: {reason}" if reason else "engine vllm", file=sys.stderr)


def _why_not_vllm(config: EngineConfig) -> str | None:
    if find_spec("vllm") is None:
        return "vllm is not installed"
    reason: str | None = import_module(ENGINES["vllm"]).why_not(config)
    return reason


def open_engine(config: EngineConfig) -> Engine:
    """Open the engine that a config asks for; what `auto` stands for is said on standard error."""
    name = choose(config)
    for option, given in {"--engine-args": config.engine_args, "--tensor-parallel": config.tensor_parallel > 1}.items():
        if given and name != "vllm":
            raise ConfigError(f"{option} is for engine vllm, and the engine is {name}", "add --engine vllm")
    engine: Engine = import_module(ENGINES[name]).open_engine(config)
    announce(config)
    return engine


def fingerprints(config: EngineConfig) -> dict[str, str]:
    """Name of the engine and what identifies the policy behind it, for the provenance."""
    name = choose(config)
    found: dict[str, str] = import_module(ENGINES[name]).fingerprints(config)
    return {"engine": name} | found | template_fingerprints(config)


def sample_seed(seed: int, key: str, sample: int) -> int:
    """Seed of one sample: depends on the run's seed, the state and the sample index, never on order. 63 bits.

    The samples of one state have consecutive seeds, as vLLM gives them to the samples of one request.
    """
    digest = hashlib.sha256(f"{seed}/{key}".encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 2) + sample
