"""What a server that trainings sample from can do wrong, by a scripted one; `test_train_vllm` has the real vLLM."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from faulty_server import Answer, faulty_server
from safetensors.torch import load_file
from tables import user

from pivotrl_cli.configs import PolicyConfig, TrainConfig
from pivotrl_cli.endpoint import EndpointSettings
from pivotrl_cli.engines import Request, Sampling, each_group
from pivotrl_cli.engines.vllm_server import START, open_server
from pivotrl_cli.errors import ConfigError, PivotRLError, RunError
from pivotrl_cli.stages.train import run as train

FACTS = {"logprobs_mode": "processed_logprobs"}
REQUEST = Request(key="q", state=[user("Where is it?")], tools="[]")


class Server:
    """Answers as vLLM does, but for what is given."""

    def __init__(self, **answers: Any) -> None:
        self.answers, self.label = answers, "default"

    def __call__(self, path: str, body: dict[str, Any]) -> Any:
        name = path.rsplit("/", 1)[-1]
        if name == "update_weight_version":
            self.label = body["new_version"]
        choice = {"index": 0, "finish_reason": "stop", "text": "", "token_ids": [7, 2]}
        usual = {
            "models": {"data": [{"id": "served", "max_model_len": 512}]},
            "collective_rpc": {"results": [FACTS]},
            "reset_prefix_cache": {"success": True},
            "update_weight_version": {"success": True},
            "weight_info": {"weight_version": self.label},
            "completions": {"choices": [choice | {"logprobs": {"token_logprobs": [-0.5, -0.25]}}]},
        }
        return (usual | self.answers)[name]


def opened(answer: Answer, model: Path, folder: Path, faults=lambda _: None, timeout: float = 20.0):
    """A connection to a scripted server, with what it was asked."""
    with faulty_server(answer, faults) as (address, seen):
        yield (
            open_server(
                EndpointSettings(base_url=address, timeout=timeout, max_retries=0),
                PolicyConfig(model=str(model)),
                folder,
                "run",
            ),
            seen,
        )


def test_weights_go_through_the_folder_and_samples_come_back_with_their_logprobs(tiny_model, tmp_path):
    for engine, seen in opened(Server(), tiny_model, tmp_path / "weights"):
        engine.push([("weight", torch.arange(3.0))], 4)
        engine.push(iter(["never taken, since the server has version 4"]), 4)
        assert engine.weight_version == 4
        assert load_file(tmp_path / "weights" / "model.safetensors")["weight"].tolist() == [0.0, 1.0, 2.0]
        (group,) = each_group(engine, [REQUEST], Sampling(temperature=0.7, max_new_tokens=8))
        assert [(c.token_ids, c.logprobs) for c in group.completions] == [([7, 2], [-0.5, -0.25])]
        asked = [one["path"].rsplit("/", 1)[-1] for one in seen]
        assert asked == [
            "models",
            "collective_rpc",
            "collective_rpc",
            "reset_prefix_cache",
            "update_weight_version",
            "completions",
            "completions",
            "weight_info",
        ]
        assert seen[2]["body"] == {"method": "pivotrl_reload", "args": [str(tmp_path / "weights")], "timeout": 20.0}
        assert seen[4]["body"] == {"new_version": "pivotrl run 4"}
        body = seen[-2]["body"]
        assert (body["logprobs"], body["temperature"], body["ignore_eos"]) == (0, 0.7, True)
        assert body["prompt"] == group.prompt_ids
        engine.close()
        assert not (tmp_path / "weights").exists()


@pytest.mark.parametrize(
    ("answers", "kind", "message"),
    [
        ({"models": {"data": []}}, RunError, "no vLLM answers at http.*: it serves no model"),
        ({"collective_rpc": (404, {"detail": "Not Found"})}, RunError, "collective_rpc: HTTP 404"),
        (
            {"collective_rpc": {"results": [{"logprobs_mode": "raw_logprobs"}]}},
            ConfigError,
            "was started without --logprobs-mode processed_logprobs",
        ),
    ],
)
def test_a_server_that_was_not_started_for_training_is_refused(tiny_model, tmp_path, answers, kind, message):
    with pytest.raises(kind, match=message) as caught:
        next(opened(Server(**answers), tiny_model, tmp_path / "weights"))
    assert caught.value.hint == START


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({"reset_prefix_cache": {"success": False}}, "kept the prefix cache of the old weights"),
        ({"update_weight_version": (500, {"error": "no"})}, "update_weight_version: HTTP 500: no"),
    ],
)
def test_a_push_that_fails_leaves_no_version(tiny_model, tmp_path, answers, message):
    for engine, _ in opened(Server(**answers), tiny_model, tmp_path / "weights"):
        with pytest.raises(RunError, match=message):
            engine.push([("weight", torch.zeros(1))], 1)
        assert engine.weight_version is None


def test_a_server_that_hangs_is_given_up(tiny_model, tmp_path):
    hangs = {2, 3}  # the push, and its second try
    faults = opened(Server(), tiny_model, tmp_path, lambda i: "hang" if i in hangs else None, timeout=0.5)
    for engine, _ in faults:
        with pytest.raises(RunError, match="collective_rpc: ReadTimeout"):
            engine.push([("weight", torch.zeros(1))], 1)


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        (
            {"completions": {"choices": [{"index": 0, "finish_reason": "stop", "text": "yes"}]}},
            "gives no log-probabilities of the tokens",
        ),
        (
            {"completions": (400, {"error": {"message": "return_token_ids is not known"}})},
            "does not take return_token_ids",
        ),
        ({"weight_info": {"weight_version": "theirs"}}, "has the weights 'theirs' and not 'pivotrl run 1'"),
    ],
)
def test_samples_that_nothing_can_be_learnt_from_end_the_run(tiny_model, tmp_path, answers, message):
    for engine, _ in opened(Server(**answers), tiny_model, tmp_path / "weights"):
        engine.push([("weight", torch.zeros(1))], 1)
        with pytest.raises(RunError, match=message):
            list(engine.sample([REQUEST], Sampling()))


@pytest.mark.parametrize("given", [{"engine": "vllm-server"}, {"endpoint": "http://127.0.0.1:1/v1"}])
def test_sampler_and_address_are_given_together(given):
    with pytest.raises(PivotRLError, match="--engine vllm-server and --endpoint belong together"):
        train.run(TrainConfig(pivots="p.parquet", output="out", **given))
