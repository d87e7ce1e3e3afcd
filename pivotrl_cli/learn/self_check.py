"""Self-check before training: do the prefix tree and the plain path compute the same for this model?

The tree hooks into layers that transformers may change and calls kernels of torch that are not its public interface, so
no list of models proves it right. Two small random trees, scored both ways in the model's own dtype, do.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PreTrainedModel

from pivotrl_cli.learn.distributed import full_tensor, sequence_parallel_size
from pivotrl_cli.learn.policy import completion_logprobs

TOLERANCES = {torch.float64: (1e-4, 1e-3), torch.float32: (1e-4, 1e-3), torch.bfloat16: (0.03, 0.1)}
"""Maximum relative difference of log-probabilities and of the weights' gradient norms; other formats as bfloat16."""

LONGEST_WINDOW = 1024
"""Windows up to this size are exceeded by the trees of the check."""


class TreeMismatch(ArithmeticError):
    """The prefix tree and the model's own forward disagree."""


def self_check(model: PreTrainedModel) -> None:
    """Raise TreeMismatch where the two paths differ; leaves no gradient behind."""
    for seed in (0, 1):
        prompts, completions = _random_trees(model, seed)
        plain = _measure(model, prompts, completions, tree=False)
        shared = _measure(model, prompts, completions, tree=True)
        for what, tolerance, expected, actual in zip(
            ("log-probabilities", "gradients"),
            TOLERANCES.get(model.dtype, TOLERANCES[torch.bfloat16]),
            plain,
            shared,
            strict=True,
        ):
            gap = ((actual - expected).norm() / expected.norm()).item()
            if not gap <= tolerance:
                message = f"{what} of the prefix tree differ from the plain path's by {gap:.2g} (at most {tolerance})"
                raise TreeMismatch(f"{message}, in {str(model.dtype).removeprefix('torch.')}")


def _random_trees(model: PreTrainedModel, seed: int) -> tuple[list[list[int]], list[list[list[int]]]]:
    """Four prompts on one trunk, one of them with an end of its own, and one apart; ragged completions."""
    config = model.config.get_text_config(decoder=True)
    window = getattr(config, "sliding_window", None) or 0
    generator = torch.Generator().manual_seed(seed)

    def tokens(n: int) -> list[int]:
        return torch.randint(config.vocab_size, (n,), generator=generator).tolist()

    trunk = tokens(48 + (window if window <= LONGEST_WINDOW else 0))
    prompts = [trunk, trunk[:-9], trunk[:30], trunk[:37] + tokens(5), tokens(20)]
    return prompts, [[tokens(n) for n in (1, 6, 11)] for _ in prompts]


def _measure(
    model: PreTrainedModel, prompts: list[list[int]], completions: list[list[list[int]]], *, tree: bool
) -> tuple[Tensor, Tensor]:
    """Log-probabilities, and every weight's gradient norm under a loss that weights each token differently."""
    logprobs = completion_logprobs(model, prompts, completions, tree=tree).logprobs
    n_copies = 1 if tree else sequence_parallel_size()  # a plain batch is not shared: each rank has its whole gradient
    weights = torch.linspace(-1, 1, len(logprobs), device=logprobs.device) / n_copies
    torch.autograd.backward((logprobs * weights).sum())
    norms = [full_tensor(weight.grad.float().norm()) for weight in model.parameters() if weight.grad is not None]
    model.zero_grad(set_to_none=True)
    return logprobs.detach(), torch.stack(norms)
