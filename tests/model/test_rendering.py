from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from functools import cache

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jinja2 import Environment
from recorded import DATA, WHY
from search import examples
from tables import TOOLS, calls, says, user
from tiny_models import TEMPLATE, tiny_tokenizer

from pivotrl_cli.model.chat import ChatFormat, UnrenderableError, to_template
from pivotrl_cli.model.template_faults import FaultKind, TemplateFault, faults
from pivotrl_cli.rows import Message, ToolCall

TEMPLATES = sorted(path for folder in ("llama_cpp", "trl", "vllm") for path in DATA.glob(f"chat_templates/{folder}/*"))
TEMPLATES = [path for path in TEMPLATES if path.suffix == ".jinja"]
needs_templates = pytest.mark.skipif(not TEMPLATES, reason=WHY)

LOOK = '{"order": 7, "where": "the \\"old\\" shop"}'
CALLED = Message(role="assistant", tool_calls=[ToolCall(id="call12345", name="look", arguments=LOOK)])
REPLY = Message(role="tool", content="In the post.", tool_call_id="call12345", name="look")
STATE = [user("Where is it?"), CALLED, REPLY]
SYSTEM = Message(role="system", content="Be brief.")


def render(template: str, state: list[Message], tools: str = TOOLS, **changes: object) -> str:
    """What a template makes of these messages; `changes` go to the messages with calls, as templates read them."""
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template
    shaped = [to_template(message) | (changes if message.tool_calls else {}) for message in state]
    text = tokenizer.apply_chat_template(shaped, tools=json.loads(tools), add_generation_prompt=True, tokenize=False)
    assert isinstance(text, str)
    return text


def kinds(text: str, state: list[Message], tools: str = TOOLS) -> list[str]:
    return [str(fault.kind) for fault in faults(text, state, tools)]


HERMES = '{"name": {{ call.function.name | tojson }}, "arguments": {{ call.function.arguments | tojson }}}'
OTHER_SYNTAXES = [
    '{"arguments": {{ call.function.arguments | tojson }}, "name": {{ call.function.name | tojson }}}',
    "{{ call.function.arguments | dictsort | tojson }} to {{ call.function.name }}",
    "{{ call.function.name }}({{ call.function.arguments }})",
    "{% for k, v in call.function.arguments.items() %}<{{ call.function.name }} {{ k }}>\n{{ v }}\n{% endfor %}",
]


def test_nothing_is_lost_by_a_template_that_writes_everything():
    assert faults(render(TEMPLATE, [SYSTEM, *STATE]), [SYSTEM, *STATE], TOOLS) == []


@pytest.mark.parametrize("syntax", OTHER_SYNTAXES)
def test_calls_may_be_written_in_any_syntax(syntax):
    more = [*STATE, user("And now?"), calls("look", '{"where": "línea\\n\'a\'", "order": [true, null, 1.5]}'), REPLY]
    assert HERMES in TEMPLATE
    assert kinds(render(TEMPLATE.replace(HERMES, syntax), more), more) == []


LOSSES = [
    ("for call in message.tool_calls or []", "for call in []", "dropped_call: message 1: look"),
    ("arguments | tojson", "arguments | tojson | tojson", "escaped_argument: message 1: look: order"),
    ("call.function.arguments | tojson", "{'order': 7} | tojson", "dropped_argument: message 1: look: where"),
    ("{{ message.content }}<|im_end|>", "<|im_end|>", "dropped_content: message 2: In the post."),
    ("{{ message.content }}\n{%-", "{{ message.content or none }}\n{%-", "literal_none: message 1"),
    ("{%- if tools %}", "{%- if false %}", "missing_tools: look"),
    ("{{ tool | tojson }}", "{{ tool.function.name }}: the number", "missing_tools: parameter order of look"),
]


@pytest.mark.parametrize(("old", "new", "fault"), LOSSES)
def test_each_loss_is_a_fault_that_names_its_place(old, new, fault):
    assert old in TEMPLATE
    assert [str(f) for f in faults(render(TEMPLATE.replace(old, new), STATE), STATE, TOOLS)] == [fault]


def test_a_call_is_not_taken_for_present_because_something_else_names_it():
    """The first call is dropped; the schemas, a text and a later call have all its words."""
    state = [user('look "order" 7 where'), CALLED, REPLY, user("And now?"), CALLED, REPLY]
    text = render(TEMPLATE, state)
    call = text[text.index("<tool_call>") : text.index("</tool_call>")]
    assert kinds(text, state) == []
    assert faults(text.replace(call, "", 1), state, TOOLS) == [TemplateFault(FaultKind.DROPPED_CALL, "message 1: look")]


def test_text_that_means_none_is_no_fault():
    state = [user("None"), says("None of them."), user("?"), CALLED, Message(role="tool", content="None")]
    assert kinds(render(TEMPLATE, state), state) == []


def test_stripped_or_escaped_contents_and_moved_system_prompts_are_there():
    state = [SYSTEM, user("  Where\n is 'it'?\n"), CALLED, Message(role="tool", content='{"a": "b"}\n')]
    escaped = TEMPLATE.replace("{{ message.content }}<|im_end|>", "{{ message.content | tojson }}<|im_end|>")
    assert kinds(render(escaped, state), state) == []
    text = render(TEMPLATE, state)
    assert kinds(text.replace("Be brief.", "").replace("  Where", "Be brief.\nWhere"), state) == []


def test_an_escaped_text_inside_an_argument_is_no_escaped_argument():
    state = [user("?"), calls("look", json.dumps({"body": json.dumps({"order": 7, "x": "y"}), "order": 7, "x": "y"}))]
    assert kinds(render(TEMPLATE, state), state) == []


def test_arguments_that_are_not_json_are_one_text():
    state = [user("?"), calls("look", '{"order": 7'), user("!")]
    assert kinds(render(TEMPLATE, state), state) == []


def test_parallel_calls_of_one_tool_with_keys_in_another_order():
    twice = [ToolCall(name="look", arguments=f'{{"where": "shop {i}", "order": {i}}}') for i in range(9)]
    state = [user("?"), Message(role="assistant", tool_calls=twice), REPLY]
    shuffled = TEMPLATE.replace("call.function.arguments | tojson", "dict(call.function.arguments | dictsort) | tojson")
    assert kinds(render(shuffled, state), state) == []
    assert kinds(render(TEMPLATE, state), state) == []
    text = render(TEMPLATE, state)
    assert kinds(text.replace('"shop 8"', '"shop"'), state) == ["dropped_argument"]


def _tojson(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)  # as transformers has it


JINJA = Environment(trim_blocks=True, lstrip_blocks=True)
JINJA.filters["tojson"] = _tojson

words = st.sampled_from(
    ["a", "look", "order", "None", '"', "\\", "\n", "é", "</x>", " ", "7", '{"order": 7}', "<tool_call>", "x y"]
)
texts = st.lists(words, max_size=4).map("".join)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 99) | st.sampled_from([0.5, 1e30, -2.0]) | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)
some_calls = st.lists(
    st.builds(
        ToolCall,
        name=st.sampled_from(["look", "a", "order"]),
        arguments=st.dictionaries(texts, values, max_size=3).map(json.dumps)
        | st.sampled_from(["{order: 7", "[1]", "{"]),
    ),
    max_size=3,
)
messages = st.builds(Message, role=st.just("assistant"), content=texts, tool_calls=some_calls) | st.builds(
    Message, role=st.sampled_from(["user", "tool", "system"]), content=texts
)


QUOTED = '{"order": 7}'


def with_argument(key: object, value: object, system: str) -> list[Message]:
    """A call with this argument beside a system message."""
    call = ToolCall(name="look", arguments=json.dumps({key: value}))
    return [Message(role="system", content=system), Message(role="assistant", content="", tool_calls=[call])]


@example(with_argument(QUOTED, 1, f'\\"{QUOTED}'), HERMES)  # an argument that stands in another text after \\"
@example(with_argument("a", [QUOTED], f'\\"{QUOTED}'), OTHER_SYNTAXES[0])
@example(with_argument(QUOTED, 1, f'\\"{QUOTED}')[::-1], HERMES)
@examples(100)
@given(st.lists(messages, max_size=7), st.sampled_from([HERMES, OTHER_SYNTAXES[0], OTHER_SYNTAXES[2]]))
def test_a_template_that_writes_everything_has_no_fault(state, syntax):
    text = JINJA.from_string(TEMPLATE.replace(HERMES, syntax)).render(
        messages=list(map(to_template, state)), tools=json.loads(TOOLS), add_generation_prompt=True
    )
    assert faults(text, state, TOOLS) == []


@pytest.mark.parametrize("lossy", [False, True])
def test_a_long_state_is_checked(lossy):
    turns = [
        [user(f"go {i}"), calls("look", f'{{"order": {i}, "é": "{"x y " * 300}\\""}}'), REPLY] for i in range(3000)
    ]
    state = [message for turn in turns for message in turn]
    template = TEMPLATE.replace("for call in message.tool_calls or []", "for call in []") if lossy else TEMPLATE
    text = render(template, state)
    assert kinds(text, state) == (["dropped_call"] if lossy else [])


@cache
def real() -> ChatFormat:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(DATA / "tokenizers" / "qwen3", fix_mistral_regex=False)
    return ChatFormat(tokenizer)


def outcomes(state: list[Message], *, bos: str | None = None, as_text: bool = False) -> Iterator[tuple[str, str]]:
    """Each template's name and what became of a state: `raises`, `fine` or the kinds of its faults."""
    chat = real()
    tokenizer = chat.tokenizer
    template, tokenizer.bos_token = tokenizer.chat_template, bos
    try:
        for path in TEMPLATES:
            tokenizer.chat_template = path.read_text()
            yield f"{path.parent.name}/{path.stem}", _outcome(chat, state, as_text)
    finally:
        tokenizer.chat_template, tokenizer.bos_token = template, None


def _outcome(chat: ChatFormat, state: list[Message], as_text: bool) -> str:
    shaped = [to_template(message) for message in state]
    if as_text:
        for message, recorded in zip(shaped, state, strict=True):
            for call, known in zip(message.get("tool_calls", []), recorded.tool_calls, strict=True):
                call["function"]["arguments"] = known.arguments
    try:
        text = chat._render(tuple(shaped), TOOLS, add_generation_prompt=True)
    except UnrenderableError:
        return "raises"
    return " ".join(kinds(text, state)) or "fine"


def named(found: dict[str, str], outcome: str) -> list[str]:
    return [name.partition("/")[2] for name, value in found.items() if value == outcome]


def has(found: dict[str, str], kind: str) -> int:
    return sum(kind in value.split() for value in found.values())


@needs_templates
def test_public_templates_with_the_canonical_shape():
    """README A4 of the shared data counts 109 of 147 that render it correctly and 18 that drop the call in silence.

    109 is what we find, of which three leave out the tools, a second fault that A4 did not count. 20 drop the call
    and 18 raise; A4's 18 and 20 are those of a conversation that goes on after the reply, see below. A4's "correctly"
    is reached with a beginning-of-text token; Qwen3's tokenizer has none, and three templates add it to strings.
    """
    found = dict(outcomes(STATE, bos="<|endoftext|>"))
    assert len(found) == 147
    assert Counter(value.split()[0] for value in found.values()) == {
        "fine": 106,
        "missing_tools": 3,
        "dropped_call": 20,
        "raises": 18,
    }
    assert sorted(named(found, "missing_tools")) == [
        "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B",
        "deepseek-ai-DeepSeek-V3.1",
        "deepseekv3_training",
    ]
    assert has(found, "missing_tools") == 3 + 15  # five that drop the call still write the tools
    assert has(found, "dropped_content") == 8  # tool messages, which these do not know either
    bare = dict(outcomes(STATE))
    needs_bos = ["llama_cpp/meetkai-functionary-medium-v3.1", "trl/llama3"]
    assert {name for name in found if bare[name] != found[name]} == set(needs_bos)
    assert {bare[name] for name in needs_bos} == {"raises"}


@needs_templates
def test_two_public_templates_drop_the_call_until_the_conversation_goes_on():
    """Aya's ask that user and assistant take turns, which they do as long as the reply to the call comes last.

    At that state, the one at which a policy acts next, they write an empty turn for the call and one for the reply.
    """
    now, later = (dict(outcomes(state, bos="<|endoftext|>")) for state in (STATE, [*STATE, says("It is there.")]))
    assert {name: (now[name], later[name]) for name in now if now[name] != later[name]} == {
        f"trl/{name}": ("dropped_call dropped_content missing_tools", "raises")
        for name in ("cohere2", "cohere2_training")
    }
    assert Counter(value.split()[0] for value in later.values()) == {
        "fine": 106,
        "missing_tools": 3,
        "dropped_call": 18,
        "raises": 20,
    }


@needs_templates
def test_public_templates_with_a_system_prompt():
    """One more raises, and Mistral's put it at the last user turn, which is lost where a tool message comes last."""
    without, found = dict(outcomes(STATE)), dict(outcomes([SYSTEM, *STATE]))
    assert {name: found[name] for name in found if found[name] != without[name]} == {
        "llama_cpp/mistralai-Mistral-Nemo-Instruct-2407": "dropped_content",
        "vllm/tool_chat_template_mistral": "dropped_content",
        "vllm/tool_chat_template_mistral_parallel": "dropped_content",
        "vllm/tool_chat_template_granite_20b_fc": "raises",
    }


@needs_templates
def test_public_templates_that_are_given_arguments_as_text():
    """A4 counts, of the 109: 42 that double-encode, some 37 that raise, 30 that are fine.

    The 42 are ours. 39 raise: three of them for a filter `from_json` that transformers does not have and A4's sandbox
    may have had. Four of the rest are not fine either: they write the call without its arguments.
    """
    as_object, found = (dict(outcomes(STATE, bos="<|endoftext|>", as_text=as_text)) for as_text in (False, True))
    usable = {name for name, value in as_object.items() if value in ("fine", "missing_tools")}
    assert Counter(found[name] for name in usable) == {
        "escaped_argument": 42,
        "raises": 39,
        "fine": 24,
        "dropped_argument": 4,
    }
    assert has(found, "escaped_argument") == 42
    assert sorted(named(found, "dropped_argument")) == [
        "tool_chat_template_gemma3_pythonic",
        "tool_chat_template_llama3.2_pythonic",
        "tool_chat_template_llama4_pythonic",
        "tool_chat_template_toolace",
    ]


@needs_templates
def test_public_templates_drop_what_is_said_before_a_call():
    """Llama 3, Hermes, Cohere, xLAM and others write either the text or the calls of one message."""
    speaking = CALLED.model_copy(update={"content": "Let me see."})
    silent, found = (dict(outcomes([user("Where is it?"), message, REPLY])) for message in (CALLED, speaking))
    lossy = {name for name in found if silent[name] == "fine" and found[name] != "fine"}
    assert Counter(found[name] for name in lossy) == {"dropped_content": 27, "dropped_call": 3}
    assert "llama_cpp/meta-llama-Llama-3.3-70B-Instruct" in lossy


@needs_templates
def test_a_state_is_rendered_as_its_own_prompt_and_not_cut_out_of_the_full_render():
    """Qwen3 strips the reasoning of earlier requests, so the state that a turn was taken at is nowhere in the end."""
    chat, template = real(), DATA / "chat_templates" / "llama_cpp" / "Qwen-Qwen3-0.6B.jinja"
    original, chat.tokenizer.chat_template = chat.tokenizer.chat_template, template.read_text()
    try:
        thought = CALLED.model_copy(update={"reasoning": "The order is 7."})
        state = [user("Where is it?"), thought, REPLY]
        whole = [*state, says("In the post."), user("Thanks."), says("Bye.")]
        full = chat._render(tuple(map(to_template, whole)), TOOLS, add_generation_prompt=False)
        prompt = chat.prompt_text(state, TOOLS)
        assert "The order is 7." in prompt
        assert "The order is 7." not in full
        assert not full.startswith(prompt)
        assert chat.prompt_ids(state, TOOLS) == chat.encode(prompt)
    finally:
        chat.tokenizer.chat_template = original
