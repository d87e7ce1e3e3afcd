"""vLLM as the sampler in training, with the real vLLM and the shipped policy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

if find_spec("vllm") is None:
    pytest.skip("vLLM is not installed here: make test-vllm", allow_module_level=True)

from tables import candidate, read, says, user, write
from training import in_two
from vllm_process import serve

from pivotrl_cli.configs import EngineConfig, PolicyConfig, TrainConfig
from pivotrl_cli.endpoint import Endpoint, EndpointSettings
from pivotrl_cli.engines import Request, Sampling, each_group, vllm
from pivotrl_cli.engines.vllm_server import VLLMServer, open_server
from pivotrl_cli.errors import RunError
from pivotrl_cli.learn.lora import merged_weights
from pivotrl_cli.learn.policy import completion_logprobs
from pivotrl_cli.model.folder import load_model, resolve
from pivotrl_cli.rows import StepMetrics
from pivotrl_cli.stages.train import run as train

pytestmark = pytest.mark.vllm

REQUESTS = [Request(key=str(i), state=[user(f"Where is order {i}?")], tools="[]") for i in range(8)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EndpointSettings]:
    """`vllm serve` on this machine, started as the documentation says."""
    arguments = "--no-enable-chunked-prefill --logprobs-mode processed_logprobs"
    arguments += " --worker-extension-cls pivotrl_cli.engines.vllm.Reloading"
    folder = tmp_path_factory.mktemp("server")
    with serve(folder, *arguments.split(), VLLM_SERVER_DEV_MODE="1") as address:
        yield EndpointSettings(base_url=address, timeout=60.0)


def mean_gap(engine: vllm.VLLMEngine | VLLMServer, model, temperature: float) -> float:
    """Between the sampler's and the trainer's log-probabilities."""
    sampling = Sampling(n=4, temperature=temperature, max_new_tokens=24)
    gaps: list[float] = []
    for group in each_group(engine, REQUESTS, sampling):
        sampled = [c.token_ids for c in group.completions]
        theirs = completion_logprobs(model, [group.prompt_ids], [sampled], temperature).logprobs.tolist()
        gaps += [abs(a - b) for a, b in zip((p for c in group.completions for p in c.logprobs), theirs, strict=True)]
    assert len(gaps) > 100
    return sum(gaps) / len(gaps)


def test_after_each_push_the_logprobs_are_the_trainers():
    engine = vllm.open_engine(EngineConfig(model="desk", engine="vllm", device="cpu"))
    model = load_model(resolve("desk"), torch.device("cpu"), torch.float32)
    torch.manual_seed(0)
    try:
        for version in (1, 2):
            with torch.no_grad():
                for weight in model.parameters():
                    weight.add_(0.1 * weight.std() * torch.randn_like(weight))
            assert mean_gap(engine, model, 2.0) > 1e-2
            engine.push(merged_weights(model), version)
            assert engine.weight_version == version
            assert mean_gap(engine, model, 2.0) < 1e-4
    finally:
        engine.close()


@pytest.mark.slow
def test_after_each_push_the_logprobs_of_a_server_are_the_trainers(server, tmp_path):
    engine = open_server(server, PolicyConfig(model="desk"), tmp_path / "weights", "run")
    model = load_model(resolve("desk"), torch.device("cpu"), torch.float32)
    torch.manual_seed(0)
    for version in (1, 2):
        with torch.no_grad():
            for weight in model.parameters():
                weight.add_(0.1 * weight.std() * torch.randn_like(weight))
        engine.push(merged_weights(model), version)
        assert engine.weight_version == version
        assert mean_gap(engine, model, 2.0) < 1e-4
    with Endpoint(replace(server, base_url=server.base_url.removesuffix("/v1"))) as another:
        another.post("update_weight_version", {"new_version": "another run's"})
    with pytest.raises(RunError, match="has the weights \"another run's\" and not 'pivotrl"):
        mean_gap(engine, model, 1.0)
    engine.close()
    assert not (tmp_path / "weights").exists()


VERIFIER = """
from pivotrl_cli.verifiers import Verdict

def short(candidate, action):
    return Verdict(float(len(action.content or "") % 2), "measured")
"""


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    rows = [
        candidate(f"q{i}-0", state=r.state, tools="[]", expected_action=says("yes")) for i, r in enumerate(REQUESTS)
    ]
    (tmp_path / "mine.py").write_text(VERIFIER)
    return TrainConfig(
        pivots=str(write(tmp_path / "q.parquet", rows)),
        output=str(tmp_path / "trained"),
        engine="vllm",
        steps=3,
        prompts_per_step=4,
        group_size=8,
        learning_rate=1e-3,
        max_new_tokens=24,
        verifier=f"{tmp_path / 'mine.py'}:short",
        truncated="zero",
        temperature=2.0,
        device="cpu",
    )


def assert_on_policy(config: TrainConfig) -> None:
    metrics = read(Path(config.output) / "metrics.parquet", StepMetrics)
    assert [m.step for m in metrics] == [1, 2, 3]
    assert all(m.loss is not None and m.logprob_gap is not None and m.logprob_gap < 1e-3 for m in metrics)


@pytest.mark.parametrize("changes", [{}, {"lora_rank": 4}], ids=["full", "lora"])
def test_steps_train_on_what_the_trainer_would_have_said(config, changes):
    config = config.model_copy(update=changes)
    train.run(config)
    assert_on_policy(config)


@pytest.mark.slow
@pytest.mark.parametrize("n_processes", [1, 2])
def test_steps_train_on_what_a_server_sampled(server, config, n_processes):
    config = config.model_copy(update={"engine": "vllm-server", "endpoint": server.base_url})
    if n_processes == 1:
        train.run(config)
    else:
        done = in_two(config)
        assert done.returncode == 0, done.stderr
    assert_on_policy(config)
    assert not (Path(config.output) / "weights").exists()


@pytest.mark.slow
def test_each_of_two_processes_samples_with_a_vllm_of_its_own(config):
    config = config.model_copy(update={"lora_rank": 4})
    done = in_two(config, VLLM_CPU_NUM_OF_RESERVED_CPU="0")
    assert done.returncode == 0, done.stderr
    assert_on_policy(config)
