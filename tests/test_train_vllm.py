"""vLLM as the sampler in training, with the real vLLM and the shipped policy."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

if find_spec("vllm") is None:
    pytest.skip("vLLM is not installed here: make test-vllm", allow_module_level=True)

from tables import candidate, read, says, user, write

from pivotrl_cli.checkpoint import load_model, resolve
from pivotrl_cli.configs import EngineConfig, TrainConfig
from pivotrl_cli.engines import Request, Sampling, each_group, vllm
from pivotrl_cli.learn.lora import merged_weights
from pivotrl_cli.learn.policy import completion_logprobs
from pivotrl_cli.rows import StepMetrics
from pivotrl_cli.stages import train

pytestmark = pytest.mark.vllm

REQUESTS = [Request(key=str(i), state=[user(f"Where is order {i}?")], tools="[]") for i in range(8)]


def mean_gap(engine: vllm.VLLMEngine, model, temperature: float) -> float:
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


VERIFIER = """
from pivotrl_cli.verifiers import Verdict

def short(candidate, action):
    return Verdict(float(len(action.content or "") % 2), "measured")
"""


@pytest.mark.parametrize("changes", [{}, {"lora_rank": 4}], ids=["full", "lora"])
def test_steps_train_on_what_the_trainer_would_have_said(tmp_path: Path, changes):
    rows = [
        candidate(f"q{i}-0", state=r.state, tools="[]", expected_action=says("yes")) for i, r in enumerate(REQUESTS)
    ]
    (tmp_path / "mine.py").write_text(VERIFIER)
    config = TrainConfig(
        pivots=str(write(tmp_path / "q.parquet", rows)),
        output=str(tmp_path / "trained"),
        sampler="vllm",
        steps=3,
        prompts_per_step=4,
        group_size=8,
        learning_rate=1e-3,
        max_new_tokens=24,
        verifier=f"{tmp_path / 'mine.py'}:short",
        truncated="zero",
        temperature=2.0,
        device="cpu",
        **changes,
    )
    train.run(config)
    metrics = read(tmp_path / "trained" / "metrics.parquet", StepMetrics)
    assert [m.step for m in metrics] == [1, 2, 3]
    assert all(m.loss is not None and m.logprob_gap is not None and m.logprob_gap < 1e-3 for m in metrics)
