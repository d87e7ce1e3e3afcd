"""Sequence parallelism: memory and time per process of one forward and backward pass of a shared row.

    for n in 1 2 4; do torchrun --standalone --nproc-per-node $n -m perf.shared_rows 8192; done

The row is a random prompt of so many tokens with four rollouts of 32. `peak` is the growth of a process's peak memory
over the step, `seconds` its CPU time; the sum of the log-probabilities is the same however many share the row.
"""

from __future__ import annotations

import resource
import sys
import time
from typing import Any

import torch
from transformers import PreTrainedModel, Qwen3Config, Qwen3ForCausalLM

from pivotrl_cli.learn.distributed import (
    destroy_process_group,
    init_process_group,
    init_sequence_parallel,
    rank,
    world_size,
)
from pivotrl_cli.learn.policy import completion_logprobs

SIZES = {
    "vocab_size": 4096,
    "hidden_size": 256,
    "intermediate_size": 768,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 32,
    "max_position_embeddings": 2**17,
}


def step(model: PreTrainedModel, length: int) -> float:
    """Forward and backward; the sum of the log-probabilities."""
    generator = torch.Generator().manual_seed(0)
    prompt, *rollouts = (
        torch.randint(SIZES["vocab_size"], (n,), generator=generator).tolist() for n in (length, 32, 32, 32, 32)
    )
    total = completion_logprobs(model, [prompt], [rollouts], tree=True).logprobs.sum()
    torch.autograd.backward(total)
    model.zero_grad()
    return total.item()


def peak() -> float:
    """Peak memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(length: int) -> None:
    """One line per process."""
    torch.manual_seed(0)
    config: Any = Qwen3Config(**SIZES)  # type: ignore[arg-type]
    model = Qwen3ForCausalLM(config).eval()  # type: ignore[no-untyped-call]
    init_process_group(torch.device("cpu"))
    init_sequence_parallel(world_size())
    step(model, 64)
    before, started = peak(), time.process_time()
    total = step(model, length)
    seconds, grown = time.process_time() - started, peak() - before
    print(
        f"process {rank()} of {world_size()}: log-probability {total:.3f}, {seconds:.1f} s, {grown:.0f} MB", flush=True
    )
    destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]))
