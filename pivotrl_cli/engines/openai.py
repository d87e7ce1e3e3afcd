"""The two OpenAI-style interfaces of a server: the request body for a state, and how to read the choices.

`ChatApi` sends messages and tools; the server renders the prompt and parses the completion. It gives messages, not
text, so a completion's text is the message written Hermes-style. `CompletionsApi` sends token ids that are rendered
here and reads the completion here, from its token ids where the server returns them, else from its text.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

from pivotrl_cli.engines import Completion, Group, Request
from pivotrl_cli.engines.prompts import Prompt, read_completion, read_completion_text, render
from pivotrl_cli.model import formats
from pivotrl_cli.model.chat import ChatFormat, UnparsableError, to_message, to_template, valid_text
from pivotrl_cli.model.formats.known import MESSAGES, RAW_CALL
from pivotrl_cli.rows import Message

Choice = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """The request for one state, and the reader of a choice of the answer and its seed."""

    body: dict[str, Any]
    read: Callable[[Choice, int], Completion]
    prompt_ids: list[int] = field(default_factory=list)
    template_fault: str = ""


class Api(Protocol):
    """One interface of a server."""

    name: str
    path: str

    def ask(self, request: Request, max_new_tokens: int) -> Question | Group:
        """The question for a state; a group without completions where the state cannot be rendered or does not fit."""
        ...

    def logprobs(self) -> dict[str, Any]:
        """The parameters that ask for the log-probability of each sampled token."""
        ...


class ChatApi:
    """Chat completions with tools."""

    name = "chat"
    path = "chat/completions"

    def ask(self, request: Request, max_new_tokens: int) -> Question:
        body: dict[str, Any] = {"messages": to_messages(request.state)}
        if has_tools(request):
            body["tools"] = json.loads(request.tools)
        return Question(body=body, read=read_message)

    def logprobs(self) -> dict[str, Any]:
        return {"logprobs": True}


class CompletionsApi:
    """Completions of token ids; the model's own chat template renders and reads here."""

    name = "completions"
    path = "completions"

    def __init__(self, chat: ChatFormat, context_length: int) -> None:
        self.chat = chat
        self.context_length = context_length

    def ask(self, request: Request, max_new_tokens: int) -> Question | Group:
        """Send token ids; tags that are special tokens stay in the text."""
        prompt = render(self.chat, request, max_new_tokens, self.context_length)
        if isinstance(prompt, Group):
            return prompt

        def read_choice(choice: Choice, seed: int) -> Completion:
            return read_tokens(self.chat, prompt, choice, seed)

        body = {"prompt": prompt.ids, "skip_special_tokens": False}
        return Question(body=body, read=read_choice, prompt_ids=prompt.ids, template_fault=prompt.fault)

    def logprobs(self) -> dict[str, Any]:
        return {"logprobs": 0}  # alternatives besides the sampled token


def has_tools(request: Request) -> bool:
    return request.tools.strip() not in ("", "[]")


def to_messages(state: list[Message]) -> list[dict[str, Any]]:
    """A state as OpenAI messages: arguments as JSON text, and ids that pair each call with its answer.

    Calls that were recorded without an id get one; answers without one get those of the calls before them, in order.
    Reasoning has two names: vLLM reads `reasoning` alone, SGLang and DeepSeek `reasoning_content`.
    """
    messages: list[dict[str, Any]] = []
    unanswered: list[str] = []
    for number, message in enumerate(state):
        shaped = to_template(message)
        if "reasoning_content" in shaped:
            shaped["reasoning"] = shaped["reasoning_content"]
        if message.role == "assistant":
            unanswered = [call.id or f"call_{number}_{i}" for i, call in enumerate(message.tool_calls)]
            for call, call_id, own in zip(shaped.get("tool_calls", []), unanswered, message.tool_calls, strict=True):
                call["id"], call["function"]["arguments"] = call_id, own.arguments
        if message.role == "tool":
            shaped.setdefault("tool_call_id", unanswered[0] if unanswered else "call_unknown")
            unanswered = [call_id for call_id in unanswered if call_id != shaped["tool_call_id"]]
        messages.append(shaped)
    return messages


def read_message(choice: Choice, seed: int) -> Completion:
    """A chat choice as a completion."""
    message = choice.get("message")
    finish_reason = _finish_reason(choice)
    if not isinstance(message, dict) or finish_reason is None:
        return failed_completion(_choice_fault(choice, "message"), seed)
    logprobs = choice.get("logprobs")
    tokens = logprobs.get("content") if isinstance(logprobs, dict) else None
    completion = Completion(
        text=to_text(message),
        action=None,
        token_ids=_list_of(int, choice.get("token_ids")),
        logprobs=_list_of(float, [t.get("logprob") for t in tokens or [] if isinstance(t, dict)]),
        finish_reason=finish_reason,
        seed=seed,
    )
    try:
        return replace(completion, action=to_action(message))
    except UnparsableError as error:
        return replace(completion, problem=str(error))


def to_action(message: dict[str, Any]) -> Message:
    """An assistant message of the server as an action; raises `UnparsableError`. The server's call ids are dropped."""
    content, reasoning = content_of(message), _reasoning(message)
    reading = formats.read(MESSAGES, content) if reasoning is None else formats.Reading(content, reasoning)
    if tag := RAW_CALL.search(reading.content):
        raise UnparsableError(f"the server found no tool call after {tag[0].strip()}")
    reading.calls = _calls(message)
    return to_message(reading)


def to_text(message: dict[str, Any]) -> str:
    """An assistant message of the server, written Hermes-style."""
    reasoning = _reasoning(message)
    parts = [f"<think>\n{reasoning}\n</think>"] if reasoning is not None else []
    parts += [content] if (content := content_of(message)) else []
    for call in _calls(message):
        name, arguments = call.get("name"), call.get("arguments")
        written = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
        parts.append(f'<tool_call>\n{{"name": {json.dumps(name)}, "arguments": {written}}}\n</tool_call>')
    return valid_text("\n".join(parts))


def read_tokens(chat: ChatFormat, prompt: Prompt, choice: Choice, seed: int) -> Completion:
    """A completions choice as a completion; without token ids its text is read."""
    token_ids, text = _list_of(int, choice.get("token_ids")), choice.get("text")
    finish_reason = _finish_reason(choice)
    if finish_reason is None or not (token_ids or isinstance(text, str)):
        return failed_completion(_choice_fault(choice, "text"), seed)
    logprobs = choice.get("logprobs")
    sampled = _list_of(float, logprobs.get("token_logprobs") if isinstance(logprobs, dict) else None)
    stopped = finish_reason == "stop"
    if token_ids:
        return read_completion(chat, prompt, token_ids, sampled, stopped=stopped, seed=seed)
    bare = valid_text(str(text))
    bare = bare.removesuffix(next((stop for stop in chat.found.marks.stops if bare.endswith(stop)), ""))
    return replace(read_completion_text(chat, prompt, bare, stopped=stopped, seed=seed), logprobs=sampled)


def failed_completion(error: str, seed: int) -> Completion:
    """A sample whose request failed."""
    return Completion(text="", action=None, finish_reason="error", seed=seed, error=valid_text(error))


def _finish_reason(choice: Choice) -> Literal["stop", "length"] | None:
    """None where something other than the model ended the sample: a filter, an abort."""
    reason = choice.get("finish_reason")
    if reason == "length":
        return "length"
    return "stop" if reason in ("stop", "tool_calls", "function_call") else None


def _choice_fault(choice: Choice, part: str) -> str:
    if _finish_reason(choice) is None:
        return f"the server ended the sample: finish_reason {json.dumps(choice.get('finish_reason'))[:80]}"
    return f"the answer's choice has no {part}"


def content_of(message: dict[str, Any]) -> str:
    """The visible text; some servers send it in blocks."""
    content = message.get("content")
    if isinstance(content, list):
        return "".join(str(block.get("text") or "") for block in content if isinstance(block, dict))
    return content if isinstance(content, str) else ""


def _reasoning(message: dict[str, Any]) -> str | None:
    """The reasoning that a server's reasoning parser separated; older servers call it `reasoning_content`."""
    found = message.get("reasoning") or message.get("reasoning_content")
    return found if isinstance(found, str) else None


def _calls(message: dict[str, Any]) -> list[dict[str, Any]]:
    """The called functions; missing arguments count as none."""
    found = message.get("tool_calls")
    functions = [call.get("function") for call in found if isinstance(call, dict)] if isinstance(found, list) else []
    return [{"name": f.get("name"), "arguments": f.get("arguments") or "{}"} for f in functions if isinstance(f, dict)]


def _list_of(kind: type, values: Any) -> list[Any]:
    """The values if they are a list of numbers of one kind, else an empty list."""
    if not isinstance(values, list):
        return []
    fits = all(isinstance(value, int | kind) and not isinstance(value, bool) for value in values)
    return [kind(value) for value in values] if fits else []
