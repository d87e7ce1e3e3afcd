"""The model card of a trained model: base, method, data lineage, settings, results, and how to load it.

Everything comes from the run's provenance and metrics, without times and paths, so the same run has the same card.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pivotrl_cli.configs import TrainConfig
from pivotrl_cli.model.folder import local_folder
from pivotrl_cli.rows import StepMetrics
from pivotrl_cli.stages.train.summary import TrainSummary
from pivotrl_cli.storage.provenance import Provenance, package_version

_METHODS = {
    "grpo": "PivotRL ([arXiv 2603.21383](https://arxiv.org/abs/2603.21383)): GRPO on one-turn rollouts at pivots",
    "sft": "supervised fine-tuning on the demonstrated actions",
    "e2e": "end-to-end reinforcement learning: GRPO on whole episodes, for the outcome",
}
_MACHINE = ("token_budget", "sample_token_budget", "device", "dtype", "tensor_parallel", "window")
_MEASURED = ("reward_mean", "reward_std", "loss", "kl", "entropy", "grad_norm", "learning_rate", "prefix_reuse")
_COUNTED = ("groups_trained", "groups_all_right", "groups_all_wrong", "rollout_turns", "completion_tokens_trained")


def model_card(config: TrainConfig, provenance: Provenance, summary: TrainSummary, metrics: list[StepMetrics]) -> str:
    """Text of README.md."""
    stored = provenance.to_dict()
    on_hub = not local_folder(config.model).is_dir()
    base = config.model if on_hub else stored["config"]["model"]
    adapter = config.lora_output == "adapter"
    return "\n".join(
        [
            *_front_matter(config, on_hub=on_hub, adapter=adapter),
            f"# {base}, trained with pivotrl",
            "",
            f"Trained from `{base}` (sha256 `{provenance.fingerprints['model'][:12]}`) by {_METHODS[config.method]}.",
            "What the base model's licence asks for holds for this one too.",
            "",
            *_usage(base, adapter=adapter),
            "## Data",
            "",
            *_lineage(stored, 0),
            "",
            "## Training",
            "",
            f"{summary.steps} steps: {summary.stopped}.",
            "`metrics.parquet` has every step, `rollouts.parquet` every rollout, `pivotrl.json` the whole provenance.",
            "",
            *_table("setting", _settings(stored["config"])),
            "",
            *_table("result", _results(summary, metrics)),
            "",
            f"pivotrl {package_version()}",
            "",
        ]
    )


def _front_matter(config: TrainConfig, *, on_hub: bool, adapter: bool) -> list[str]:
    """Metadata for the hub; a base model that is a local folder has no name there."""
    named = [f"base_model: {config.model}"] if on_hub else []
    return [
        "---",
        *named,
        f"library_name: {'peft' if adapter else 'transformers'}",
        "pipeline_tag: text-generation",
        f"tags: [pivotrl, {config.method}]",
        "---",
        "",
    ]


def _usage(base: str, *, adapter: bool) -> list[str]:
    load = "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
    if adapter:
        load = "from peft import PeftModel\n" + load
        load += f'model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("{base}"), "FOLDER")'
    else:
        load += 'model = AutoModelForCausalLM.from_pretrained("FOLDER")'
    return ["```python", load, 'tokenizer = AutoTokenizer.from_pretrained("FOLDER")', "```", ""]


def _lineage(stored: dict[str, Any], depth: int) -> Iterator[str]:
    """The inputs, the commands that made them, and their inputs in turn."""
    for source in stored["inputs"]:
        made = source.get("provenance")
        how = f", by `pivotrl {made['command']}` {_shown_settings(made['config'])}".rstrip() if made else ""
        yield f"{'  ' * depth}- `{source['name']}` (sha256 `{source['sha256'][:12]}`){how}"
        if made:
            for name, digest in made["fingerprints"].items():
                yield f"{'  ' * (depth + 1)}- {name} `{digest[:12]}`"
            yield from _lineage(made, depth + 1)


def _shown_settings(config: dict[str, Any]) -> str:
    """The settings of a config that are set, without those of the machine."""
    kept = {n: value for n, value in config.items() if n not in _MACHINE and value not in (None, False, [], "")}
    return ", ".join(f"{name} {_value(value)}" for name, value in kept.items())


def _settings(config: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    return ((name, value) for name, value in config.items() if value not in (None, []))


def _results(summary: TrainSummary, metrics: list[StepMetrics]) -> Iterator[tuple[str, Any]]:
    for name in _COUNTED:
        yield name, getattr(summary, name)
    for name in _MEASURED:
        values = [value for m in metrics if (value := getattr(m, name)) is not None]
        if values:
            yield name, f"{values[0]:.4g} at first, {values[-1]:.4g} at last"


def _table(title: str, rows: Iterator[tuple[str, Any]]) -> list[str]:
    return [f"| {title} | |", "|---|---|", *(f"| {name} | {_value(value)} |" for name, value in rows)]


def _value(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text.replace("|", "\\|").replace("\n", " ")
