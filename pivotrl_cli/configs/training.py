"""Config of train."""

from __future__ import annotations

from typing import Literal

from pivotrl_cli.configs.base import StageConfig, argument, option
from pivotrl_cli.configs.shared import JudgeConfig, PolicyConfig


class TrainConfig(PolicyConfig, JudgeConfig, StageConfig):
    """Train a policy on the pivots."""

    pivots: str = argument()
    """Pivots table; `sft` and `e2e` also take candidates or a profile (`e2e` uses the tasks of its rows)."""
    output: str = option("", "-o", panel="Output", metavar="FOLDER", required=True, identity=False)
    """Output folder: the model, `metrics.parquet` and `rollouts.parquet`."""
    method: Literal["grpo", "sft", "e2e"] = option("grpo", panel="Run")
    """`grpo`: sample one turn at each pivot and score it; `sft`: imitate the demonstrated actions of the same rows;
    `e2e`: play whole episodes of their tasks and use the outcome as reward."""
    steps: int = option(60, panel="Run", ge=1)
    """Number of optimizer steps."""
    prompts_per_step: int = option(16, panel="Run", ge=1)
    """Pivots per step; with `e2e`, tasks per step."""
    group_size: int = option(8, panel="Run", ge=2)
    """Rollouts per pivot (the paper's G); with `e2e`, episodes per task; not used by `sft`."""
    environment: str | None = option(None, panel="Episodes", metavar="NAME", identity="name")
    """Method e2e: environment to play in, `desk` or `path/to/file.py:function`, which makes an episode from a row's
    task; default: the one of the rows' domain."""
    max_turns: int = option(40, panel="Episodes", ge=1)
    """Method e2e: maximum assistant turns per episode."""
    learning_rate: float = option(1e-6, panel="Optimizer", gt=0.0)
    """Peak learning rate of AdamW."""
    schedule: Literal["constant", "cosine"] = option("constant", panel="Optimizer")
    """Learning rate schedule after warm-up."""
    warmup_steps: int = option(0, panel="Optimizer", ge=0)
    """Steps of linear warm-up."""
    weight_decay: float = option(0.0, panel="Optimizer", ge=0.0)
    """Decoupled weight decay."""
    max_grad_norm: float = option(1.0, panel="Optimizer", gt=0.0)
    """Clip the gradient to this norm."""
    skip_grad_norm: float | None = option(None, panel="Optimizer", gt=0.0)
    """Skip and count steps with a gradient norm above this; steps with a non-finite norm are always skipped."""
    loss: Literal["grpo", "dapo", "dr_grpo", "gspo", "cispo"] = option("dapo", panel="Loss")
    """Loss aggregation: token mean (dapo), sequence mean (grpo), fixed length (dr_grpo); sequence ratio (gspo);
    stop-gradient clipped weight (cispo)."""
    advantage: Literal["group", "leave_one_out", "no_std"] = option("group", panel="Loss")
    """Advantage: reward minus group mean, over the group's standard deviation (group); the same relative to the other
    rollouts (leave_one_out); without the standard deviation (no_std)."""
    importance_cap: float | None = option(None, panel="Loss", ge=1.0)
    """Truncated importance sampling: weight min(pi_trainer / pi_sampler, cap), with the clip against the trainer;
    by default the sampler's probabilities serve as the old policy."""
    clip_low: float = option(0.2, panel="Loss", gt=0.0, le=1.0)
    """Lower clip of the probability ratio, at 1 - clip_low."""
    clip_high: float = option(0.2, panel="Loss", gt=0.0)
    """Upper clip of the probability ratio, at 1 + clip_high."""
    kl_coef: float = option(0.0, panel="Loss", ge=0.0)
    """Coefficient of KL(policy || reference); 0 loads no reference model."""
    updates_per_batch: int = option(1, panel="Loss", ge=1)
    """Optimizer updates per sampled batch; at 1 the ratio clip has almost no effect."""
    temperature: float = option(1.0, panel="Rollouts", gt=0.0)
    """Sampling temperature, also applied in the loss."""
    max_new_tokens: int = option(256, panel="Rollouts", ge=1)
    """Maximum new tokens per completion."""
    truncated: Literal["exclude", "zero"] = option("exclude", panel="Rollouts")
    """Completions cut by the token limit: exclude them from the update, or give them reward 0."""
    max_refills: int = option(4, panel="Rollouts", ge=0)
    """Dynamic sampling: extra rounds to replace zero-variance groups."""
    max_empty_steps: int = option(3, panel="Rollouts", ge=1)
    """Stop after this many consecutive steps without a group with variance."""
    reprofile_every: int | None = option(None, panel="Re-profiling", ge=1)
    """Re-profile every N steps: rows whose last two groups had zero variance are retired, and return when their rewards
    differ again; default: never, unless `--reprofile-below`."""
    reprofile_below: float | None = option(None, panel="Re-profiling", gt=0.0, lt=1.0)
    """Re-profile when less than this share of the groups had variance over the last 5 steps."""
    reprofile_pivots: int = option(32, panel="Re-profiling", ge=0)
    """Rows to sample per re-profiling, least recently sampled first, retired ones included."""
    invalid_tool_call_advantage: float | None = option(None, panel="Loss", lt=0.0)
    """Advantage, such as -5, for turns with a stray tool-call tag in their text, instead of their own."""
    malformed_thinking_advantage: float | None = option(None, panel="Loss", lt=0.0)
    """Advantage for turns with reasoning tags in the answer or repeated ones in the reasoning, instead of their own."""
    verifier: str | None = option(None, panel="Rollouts", metavar="NAME", identity="name")
    """Use this verifier instead of the one named in the pivots."""
    allow_foreign_profile: bool = option(False, panel="Rollouts", identity=False)
    """Allow GRPO on pivots whose profile is of another model."""
    seed: int = option(0, panel="Run", ge=0)
    """Seed of the data order and of all samples."""
    token_budget: int = option(16384, panel="Memory and devices", ge=1)
    """Maximum tokens per forward pass with gradients, padding included."""
    checkpoint_every: int = option(20, panel="Output", identity=False, ge=0)
    """Steps between checkpoints, from which an interrupted run resumes; 0 saves none."""
    save_every: int = option(0, panel="Output", ge=0)
    """Steps between model copies that are kept, as `OUTPUT/steps/000020`, to choose among by validation; 0 keeps only
    the final model."""
    engine: Literal["hf", "vllm", "vllm-server"] = option("hf", panel="Engine")
    """Engine that samples the rollouts: the trained model itself (hf), vLLM in the same process, or a vLLM server on
    other GPUs; vLLM receives the weights after each step."""
    endpoint_concurrency: int = option(64, panel="Engine", identity=False, ge=1)
    """Maximum concurrent requests to the server, per process."""
    log_to: list[str] = option([], panel="Output", metavar="NAME", identity=False)
    """Also log metrics to tensorboard, trackio or wandb; `metrics.parquet` is always written. Repeatable."""
    lora_rank: int | None = option(None, panel="LoRA", ge=1)
    """Train LoRA adapters of this rank and freeze the base weights."""
    lora_alpha: float | None = option(None, panel="LoRA", gt=0.0)
    """LoRA scale is alpha / rank; default alpha = 2 x rank."""
    lora_targets: list[str] = option(["all-linear"], panel="LoRA", metavar="LAYER")
    """Layers that get adapters, by the last part of their name; `all-linear`: all linear layers but the output.
    Repeatable."""
    lora_output: Literal["merged", "adapter"] = option("merged", panel="LoRA")
    """`merged`: write a full model; `adapter`: write only the adapters, for peft and vLLM."""
    keep: int = option(2, panel="Output", identity=False, ge=1)
    """Checkpoints to keep during the run; a finished run keeps only its model."""
    layout: Literal["tree", "plain"] = option("tree", panel="Memory and devices")
    """`tree`: compute shared prefixes of prompts and rollouts once; `plain`: one padded batch of full sequences."""
    nproc: int = option(1, panel="Memory and devices", cli_only=True, identity=False, ge=1)
    """Training processes on this machine, one per GPU; omit it under torchrun."""
    replicas: int = option(1, panel="Memory and devices", identity=False, ge=1)
    """Hybrid sharding: number of model replicas, each sharded over its part of the processes; 1 shards over all."""
    sequence_parallel: int = option(1, panel="Memory and devices", identity=False, ge=1)
    """Neighboring processes that share each sequence, for states too long for one GPU; must divide the attention
    heads."""
