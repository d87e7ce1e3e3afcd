"""The training step: log-probabilities, loss and gradient of rollouts that share their prompts, ours against others.

    python -P perf/train_step.py [--cases short long pivots] [--only plain]
    python -P perf/train_step.py --model 1.7b --device cuda --cases 8k 32k --save h200

Every line is measured in a process of its own, on the same random model and tokens: `tree` is what `pivotrl train`
does; `plain` pads the sequences of a prompt into one batch; `single` takes one sequence at a time; `trl` is
`GRPOTrainer._compute_loss` with its defaults, where TRL is installed (on CPU its head scores prompt tokens as well, on
GPU it does not), one prompt per call, so that its padding across prompts does not count. All have the same loss and
the same gradient, whose norm's relative difference to the tree's stands in the last column.

    positions   tokens that the layers compute; the ratio to the tree's is the limit that sharing can reach, long
                prompts aside, where the squared part of attention is shared too
    seconds     forward and backward: CPU time of one thread, wall time on a GPU; the median of several steps, as many
                as fit three seconds, after one small step
    saved       bytes that autograd keeps for the backward pass, weights not counted (activation memory)
    peak        growth of the process's peak memory over the step; on a GPU of what torch allocated
"""

from __future__ import annotations

import argparse
import importlib
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel, Qwen3Config, Qwen3ForCausalLM

from pivotrl_cli.learn.grpo import GrpoBatch
from pivotrl_cli.learn.loss import clipped_surrogate, token_ratio
from pivotrl_cli.learn.pack import Slice
from pivotrl_cli.learn.policy import completion_logprobs
from pivotrl_cli.learn.tree import build_tree
from pivotrl_cli.model.folder import load_tokenizer, resolve

RESULTS = Path(__file__).parent / "results"

MODELS: dict[str, dict[str, Any]] = {
    "small": {
        "vocab_size": 4096,
        "hidden_size": 256,
        "intermediate_size": 768,
        "num_hidden_layers": 4,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 32,
    },
    "1.7b": {
        "vocab_size": 151936,
        "hidden_size": 2048,
        "intermediate_size": 6144,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "tie_word_embeddings": True,
    },
    "8b": {
        "vocab_size": 151936,
        "hidden_size": 4096,
        "intermediate_size": 12288,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
    },
}
"""Qwen3 shapes; weights are random."""


class Case(NamedTuple):
    """Prompts that are one trajectory's states, and their rollouts."""

    prompts: list[int]
    """Length of each prompt; every one continues the one before."""
    group_size: int
    completion: int
    """Tokens of every completion."""
    against: list[str]
    """What it is measured against; the first is the baseline of the goal."""


CASES = {
    "short": Case([1024], 16, 32, ["plain", "trl"]),
    "long": Case([4096], 16, 128, ["plain", "trl"]),
    "pivots": Case([2200 + 200 * i for i in range(8)], 8, 64, ["single", "trl"]),
    "8k": Case([8192], 16, 128, ["single", "plain", "trl"]),
    "32k": Case([32768], 16, 128, ["single", "plain", "trl"]),
    "tiny": Case([64], 4, 8, ["plain", "single", "trl"]),
}
"""`pivots`: a system prompt of 2,000 tokens, then a pivot every 200."""


def batch_of(case: Case) -> GrpoBatch:
    """Random tokens, advantages of both signs, and a sampler that differs a little from every trainer."""
    generator = torch.Generator().manual_seed(0)

    def tokens(n: int) -> list[int]:
        drawn: list[int] = torch.randint(4096, (n,), generator=generator).tolist()
        return drawn

    trunk = tokens(max(case.prompts))
    n, g, c = len(case.prompts), case.group_size, case.completion
    return GrpoBatch(
        prompts=[trunk[:length] for length in case.prompts],
        completions=[[tokens(c) for _ in range(g)] for _ in range(n)],
        sampler_logprobs=[[[-8.3] * c for _ in range(g)] for _ in range(n)],
        advantages=[[1.0 if i % 2 else -1.0 for i in range(g)] for _ in range(n)],
        weights=[[1.0] * g for _ in range(n)],
    )


def parts_of(batch: GrpoBatch, mode: str) -> list[GrpoBatch]:
    """The micro-batches of a mode: everything, one prompt, or one sequence at a time."""
    if mode == "tree":
        return [batch]
    groups = [range(len(group)) for group in batch.completions]
    if mode != "single":
        return [batch.part([Slice(p, 0, len(group))]) for p, group in enumerate(groups)]
    return [batch.part([Slice(p, g, g + 1)]) for p, group in enumerate(groups) for g in group]


def positions(batch: GrpoBatch, mode: str) -> int:
    """Tokens that the layers compute."""
    if mode == "tree":
        return len(build_tree(batch.prompts, batch.completions).tokens)
    return sum(len(p) + len(c) for p, group in zip(batch.prompts, batch.completions, strict=True) for c in group)


Loss = Callable[[GrpoBatch], Tensor]


def our_loss(model: PreTrainedModel, n_tokens: int, *, tree: bool) -> Loss:
    """A micro-batch's share of the loss."""

    def loss(part: GrpoBatch) -> Tensor:
        logprobs = completion_logprobs(model, part.prompts, part.completions, tree=tree).logprobs
        ratio = token_ratio(logprobs, part.per_token(part.sampler_logprobs, logprobs), part.owner(logprobs))
        advantages = part.per_completion(part.advantages, logprobs)
        return -clipped_surrogate(ratio, advantages, logprobs, 9.0, 9.0).values.sum() / n_tokens

    return loss


def trl_loss(model: PreTrainedModel, n_tokens: int, case: Case, folder: str) -> Loss:
    """The same by TRL."""
    from datasets import Dataset

    trl: Any = importlib.import_module("trl")
    config = trl.GRPOConfig(
        output_dir=folder,
        per_device_train_batch_size=case.group_size,
        num_generations=case.group_size,
        max_completion_length=case.completion,
        loss_type="dapo",
        epsilon=9.0,
        temperature=1.0,
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=model.device.type == "cpu",
        report_to=[],
    )
    trainer = trl.GRPOTrainer(
        model=model,
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        args=config,
        train_dataset=Dataset.from_list([{"prompt": "x"}] * case.group_size),
        processing_class=load_tokenizer(resolve("desk")),
    )
    trainer.current_gradient_accumulation_steps = 1
    model.train()

    def loss(part: GrpoBatch) -> Tensor:
        completions = torch.tensor(part.completions[0], device=model.device)
        prompts = torch.tensor(part.prompts, device=model.device).expand(len(completions), -1)
        inputs = {
            "prompt_ids": prompts,
            "prompt_mask": torch.ones_like(prompts),
            "completion_ids": completions,
            "completion_mask": torch.ones_like(completions),
            "advantages": torch.tensor(part.advantages[0], device=model.device),
            "old_per_token_logps": torch.tensor(part.sampler_logprobs[0], device=model.device),
            "num_items_in_batch": torch.tensor(n_tokens, device=model.device),
        }
        share: Tensor = trainer._compute_loss(model, inputs)
        return share

    return loss


def saved_bytes(model: PreTrainedModel, loss: Loss, part: GrpoBatch) -> int:
    """What autograd keeps of one forward pass, each storage once."""
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        graph = loss(part)
    del graph
    return sum(kept.values())


def measure(arguments: argparse.Namespace, name: str, mode: str) -> dict[str, Any]:
    """One line of the table, in this process."""
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    case, device = CASES[name], torch.device(arguments.device)
    longest = max(case.prompts) + case.completion
    config = Qwen3Config(**MODELS[arguments.model], max_position_embeddings=longest)
    with device:
        torch.set_default_dtype(getattr(torch, arguments.dtype))
        model: PreTrainedModel = Qwen3ForCausalLM(config)  # type: ignore[no-untyped-call]
        torch.set_default_dtype(torch.float32)
    model.train(False)
    batch = batch_of(case)
    n_tokens = len(case.prompts) * case.group_size * case.completion
    with tempfile.TemporaryDirectory() as folder:
        loss = our_loss(model, n_tokens, tree=mode == "tree")
        if mode == "trl":
            loss = trl_loss(model, n_tokens, case, folder)
        small = batch_of(case._replace(prompts=[64]))
        step(model, loss, parts_of(small, mode))
        return {"positions": positions(batch, mode)} | _timed(model, loss, parts_of(batch, mode))


def _timed(model: PreTrainedModel, loss: Loss, parts: list[GrpoBatch]) -> dict[str, Any]:
    """Time, memory and results of the step."""
    before = _peak(model.device)
    seconds: list[float] = []
    while not seconds or (sum(seconds) < 3 and len(seconds) < 5):
        started = _clock(model.device)
        value, norm = step(model, loss, parts)
        seconds.append(_clock(model.device) - started)
    peak = _peak(model.device) - before
    model.zero_grad(set_to_none=True)
    largest = max(parts, key=lambda part: sum(map(len, part.prompts)))
    return {
        "seconds": statistics.median(seconds),
        "saved": saved_bytes(model, loss, largest),
        "peak": peak,
        "loss": value,
        "norm": norm,
    }


def step(model: PreTrainedModel, loss: Loss, parts: list[GrpoBatch]) -> tuple[float, float]:
    """Forward and backward of all micro-batches; the loss and the norm of the gradient."""
    model.zero_grad(set_to_none=False)
    total = 0.0
    for part in parts:
        share = loss(part)
        torch.autograd.backward(share)
        total += share.item()
    norms = [weight.grad.float().norm() for weight in model.parameters() if weight.grad is not None]
    return total, torch.stack(norms).norm().item()


def _clock(device: torch.device) -> float:
    if device.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.monotonic()


def _peak(device: torch.device) -> int:
    """Most memory so far, in bytes; on a GPU, what is allocated now becomes the new start."""
    if device.type == "cpu":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    most = torch.cuda.max_memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    return most


def in_a_process(arguments: argparse.Namespace, name: str, mode: str) -> dict[str, Any]:
    """`measure`, where no earlier line has touched the peak; what fails says why."""
    options = ["--model", arguments.model, "--device", arguments.device, "--dtype", arguments.dtype]
    command = [sys.executable, "-P", __file__, *options, "--threads", str(arguments.threads), "--measure", name, mode]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1]}
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def lines(name: str, results: dict[str, dict[str, Any]]) -> list[str]:
    """The table of one case: the tree's numbers, and of every other mode how many times them."""
    tree = results["tree"]
    rows = []
    for mode, result in results.items():
        if "error" in result:
            rows.append(f"| {name} | {mode} | {result['error'][:80]} | | | | |")
            continue
        cells = [f"{result['positions']:,}", f"{result['seconds']:.2f} s"]
        cells += [f"{result['saved'] / 2**20:,.0f} MB", f"{result['peak'] / 2**20:,.0f} MB"]
        if mode != "tree" and "error" not in tree:
            times = [result[key] / tree[key] for key in ("positions", "seconds", "saved", "peak")]
            cells = [f"{cell} ({ratio:.1f}x)" for cell, ratio in zip(cells, times, strict=True)]
        gap = abs(result["norm"] / tree["norm"] - 1) if "error" not in tree else float("nan")
        rows.append(f"| {name} | {mode} | {' | '.join(cells)} | {result['loss']:.6f}, {gap:.0e} |")
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", default=["short", "long", "pivots"], choices=CASES)
    parser.add_argument("--only", nargs="+", default=["plain", "single", "trl"], help="what to compare with")
    parser.add_argument("--model", default="small", choices=MODELS)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default=None, help="float32 on CPU, bfloat16 elsewhere")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--save", metavar="NAME", help="also write perf/results/NAME.md")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.dtype = arguments.dtype or ("float32" if arguments.device == "cpu" else "bfloat16")
    if arguments.measure:
        print(json.dumps(measure(arguments, *arguments.measure)))
        return
    title = f"Qwen3 {arguments.model}, {arguments.dtype}, {arguments.device}, torch {torch.__version__}"
    header = "| case | mode | positions | time | saved | peak | loss, gradient norm off |"
    table = [title, "", header, "|--|--|--|--|--|--|--|"]
    print("\n".join(table), flush=True)
    for name in arguments.cases:
        modes = ["tree", *(mode for mode in CASES[name].against if mode in arguments.only)]
        results = {mode: in_a_process(arguments, name, mode) for mode in modes}
        rows = lines(name, results)
        print("\n".join(rows), flush=True)
        table += rows
    if arguments.save:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{arguments.save}.md").write_text("\n".join(table) + "\n")


if __name__ == "__main__":
    main()
