"""States to prompt tokens and sampled tokens to completions, for the engines that render and parse themselves."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pivotrl_cli.engines import Completion, Group, Request
from pivotrl_cli.model.chat import ChatFormat, UnparsableError, UnrenderableError
from pivotrl_cli.model.template_faults import faults

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
    fault = next(map(str, faults(text, request.state, request.tools)), "")
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


def read_completion(
    chat: ChatFormat, prompt: Prompt, token_ids: list[int], logprobs: list[float], *, stopped: bool, seed: int
) -> Completion:
    """Sampled tokens as a completion; with `stopped` the last one is the end token."""
    text = chat.decode(token_ids[:-1] if stopped else token_ids)
    return replace(
        read_completion_text(chat, prompt, text, stopped=stopped, seed=seed), token_ids=token_ids, logprobs=logprobs
    )


def read_completion_text(chat: ChatFormat, prompt: Prompt, text: str, *, stopped: bool, seed: int) -> Completion:
    """Sampled text as a completion, where the tokens are not known."""
    action, problem = None, None
    try:
        action = chat.parse(text, prompt.ids, prompt.request.tools)
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
