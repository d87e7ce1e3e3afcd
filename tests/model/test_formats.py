"""Recorded outputs of nine families, and what 147 public chat templates write, read back."""

# ruff: noqa: RUF001  the marks of DeepSeek have a full-width bar

from __future__ import annotations

import importlib.util
import json
import re
from collections import Counter
from contextlib import suppress
from copy import copy
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from search import examples
from tables import TOOLS, calls, candidate, says, user
from tiny_models import tiny_tokenizer

from pivotrl_cli.configs import EngineConfig, ExtractConfig
from pivotrl_cli.errors import InputError
from pivotrl_cli.model.chat import ChatFormat, UnparsableError, UnrenderableError, to_message
from pivotrl_cli.model.folder import load_tokenizer
from pivotrl_cli.model.formats import read
from pivotrl_cli.model.formats.known import BY_NAME, KNOWN
from pivotrl_cli.model.probe import PROBES
from pivotrl_cli.model.probe import TOOLS as PROBE_TOOLS
from pivotrl_cli.readers.sources import find_sources
from pivotrl_cli.rows import Candidate, Message, ToolCall
from pivotrl_cli.stages.extract.extraction import Extraction
from pivotrl_cli.verifiers import load_verifier

DATA = Path(__file__).parents[2] / "../shared/data"
TEMPLATES = sorted(DATA.glob("chat_templates/**/*.jinja"))
needs_templates = pytest.mark.skipif(not TEMPLATES, reason="shared data chat_templates is not here")

# Recorded outputs

_PACKAGE = importlib.util.find_spec("canitoolcall")
FIXTURES = Path(str(_PACKAGE.origin)).parent / "_data/fixtures" if _PACKAGE else Path("/none")
needs_fixtures = pytest.mark.skipif(not FIXTURES.is_dir(), reason="canitoolcall is not installed")

FORMATS = {"qwen3-hermes": "hermes", "qwen3-xml": "qwen-xml", "gemma4": "gemma-4", "glm": "glm", "gpt-oss": "gpt-oss"}
VARIANTS = {
    "DeepSeek-V3-0324": "deepseek-v3",
    "DeepSeek-V3.1": "deepseek-v3.1",
    "DeepSeek": "deepseek-dsml",
    "Kimi-K3": "kimi-k3",
    "Kimi-K2": "kimi-k2",
    "Llama-3": "llama-json",
    "Llama-4": "pythonic",
    "Mistral-7B": "mistral-json",
    "Magistral-Small-2506": "mistral-think-text",
    "M": "mistral",
    "Devstral": "mistral",
}
"""The first that a model's name begins with."""

MISSES = {
    "kimi/k3-bug-response-only-completion": "the prompt opened the reasoning, and the reply never closes it",
    "qwen3-xml/llamacpp-q35-call-inside-think": "a call inside reasoning that never ends is not an action here",
}


@cache
def records() -> list[dict]:
    return [
        json.loads(line) for path in sorted(FIXTURES.glob("*/*.jsonl")) for line in path.read_text("utf-8").splitlines()
    ]


def format_of(record: dict) -> str:
    model = record["models"][0].split("/")[1].removeprefix("Meta-")
    return FORMATS.get(record["family"]) or next(name for begin, name in VARIANTS.items() if model.startswith(begin))


def reading_of(record: dict):
    family = json.loads((FIXTURES / record["family"] / "family.json").read_text())
    prompts = {one["repo"]: one["default_generation_prompt"] for one in family["reference_models"]}
    prompt = record.get("generation_prompt")
    prompt = prompts.get(record["models"][0], "") if prompt is None else prompt
    return read(BY_NAME[format_of(record)], record["raw_output"], prompt, json.dumps(record["tools"]))


def parts(content, reasoning, calls):
    written = [(call["name"], json.dumps(call["arguments"], sort_keys=True)) for call in calls]
    return (content or "").strip(), (reasoning or "").strip(), written


@needs_fixtures
def test_recorded_outputs_are_read_as_they_should_be():
    right, wrong = Counter(), set()
    for record in (one for one in records() if "expected" in one):
        reading, expected = reading_of(record), record["expected"]
        want = parts(expected["content"], expected["reasoning_content"], expected["tool_calls"])
        if parts(reading.content, reading.reasoning, reading.calls) == want:
            right[record["family"]] += 1
        else:
            wrong.add(record["id"])
    assert wrong == set(MISSES)
    assert right == {
        "deepseek": 78,
        "gemma4": 44,
        "glm": 48,
        "gpt-oss": 45,
        "kimi": 45,
        "llama": 32,
        "mistral": 45,
        "qwen3-hermes": 43,
        "qwen3-xml": 52,
    }


@needs_fixtures
def test_what_is_read_is_an_action_unless_it_was_cut():
    """A cut output keeps its parts for whoever looks, and is no action."""
    for record in (one for one in records() if "expected" in one and one["id"] not in MISSES):
        reading, expected = reading_of(record), record["expected"]
        if "truncated" in record["tags"] or not (expected["content"] or expected["tool_calls"]):
            continue
        action = to_message(reading)
        assert [call.name for call in action.tool_calls] == [call["name"] for call in expected["tool_calls"]]


@needs_fixtures
def test_malformed_outputs_are_no_actions():
    malformed = [one for one in records() if "expected" not in one]
    assert len(malformed) == 35
    for record in malformed:
        with pytest.raises(UnparsableError):
            to_message(reading_of(record))


# Public templates

MARK = re.compile(
    r"<[|｜][^<>\s|｜]{1,40}[|｜]>|<\|/?[a-z_]+>|<[a-z_]+\|>|</?s>|<(?:start|end)_of_turn>|<seed:\w+>|<SPECIAL_\d+>|\[e~\["
    r"|\[/?(?:INST|TOOL_CALLS|ARGS|CALL_ID|THINK|AVAILABLE_TOOLS|TOOL_RESULTS)\]|\]~b\]|<sep>|</assistant>"
    r"|<end_of_(?:sentence|utterance)>"
)
EXTRA = ["<｜hy_eos:opensource｜>", "<｜hy_User:opensource｜>", "<|im_end|>", "<|endoftext|>"]
END = [
    "<｜end▁of▁sentence｜>",
    "<|eot_id|>",
    "<|END_OF_TURN_TOKEN|>",
    "<end_of_turn>",
    "<turn|>",
    "[e~[",
    "<seed:eos>",
    "<SPECIAL_12>",
    "<|return|>",
    "<end_of_sentence>",
    "<|end_of_msg|>",
    "<|role_end|>",
    "<|eot|>",
    "<|message_sep|>",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<|im_end|>",
]
"""A template's end token is the first of these that it has; Mistral's is `</s>`."""

REFUSED = {
    "llama_cpp/GigaChat3-10B-A1.8B": "'<|message_sep|>",
    "llama_cpp/Kimi-K2-Instruct": "refused: SecurityError",
    "llama_cpp/Kimi-K2-Thinking": "refused: SecurityError",
    "llama_cpp/fireworks-ai-llama-3-firefunction-v2": "refused: UndefinedError",
    "llama_cpp/llama-cpp-deepseek-r1": "refused: TypeError",
    "vllm/tool_chat_template_llama3.2_pythonic": "[probe_write(text=Alpha, count=3)]",
    "vllm/tool_chat_template_toolace": "[probe_write(text=Alpha, count=3)]",
}
"""Templates that write calls which cannot be read back: strings without quotes, a stop in the middle, no render."""

FOUND = {
    "messages": 38,  # 31 have no tools, 7 are refused
    "hermes": 20,
    "qwen-xml": 17,
    "glm": 9,
    "llama-json": 9,
    "deepseek-v3": 5,
    "gemma-4": 4,
    "mistral-json": 4,
    "tool-calls": 4,
    "deepseek-dsml": 3,
    "gpt-oss": 3,
    "mistral": 3,
    "cohere": 2,
    "deepseek-v3.1": 2,
    "lfm": 2,
    "pythonic": 2,
    "xlam": 2,
    "apertus": 1,
    "apriel": 1,
    "command-r": 1,
    "functionary-3.1": 1,
    "functionary-3.2": 1,
    "gigachat-3.1": 1,
    "granite-20b": 1,
    "granite-3": 1,
    "hunyuan-3": 1,
    "internlm-2": 1,
    "kimi-k2": 1,
    "kimi-k3": 1,
    "minicpm-5": 1,
    "minimax-m2": 1,
    "minimax-m3": 1,
    "muse": 1,
    "nemotron-v2": 1,
    "seed-oss": 1,
    "solar": 1,
}
LIMITS = {
    "reasoning and message": 62,
    "reasoning and call": 59,
    "text beside a call": 31,
    "two calls": 11,
    "own tags": 4,  # Gemma 4: its quotation mark inside a string
    "quotes": 3,  # LFM 2.5, Llama 4 (pythonic): strings that are not escaped
}
"""Of the 109 templates that write calls, how many cannot say it."""


@cache
def real_tokenizer():
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(DATA / "tokenizers/qwen3")
    marks = {mark for path in TEMPLATES for mark in MARK.findall(path.read_text("utf-8"))}
    tokenizer.add_special_tokens({"additional_special_tokens": sorted(marks | set(EXTRA))})
    tokenizer.bos_token = "<s>"
    return tokenizer


@cache
def format_of_template(path: Path) -> ChatFormat:
    template = path.read_text("utf-8")
    tokenizer = copy(real_tokenizer())
    tokenizer._special_tokens_map = dict(tokenizer._special_tokens_map)
    tokenizer.chat_template = template
    tokenizer.eos_token = next(
        (end for end in END if end in template), "</s>" if "[INST]" in template else "<|endoftext|>"
    )
    return ChatFormat(tokenizer)


def name_of(path: Path) -> str:
    return str(path.relative_to(DATA / "chat_templates").with_suffix(""))


@needs_templates
def test_public_templates_that_write_calls_read_them_back_or_are_refused_by_name():
    formats, refused, limits = Counter(), {}, Counter()
    for path in TEMPLATES:
        found = format_of_template(path).found
        if found.format.body == "none" and found.wrote:
            refused[name_of(path)] = found.wrote
        formats[found.format.name] += 1
        if found.format.body != "none":
            assert found.probes["call"] == "", path
            limits.update(list(found.limits))
    assert set(refused) == set(REFUSED)
    assert all(REFUSED[name].strip("'") in wrote for name, wrote in refused.items())
    assert formats == FOUND
    assert limits == LIMITS


@needs_templates
def test_targets_of_public_templates_begin_at_the_prompt_and_end_on_a_stop():
    ends, texts = Counter(), 0
    for path in TEMPLATES:
        chat = format_of_template(path)
        for name, action in PROBES.items():
            if action.tool_calls and chat.found.format.body == "none":
                continue
            try:
                tools = PROBE_TOOLS if chat.found.format.body != "none" else "[]"
                ids = chat.completion_ids([Message(role="user", content="Question")], tools, action)
            except UnrenderableError:
                continue
            texts += 1
            ends[ids[-1] in chat.stop_ids] += 1
            assert ids[-1] in chat.stop_ids, (path, name)
    assert ends == {True: texts}


# Kinds of wrong targets and readings (../shared/data/cases)

WRITE = """[{"type": "function", "function": {"name": "look", "description": "Look.", "parameters": {"type": "object",
"properties": {"city": {"type": "string", "description": "where"}}, "required": ["city"]}}}]"""
ASKED = [Message(role="user", content="weather in Paris?")]
LOOKED = Message(role="assistant", tool_calls=[ToolCall(id="call_1", name="look", arguments='{"city": "Paris"}')])
STATE = [*ASKED, LOOKED, Message(role="tool", content="sunny", tool_call_id="call_1")]


def qwen_with(template: str) -> ChatFormat:
    """The real tokenizer without any mark of the template's family."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(DATA / "tokenizers/qwen3")
    tokenizer.chat_template = (DATA / f"chat_templates/llama_cpp/{template}.jinja").read_text("utf-8")
    return ChatFormat(tokenizer)


TAGGED = "close with {} always"


@pytest.mark.parametrize(
    ("form", "tag", "text"),
    [
        ("hermes", "</tool_call>", '<tool_call>\n{"name": "look", "arguments": {"city": TEXT}}\n</tool_call>'),
        ("mistral-json", "[TOOL_CALLS]", '[TOOL_CALLS][{"name": "look", "arguments": {"city": TEXT}}]'),
        (
            "kimi-k2",
            "<|tool_call_end|>",
            "<|tool_calls_section_begin|><|tool_call_begin|>functions.look:0"
            '<|tool_call_argument_begin|>{"city": TEXT}<|tool_call_end|><|tool_calls_section_end|>',
        ),
        (
            "qwen-xml",
            "</parameter>",
            "<tool_call>\n<function=look>\n<parameter=city>\nRAW\n</parameter>\n</function>\n</tool_call>",
        ),
        ("glm", "</arg_value>", "<tool_call>look<arg_key>city</arg_key><arg_value>RAW</arg_value></tool_call>"),
        ("gemma-4", "<tool_call|>", '<|tool_call>call:look{city:<|"|>RAW<|"|>}<tool_call|>'),
    ],
)
def test_a_closing_tag_inside_a_string_does_not_end_a_call(form, tag, text):
    """Case 01."""
    city = TAGGED.format(tag)
    text = text.replace("TEXT", json.dumps(city)).replace("RAW", city)
    reading = read(BY_NAME[form], text, "", WRITE)
    assert (reading.problem, reading.calls) == ("", [{"name": "look", "arguments": {"city": city}}])


@needs_templates
def test_targets_do_not_begin_inside_a_tag():
    """Case 02: where the prompt opens reasoning, the target closes it; where it closed it, the target is the call."""
    for path in TEMPLATES:
        chat = format_of_template(path)
        if chat.found.format.body == "none":
            continue
        reasoning = chat.found.format.reasoning
        text = chat.completion_text(STATE[:1], WRITE, LOOKED)
        opened = bool(reasoning) and chat.prompt_text(ASKED, WRITE).rstrip().endswith(reasoning[0].strip())
        assert not opened or reasoning[1] in text, path
        assert chat.parse(text, chat.prompt_ids(ASKED, WRITE), WRITE).tool_calls[0].name == "look", path


@needs_templates
def test_the_target_of_qwq_is_the_whole_call():
    text = qwen_with("Qwen-QwQ-32B").completion_text(ASKED, WRITE, LOOKED)
    assert text == '<tool_call>\n{"name": "look", "arguments": {"city": "Paris"}}\n</tool_call><|im_end|>'


@needs_templates
def test_glm_stops_at_the_role_that_speaks_next():
    """Case 03."""
    chat = format_of_template(DATA / "chat_templates/llama_cpp/GLM-4.6.jinja")
    assert chat.completion_text(ASKED, "[]", says("Hello.")) == "\n<think></think>\nHello.<|user|>"
    assert chat.completion_text(ASKED, WRITE, LOOKED).endswith("</tool_call><|observation|>")
    assert chat.stop_ids == set(chat.tokenizer.convert_tokens_to_ids(["<|endoftext|>", "<|user|>", "<|observation|>"]))


@needs_templates
def test_llama_calls_are_calls_whether_its_marks_are_tokens_or_not():
    """Case 04."""
    for chat in (
        qwen_with("meta-llama-Llama-3.1-8B-Instruct"),
        format_of_template(DATA / "chat_templates/llama_cpp/meta-llama-Llama-3.1-8B-Instruct.jinja"),
    ):
        ids = chat.completion_ids(ASKED, WRITE, LOOKED)
        assert ids[-1] in chat.stop_ids
        assert chat.parse(chat.decode(ids), None, WRITE) == calls("look", '{"city": "Paris"}')
        with pytest.raises(UnparsableError):
            chat.parse('{"name": "look", "parameters": {"city": "Par', None, WRITE)
        assert chat.parse('{"city": "Paris"}', None, WRITE) == says('{"city": "Paris"}')


@needs_templates
@pytest.mark.parametrize("call_id", [None, "chatcmpl-tool-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "abc123XYZ"])
def test_mistral_gets_ids_of_nine_letters_and_digits(call_id):
    """Case 05: the same id in the call and in the reply, generated where there is none."""
    chat = format_of_template(DATA / "chat_templates/llama_cpp/mistralai-Mistral-Nemo-Instruct-2407.jinja")
    call = LOOKED.tool_calls[0].model_copy(update={"id": call_id})
    state = [
        ASKED[0],
        Message(role="assistant", tool_calls=[call]),
        Message(role="tool", content="ok", tool_call_id=call_id),
    ]
    ids = re.findall(r'"(?:id|call_id)": "(\w+)"', chat.prompt_text(state, WRITE))
    assert len(ids) == 2
    assert len(set(ids)) == 1
    assert len(ids[0]) == 9
    assert call_id != "abc123XYZ" or ids[0] == call_id


def test_a_template_that_takes_ids_gets_them_where_they_are_absent():
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = tokenizer.chat_template.replace(
        '{"name": {{ call', '{"id": {{ call.id | tojson }}, "name": {{ call'
    )
    chat = ChatFormat(tokenizer)
    assert chat.found.shape.ids == "given"
    call = ToolCall(name="look", arguments='{"city": "Paris"}')
    state = [*ASKED, Message(role="assistant", tool_calls=[call])]
    assert '{"id": "call_0", "name": "look"' in chat.prompt_text(state, TOOLS)


@pytest.mark.parametrize("arguments", ["", " ", "null", "{}"])
def test_no_arguments_are_an_empty_object_in_every_spelling(arguments):
    """Case 11."""
    chat = ChatFormat(tiny_tokenizer())
    state = [*ASKED, Message(role="assistant", tool_calls=[ToolCall(id="c1", name="look", arguments=arguments)])]
    assert '{"name": "look", "arguments": {}}' in chat.prompt_text(state, TOOLS)


@pytest.mark.parametrize("written", ["{}", "null", '""'])
def test_a_call_without_arguments_is_read_as_one(written):
    reading = read(BY_NAME["hermes"], f'<tool_call>{{"name": "look", "arguments": {written}}}</tool_call>')
    assert to_message(reading).tool_calls[0].arguments == "{}"


# Any text at all

DEEP = [
    "[f(a=" + "[" * 3000,
    "<|tool_call>call:f{a:" + "[" * 3000,
    "<tool_call><function=f><parameter=o>" + "[" * 3000 + "</parameter></function></tool_call>",
    '{"name":' * 3000,
    ']<]minimax[>[<invoke name="f">' + "]<]minimax[>[<a>" * 3000,
    "[TOOL_CALLS]" * 2000,
]
PIECES = [
    piece for form in KNOWN for piece in re.findall(r"<[^<>()?]+>|\[[A-Z_]+\]", form.open + form.close + form.argument)
]


@examples(100)
@given(
    st.lists(st.sampled_from([*PIECES, *DEEP, "{", "}", '"', "1", "01", "f", "(", "a=", "\n"]) | st.text(max_size=4))
)
def test_any_text_is_an_action_or_is_refused(pieces):
    for form in KNOWN:
        with suppress(UnparsableError):
            action = to_message(read(form, "".join(pieces), "", WRITE))
            assert action.content or action.tool_calls
            assert all(isinstance(json.loads(call.arguments), dict) for call in action.tool_calls)


# What is refused

NO_TOOLS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
)
UNQUOTED = "{% for call in m.tool_calls or [] %}CALL {{ call.function.name }} {{ call.function.arguments }}{% endfor %}"


def test_a_template_without_tools_takes_messages_only():
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = NO_TOOLS
    chat = ChatFormat(tokenizer)
    assert chat.parse(chat.completion_text([user("?")], "[]", says("Done.")).removesuffix("<|im_end|>")) == says(
        "Done."
    )
    with pytest.raises(InputError, match="the chat template has no tools: it drops calls"):
        chat.prompt_text([user("?")], TOOLS)


def test_a_call_that_no_format_reads_back_is_an_error_that_says_what_was_written():
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = NO_TOOLS.replace("{{ m.content }}", "{{ m.content }}" + UNQUOTED)
    chat = ChatFormat(tokenizer)
    with pytest.raises(InputError, match=r"no known format reads back a call .*CALL probe_write"):
        chat.prompt_text([user("?")], TOOLS)


def test_names_of_formats_are_unique():
    assert len({form.name for form in KNOWN}) == len(KNOWN)


@needs_templates
def test_calls_without_arguments_are_extracted_in_every_spelling():
    """Case 11: as "", null, absent, "{}", {}, blank and "null"."""
    config = ExtractConfig(sources=[str(DATA / "cases/case11_empty_arguments.jsonl")])
    rows = list(Extraction.from_config(config).rows(find_sources(config.sources)))
    called = [row.expected_action.tool_calls for row in rows if isinstance(row, Candidate)]
    assert [calls[0].arguments for calls in called if calls] == ["{}"] * 7
    assert len(rows) == 14


# Templates from files (docs/models.md)

DOCS = (Path(__file__).parents[2] / "docs/models.md").read_text("utf-8")
ANGLES = (
    "{% for call in m.tool_calls or [] %}<<{{ call.function.name }}{% for k, v in call.function.arguments.items() %}"
    ' {{ k }}="{{ v }}"{% endfor %}>>{% endfor %}'
)


def block(kind: str) -> str:
    return DOCS.split(f"```{kind}\n")[1].split("\n```")[0]


@pytest.fixture
def folder(tmp_path):
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = NO_TOOLS
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "qwen3"}')
    return tmp_path


def test_the_chat_template_of_the_docs_gives_tools_to_a_model_without(folder):
    (folder / "tools.jinja").write_text(block("jinja"))
    tokenizer = load_tokenizer(folder, EngineConfig(model=str(folder), chat_template=folder / "tools.jinja"))
    found = ChatFormat(tokenizer).found
    assert (found.format.name, found.limits) == ("hermes", {})


def test_the_response_template_of_the_docs_reads_back_and_is_kept(folder):
    (folder / "angles.jinja").write_text(NO_TOOLS.replace("{{ m.content }}", "{{ m.content }}" + ANGLES))
    (folder / "angles.toml").write_text(block("toml"))
    config = EngineConfig(
        model=str(folder), chat_template=folder / "angles.jinja", response_template=folder / "angles.toml"
    )
    tokenizer = load_tokenizer(folder, config)
    found = ChatFormat(tokenizer).found
    assert (found.format.name, found.probes["call"], found.probes["two calls"]) == ("angles", "", "")
    tokenizer.save_pretrained(folder / "kept")
    assert ChatFormat(load_tokenizer(folder / "kept")).found.format == found.format


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("open = '('", "not a response template: name: Field required"),
        ("name = 'a'\nopen = '('", "open: missing"),
        ("name = 'a'\nwhere = 'x'", "no such field: where"),
        ("name = 'a'\nopen = 'CALL '", "does not read back a call"),
    ],
)
def test_a_response_template_that_cannot_be_right_is_refused(folder, text, problem):
    (folder / "calls.jinja").write_text(NO_TOOLS.replace("{{ m.content }}", "{{ m.content }}" + UNQUOTED))
    (folder / "r.toml").write_text(text)
    config = EngineConfig(model=str(folder), chat_template=folder / "calls.jinja", response_template=folder / "r.toml")
    with pytest.raises(InputError, match=problem):
        ChatFormat(load_tokenizer(folder, config))


def test_the_docs_name_every_known_format():
    families = DOCS.split("## Families")[1]
    assert re.findall(r"^\| `([\w.-]+)` \|", families, re.MULTILINE) == [form.name for form in KNOWN]


@pytest.mark.parametrize(
    ("form", "closed", "changed"),
    [
        (
            "hermes",
            '<tool_call>\n{"name": "look", "arguments": {}}\n</tool_call>',
            '<tool_call>\n{"name": "look", "arguments": {"city": "Rome"}}\n</tool_call>',
        ),
        (
            "qwen-xml",
            "<tool_call>\n<function=look>\n</function>\n</tool_call>",
            "<tool_call>\n<function=look>\n<parameter=city>\nRome\n</parameter>\n</function>\n</tool_call>",
        ),
        (
            "glm",
            "<tool_call>look\n</tool_call>",
            "<tool_call>look\n<arg_key>city</arg_key>\n<arg_value>Rome</arg_value>\n</tool_call>",
        ),
    ],
)
def test_a_call_closed_before_its_argument_is_told_from_one_with_a_wrong_value(form, closed, changed):
    row = candidate("a-0", state=ASKED, tools=WRITE, expected_action=LOOKED)
    actions = [to_message(read(BY_NAME[form], text, "", WRITE)) for text in (closed, changed)]
    assert [load_verifier("tool_call")(row, action).category for action in actions] == [
        "argument_object_keys_different",
        "argument_value_different",
    ]
