"""Any OpenAI-compatible server: vLLM, SGLang, LiteLLM, a hosted one.

The server batches; this engine sends `concurrency` requests at once and yields each group as it completes. The first
request is a canary. A parameter that the server refuses by name is omitted from then on, with one warning. Seeds are
sent, but servers do not promise the same samples again. Log-probabilities are kept at temperature 1 and for greedy
sampling only, because at other temperatures servers differ in whether they report them before or after scaling.
"""

from __future__ import annotations

import re
import sys
import threading
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from pathlib import Path, PurePath
from typing import Any

from pivotrl_cli.configs import EngineConfig
from pivotrl_cli.endpoint import Endpoint, EndpointSettings, Reply, in_parallel
from pivotrl_cli.engines import Completion, Engine, Group, Request, Sampling, sample_seed
from pivotrl_cli.engines.canary import check_model, check_server, check_tools, raise_refusal, served_models
from pivotrl_cli.engines.openai import Api, ChatApi, CompletionsApi, Question, failed_completion, has_tools
from pivotrl_cli.errors import ConfigError
from pivotrl_cli.model.chat import ChatFormat, valid_text
from pivotrl_cli.model.folder import fingerprint, load_tokenizer, local_folder

_MODEL_ALONE = {"top_p": 1.0, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
"""The model's own distribution; without these, some servers take defaults from the model's generation config."""
_DISPENSABLE = ("n", "seed", "logprobs", "return_token_ids", "skip_special_tokens", "max_tokens", *_MODEL_ALONE)
"""Parameters to omit once a server has refused them by name; not where their value differs from the model's own
distribution."""
_CONTEXT = re.compile(
    r"context[ _-]?(length|size|window)|too many tokens"
    r"|\b(prompt|inputs?|requests?|conversation|messages|content)'?:? *(\([^)]*\) *)?"
    r"(is |are |string )?(too long|longer than)",
    re.IGNORECASE,
)
_ONE_STRING = re.compile(r"(?<!prompt')(?<!input')(?<!content'): string too long", re.IGNORECASE)
"""OpenAI's words for an id, a name or a description above its limit; LiteLLM calls that a context overflow too."""
_NO_LIMIT = sys.maxsize


def open_engine(config: EngineConfig) -> EndpointEngine:
    """Connect to the config's server; the chat API sends nothing yet."""
    server = _server(config)
    api = ChatApi() if config.endpoint_api == "chat" else _completions_api(config, server)
    return EndpointEngine(server, api, config.model)


def fingerprints(config: EngineConfig) -> dict[str, str]:
    """The model's name and the server's description of it, without the address; of paths only the last part."""
    with _server(config) as server:
        models, reply = served_models(server)
        if reply.status in (None, 401, 403) or reply.status >= 500:  # else it has no such list
            raise_refusal(reply, server, config.model, config.endpoint_key_variable)
    found = {"model": _name(config.model), "api": config.endpoint_api}
    for one in models:
        if one.get("id") == config.model:
            kept = {name: one.get(name) for name in ("root", "parent", "max_model_len")}
            found |= {f"model {name}": _name(str(value)) for name, value in kept.items() if value is not None}
    if config.endpoint_api == "completions":
        found["tokenizer"] = fingerprint(_tokenizer_folder(config), weights=False)
    return found


def _server(config: EngineConfig) -> Endpoint:
    if config.endpoint is None:
        raise ConfigError("--engine endpoint needs a server", "add --endpoint http://HOST:PORT/v1")
    return Endpoint(
        EndpointSettings(
            base_url=config.endpoint,
            key_variable=config.endpoint_key_variable,
            timeout=config.endpoint_timeout,
            max_retries=config.endpoint_retries,
            concurrency=config.endpoint_concurrency,
        )
    )


def _completions_api(config: EngineConfig, server: Endpoint) -> CompletionsApi:
    lengths = [one.get("max_model_len") for one in served_models(server)[0] if one.get("id") == config.model]
    context_length = next((length for length in lengths if isinstance(length, int)), _NO_LIMIT)
    return CompletionsApi(ChatFormat(load_tokenizer(_tokenizer_folder(config), config)), context_length)


def _tokenizer_folder(config: EngineConfig) -> Path:
    folder = config.tokenizer or local_folder(config.model)
    if not folder.is_dir():
        raise ConfigError(
            f"{folder}: no such folder, and --endpoint-api completions needs the model's tokenizer",
            "add --tokenizer FOLDER, with tokenizer.json and the chat template",
        )
    return folder


def _name(model: str) -> str:
    return PurePath(model).name if PurePath(model).is_absolute() else model


class EndpointEngine(Engine):
    """Samples from a model behind a server."""

    def __init__(self, server: Endpoint, api: Api, model: str) -> None:
        self.model = model
        self._server, self._api = server, api
        self._refused: set[str] = set()
        self._checked: set[str] = set()
        self._counts = Counter({"requests": 0, "request retries": 0})
        self._lock = threading.Lock()

    def sample(
        self, requests: Sequence[Request], sampling: Sampling, done: Container[str] = ()
    ) -> Iterator[list[Group]]:
        """Yield each group as it completes."""
        left = [request for request in requests if request.key not in done]
        if left:
            self._check(left)
        for group in in_parallel(
            lambda request: self._group(request, sampling), left, self._server.settings.concurrency
        ):
            yield [group]

    def notes(self) -> dict[str, float]:
        """Requests sent so far, and retries."""
        return dict(self._counts)

    def close(self) -> None:
        """Close the connections."""
        self._server.close()

    def check(self, tools: bool) -> None:
        """Raise unless the server has the model and, with `tools`, a tool call comes back parsed."""
        key_variable = self._server.settings.key_variable
        check_model(self._server, self.model, key_variable)
        if tools and (warning := check_tools(self._ask_once, self._server, self.model, key_variable, ())):
            _warn(warning)

    def _check(self, requests: Sequence[Request]) -> None:
        """Send the canary once; again with tools where the first requests had none and these have some."""
        needed = "tools" if self._api.name == "chat" and any(map(has_tools, requests)) else "server"
        if needed in self._checked:
            return
        key_variable = self._server.settings.key_variable
        if needed == "server":
            check_server(self._ask_once, self._server, self.model, key_variable)
        elif warning := check_tools(self._ask_once, self._server, self.model, key_variable, requests):
            _warn(warning)
        self._checked |= {"server", needed}

    def _ask_once(self, request: Request, max_new_tokens: int) -> Reply | None:
        sampling = Sampling(temperature=0.0, max_new_tokens=max_new_tokens)
        question = self._api.ask(request, max_new_tokens)
        return self._post(self._body(question, sampling, 1, 0)) if isinstance(question, Question) else None

    def _group(self, request: Request, sampling: Sampling) -> Group:
        """The samples of one state: in one request, or in one each where the server returns one at a time."""
        question = self._api.ask(request, sampling.max_new_tokens)
        if isinstance(question, Group):
            return question
        completions: list[Completion] = []
        prompt_ids = question.prompt_ids
        while len(completions) < sampling.n:
            n = 1 if "n" in self._refused else sampling.n - len(completions)
            seed = sample_seed(sampling.seed, request.key, sampling.first + len(completions))
            reply = self._post(self._body(question, sampling, n, seed))
            if _is_too_long(reply):
                detail = valid_text(reply.error or "")
                return Group(request=request, completions=[], prompt_ids=prompt_ids, status="too_long", detail=detail)
            completions += self._completions(question, reply, n, seed)
            prompt_ids = prompt_ids or _prompt_ids(reply)
        return Group(
            request=request, completions=completions, prompt_ids=prompt_ids, template_fault=question.template_fault
        )

    def _completions(self, question: Question, reply: Reply, n: int, seed: int) -> list[Completion]:
        """The completions of a reply to a request for n samples: at least one, at most n."""
        choices = _choices(reply)
        if not choices:
            error = reply.error or "the answer has no choices"
            return [failed_completion(error, seed + i) for i in range(n)]
        if len(choices) < n:
            self._omit(["n"], f"it returned {len(choices)} of {n} samples")
        return [question.read(choice, seed + i) for i, choice in enumerate(choices[:n])]

    def _body(self, question: Question, sampling: Sampling, n: int, seed: int) -> dict[str, Any]:
        body = {
            "model": self.model,
            **question.body,
            "temperature": sampling.temperature,
            "max_tokens": sampling.max_new_tokens,
            "seed": seed,
            "return_token_ids": True,
            **_MODEL_ALONE,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k or -1,
        }
        if sampling.temperature in (0.0, 1.0):
            body |= self._api.logprobs()
        return body | ({"n": n} if n > 1 else {})

    def _post(self, body: dict[str, Any]) -> Reply:
        """Send one request, and again without the parameters that the server refuses by name."""
        while True:
            sent = {name: value for name, value in body.items() if name not in self._refused}
            if "max_tokens" not in sent:
                sent["max_completion_tokens"] = body["max_tokens"]
            reply = self._server.post(self._api.path, sent)
            with self._lock:
                self._counts.update({"requests": 1, "request retries": reply.n_retries})
            refused = _refused_parameters(reply, sent)
            if not refused:
                return reply
            self._omit(refused, reply.error or "")

    def _omit(self, names: Iterable[str], why: str) -> None:
        with self._lock:
            new = sorted(set(names) - self._refused)
            self._refused |= set(new)
        if new:
            _warn(f"the server refuses {', '.join(new)}, which is omitted from here on: {why}")


def _refused_parameters(reply: Reply, sent: dict[str, Any]) -> list[str]:
    """The dispensable parameters that a refusal names."""
    if reply.error is None or reply.status not in (400, 422) or _is_too_long(reply):
        return []
    words = reply.error
    dispensable = [name for name in _DISPENSABLE if name in sent and sent[name] == _MODEL_ALONE.get(name, sent[name])]
    return [name for name in dispensable if re.search(rf"(?<![\w.\\]){name}(?!\w)", words)]


def _is_too_long(reply: Reply) -> bool:
    words = reply.error or ""
    return reply.status in (400, 413, 422) and bool(_CONTEXT.search(words)) and not _ONE_STRING.search(words)


def _choices(reply: Reply) -> list[dict[str, Any]]:
    """The choices in the order of their samples."""
    found = (reply.body or {}).get("choices")
    choices = [choice for choice in found if isinstance(choice, dict)] if isinstance(found, list) else []
    indices = [choice.get("index") for choice in choices]
    if sorted(indices, key=str) == sorted(range(len(choices)), key=str):
        choices.sort(key=lambda choice: int(choice["index"]))
    return choices


def _prompt_ids(reply: Reply) -> list[int]:
    """The prompt's token ids, where the server returns them."""
    found = (reply.body or {}).get("prompt_token_ids")
    return [i for i in found if isinstance(i, int)] if isinstance(found, list) else []


def _warn(message: str) -> None:
    print(f"endpoint: {message}", file=sys.stderr, flush=True)
