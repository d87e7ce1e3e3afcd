"""The step against TRL's own, on one padded batch: same loss, same gradients. Runs where TRL is installed."""

from __future__ import annotations

import warnings

import pytest
import torch
from learn_models import gradients, relative, tiny, tokens
from torch import Tensor

from pivotrl_cli.learn.loss import LOSSES, kl_loss, token_weights
from pivotrl_cli.learn.policy import completion_logprobs
from pivotrl_cli.model.folder import load_tokenizer, resolve

PROMPTS = [tokens(40)[0], tokens(40)[0][:23]]
COMPLETIONS = [tokens(3, 7, 1, seed=1), tokens(5, 2, 9, seed=2)]
ADVANTAGES = torch.tensor([1.0, -0.5, -0.5, 0.7, 0.7, -1.4])


@pytest.fixture
def trainer(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TRL's and accelerate's own
        trl = pytest.importorskip("trl")
        datasets = pytest.importorskip("datasets")
        config = trl.GRPOConfig(
            output_dir=str(tmp_path),
            per_device_train_batch_size=6,
            num_generations=3,
            loss_type="dapo",
            epsilon=0.2,
            temperature=1.0,
            gradient_checkpointing=False,
            bf16=False,
            use_cpu=True,
            report_to=[],
        )
        trainer = trl.GRPOTrainer(
            model=tiny("qwen3"),
            reward_funcs=lambda completions, **_: [0.0] * len(completions),
            args=config,
            train_dataset=datasets.Dataset.from_list([{"prompt": "x"}] * 2),
            processing_class=load_tokenizer(resolve("desk")),
        )
        trainer.current_gradient_accumulation_steps = 1
        yield trainer


def padded(rows: list[list[int]], side: str) -> tuple[Tensor, Tensor]:
    """Ids and mask."""
    width = max(map(len, rows))
    pads = [[0] * (width - len(row)) for row in rows]
    left = side == "left"
    ids = [pad + row if left else row + pad for row, pad in zip(rows, pads, strict=True)]
    mask = [pad + [1] * len(row) if left else [1] * len(row) + pad for row, pad in zip(rows, pads, strict=True)]
    return torch.tensor(ids), torch.tensor(mask)


@pytest.mark.parametrize(("name", "kl_coef"), [*((name, 0.0) for name in LOSSES), ("grpo", 0.1), ("dapo", 0.1)])
def test_loss_and_every_gradient_are_trls(trainer, name, kl_coef):
    """Its KL with `use_bias_correction_kl` is ours: the estimate weighed by the ratio, for the gradient of KL."""
    model = trainer.model.train()
    trainer.beta, trainer.args.use_bias_correction_kl = kl_coef, True
    trainer.loss_type = "grpo" if name == "gspo" else name
    trainer.importance_sampling_level = "sequence" if name == "gspo" else "token"
    trainer.epsilon_high = 1.2 if name == "cispo" else 0.2  # TRL's bound of CISPO is the ratio itself
    flat = [completion for group in COMPLETIONS for completion in group]
    lengths = [len(completion) for completion in flat]
    logprobs = completion_logprobs(model, PROMPTS, COMPLETIONS, tree=True).logprobs
    # Half a nat off either way, so that some ratios are clipped.
    old = logprobs.detach() + torch.linspace(-0.5, 0.5, len(logprobs))
    owner = torch.repeat_interleave(torch.arange(6), torch.tensor(lengths))
    weights = torch.tensor(token_weights(LOSSES[name].weighting, lengths, trainer.max_completion_length))[owner]
    low = 1.0 if name == "cispo" else 0.2  # which leaves it unbounded below
    ratio = LOSSES[name].ratio(logprobs, old, owner)
    ours = LOSSES[name].surrogate(ratio, ADVANTAGES[owner], logprobs, low, 0.2)
    assert 0 < ours.clipped_high.sum() < len(old)
    loss = -(weights * ours.values).sum()
    reference = logprobs.detach() + torch.linspace(0.3, -0.2, len(logprobs))
    if kl_coef:
        loss = loss + kl_coef * kl_loss(logprobs, reference, old, weights)
    our_gradients = gradients(model, loss[None])

    prompt_ids, prompt_mask = padded([p for p, group in zip(PROMPTS, COMPLETIONS, strict=True) for _ in group], "left")
    completion_ids, completion_mask = padded(flat, "right")
    inputs = {
        "prompt_ids": prompt_ids,
        "prompt_mask": prompt_mask,
        "completion_ids": completion_ids,
        "completion_mask": completion_mask,
        "advantages": ADVANTAGES,
        "old_per_token_logps": torch.zeros(completion_mask.shape).masked_scatter(completion_mask.bool(), old),
        "ref_per_token_logps": torch.zeros(completion_mask.shape).masked_scatter(completion_mask.bool(), reference),
        "num_items_in_batch": torch.tensor(len(old)),
    }
    theirs = trainer._compute_loss(model, inputs)
    assert loss.item() == pytest.approx(theirs.item(), rel=1e-5)
    for name, expected in gradients(model, theirs[None]).items():
        assert relative(our_gradients[name], expected) < 1e-5, name
