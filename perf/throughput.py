"""Profiling: rollouts per second of each engine, compared with a plain implementation in the same run.

    python perf/throughput.py vllm order
    python perf/throughput.py hf --candidates 8 -n 8
    python perf/throughput.py --shape 1.7b --state-tokens 4000 -n 16 --max-new-tokens 256     on a GPU machine

vllm: `pivotrl profile --engine vllm` (read, render, sample, parse, verify, write) against `LLM.generate` on prompts
rendered before, each with its own copy of vLLM. Both are warm, take turns, and sample the same tokens, which
the counts show. order: the same candidates shuffled and in file order, with a cache that holds few states. hf: our
engine against transformers' `generate(num_return_sequences=n)` on padded batches of four.

Without `--shape` the policy is the shipped one for vllm and order, on desk candidates, and random weights of the shape
20m for hf. Seconds are processor time on CPU, so that what else runs there does not count, and the clock on GPU.
"""

from __future__ import annotations

import sys

sys.path.pop(0)  # this folder, whose profile.py would hide the standard library's

import argparse
import json
import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from pivotrl_cli.configs import DeskConfig, EngineConfig, ExtractConfig, ProfileConfig
from pivotrl_cli.engines import Engine, Request, Sampling, each_group, hf, vllm
from pivotrl_cli.engines.prompts import Prompt, render
from pivotrl_cli.model.chat import ChatFormat
from pivotrl_cli.model.folder import load_tokenizer, resolve, save
from pivotrl_cli.rows import Candidate
from pivotrl_cli.stages import desk
from pivotrl_cli.stages.extract import run as extract
from pivotrl_cli.stages.profile import run as profile
from pivotrl_cli.storage.table import Table, rows_of

SHAPES: dict[str, dict[str, int]] = {
    "20m": {
        "hidden_size": 384, "intermediate_size": 1152, "num_hidden_layers": 10,
        "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 64, "vocab_size": 8192,
    },
    "1.7b": {
        "hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 28,
        "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936,
    },
}  # fmt: skip
"""Of Qwen3 models; the second is Qwen3-1.7B's."""

TURNS = 4
"""Of one made trajectory."""
BATCH = 4
"""Prompts that `generate` is given at once."""
CACHED = 6
"""Longest states that the small cache holds."""
ROUNDS = 3
ON_GPU = torch.cuda.is_available()
HALF = ["gpu_memory_utilization=0.4"] if ON_GPU else []
"""Two engines are open at once."""
clock = time.perf_counter if ON_GPU else time.process_time


@dataclass(frozen=True)
class Work:
    """What is sampled from which model."""

    folder: Path
    model: str
    candidates: Path
    sampling: Sampling

    def rows(self) -> list[Candidate]:
        """The candidates."""
        with Table.open(str(self.candidates), Candidate) as table:
            return [row for part in table.tables() for row in rows_of(part, Candidate, table.name)]

    def requests(self) -> list[Request]:
        """Their states."""
        return [Request(key=row.candidate_id, state=row.state, tools=row.tools) for row in self.rows()]


def engine_config(model: str, engine: str, *engine_args: str) -> EngineConfig:
    """As the command line would make it."""
    return EngineConfig.model_validate({"model": model, "engine": engine, "engine_args": engine_args})


def random_policy(shape: str, folder: Path) -> str:
    """A model folder with random weights and the shipped tokenizer."""
    tokenizer = load_tokenizer(resolve("desk"))
    torch.manual_seed(0)
    config = Qwen3Config(
        **SHAPES[shape],  # type: ignore[arg-type]
        max_position_embeddings=8192,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    model: Any = Qwen3ForCausalLM(config)  # type: ignore[no-untyped-call]
    save(model.to(torch.bfloat16 if ON_GPU else torch.float32), tokenizer, folder / shape)
    return str(folder / shape)


def long_trajectories(n: int, state_tokens: int) -> str:
    """Trajectories as JSONL whose few turns have states of about so many tokens, alike in their system prompt only."""
    encode = load_tokenizer(resolve("desk")).encode
    lines = []
    for i in range(n):
        rng = random.Random(i)
        words = [f"order {rng.randrange(10_000)}" for _ in range(state_tokens)]
        per_word = len(encode(" ".join(words[:200]))) / 200
        opening = " ".join(words[: int((state_tokens - 60) / per_word)])
        messages = [{"role": "system", "content": "You are a service desk."}, {"role": "user", "content": opening}]
        for turn in range(TURNS):
            messages.append({"role": "assistant", "content": f"Noted, {turn}."})
            messages.append({"role": "user", "content": "And?"})
        lines.append(json.dumps({"messages": messages[:-1]}))
    return "\n".join(lines) + "\n"


def work(folder: Path, options: argparse.Namespace, shape: str | None) -> Work:
    """Candidates and their policy, made in the folder."""
    source, candidates = folder / "t.jsonl", folder / "candidates.parquet"
    if shape is None:
        desk.run(DeskConfig.model_validate({"n": -(-options.candidates // 8), "output": str(source)}))
    else:
        source.write_text(long_trajectories(options.candidates // TURNS, options.state_tokens))
    extract.run(ExtractConfig.model_validate({"sources": [str(source)], "output": str(candidates)}))
    model = "desk" if shape is None else random_policy(shape, folder)
    return Work(folder, model, candidates, Sampling(n=options.n, max_new_tokens=options.max_new_tokens))


def rate(run: Callable[[], int], n: int) -> tuple[float, int]:
    """Rollouts per second, and what the run returns: its tokens."""
    start = clock()
    tokens = run()
    return n / (clock() - start), tokens


def compare(title: str, n: int, plain: tuple[str, Callable[[], int]], ours: tuple[str, Callable[[], int]]) -> None:
    """Print both rates, the medians of rounds in which they take turns after one that warms up."""
    rounds = [(rate(plain[1], n), rate(ours[1], n)) for _ in range(ROUNDS + 1)][1:]
    print(title)
    for which, (name, _) in enumerate((plain, ours)):
        median, tokens = statistics.median(r[which][0] for r in rounds), rounds[-1][which][1]
        print(f"  {name:32}{median:10.1f} rollouts/s {tokens:10,} tokens")
    ratios = [our / their for (their, _), (our, _) in rounds]
    print(f"  {statistics.median(ratios):.3f} times; the rounds {' '.join(f'{r:.3f}' for r in ratios)}", flush=True)


def described(prompts: list[Prompt], job: Work) -> str:
    """How much work it is."""
    sizes = [len(prompt.ids) for prompt in prompts]
    return f"{len(sizes)} states of {min(sizes)} to {max(sizes)} tokens, n = {job.sampling.n}"


def bare_generate(llm: Any, engine: vllm.VLLMEngine, prompts: list[Prompt], sampling: Sampling) -> int:
    """Tokens that `LLM.generate` samples in one call."""
    llm.reset_prefix_cache()
    inputs = [{"prompt_token_ids": prompt.ids} for prompt in prompts]
    outputs = llm.generate(inputs, [engine.params(prompt, sampling) for prompt in prompts], use_tqdm=False)
    return sum(len(sample.token_ids) for output in outputs for sample in output.outputs)


def rendered(engine: vllm.VLLMEngine | hf.HFEngine, job: Work) -> list[Prompt]:
    """The prompts, all of which fit."""
    found = [render(engine.chat, r, job.sampling.max_new_tokens, engine.context_length) for r in job.requests()]
    assert all(isinstance(one, Prompt) for one in found)
    return [one for one in found if isinstance(one, Prompt)]


def profile_command(engine: Engine, job: Work) -> int:
    """Tokens that `pivotrl profile` samples with an engine that is already open, and stays so."""
    options = {
        "candidates": str(job.candidates),
        "output": str(job.folder / "profile.parquet"),
        "model": job.model,
        "engine": "vllm",
        "n": job.sampling.n,
        "max_new_tokens": job.sampling.max_new_tokens,
        "force": True,
    }
    engine.close = lambda: None  # type: ignore[method-assign]
    vllm.open_engine = lambda _: engine  # type: ignore[assignment,return-value]
    return profile.run(ProfileConfig.model_validate(options)).tokens


def against_bare_vllm(job: Work) -> None:
    """The command against one call of vLLM's."""
    config = engine_config(job.model, "vllm", *HALF)
    engine = vllm.open_engine(config)
    bare = vllm.start(vllm.arguments(config))
    prompts = rendered(engine, job)
    compare(
        f"vllm: {described(prompts, job)}",
        len(prompts) * job.sampling.n,
        ("LLM.generate", lambda: bare_generate(bare, engine, prompts, job.sampling)),
        ("pivotrl profile --engine vllm", lambda: profile_command(engine, job)),
    )


def against_shuffled(job: Work) -> None:
    """Shuffled against file order, with a small cache."""
    chat = ChatFormat(load_tokenizer(resolve(job.model)))
    requests = job.requests()
    shuffled = random.Random(0).sample(requests, len(requests))
    longest = max(len(chat.prompt_ids(r.state, r.tools)) for r in requests) + job.sampling.max_new_tokens
    small = [f"max_model_len={longest}", "block_size=32", f"num_gpu_blocks_override={CACHED * -(-longest // 32)}"]
    engine = vllm.open_engine(engine_config(job.model, "vllm", *small))
    compare(
        f"order: {described(rendered(engine, job), job)}, a cache of {CACHED} times the longest",
        len(requests) * job.sampling.n,
        ("shuffled", lambda: sampled_tokens(engine, shuffled, job.sampling)),
        ("trajectory by trajectory", lambda: sampled_tokens(engine, requests, job.sampling)),
    )


def plain_generate(engine: hf.HFEngine, prompts: list[Prompt], sampling: Sampling) -> int:
    """Tokens that transformers samples from padded batches, up to each end token."""
    model: Any = engine.model
    pad, tokens = engine.chat.tokenizer.pad_token_id, 0
    for first in range(0, len(prompts), BATCH):
        ids = [prompt.ids for prompt in prompts[first : first + BATCH]]
        width = max(map(len, ids))
        rows = torch.tensor([[pad] * (width - len(row)) + row for row in ids], device=model.device)
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in ids], device=model.device)
        out = model.generate(
            rows,
            attention_mask=mask,
            do_sample=True,
            num_return_sequences=sampling.n,
            max_new_tokens=sampling.max_new_tokens,
            pad_token_id=pad,
            top_k=0,
        )
        tokens += int((out[:, width:] != pad).sum())
    return tokens


def sampled_tokens(engine: Engine, requests: list[Request], sampling: Sampling) -> int:
    """Tokens that one of our engines samples."""
    return sum(len(c.token_ids) for group in each_group(engine, requests, sampling) for c in group.completions)


def against_generate(job: Work) -> None:
    """The embedded engine against transformers."""
    engine = hf.open_engine(engine_config(job.model, "hf"))
    prompts, requests = rendered(engine, job), job.requests()
    compare(
        f"hf: {described(prompts, job)}",
        len(prompts) * job.sampling.n,
        ("transformers generate", lambda: plain_generate(engine, prompts, job.sampling)),
        ("pivotrl, engine hf", lambda: sampled_tokens(engine, requests, job.sampling)),
    )


PARTS = {"vllm": against_bare_vllm, "order": against_shuffled, "hf": against_generate}


def main() -> None:
    """Run the parts, each in a process of its own where there are several."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--shape", choices=SHAPES, help="random weights of this shape instead of the shipped policy")
    parser.add_argument("--state-tokens", type=int, default=1000, help="with a shape: the length of the states")
    parser.add_argument("--candidates", type=int, default=128)
    parser.add_argument("-n", type=int, default=16)
    parser.add_argument("--max-new-tokens", type=int, default=64)
    options = parser.parse_args()
    if len(options.parts) > 1:
        rest = [argument for argument in sys.argv[1:] if argument not in PARTS]
        for part in options.parts:
            subprocess.run([sys.executable, __file__, part, *rest], check=True)
        return
    (part,) = options.parts
    with tempfile.TemporaryDirectory() as folder:
        PARTS[part](work(Path(folder), options, options.shape or ("20m" if part == "hf" else None)))


if __name__ == "__main__":
    main()
