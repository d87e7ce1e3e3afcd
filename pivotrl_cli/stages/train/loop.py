"""The training loop: steps, checkpoints, and when to stop."""

from __future__ import annotations

from functools import partial

from pivotrl_cli.configs import TrainConfig
from pivotrl_cli.errors import InputError, PivotRLError, RunError
from pivotrl_cli.progress import Progress, short
from pivotrl_cli.rows import StepMetrics
from pivotrl_cli.stages.train.loggers import open_loggers
from pivotrl_cli.stages.train.method import Method
from pivotrl_cli.stages.train.run_folder import RunFolder
from pivotrl_cli.stages.train.state import TrainState
from pivotrl_cli.stages.train.stopwatch import Stopwatch

PHASES = ("push", "reprofile", "sample", "score", "train", "save")
"""Of a step, in order."""
MAX_SKIPPED_STEPS = 3
"""Consecutive steps without a usable gradient after which the run fails."""


def train_loop(config: TrainConfig, method: Method, output: RunFolder, state: TrainState) -> str:
    """Run the remaining steps; returns the reason for stopping."""
    seconds_save = 0.0
    with Progress(f"train {config.method}", config.steps, "steps") as bar, open_loggers(config, output) as log:
        if output.metrics:
            bar.advance(len(output.metrics), f"resumed after step {len(output.metrics)}")
        while len(output.metrics) < config.steps:
            if reason := _stop_reason(config, output):
                return reason
            step, watch = len(output.metrics) + 1, Stopwatch()
            metrics, rollouts = method.step(step)
            metrics = metrics.model_copy(update={"seconds_save": seconds_save})
            output.write_step(metrics, rollouts)
            log(metrics)
            with watch("save"):
                _save(config, method, output, state)
            seconds_save = watch.seconds["save"]
            bar.advance(1, _progress_note(metrics))
    return _stop_reason(config, output) or "all steps done"


def _save(config: TrainConfig, method: Method, output: RunFolder, state: TrainState) -> None:
    """Write a checkpoint or a copy if one is due; after the last step the model is the output."""
    step, tokenizer = len(output.metrics), method.chat.tokenizer
    if step >= config.steps:
        return
    if config.checkpoint_every and step % config.checkpoint_every == 0:
        output.write_checkpoint(partial(state.write_checkpoint, tokenizer=tokenizer), method.state_dict())
    if config.save_every and step % config.save_every == 0:
        adapter = config.lora_output == "adapter"
        output.write_copy(partial(state.write_model, tokenizer=tokenizer, adapter=adapter))


def _stop_reason(config: TrainConfig, output: RunFolder) -> str | None:
    """Why the run ends after the last step; None if it continues. Raises where it has failed."""
    skipped = output.metrics[-MAX_SKIPPED_STEPS:]
    if len(skipped) == MAX_SKIPPED_STEPS and all(m.skipped for m in skipped):
        raise RunError(
            f"step {skipped[-1].step}: {MAX_SKIPPED_STEPS} steps in a row were skipped, the last because"
            f" {skipped[-1].skipped}",
            f"lower --learning-rate; the checkpoints so far are in {output.partial}/checkpoints",
        )
    unit = "tasks" if config.method == "e2e" else "pivots"
    if output.metrics and not output.metrics[-1].n_active:
        return f"step {output.metrics[-1].step}: all {unit} are retired"
    most = min(config.max_empty_steps, config.steps) if config.method == "sft" else config.max_empty_steps
    empty = output.metrics[-most:]
    if len(empty) < most or any(m.loss is not None or m.skipped for m in empty):
        return None
    if empty[-1].reward_mean is None:
        raise _no_signal(config, empty[-1], output)
    return f"step {empty[-1].step}: no group varied in {config.max_empty_steps} steps, the {unit} are used up"


def _no_signal(config: TrainConfig, last: StepMetrics, output: RunFolder) -> PivotRLError:
    unit = "tasks" if config.method == "e2e" else "rows"
    unusable = f"{last.n_unusable} {unit} that do not fit the context or the chat template"
    if config.method == "sft":
        return InputError(f"step {last.step}: nothing but {unusable}", "see prompt_tokens in the profile table")
    return RunError(
        f"step {last.step}: no rollout could be scored: {last.n_unscored} truncated or failed, {unusable}",
        f"raise --max-new-tokens if they were truncated; the rollouts are in {output.partial}",
    )


def _progress_note(metrics: StepMetrics) -> str:
    """Reward or loss, KL, throughput, and the share of each phase in the step's time."""
    figures = [f"skipped: {metrics.skipped}"] if metrics.skipped else []
    if metrics.reward_mean is not None:
        n_groups = metrics.n_groups + metrics.n_all_right + metrics.n_all_wrong
        figures += [f"reward {metrics.reward_mean:.2f}", f"{metrics.n_groups / max(1, n_groups):.0%} mixed"]
    elif metrics.loss is not None:
        figures.append(f"loss {metrics.loss:.3f}")
    elif not metrics.skipped:
        figures.append("nothing scored")
    if metrics.kl is not None:
        figures.append(f"KL {metrics.kl:.3g}")
    figures.append(f"{short(metrics.tokens_per_second)} tokens/s")
    if metrics.rollout_turns:
        figures.append(f"{metrics.rollout_turns:,} rollout turns")
    seconds = {name: getattr(metrics, f"seconds_{name}") for name in PHASES}
    shares = {name: spent / max(sum(seconds.values()), 1e-9) for name, spent in seconds.items()}
    phases = " ".join(f"{name} {share:.0%}" for name, share in shares.items() if share >= 0.01)
    return ", ".join([*figures, phases])
