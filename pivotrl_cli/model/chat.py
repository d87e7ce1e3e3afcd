"""Messages to prompt tokens through the model's own chat template, and completion text back to an action.

Profiling, training and evaluation all build their prompts here, so the prompts of local rollouts are those that the
policy sees in use. A state is rendered as its own prompt, never cut out of a longer render, because many templates
rewrite history. Messages go to the template in the shape that most templates accept: content as text, arguments as
objects.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pivotrl_cli.errors import InputError
from pivotrl_cli.rows import Message, ToolCall
from pivotrl_cli.text import common_prefix_length

if TYPE_CHECKING:  # would pull in transformers, 2 s
    from transformers import PreTrainedTokenizerBase


class UnparsableError(ValueError):
    """A completion that cannot be parsed into an action: a broken tool call, unfinished reasoning, or no text."""


class UnrenderableError(ValueError):
    """A state that the chat template refuses; the message is the template's."""


class ChatFormat:
    """Renders states and reads actions with one model's tokenizer."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        if not getattr(tokenizer, "chat_template", None):
            raise InputError(
                f"{tokenizer.name_or_path}: the tokenizer has no chat template",
                "add chat_template.jinja to the model folder, or use the instruction-tuned model",
            )
        self.tokenizer = tokenizer
        self.opens_reasoning = self._generation_prompt_opens_reasoning()

    def prompt_text(self, state: list[Message], tools: str) -> str:
        """Render a state with the generation prompt; raises `UnrenderableError`."""
        return self._render(tuple(map(to_template, state)), tools, add_generation_prompt=True)

    def prompt_ids(self, state: list[Message], tools: str) -> list[int]:
        """Token ids of `prompt_text`."""
        return self.encode(self.prompt_text(state, tools))

    def completion_text(self, state: list[Message], tools: str, action: Message) -> str:
        """The completion with which the policy would take `action` at `state`, its end token included.

        It is the render with the action minus the prompt. Where the generation prompt has a part that a finished turn
        lacks (an empty reasoning block), the completion begins after the common prefix of the two.
        """
        messages = (*map(to_template, state), to_template(action))
        full = self._render(messages, tools, add_generation_prompt=False)
        prompt = self.prompt_text(state, tools)
        if full.startswith(prompt):
            completion = full[len(prompt) :]
        else:
            bare = self._render(messages[:-1], tools, add_generation_prompt=False)
            header = prompt[len(bare) :] if prompt.startswith(bare) else ""
            start = full[len(bare) :] if header and full.startswith(bare) else None
            if start is None:
                raise UnrenderableError("the template rewrites history when it renders the action")
            completion = start[common_prefix_length([start, header]) :]
        eos = self.tokenizer.eos_token
        end = completion.rfind(eos) if isinstance(eos, str) else -1
        return completion[: end + len(eos)] if end >= 0 else completion.rstrip("\n")

    def completion_ids(self, state: list[Message], tools: str, action: Message) -> list[int]:
        """Token ids of `completion_text`."""
        return self.encode(self.completion_text(state, tools, action))

    def decode(self, token_ids: list[int]) -> str:
        """Completion text without the end token; other special tokens stay, since tags may be special tokens."""
        if token_ids and token_ids[-1] == self.tokenizer.eos_token_id:
            token_ids = token_ids[:-1]
        text = self.tokenizer.decode(token_ids, skip_special_tokens=False)
        assert isinstance(text, str)
        return text

    def parse(self, text: str, prompt_ids: list[int] | None = None, tools: str = "[]") -> Message:
        """Read a completion as an action; raises `UnparsableError`.

        With the tokenizer's own `response_template` where it has one (transformers' response parsing, which casts
        arguments that are written without types by the schemas in `tools`), else as Hermes-style tags: `<think>` for
        reasoning, `<tool_call>` around `{"name": ..., "arguments": {...}}`.
        """
        if getattr(self.tokenizer, "response_template", None) is not None:
            return self._parse_by_template(text, prompt_ids or [], tools)
        return parse_hermes(text, reasoning_open=self.opens_reasoning)

    def _parse_by_template(self, text: str, prompt_ids: list[int], tools: str) -> Message:
        try:
            parsed = self.tokenizer.parse_response(text, prefix=prompt_ids, tools=_tool_list(tools))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise UnparsableError(f"the tokenizer's response template does not match: {error}") from error
        calls = [call.get("function", call) if isinstance(call, dict) else call for call in _calls_of(parsed)]
        reasoning = parsed.get("reasoning_content") or parsed.get("thinking")
        return build_action(str(parsed.get("content") or ""), str(reasoning) if reasoning else None, calls)

    def _render(self, messages: tuple[dict[str, Any], ...], tools: str, *, add_generation_prompt: bool) -> str:
        from jinja2.exceptions import TemplateError

        try:
            text = self.tokenizer.apply_chat_template(
                list(messages),
                tools=_tool_list(tools) or None,
                add_generation_prompt=add_generation_prompt,
                tokenize=False,
            )
        except (TemplateError, TypeError, ValueError, KeyError, RecursionError) as error:
            raise UnrenderableError(f"{type(error).__name__}: {error}") from error
        assert isinstance(text, str)
        return text

    def encode(self, text: str) -> list[int]:
        """Token ids of a rendered text."""
        ids = self.tokenizer.encode(text, add_special_tokens=False)
        assert isinstance(ids, list)
        return ids

    def _generation_prompt_opens_reasoning(self) -> bool:
        from jinja2.exceptions import TemplateSyntaxError

        try:
            prompt = self.prompt_text([Message(role="user", content="?")], "[]")
        except UnrenderableError as error:
            if isinstance(error.__cause__, TemplateSyntaxError):  # no state at all can be rendered
                raise InputError(
                    f"{self.tokenizer.name_or_path}: the chat template is broken: {error.__cause__.message}",
                    "correct it in the model folder",
                ) from error
            return False
        return prompt.rstrip().endswith("<think>")


def to_template(message: Message) -> dict[str, Any]:
    """One message in the shape that chat templates read."""
    shaped: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.reasoning is not None:
        shaped["reasoning_content"] = message.reasoning
    if message.tool_calls:
        shaped["tool_calls"] = [_call_to_template(call) for call in message.tool_calls]
    if message.tool_call_id is not None:
        shaped["tool_call_id"] = message.tool_call_id
    if message.name is not None:
        shaped["name"] = message.name
    return shaped


def _call_to_template(call: ToolCall) -> dict[str, Any]:
    try:
        arguments = json.loads(call.arguments)
    except (ValueError, RecursionError):
        arguments = call.arguments  # recorded as it was: histories are not repaired
    shaped: dict[str, Any] = {"type": "function", "function": {"name": call.name, "arguments": arguments}}
    if call.id is not None:
        shaped["id"] = call.id
    return shaped


@lru_cache(maxsize=64)
def _tool_list(tools: str) -> list[Any]:
    parsed = json.loads(tools)
    assert isinstance(parsed, list)
    return parsed


_CALL = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)


def parse_hermes(text: str, *, reasoning_open: bool = False) -> Message:
    """Read Hermes-style text as an action; raises `UnparsableError`.

    `reasoning_open` says that the prompt already opened `<think>`.

    Example: `'<tool_call>\\n{"name": "f", "arguments": {"x": 1}}\\n</tool_call>'` is one call of `f`.
    """
    reasoning, rest = split_reasoning(text, reasoning_open)
    calls = [_parse_json(body) for body in _CALL.findall(rest)]
    content = _CALL.sub("", rest)
    if "<tool_call>" in content or "</tool_call>" in content:
        raise UnparsableError("a <tool_call> tag without its partner")
    return build_action(content, reasoning, calls)


def split_reasoning(text: str, reasoning_open: bool) -> tuple[str | None, str]:
    """The `<think>` block that a text begins with, and the rest; raises `UnparsableError` where it does not end."""
    opened = reasoning_open or text.lstrip().startswith("<think>")
    reasoning, end, rest = text.partition("</think>")
    if end and (opened or "<tool_call>" not in reasoning):  # else the tag is text inside a call
        return reasoning.strip().removeprefix("<think>").strip() or None, rest
    if opened:
        raise UnparsableError("the reasoning does not end")
    return None, text


def _parse_json(body: str) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UnparsableError(f"a tool call is not JSON: {str(error)[:80]}") from error


def _calls_of(parsed: dict[str, Any]) -> list[Any]:
    calls = parsed.get("tool_calls") or []
    return calls if isinstance(calls, list) else [calls]


def build_action(content: str, reasoning: str | None, calls: list[Any]) -> Message:
    """The action of these parts; raises `UnparsableError` where they are not valid."""
    action = Message(
        role="assistant",
        content=valid_text(content).strip(),
        reasoning=None if reasoning is None else valid_text(reasoning),
        tool_calls=[_build_call(call) for call in calls],
    )
    if not action.content and not action.tool_calls:
        raise UnparsableError("empty")
    return action


def _build_call(call: Any) -> ToolCall:
    if not isinstance(call, dict):
        raise UnparsableError("a tool call is not a JSON object")
    name, arguments = call.get("name"), call.get("arguments", {})
    if not isinstance(name, str) or not name:
        raise UnparsableError("a tool call has no name")
    text = _escaped(arguments) if isinstance(arguments, str) else canonical_json(arguments)
    return ToolCall(name=valid_text(name), arguments=text)


def canonical_json(value: Any) -> str:
    """A value as JSON text in the form that histories use; key order is kept."""
    try:
        return _escaped(json.dumps(value, ensure_ascii=False))
    except (ValueError, RecursionError) as error:
        raise UnparsableError(f"arguments cannot be written as JSON: {str(error)[:80]}") from error


_SURROGATE = re.compile("[\ud800-\udfff]")


def _escaped(text: str) -> str:
    """JSON text with lone surrogates escaped; they are legal in JSON and invalid in UTF-8."""
    return _SURROGATE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def valid_text(text: str) -> str:
    """Text that UTF-8 can encode: lone surrogates, which JSON escapes allow, become the replacement character."""
    return _SURROGATE.sub("\ufffd", text)
