"""Messages to prompt tokens through the model's own chat template, and completion text back to an action.

Profiling, training and evaluation all build their prompts here, so the prompts of local rollouts are those that the
policy sees in use. A state is rendered as its own prompt, never cut out of a longer render, because many templates
rewrite history. Messages go to the template in the shape that it accepts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from functools import cached_property, lru_cache
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pivotrl_cli.errors import InputError
from pivotrl_cli.model import probe, target
from pivotrl_cli.model.formats import Format, Reading, read
from pivotrl_cli.model.formats.known import BY_NAME, KNOWN
from pivotrl_cli.model.formats.notation import OWN_FORMAT, to_format
from pivotrl_cli.model.guard import GUARD, break_marks, guarded, mark_pattern, without_guard
from pivotrl_cli.model.probe import Found, Marks, find_format
from pivotrl_cli.model.shape import MessageShape
from pivotrl_cli.rows import Message, ToolCall

if TYPE_CHECKING:  # would pull in transformers, 2 s
    from transformers import PreTrainedTokenizerBase


class UnparsableError(ValueError):
    """A completion that cannot be parsed into an action: a broken tool call, unfinished reasoning, or no text."""


class UnrenderableError(ValueError):
    """A state that the chat template refuses; the message is the template's."""


class ChatFormat:
    """Renders states and reads actions with one model's tokenizer, in the format that its chat template shows."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        if not getattr(tokenizer, "chat_template", None):
            raise InputError(
                f"{tokenizer.name_or_path}: the tokenizer has no chat template",
                "add chat_template.jinja to the model folder, or use the instruction-tuned model",
            )
        self.tokenizer = tokenizer
        self.found = self._find_format()
        """The format, the shape of messages, the stops, and what each probe gave."""
        self._tail = self._canned_tail()
        self._marks = mark_pattern(self.found.marks.tokens)
        self._mark_ids = self._ids(filter(self._marks.fullmatch, self.found.marks.tokens))

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """Tokens at which a turn ends: the tokenizer's, the generation config's, and those that the template shows."""
        return self._ids(self.found.marks.stops)

    def _ids(self, tokens: Iterable[str]) -> frozenset[int]:
        ids = map(self.tokenizer.convert_tokens_to_ids, tokens)
        return frozenset(i for i in ids if isinstance(i, int))

    def prompt_text(self, state: list[Message], tools: str) -> str:
        """Render a state with the generation prompt; raises `UnrenderableError`."""
        if self.found.format.body == "none" and _tool_list(tools):
            raise self.without_calls
        return self._render(self.found.shape.messages(state), tools, add_generation_prompt=True)

    def prompt_ids(self, state: list[Message], tools: str) -> list[int]:
        """Token ids of `prompt_text`."""
        return self.encode(self.prompt_text(state, tools))

    def completion_text(self, state: list[Message], tools: str, action: Message) -> str:
        """The completion with which the policy would take `action` at `state`, its end token included.

        It begins where the prompt ends, contains what the template writes for the action, and ends with the first
        token at which generation stops.
        """
        found = self.found
        turn = probe.make_turn(self._render_for_probe, found.shape, state, action, tools)
        marks = (*found.marks.tokens, *(mark.strip() for mark in found.format.reasoning or ()))
        try:
            text = target.body(turn, marks, found.format.reasoning)
        except target.NoTarget as error:
            raise UnrenderableError(str(error)) from error
        rest = self._read(found.format, text, turn.prompt, tools).rest if action.tool_calls else ""
        return target.end(turn, text, found.marks.stops, found.marks.endings, rest, appends=found.appends)

    def completion_ids(self, state: list[Message], tools: str, action: Message) -> list[int]:
        """Token ids of `completion_text`; marks inside arguments are letters, not tokens."""
        text = self.completion_text(state, tools, action)
        if (letters := guarded(action, self._marks)) == action:
            return self.encode(text)
        parts = self.completion_text(state, tools, letters).split(GUARD)
        ids = [i for part in parts for i in self.encode(part)]
        return ids if "".join(parts) == text == self._text(ids) else self.encode(text)

    def decode(self, token_ids: list[int]) -> str:
        """Completion text without the end token; other special tokens stay, since tags may be special tokens."""
        if token_ids and token_ids[-1] in self.stop_ids:
            token_ids = token_ids[:-1]
        return self._text(token_ids)

    def _text(self, token_ids: list[int]) -> str:
        text = self.tokenizer.decode(token_ids, skip_special_tokens=False)
        assert isinstance(text, str)
        return text

    def parse(self, text: str, prompt_ids: list[int] | None = None, tools: str = "[]") -> Message:
        """Read a completion as an action, in the model's own format; raises `UnparsableError`.

        The end of the prompt says whether it began the reply; `tools` give types to values that are written without.
        """
        tail = self._text(prompt_ids[-_TAIL_TOKENS:]) if prompt_ids else self._tail
        return to_message(self._read(self.found.format, self.found.marks.without_end(text), tail, tools))

    def parse_tokens(self, token_ids: list[int], prompt_ids: list[int], tools: str = "[]") -> Message:
        """`parse` of a completion whose tokens are known: letters that spell a mark are text, its token is the mark."""
        ids = token_ids[:-1] if token_ids and token_ids[-1] in self.stop_ids else token_ids
        text = self._text(ids)
        if len(self._marks.findall(text)) != sum(i in self._mark_ids for i in ids):
            runs = ((is_mark, self._text(list(run))) for is_mark, run in groupby(ids, self._mark_ids.__contains__))
            letters = "".join(run if is_mark else break_marks(run, self._marks) for is_mark, run in runs)
            text = letters if letters.replace(GUARD, "") == text else text
        return without_guard(self.parse(text, prompt_ids, tools))

    def _read(self, form: Format, text: str, tail: str, tools: str) -> Reading:
        return self._read_by_template(text, tail, tools) if form is RESPONSE_TEMPLATE else read(form, text, tail, tools)

    def _read_by_template(self, text: str, prompt: str, tools: str) -> Reading:
        prefix = self.encode(prompt)
        try:
            parsed = self.tokenizer.parse_response(text, prefix=prefix, tools=_tool_list(tools))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            return Reading(problem=f"the tokenizer's response template does not match: {error}")
        calls = [call.get("function", call) if isinstance(call, dict) else call for call in _calls_of(parsed)]
        reasoning = parsed.get("reasoning_content") or parsed.get("thinking")
        return Reading(str(parsed.get("content") or ""), str(reasoning) if reasoning else None, calls)

    def _find_format(self) -> Found:
        own, given = getattr(self.tokenizer, "response_template", None), self.tokenizer.init_kwargs.get(OWN_FORMAT)
        tokens = [str(token) for token in getattr(self.tokenizer, "added_tokens_decoder", {}).values()]
        tokens += [token for token in self.tokenizer.all_special_tokens if token not in tokens]
        marks = Marks(tuple(tokens), tuple(self._known_stops()))
        key = (str(self.tokenizer.chat_template), json.dumps([own, given], default=str), marks)
        if key not in _FOUND:
            first = ([to_format(given)] if given else []) + ([RESPONSE_TEMPLATE] if own is not None else [])
            found = find_format(self._render_for_probe, marks, first, self._read) if first else None
            if given and found and found.format.body == "none":
                raise InputError(
                    f"{self.tokenizer.name_or_path}: the response template does not read back a call as the chat "
                    f"template writes it: {found.wrote[:160]!r}",
                    "see docs/models.md",
                )
            if found is None or found.format.body == "none":
                found = find_format(self._render_for_probe, marks, KNOWN, self._read)
            _FOUND[key] = found
        return _FOUND[key]

    def _known_stops(self) -> Iterator[str]:
        """The tokenizer's end token and those of the generation config beside it."""
        if isinstance(self.tokenizer.eos_token, str):
            yield self.tokenizer.eos_token
        try:
            config = json.loads((Path(self.tokenizer.name_or_path) / "generation_config.json").read_text("utf-8"))
        except (OSError, ValueError):
            return
        ids = config.get("eos_token_id")
        for i in ids if isinstance(ids, list) else [ids]:
            token = self.tokenizer.convert_ids_to_tokens(i) if isinstance(i, int) else None
            if isinstance(token, str) and token != self.tokenizer.eos_token:
                yield token

    def _render_for_probe(self, messages: list[dict[str, Any]], tools: str, opened: bool) -> str:
        return self._render(messages, tools, add_generation_prompt=opened)

    def _render(self, messages: list[dict[str, Any]], tools: str, *, add_generation_prompt: bool) -> str:
        from jinja2.exceptions import TemplateError

        try:
            text = self.tokenizer.apply_chat_template(
                messages,
                tools=_tool_list(tools) or None,
                add_generation_prompt=add_generation_prompt,
                tokenize=False,
            )
        except (TemplateError, TypeError, ValueError, KeyError, AttributeError, RecursionError) as error:
            raise UnrenderableError(f"{type(error).__name__}: {error}") from error
        assert isinstance(text, str)
        return text

    def encode(self, text: str) -> list[int]:
        """Token ids of a rendered text."""
        ids = self.tokenizer.encode(text, add_special_tokens=False)
        assert isinstance(ids, list)
        return ids

    def _canned_tail(self) -> str:
        """How a prompt ends, for completions whose prompt is not known."""
        from jinja2.exceptions import TemplateSyntaxError

        try:
            messages = self.found.shape.messages([Message(role="user", content="?")])
            return self._render(messages, "[]", add_generation_prompt=True)[-200:]
        except UnrenderableError as error:
            if isinstance(error.__cause__, TemplateSyntaxError):  # no state at all can be rendered
                raise InputError(
                    f"{self.tokenizer.name_or_path}: the chat template is broken: {error.__cause__.message}",
                    "correct it in the model folder",
                ) from error
            return ""

    @property
    def source(self) -> str:
        """Where the format comes from."""
        form = self.found.format
        if form is RESPONSE_TEMPLATE:
            return "the tokenizer's own response template"
        if BY_NAME.get(form.name) == form:
            return "the known formats: it reads back what the chat template writes"
        return "the given response template"

    @property
    def without_calls(self) -> InputError:
        """Why the model has no calls, and the way out."""
        name = self.tokenizer.name_or_path
        if not self.found.wrote:
            return InputError(
                f"{name}: the chat template has no tools: it drops calls",
                "add --chat-template FILE with a template that has them; docs/models.md has one",
            )
        return InputError(
            f"{name}: no known format reads back a call as the chat template writes it: {self.found.wrote[:160]!r}",
            "describe the format with --response-template FILE, as docs/models.md shows",
        )


_TAIL_TOKENS = 48
RESPONSE_TEMPLATE = Format("response-template", body="template", families="what the tokenizer's own template describes")
_FOUND: dict[tuple[str, str, Marks], Found] = {}


def to_message(reading: Reading) -> Message:
    """A reading as an action; raises `UnparsableError`."""
    if reading.problem:
        raise UnparsableError(reading.problem)
    return build_action(reading.content, reading.reasoning, reading.calls)


def to_template(message: Message) -> dict[str, Any]:
    """One message in the shape that most chat templates read."""
    return MessageShape().messages([message])[0]


@lru_cache(maxsize=64)
def _tool_list(tools: str) -> list[Any]:
    parsed = json.loads(tools)
    assert isinstance(parsed, list)
    return parsed


def parse_hermes(text: str, *, reasoning_open: bool = False) -> Message:
    """Read Hermes-style text as an action; raises `UnparsableError`.

    `reasoning_open` says that the prompt already opened `<think>`.

    Example: `'<tool_call>\\n{"name": "f", "arguments": {"x": 1}}\\n</tool_call>'` is one call of `f`.
    """
    return to_message(read(BY_NAME["hermes"], text, "<think>" if reasoning_open else ""))


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
    if arguments is None or arguments == "":
        arguments = {}  # a tool without arguments, in every spelling
    text = _escape_surrogates(arguments) if isinstance(arguments, str) else canonical_json(arguments)
    return ToolCall(name=valid_text(name), arguments=text)


def canonical_json(value: Any) -> str:
    """A value as JSON text in the form that histories use; key order is kept."""
    try:
        return _escape_surrogates(json.dumps(value, ensure_ascii=False))
    except (ValueError, RecursionError) as error:
        raise UnparsableError(f"arguments cannot be written as JSON: {str(error)[:80]}") from error


_SURROGATE = re.compile("[\ud800-\udfff]")


def _escape_surrogates(text: str) -> str:
    """JSON text with lone surrogates escaped; they are legal in JSON and invalid in UTF-8."""
    return _SURROGATE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def valid_text(text: str) -> str:
    """Text that UTF-8 can encode: lone surrogates, which JSON escapes allow, become the replacement character."""
    return _SURROGATE.sub("\ufffd", text)
