from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from search import examples
from tables import RIGHT, TOOLS, calls, says, user
from tiny_models import tiny_tokenizer

from pivotrl_cli.errors import InputError
from pivotrl_cli.model.chat import ChatFormat, UnparsableError, UnrenderableError, parse_hermes
from pivotrl_cli.rows import Message, ToolCall

STATE = [
    Message(role="system", content="Be brief."),
    user("Where is order 7?"),
    calls("look", '{"order": 7}'),
    Message(role="tool", content="In the post.", tool_call_id="c1", name="look"),
]

THINKING_TEMPLATE = """\
{%- for message in messages %}<|im_start|>{{ message.role }}
{% if message.role == 'assistant' and message.reasoning_content %}<think>
{{ message.reasoning_content }}
</think>

{% endif %}{{ message.content }}<|im_end|>
{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
<think>

</think>

{% endif %}"""
"""Like Qwen3 with thinking off: the prompt has an empty reasoning block, which a finished turn lacks."""


def chat(template: str | None = None) -> ChatFormat:
    tokenizer = tiny_tokenizer()
    if template is not None:
        tokenizer.chat_template = template
    return ChatFormat(tokenizer)


@pytest.fixture(scope="module")
def plain() -> ChatFormat:
    return chat()


def test_a_state_is_rendered_with_its_tools_and_opens_the_next_turn(plain):
    schema = json.dumps(json.loads(TOOLS)[0])
    assert plain.prompt_text(STATE, TOOLS) == (
        f"<|im_start|>tools\n{schema}\n<|im_end|>\n"
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\nWhere is order 7?<|im_end|>\n"
        '<|im_start|>assistant\n<tool_call>\n{"name": "look", "arguments": {"order": 7}}\n</tool_call><|im_end|>\n'
        "<|im_start|>tool\nIn the post.<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert plain.tokenizer.decode(plain.prompt_ids(STATE, TOOLS)) == plain.prompt_text(STATE, TOOLS)


def test_arguments_that_are_not_json_stay_as_they_were_recorded(plain):
    assert '"arguments": "{order: 7"}' in plain.prompt_text([user("x"), calls("look", "{order: 7"), user("y")], "[]")


def test_a_completion_is_what_follows_the_prompt(plain):
    assert plain.completion_text(STATE, "[]", says("Done.")) == "Done.<|im_end|>"
    assert plain.completion_text(STATE, TOOLS, calls("look", '{"order": 7}')) == f"{RIGHT}<|im_end|>"
    assert plain.completion_text(STATE, "[]", says("Done.", "Hm.")) == "<think>\nHm.\n</think>\nDone.<|im_end|>"
    ids = plain.completion_ids(STATE, "[]", says("Done."))
    assert plain.decode(ids) == "Done."
    assert ids[-1] == plain.tokenizer.eos_token_id


def test_a_generation_prompt_with_an_empty_reasoning_block_is_not_repeated():
    thinking = chat(THINKING_TEMPLATE)
    assert thinking.completion_text([user("?")], "[]", says("Done.")) == "Done.<|im_end|>"
    assert thinking.prompt_text([user("?")], "[]").endswith("assistant\n<think>\n\n</think>\n\n")


def test_a_template_that_rewrites_history_is_unrenderable():
    rewriting = chat(
        "{% for m in messages %}{{ m.content if messages | length < 2 else m.content | upper }}{% endfor %}"
    )
    with pytest.raises(UnrenderableError, match="rewrites history"):
        rewriting.completion_text([user("Who?")], "[]", says("Done."))


def test_what_a_template_refuses_is_unrenderable():
    strict = chat("{% if messages[0].role != 'system' %}{{ raise_exception('no system prompt') }}{% endif %}")
    with pytest.raises(UnrenderableError, match="no system prompt"):
        strict.prompt_text([user("?")], "[]")


def test_a_tokenizer_without_chat_template_is_an_input_error():
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = None
    with pytest.raises(InputError, match="the tokenizer has no chat template"):
        ChatFormat(tokenizer)


def test_decode_keeps_tags_and_drops_only_the_last_end_token(plain):
    ids = plain.tokenizer.encode(f"{RIGHT}<|im_end|>", add_special_tokens=False)
    assert plain.decode(ids) == RIGHT
    assert plain.decode(ids[:-1]) == RIGHT
    assert plain.decode([]) == ""


HERMES = [
    ("Done.", says("Done.")),
    ("  Done.\n", says("Done.")),
    (RIGHT, calls("look", '{"order": 7}')),
    (
        f"Wait.\n{RIGHT}",
        Message(role="assistant", content="Wait.", tool_calls=calls("look", '{"order": 7}').tool_calls),
    ),
    (f"{RIGHT}{RIGHT}", Message(role="assistant", tool_calls=calls("look", '{"order": 7}').tool_calls * 2)),
    ('<tool_call>{"name": "f"}</tool_call>', calls("f", "{}")),
    ('<tool_call>{"name": "f", "arguments": "{\\"x\\":1}"}</tool_call>', calls("f", '{"x":1}')),
    ('<tool_call>{"name": "f", "arguments": [1]}</tool_call>', calls("f", "[1]")),
    ('<tool_call>{"arguments": {"b": "é", "a": 1}, "name": "f"}</tool_call>', calls("f", '{"b": "é", "a": 1}')),
    ('<tool_call>{"name": "f", "arguments": {"x": "</think>"}}</tool_call>', calls("f", '{"x": "</think>"}')),
    ("<think>\nHm.\n</think>\nDone.", says("Done.", "Hm.")),
    ("<think>\n</think>\nDone.", says("Done.")),
    ("Hm.</think>Done.", says("Done.", "Hm.")),
    ("<think><tool_call></think>Done.", says("Done.", "<tool_call>")),
]


@pytest.mark.parametrize(("text", "action"), HERMES)
def test_hermes_text_is_an_action(text, action):
    assert parse_hermes(text) == action


def test_reasoning_that_the_prompt_opened():
    assert parse_hermes("Hm.</think>Done.", reasoning_open=True) == says("Done.", "Hm.")
    with pytest.raises(UnparsableError, match="the reasoning does not end"):
        parse_hermes("Done.", reasoning_open=True)


NO_ACTION = [
    ("", "empty"),
    (" \n", "empty"),
    ("<think>Hm.</think>", "empty"),
    ("<think>Hm.", "the reasoning does not end"),
    ("<tool_call>", "a <tool_call> tag without its partner"),
    ("Done.</tool_call>", "a <tool_call> tag without its partner"),
    ("<tool_call>{name: f}</tool_call>", "a tool call is not JSON: Expecting property name enclosed in double quotes"),
    ("<tool_call>[]</tool_call>", "a tool call is not a JSON object"),
    ("<tool_call>{}</tool_call>", "a tool call has no name"),
    ('<tool_call>{"name": 5}</tool_call>', "a tool call has no name"),
    ("<tool_call>" + "[" * 100_000 + "</tool_call>", "a tool call is not JSON: maximum recursion depth"),
    ("<tool_call>" + "1" * 5_000 + "</tool_call>", "a tool call is not JSON: Exceeds the limit"),
]


@pytest.mark.parametrize(("text", "reason"), NO_ACTION)
def test_other_text_says_why_it_is_none(text, reason):
    with pytest.raises(UnparsableError) as error:
        parse_hermes(text)
    assert str(error.value).startswith(reason)


def test_lone_surrogates_stay_escapes_in_arguments_and_leave_other_text():
    text = '<tool_call>{"name": "f\\ud800", "arguments": {"x": "\\ud800", "y": "\\ud83d\\ude00"}}</tool_call>\ud800'
    assert parse_hermes(text) == Message(
        role="assistant",
        content="�",
        tool_calls=[ToolCall(name="f�", arguments='{"x": "\\ud800", "y": "😀"}')],
    )


fragments = st.sampled_from(
    ["<think>", "</think>", "<tool_call>", "</tool_call>", '{"name": "f", "arguments": ', "{}}", '"\\ud800"}', "\n"]
)
any_text = st.lists(fragments | st.text(st.characters(), max_size=4), max_size=8).map("".join)


@examples(100)
@given(any_text, st.booleans())
def test_any_text_is_an_action_that_can_be_stored_or_unparsable(text, reasoning_open):
    try:
        action = parse_hermes(text, reasoning_open=reasoning_open)
    except UnparsableError:
        return
    action.model_dump_json().encode()
    assert action.content or action.tool_calls


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=12).map(str.strip)
plain_words = words.filter(lambda text: "<" not in text)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | words,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(words, inner, max_size=2),
    max_leaves=5,
)
tool_calls = st.builds(
    ToolCall,
    name=plain_words.filter(bool),
    arguments=st.dictionaries(plain_words, json_values, max_size=3)
    .map(lambda value: json.dumps(value, ensure_ascii=False))
    .filter(lambda text: "tool_call>" not in text),
)
actions = st.builds(
    Message,
    role=st.just("assistant"),
    content=plain_words,
    reasoning=st.none() | plain_words.filter(bool),
    tool_calls=st.lists(tool_calls, max_size=2),
).filter(lambda action: action.content or action.tool_calls)


@examples(150)
@given(actions)
def test_an_action_comes_back_from_its_own_rendering(plain, action):
    text = plain.completion_text([user("?")], "[]", action)
    assert plain.parse(text.removesuffix("<|im_end|>")) == action
    assert plain.parse(plain.decode(plain.completion_ids([user("?")], "[]", action))) == action


RESPONSE_TEMPLATE = {
    "start_anchor": "<|im_start|>assistant\n",
    "fields": {
        "thinking": {"open": "<think>", "close": "</think>"},
        "tool_calls": {
            "open_pattern": r"<function=(?P<name>\w+)>",
            "close": "</function>",
            "repeats": True,
            "content": "xml-inline",
            "content_args": {"tag_pattern": r"<(?P<key>\w+)>(?P<value>.*?)</(?P=key)>"},
            "transform": {"type": "function", "function": {"name": "{name}", "arguments": "{content}"}},
        },
        "content": {},
    },
}
"""The form in which transformers describes completions; calls as tags."""
CALL_AS_TAGS = (
    "<function={{ call.function.name }}>"
    "{% for key, value in call.function.arguments.items() %}<{{ key }}>{{ value }}</{{ key }}>{% endfor %}</function>"
)


def test_a_response_template_that_does_not_read_back_is_not_used():
    tokenizer = tiny_tokenizer()
    tokenizer.response_template = RESPONSE_TEMPLATE
    assert ChatFormat(tokenizer).found.format.name == "hermes"


def test_a_tokenizer_with_a_response_template_reads_its_own_completions():
    tokenizer = tiny_tokenizer()
    begin, end = (
        tokenizer.chat_template.rindex(mark) for mark in ("<tool_call>", "{% endfor %}<|im_end|>\n{% endif %}\n")
    )
    tokenizer.chat_template = tokenizer.chat_template[:begin] + CALL_AS_TAGS + tokenizer.chat_template[end:]
    tokenizer.response_template = RESPONSE_TEMPLATE
    described = ChatFormat(tokenizer)
    assert described.found.format.name == "response-template"
    prompt = described.prompt_ids([user("?")], TOOLS)
    assert described.parse("<think>Hm.</think> Done. ", prompt) == says("Done.", "Hm.")
    call = "<function=look><order>7</order></function>"
    assert described.parse(call, prompt) == calls("look", '{"order": "7"}')
    assert described.parse(call, prompt, TOOLS) == calls("look", '{"order": 7}')
    with pytest.raises(UnparsableError, match="empty"):
        described.parse("", prompt)
