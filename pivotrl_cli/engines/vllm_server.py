"""A vLLM server as the engine of training: on other GPUs of this machine, or on another one.

    VLLM_SERVER_DEV_MODE=1 vllm serve MODEL --worker-extension-cls pivotrl_cli.engines.vllm.Reloading \\
        --logprobs-mode processed_logprobs

Token ids go out and token ids come back, with the log-probabilities of the sampler. New weights go through a folder
that trainer and server both see; then the prefix cache is cleared and the weights get a version label, which the server
must still have when a batch has been sampled. Every call has a time limit. With several ranks, rank 0 pushes and all
sample. Left out: weights from GPU to GPU by vLLM's NCCL transfer.
"""

from __future__ import annotations

import shutil
from collections.abc import Container, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pivotrl_cli.configs import PolicyConfig
from pivotrl_cli.endpoint import Endpoint, EndpointSettings, Reply
from pivotrl_cli.engines import Group, Request, Sampling
from pivotrl_cli.engines.canary import served_models
from pivotrl_cli.engines.endpoint import EndpointEngine
from pivotrl_cli.engines.openai import CompletionsApi, Question
from pivotrl_cli.engines.prompts import stop_ids
from pivotrl_cli.errors import ConfigError, OutputError, RunError
from pivotrl_cli.model.chat import ChatFormat
from pivotrl_cli.model.folder import load_generation_config, load_tokenizer, resolve

if TYPE_CHECKING:
    from torch import Tensor

START = (
    "start it as VLLM_SERVER_DEV_MODE=1 vllm serve MODEL --worker-extension-cls pivotrl_cli.engines.vllm.Reloading "
    "--logprobs-mode processed_logprobs, where pivotrl is installed too"
)
MODE = "processed_logprobs"


def open_server(
    settings: EndpointSettings, config: PolicyConfig, folder: Path, run: str, *, pushes: bool = True
) -> VLLMServer:
    """Connect to a server that has the config's model.

    `folder` is for weights on their way to it, `run` a token of this run for the labels of its weights; only the rank
    that `pushes` writes weights.
    """
    server = Endpoint(settings)
    models, reply = served_models(server)
    if not models:
        raise RunError(f"no vLLM answers at {server.address}: {reply.error or 'it serves no model'}", START)
    begin = resolve(config.model)
    chat = ChatFormat(load_tokenizer(begin, config))
    api = CompletionsApi(chat, int(models[0].get("max_model_len") or 0))
    stop = stop_ids(load_generation_config(begin), chat)
    return VLLMServer(server, api, str(models[0]["id"]), stop, folder, run, pushes=pushes)


class VLLMServer(EndpointEngine):
    """Samples from a server that takes new weights."""

    def __init__(
        self,
        server: Endpoint,
        api: CompletionsApi,
        model: str,
        stop: frozenset[int],
        folder: Path,
        run: str,
        *,
        pushes: bool,
    ) -> None:
        super().__init__(server, api, model)
        self.weight_version: int | None = None
        """Version of the weights on the server; None before the first push, and after one that failed."""
        self._run, self._pushes = run, pushes
        self._stop_ids, self._folder = sorted(stop), folder.absolute()
        settings = server.settings
        root = settings.base_url.rstrip("/").removesuffix("/v1")
        self._control = Endpoint(
            EndpointSettings(base_url=root, key_variable=settings.key_variable, timeout=settings.timeout, max_retries=1)
        )
        self._check_start()

    def push(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        """Bring the weights to the server, unless it has this version; the other ranks only take them."""
        if version == self.weight_version:
            return
        self.weight_version = None
        if self._pushes:
            self._write({name: weight.cpu().contiguous() for name, weight in weights})
            self._rpc("pivotrl_reload", str(self._folder))
            if not self._answer("POST", "reset_prefix_cache").get("success"):
                raise RunError(f"{self._control.address} kept the prefix cache of the old weights", "see its log")
            self._answer("POST", "update_weight_version", {"new_version": self._label(version)})
        else:
            for _ in weights:
                pass
        self.weight_version = version

    def _label(self, version: int | None) -> str:
        return f"pivotrl {self._run} {version}"

    def _write(self, weights: dict[str, Tensor]) -> None:
        from safetensors.torch import save_file

        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            making = self._folder / "model.making"
            save_file(weights, making)
            making.replace(self._folder / "model.safetensors")
        except OSError as error:
            raise OutputError(f"{self._folder}: {error.strerror or error}", "free some space there") from error

    def sample(
        self, requests: Sequence[Request], sampling: Sampling, done: Container[str] = ()
    ) -> Iterator[list[Group]]:
        """Each group by itself, as it completes; raises RunError if the server got other weights meanwhile."""
        for groups in super().sample(requests, sampling, done):
            for completion in (c for group in groups for c in group.completions if c.error is None):
                if not len(completion.token_ids) == len(completion.logprobs) > 0:
                    raise RunError(f"{self._server.address} gives no log-probabilities of the tokens", START)
            yield groups
        found = self._answer("GET", "weight_info").get("weight_version")
        if found != (label := self._label(self.weight_version)):
            raise RunError(
                f"{self._control.address} has the weights {found!r} and not {label!r}",
                "a server is for one run: nothing else may give it weights",
            )

    def close(self) -> None:
        """Close the connections, and remove the weights that were on their way."""
        super().close()
        self._control.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _body(self, question: Question, sampling: Sampling, n: int, seed: int) -> dict[str, Any]:
        further = {"stop_token_ids": self._stop_ids, "ignore_eos": True} | self._api.logprobs()
        return super()._body(question, sampling, n, seed) | further

    def _omit(self, names: Iterable[str], why: str) -> None:
        raise RunError(f"{self._server.address} does not take {', '.join(names)}: {why}", START)

    def _check_start(self) -> None:
        """Raise ConfigError where the server was not started as `START` says."""
        for worker in self._rpc("pivotrl_facts"):
            if worker.get("logprobs_mode") != MODE:
                raise ConfigError(f"{self._control.address} was started without --logprobs-mode {MODE}", START)

    def _rpc(self, method: str, *arguments: str) -> list[dict[str, Any]]:
        """Call a method on each worker of the server; returns their results."""
        timeout = self._control.settings.timeout
        body = {"method": method, "args": list(arguments), "timeout": timeout}
        results: list[dict[str, Any]] = self._answer("POST", "collective_rpc", body).get("results", [])
        return results

    def _answer(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        reply: Reply = self._control.get(path) if method == "GET" else self._control.post(path, body or {})
        if reply.error is not None or reply.body is None:
            raise RunError(f"{self._control.address}/{path}: {reply.error}", START)
        return reply.body
