"""Memory and time of training against the formulas of docs/scaling.md.

    python -m perf.train_memory

It counts the bytes of tensors, which are the same on every device: those autograd keeps of a forward pass, the
optimizer's state, and a cache of keys and values. Models are random Qwen3 of different shapes. Time is CPU
time of one thread for forward and backward; the first line sets the rate by which the others are predicted.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel, Qwen3Config, Qwen3ForCausalLM

from perf.train_step import Case, batch_of, our_loss, positions, saved_bytes
from pivotrl_cli.engines.decoding import keys_and_values, last_logits
from pivotrl_cli.learn.memory import Shape, activation_bytes, cache_bytes, optimizer_bytes
from pivotrl_cli.learn.optimizer import Optimizer

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def random_model(shape: Shape, dtype: str) -> PreTrainedModel:
    config = Qwen3Config(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head,
        max_position_embeddings=8192,
    )
    torch.manual_seed(0)
    torch.set_default_dtype(DTYPES[dtype])
    model: PreTrainedModel = Qwen3ForCausalLM(config)  # type: ignore[no-untyped-call]
    torch.set_default_dtype(torch.float32)
    model.train(False)
    return model


SHAPES = [
    Shape(4, 256, 768, 8, 4, 32, 4096),
    Shape(8, 256, 1024, 4, 4, 64, 4096),
    Shape(4, 512, 1536, 8, 2, 64, 8192),
    Shape(12, 384, 1024, 6, 2, 64, 16384),
]
CASES = [Case([512], 8, 32, []), Case([1024, 1200, 1400], 8, 64, [])]


def step_flops(model: PreTrainedModel, shape: Shape, n_positions: int, n_completion_tokens: int) -> int:
    """Forward and backward: 6 per weight of the layers and position, 6 per weight of the head and completion token."""
    head = shape.vocabulary * shape.hidden
    layers = sum(w.numel() for name, w in model.named_parameters() if ".layers." in name)
    return 6 * (layers * n_positions + head * n_completion_tokens)


# ---- the measurements -------------------------------------------------------------------------------------------


def activations(shape: Shape, dtype: str, case: Case) -> tuple[int, int]:
    """Bytes measured and predicted."""
    batch = batch_of(case)
    n_tokens = len(case.prompts) * case.group_size * case.completion
    found = saved_bytes(model := random_model(shape, dtype), our_loss(model, n_tokens, tree=True), batch)
    return found, activation_bytes(shape, dtype, positions(batch, "tree"), n_tokens)


def optimizer(shape: Shape, dtype: str) -> tuple[int, int]:
    """Bytes measured and predicted, when the backward pass of a second step has just ended."""
    model = random_model(shape, dtype)
    adamw = Optimizer(model)
    loss = our_loss(model, 64, tree=True)
    for _ in range(2):
        torch.autograd.backward(loss(batch_of(Case([64], 4, 16, []))))
        adamw.step(1e-6)
    torch.autograd.backward(loss(batch_of(Case([64], 4, 16, []))))
    adamw.accumulate()
    torch.autograd.backward(loss(batch_of(Case([64], 4, 16, []))))
    held = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in _held(model, adamw)}
    return sum(held.values()), optimizer_bytes(model.num_parameters(), dtype)


def _held(model: PreTrainedModel, adamw: Optimizer) -> Iterator[Tensor]:
    masters = [weight for group in adamw._adamw.param_groups for weight in group["params"]]
    for weight in [*model.parameters(), *masters]:
        yield weight
        if weight.grad is not None:
            yield weight.grad
    for name, tensor in adamw.full_state_dict().items():
        if not name.endswith("master"):
            yield tensor


def cache(shape: Shape, dtype: str) -> tuple[int, int]:
    """Bytes measured and predicted, 4 prompts of 100 tokens."""
    model = random_model(shape, dtype)
    held = DynamicCache(config=model.config)
    with torch.no_grad():
        last_logits(model, held, input_ids=torch.ones(4, 100, dtype=torch.long))
    found = sum(tensor.nbytes for layer in held.layers for tensor in keys_and_values(layer))
    return found, cache_bytes(shape, dtype, 400)


def seconds(shape: Shape, case: Case) -> tuple[float, int]:
    """CPU seconds of the fastest of three steps, and its floating-point operations."""
    model, batch = random_model(shape, "float32"), batch_of(case)
    n_tokens = len(case.prompts) * case.group_size * case.completion
    loss, times = our_loss(model, n_tokens, tree=True), []
    for _ in range(3):
        started = time.process_time()
        torch.autograd.backward(loss(batch))
        times.append(time.process_time() - started)
    return min(times), step_flops(model, shape, positions(batch, "tree"), n_tokens)


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    print("| what | model | measured | formula | error |\n|---|---|---|---|---|")
    for dtype in DTYPES:
        for shape in SHAPES:
            for case in CASES:
                name = f"activations, {dtype}, {positions(batch_of(case), 'tree'):,} positions"
                print(_line(name, shape, *activations(shape, dtype, case)))
            print(_line(f"optimizer, {dtype}", shape, *optimizer(shape, dtype)))
            print(_line(f"cache, {dtype}", shape, *cache(shape, dtype)))
    rate = None
    for shape in SHAPES:
        for case in CASES:
            took, flops = seconds(shape, case)
            rate = rate or flops / took
            name, predicted = f"step, {positions(batch_of(case), 'tree'):,} positions", flops / rate
            print(f"| {name} | {_named(shape)} | {took:.2f} s | {predicted:.2f} s | {predicted / took - 1:+.0%} |")
    print(f"\n{rate or 0:.3g} operations per second in the first line")


def _line(name: str, shape: Shape, found: int, predicted: int) -> str:
    error = predicted / found - 1
    return f"| {name} | {_named(shape)} | {found / 2**20:,.1f} MiB | {predicted / 2**20:,.1f} MiB | {error:+.1%} |"


def _named(shape: Shape) -> str:
    return f"{shape.layers} x {shape.hidden}, {shape.vocabulary:,}"


if __name__ == "__main__":
    main()
