"""Targets that cannot be what the model would write, and letters that spell a mark."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from search import examples
from tables import says, user
from tiny_models import SPECIAL, TEMPLATE, tiny_tokenizer

from pivotrl_cli.model.chat import ChatFormat
from pivotrl_cli.model.target_check import target_fault
from pivotrl_cli.rows import Message, ToolCall

TOOLS = json.dumps(
    [
        {
            "type": "function",
            "function": {
                "name": "note",
                "description": "Write.",
                "parameters": {"type": "object", "properties": {"text": {"type": "string"}}},
            },
        }
    ]
)
STATE = [user("write it down")]
HERMES = (
    '<tool_call>\n{"name": {{ call.function.name | tojson }}, "arguments": {{ call.function.arguments | tojson }}}\n'
    "</tool_call>"
)
LLAMA_4 = (
    "[{{ call.function.name }}({% for k, v in call.function.arguments.items() %}{{ k }}="
    '{% if v is string %}"{{ v }}"{% else %}{{ v }}{% endif %}'
    "{% if not loop.last %}, {% endif %}{% endfor %})]"
)


def chat_with(call: str = HERMES, template: str = TEMPLATE) -> ChatFormat:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template.replace("\n" + HERMES, call)
    return ChatFormat(tokenizer)


def note(text: str, content: str = "") -> Message:
    call = ToolCall(name="note", arguments=json.dumps({"text": text}, ensure_ascii=False))
    return Message(role="assistant", content=content, tool_calls=[call])


def test_a_right_target_has_no_fault():
    assert [target_fault(chat_with(), STATE, TOOLS, one) for one in (note("a"), note("a", "So."), says("Done."))] == [
        "",
        "",
        "",
    ]


def test_two_actions_with_one_text_are_told_apart_by_the_one_that_does_not_come_back():
    """A pythonic format without escapes: the second text is the first action's, or nobody's."""
    chat = chat_with(LLAMA_4)
    assert chat.found.format.name == "pythonic"
    assert target_fault(chat, STATE, TOOLS, note("plain")) == ""
    assert target_fault(chat, STATE, TOOLS, note('a", b="c')) == (
        'target_changed: [["note", {"text": "a\\", b=\\"c"}]] came back as [["note", {"text": "a", "b": "c"}]]'
    )
    assert target_fault(chat, STATE, TOOLS, note('say "so"')).startswith("target_unreadable: ")


@pytest.mark.parametrize(
    ("old", "new", "action", "fault"),
    [
        ("{{ message.content }}\n{%- for", "{% for", says("Done."), "target_unreadable"),
        ("{{ message.content }}\n{%- for", "{{ message.content | upper }}\n{%- for", says("Done."), "target_changed"),
        (
            "{{ message.content }}\n{%- for",
            "{% if not message.tool_calls %}{{ message.content }}{% endif %}\n{%- for",
            note("a", "So."),
            "target_without_text",
        ),
        (
            "{% if message.reasoning_content %}",
            "{% if false %}",
            says("Done.").model_copy(update={"reasoning": "Hm."}),
            "target_without_reasoning",
        ),
    ],
)
def test_what_a_template_loses_of_an_action_has_a_kind(old, new, action, fault):
    assert old in TEMPLATE
    found = target_fault(
        chat_with(template=TEMPLATE.replace(old, new)), STATE, "[]" if not action.tool_calls else TOOLS, action
    )
    assert found.partition(":")[0] == fault


def test_reasoning_recorded_in_the_text_is_no_fault():
    assert target_fault(chat_with(), STATE, TOOLS, says("<think>\nHm.\n</think>\nDone.")) == ""


@pytest.mark.parametrize("mark", ["</tool_call>", "<tool_call>", "<|im_end|>", "</think>"])
def test_letters_that_spell_a_mark_are_text_where_the_tokens_are_known(mark):
    """As text the same words are a broken call, or the end of the turn."""
    chat = chat_with()
    action = note(f"close with {mark} always")
    ids = chat.completion_ids(STATE, TOOLS, action)
    assert target_fault(chat, STATE, TOOLS, action) == ""
    assert chat.parse_tokens(ids, chat.prompt_ids(STATE, TOOLS), TOOLS) == action
    assert chat.decode(ids) + "<|im_end|>" == chat.completion_text(STATE, TOOLS, action)
    marks = chat.tokenizer.convert_tokens_to_ids(["<tool_call>", "</tool_call>", "<|im_end|>"])
    assert [token for token in ids if token in chat.tokenizer.convert_tokens_to_ids(SPECIAL)] == marks


@pytest.mark.parametrize("mark", ["</tool_call>", "<tool_call>", "<|im_end|>"])
def test_marks_in_the_text_of_a_demonstration_are_no_target(mark):
    kind = "target_cut" if mark == "<|im_end|>" else "target_unreadable"
    fault = target_fault(chat_with(), STATE, TOOLS, says(f"Close with {mark} always."))
    assert fault.partition(":")[0] == kind


def test_a_call_whose_marks_are_spelled_in_letters_is_text():
    chat = chat_with()
    prompt = chat.prompt_ids(STATE, TOOLS)
    text = '<tool_call>\n{"name": "note", "arguments": {"text": "a"}}\n</tool_call>'
    letters = [i for part in text.split("ool_") for i in chat.encode(part)]
    spelled = [*chat.encode("<t"), *chat.encode(text[2:-5]), *chat.encode("call>")]
    assert chat.parse_tokens(chat.encode(text), prompt, TOOLS).tool_calls == note("a").tool_calls
    assert letters != spelled
    assert chat.parse_tokens(spelled, prompt, TOOLS) == says(text)


PIECES = st.lists(st.sampled_from(["<tool_call>", "</tool_call>", "<|im_end|>", "</think>", '"', "\n", "é", "a ", "{"]))


@given(pieces=PIECES)
@examples(60)
def test_any_string_comes_back_from_its_tokens(pieces):
    chat = shared_chat()
    action = note("".join(pieces))
    assert target_fault(chat, STATE, TOOLS, action) == ""


_CHATS: list[ChatFormat] = []


def shared_chat() -> ChatFormat:
    if not _CHATS:
        _CHATS.append(chat_with())
    return _CHATS[0]
