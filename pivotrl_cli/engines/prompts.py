"""States to prompt tokens and sampled tokens to completions, for the engines that render and parse themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pivotrl_cli.engines import Completion, Group, Request
from pivotrl_cli.model.chat import ChatFormat, UnparsableError, UnrenderableError
from pivotrl_cli.model.target_check import LOSSY, target_fault
from pivotrl_cli.model.template_faults import faults
from pivotrl_cli.rows import Message

if TYPE_CHECKING:  # would pull in transformers
    from transformers import GenerationConfig


@dataclass(slots=True)
class Prompt:
    """A rendered request."""

    request: Request
    ids: list[int]
    fault: str = ""


def render(chat: ChatFormat, request: Request, max_new_tokens: int, context_length: int) -> Prompt | Group:
    """The request's prompt, or a group without completions where the prompt cannot be rendered or does not fit."""
    try:
        text = chat.prompt_text(request.state, request.tools)
    except UnrenderableError as error:
        return Group(request=request, completions=[], status="unrenderable", detail=str(error))
    ids = chat.encode(text)
    fault = next(map(str, faults(text, request.state, request.tools)), "") or _target_fault(chat, request)
    if len(ids) + max_new_tokens > context_length:
        return Group(
            request=request,
            completions=[],
            prompt_ids=ids,
            status="too_long",
            detail=f"{len(ids)} prompt tokens and {max_new_tokens} new ones, the context holds {context_length}",
            template_fault=fault,
        )
    return Prompt(request, ids, fault)


def _target_fault(chat: ChatFormat, request: Request) -> str:
    """Why the model cannot write the demonstrated action; empty where it can, or there is none."""
    if request.expected_action is None:
        return ""
    fault = target_fault(chat, request.state, request.tools, request.expected_action)
    return "" if fault.startswith(LOSSY) else fault


def read_completion(
    chat: ChatFormat, prompt: Prompt, token_ids: list[int], logprobs: list[float], *, stopped: bool, seed: int
) -> Completion:
    """Sampled tokens as a completion; with `stopped` the last one is the end token."""
    ids = token_ids[:-1] if stopped else token_ids
    read = _read(lambda: chat.parse_tokens(ids, prompt.ids, prompt.request.tools), chat.decode(ids), stopped, seed)
    return replace(read, token_ids=token_ids, logprobs=logprobs)


def read_completion_text(chat: ChatFormat, prompt: Prompt, text: str, *, stopped: bool, seed: int) -> Completion:
    """Sampled text as a completion, where the tokens are not known."""
    return _read(lambda: chat.parse(text, prompt.ids, prompt.request.tools), text, stopped, seed)


def _read(parse: Callable[[], Message], text: str, stopped: bool, seed: int) -> Completion:
    action, problem = None, None
    try:
        action = parse()
    except UnparsableError as error:
        problem = str(error)
    return Completion(
        text=text, action=action, problem=problem, finish_reason="stop" if stopped else "length", seed=seed
    )


def stop_ids(generation: GenerationConfig | None, chat: ChatFormat) -> frozenset[int]:
    """Tokens that end an action: those of the model's generation config and those that the chat format knows."""
    configured = generation.eos_token_id if generation is not None else None
    ids = configured if isinstance(configured, list) else [configured]
    return chat.stop_ids | {i for i in ids if isinstance(i, int)}
