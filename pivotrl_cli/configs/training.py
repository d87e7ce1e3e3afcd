"""The policy learns: train."""

from __future__ import annotations

from typing import Literal

from pivotrl_cli.configs.base import StageConfig, argument, option
from pivotrl_cli.configs.shared import JudgeConfig


class TrainConfig(JudgeConfig, StageConfig):
    """Train a policy on the pivots."""

    pivots: str = argument()
    """Pivots table; candidates or a profile will do for `sft`, and for `e2e`, which takes the tasks of its rows."""
    output: str = option("", "-o", panel="Output", metavar="FOLDER", required=True, identity=False)
    """Folder for the model, `metrics.parquet` and `rollouts.parquet`."""
    model: str = option("desk", panel="Run", metavar="MODEL", identity="name")
    """Model folder, hub name, or `desk` for the policy that ships with the package."""
    method: Literal["grpo", "sft", "e2e"] = option("grpo", panel="Run")
    """`grpo` samples one turn at each row and scores it; `sft` imitates the demonstrated actions of the same rows;
    `e2e` plays whole episodes of the tasks that they come from, for the outcome."""
    steps: int = option(60, panel="Run", ge=1)
    """Optimiser steps."""
    prompts_per_step: int = option(16, panel="Run", ge=1)
    """Pivots per step; with `e2e` tasks."""
    group_size: int = option(8, panel="Run", ge=2)
    """Rollouts per pivot (the paper's G), with `e2e` episodes per task; `sft` ignores it."""
    environment: str | None = option(None, panel="Episodes", metavar="NAME", identity="name")
    """Method e2e: the world to play in, `desk` or `path/to/file.py:function`, which makes an episode of a row's task;
    by default the one of the rows' domain."""
    max_turns: int = option(40, panel="Episodes", ge=1)
    """Method e2e: most assistant turns in one episode."""
    learning_rate: float = option(1e-6, panel="Optimizer", gt=0.0)
    """Peak learning rate of AdamW."""
    schedule: Literal["constant", "cosine"] = option("constant", panel="Optimizer")
    """Learning rate after the warm-up."""
    warmup_steps: int = option(0, panel="Optimizer", ge=0)
    """Steps of linear warm-up."""
    weight_decay: float = option(0.0, panel="Optimizer", ge=0.0)
    """Decoupled weight decay."""
    max_grad_norm: float = option(1.0, panel="Optimizer", gt=0.0)
    """Gradient norm above which the gradient is scaled down."""
    skip_grad_norm: float | None = option(None, panel="Optimizer", gt=0.0)
    """Gradient norm above which the step is skipped and counted; one that is not finite always is."""
    loss: Literal["grpo", "dapo", "dr_grpo", "gspo", "cispo"] = option("dapo", panel="Loss")
    """Token ratios clipped, with all tokens alike (dapo), all rollouts alike (grpo), or each token as if its rollout
    had the longest length (dr_grpo); one ratio per rollout (gspo); a clipped weight that cuts no gradient (cispo)."""
    advantage: Literal["group", "leave_one_out", "no_std"] = option("group", panel="Loss")
    """Reward minus the group's mean over its deviation; the same against the other rollouts; without the deviation."""
    importance_cap: float | None = option(None, panel="Loss", ge=1.0)
    """Weigh each token by the trainer's over the sampler's probability, at most this; the clip then compares with the
    trainer's own. By default the sampler's probabilities are the old ones."""
    clip_low: float = option(0.2, panel="Loss", gt=0.0, le=1.0)
    """Lower clip of the probability ratio, as 1 - clip_low."""
    clip_high: float = option(0.2, panel="Loss", gt=0.0)
    """Upper clip of the probability ratio, as 1 + clip_high."""
    kl_coef: float = option(0.0, panel="Loss", ge=0.0)
    """Weight of KL(policy || frozen policy); 0 makes no reference pass."""
    updates_per_batch: int = option(1, panel="Loss", ge=1)
    """Optimiser updates on each sampled batch; above 1 the ratio clip comes to bear."""
    temperature: float = option(1.0, panel="Rollouts", gt=0.0)
    """Sampling temperature, applied in the loss too."""
    max_new_tokens: int = option(256, panel="Rollouts", ge=1)
    """Longest completion in tokens."""
    truncated: Literal["exclude", "zero"] = option("exclude", panel="Rollouts")
    """Completions cut by the token limit: leave them out of the update, or reward 0 if no right action is so long."""
    max_refills: int = option(4, panel="Rollouts", ge=0)
    """Rounds of fresh pivots that replace groups without variance before a step goes on with fewer."""
    max_empty_steps: int = option(3, panel="Rollouts", ge=1)
    """Stop after so many steps in a row in which no group had variance."""
    reprofile_every: int | None = option(None, panel="Re-profiling", ge=1)
    """Re-profile every so many steps: rows whose last two groups since then have had equal rewards retire, and
    retired ones come back where rewards differ again. By default only as --reprofile-below says."""
    reprofile_below: float | None = option(None, panel="Re-profiling", gt=0.0, lt=1.0)
    """Re-profile when less than this share of the groups has had variance over the last 5 steps."""
    reprofile_pivots: int = option(32, panel="Re-profiling", ge=0)
    """Rows that re-profiling samples afresh, those first that no rollout has told of for longest, retired ones
    included."""
    invalid_tool_call_advantage: float | None = option(None, panel="Loss", lt=0.0)
    """Advantage, such as -5, of turns with a tag of a tool call left in their text, in place of their own."""
    malformed_thinking_advantage: float | None = option(None, panel="Loss", lt=0.0)
    """The same for turns with reasoning tags in the answer, or several of a kind in the reasoning."""
    verifier: str | None = option(None, panel="Rollouts", metavar="NAME", identity="name")
    """Score with this verifier instead of the one that the pivots name."""
    allow_foreign_profile: bool = option(False, panel="Rollouts", identity=False)
    """Train with GRPO on pivots that another model's profile found."""
    seed: int = option(0, panel="Run", ge=0)
    """Seed of the order and of all samples."""
    token_budget: int = option(16384, panel="Memory and devices", ge=1)
    """Most tokens in one forward pass with gradients, padding included."""
    checkpoint_every: int = option(20, panel="Output", identity=False, ge=0)
    """Steps between checkpoints, from which the same command goes on after the run was ended; 0 makes none."""
    save_every: int = option(0, panel="Output", ge=0)
    """Steps between copies of the model that stay, as `OUTPUT/steps/000020`, to choose among by validation; 0 keeps
    the last one alone."""
    sampler: Literal["hf", "vllm", "vllm-server"] = option("hf", panel="Rollouts")
    """What samples the rollouts: the trained model itself, vLLM in the same process, or a vLLM server on other GPUs;
    vLLM gets the weights anew after each step."""
    endpoint: str | None = option(None, panel="Rollouts", metavar="URL", identity=False)
    """With `--sampler vllm-server`: its address, such as http://127.0.0.1:8000/v1. It must see the output's folder."""
    endpoint_concurrency: int = option(64, panel="Rollouts", identity=False, ge=1)
    """Requests to the server under way at once, from each process."""
    endpoint_timeout: float = option(600.0, panel="Rollouts", identity=False, gt=0.0)
    """Seconds until the server's answer must have come."""
    engine_args: list[str] = option([], panel="Rollouts", metavar="KEY=VALUE", identity="key=name")
    """Sampler vllm: `KEY=VALUE`, any further argument of its engine, such as `gpu_memory_utilization=0.4`.
    Repeatable."""
    log_to: list[str] = option([], panel="Output", metavar="NAME", identity=False)
    """Send the metrics of each step to tensorboard, trackio or wandb too; `metrics.parquet` has them always.
    Repeatable."""
    lora_rank: int | None = option(None, panel="LoRA", ge=1)
    """Train low-rank adapters of this rank and leave the model's own weights as they are."""
    lora_alpha: float | None = option(None, panel="LoRA", gt=0.0)
    """Adapters count alpha / rank times; twice the rank by default."""
    lora_targets: list[str] = option(["all-linear"], panel="LoRA", metavar="LAYER")
    """Layers that get adapters, by the last part of their names; `all-linear` for all but the output. Repeatable."""
    lora_output: Literal["merged", "adapter"] = option("merged", panel="LoRA")
    """`merged` writes a model like any other; `adapter` writes the adapters alone, for peft and vLLM."""
    keep: int = option(2, panel="Output", identity=False, ge=1)
    """Checkpoints to keep while the run goes on; a finished run has its model alone."""
    layout: Literal["tree", "plain"] = option("tree", panel="Memory and devices")
    """`tree` computes what prompts and rollouts share once; `plain` is one padded batch of full sequences."""
    sample_token_budget: int = option(131072, panel="Rollouts", ge=1)
    """Most tokens that one sampling batch may keep in its cache, as `--token-budget` of profile and eval."""
    device: str = option("auto", panel="Memory and devices", metavar="DEVICE")
    """Torch device; `auto` takes the GPU if there is one."""
    dtype: Literal["auto", "float32", "bfloat16"] = option("auto", panel="Memory and devices")
    """Number format; `auto` is bfloat16 on GPU and float32 on CPU."""
    nproc: int = option(1, panel="Memory and devices", shell=True, identity=False, ge=1)
    """Processes on this machine that train together, one per GPU; under torchrun, which starts them, leave it."""
    replicas: int = option(1, panel="Memory and devices", identity=False, ge=1)
    """Copies of the weights, each sharded over its part of the processes; 1 shards them over all."""
    sequence_parallel: int = option(1, panel="Memory and devices", identity=False, ge=1)
    """Neighbouring processes that share each row, for states too long for one GPU; must divide the attention heads."""
