"""What `--help` shows around the options: headings to find them under, words for their values, and examples."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from typer.core import TyperCommand

from pivotrl_cli.configs import Config, EngineConfig, JudgeConfig, StageConfig

SECTIONS: dict[str, dict[str, str]] = {
    "extract": {
        "What the formats leave out": "format tools system",
        "Which verifier scores a turn": "verifier verifier_for",
        "What to leave out": "only_successful success_threshold min_outcome dedup check_against"
        " drop_contaminated limit",
        "Holdout": "holdout seed",
        "Output": "rejects profile",
    },
    "profile": {
        "Rollouts": "n temperature max_new_tokens truncated verifier seed",
        "Which candidates": "split limit shard window",
        "Adaptive": "adaptive adaptive_max_mean adaptive_level",
        "Failures": "max_retries max_error_rate",
        "Ray": "executor workers ray_address",
    },
    "filter": {
        "Rule": "rule max_mean min_pass_rate level min_signal keep_all_zero",
        "Which candidates": "split where model",
        "Limits": "limit select balance max_per_trajectory max_per_task max_message_ratio seed",
        "Control": "control",
        "Output": "dropped dry_run",
    },
    "train": {
        "Run": "model method steps prompts_per_step group_size seed",
        "Rollouts": "temperature max_new_tokens truncated max_refills max_empty_steps verifier allow_foreign_profile"
        " sampler engine_args endpoint endpoint_concurrency endpoint_timeout sample_token_budget",
        "Episodes": "environment max_turns",
        "Re-profiling": "reprofile_every reprofile_below reprofile_pivots",
        "Loss": "loss advantage clip_low clip_high importance_cap kl_coef updates_per_batch"
        " invalid_tool_call_advantage malformed_thinking_advantage",
        "Optimiser": "learning_rate schedule warmup_steps weight_decay max_grad_norm skip_grad_norm",
        "Adapters": "lora_rank lora_alpha lora_targets lora_output",
        "Memory and devices": "token_budget layout device dtype nproc replicas sequence_parallel",
        "Output": "checkpoint_every keep save_every log_to",
    },
    "eval": {
        "Episodes": "limit trials split temperature max_new_tokens max_turns concurrency seed",
        "Failures": "max_error_rate",
        "Simulated user": "user_url user_model user_temperature user_max_new_tokens user_key_variable",
        "Output": "timings",
    },
    "harness": {
        "What to run": "suite run limit trials seed temperature max_new_tokens concurrency",
        "Model": "model endpoint endpoint_key_variable serve serve_args serve_port tokenizer registry_model",
        "Harnesses": "env args max_error_rate",
        "Simulated user": "user_url user_model user_temperature user_max_new_tokens user_key_variable",
        "Judge": "judge_url judge_model",
        "Output": "output json_summary",
    },
    "inspect": {
        "Which rows": "where row sample seed trajectory disagreements",
        "Output": "messages candidates json_summary",
    },
    "compare": {
        "Domains": "in_domain ood",
        "Output": "names flips max_regression format",
        "Test": "draws seed",
    },
}
"""Command -> heading -> fields. What is named nowhere stands under `Options`, or its shared heading."""

SHARED: list[tuple[type[Config], str]] = [
    (EngineConfig, "Policy and engine"),
    (JudgeConfig, "Judge"),
    (StageConfig, "Output"),
]

VALUES = {
    "sources": "SOURCE",
    "benchmarks": "BENCHMARK",
    "shards": "SHARD",
    "results": "EVAL",
    "verifier": "NAME",
    "verifier_for": "KEY=NAME",
    "engine_args": "KEY=VALUE",
    "model": "MODEL",
    "judge_model": "MODEL",
    "judge_url": "URL",
    "endpoint": "URL",
    "judge_key_variable": "VARIABLE",
    "endpoint_key_variable": "VARIABLE",
    "output": "FILE",
    "where": "SQL",
    "shard": "I/N",
    "tokenizer": "FOLDER",
    "ray_address": "ADDRESS",
    "row": "ID",
    "trajectory": "ID",
    "baseline": "NAME",
    "log_to": "NAME",
    "to": "TARGET",
    "format": "NAME",
    "device": "DEVICE",
    "in_domain": "NAMES",
    "ood": "NAMES",
    "names": "NAMES",
    "environment": "NAME",
    "tasks": "TASK",
    "env": "HARNESS=FOLDER",
    "args": "HARNESS=WORDS",
    "serve_args": "WORDS",
    "registry_model": "NAME",
    "user_url": "URL",
    "user_model": "MODEL",
    "user_key_variable": "VARIABLE",
    "metric": "NAME",
    "benchmark": "NAME",
    "lora_targets": "LAYER",
}
"""Field -> word for its value, where its type says too little."""

EXAMPLES: dict[str, list[str]] = {
    "extract": [
        "pivotrl extract runs/*.jsonl -o candidates.parquet --holdout 0.1",
        "pivotrl extract runs/ --only-successful --dedup -o candidates.parquet",
        "pivotrl extract swe/ --tools tools.json --verifier swe -o c.parquet",
    ],
    "profile": [
        "pivotrl profile candidates.parquet --model MODEL -o profile.parquet",
        "pivotrl profile c.parquet --model MODEL --engine vllm -n 8 -o p.parquet",
        "pivotrl profile c.parquet --model MODEL --shard 0/8 -o shards/0.parquet",
    ],
    "merge": ["pivotrl merge shards/*.parquet -o profile.parquet"],
    "filter": [
        "pivotrl filter profile.parquet -o pivots.parquet",
        "pivotrl filter profile.parquet --max-mean 0.9 --dry-run",
        'pivotrl filter p.parquet --where "turn > 0" --balance tool --limit 2000',
    ],
    "train": [
        "pivotrl train pivots.parquet --model MODEL -o tuned",
        "pivotrl train pivots.parquet --model MODEL --nproc 8 -o tuned",
        "pivotrl train pivots.parquet --model MODEL --lora-rank 16 -o tuned",
        "pivotrl train candidates.parquet --model MODEL --method sft -o sft",
    ],
    "eval": [
        "pivotrl eval pivots:candidates.parquet --model tuned -o tuned.parquet",
        "pivotrl eval desk skills --limit 100 -o base.parquet",
    ],
    "import-eval": ["pivotrl import-eval lm-eval-results/ -o base.parquet"],
    "compare": [
        "pivotrl compare base.parquet tuned.parquet --in-domain desk",
        "pivotrl compare base.parquet tuned.parquet --max-regression 0.02",
    ],
    "score": [
        "pivotrl score profile.parquet --verifier exact --verifier tool_name",
        "pivotrl score profile.parquet --verifier exact -o strict.parquet",
        "pivotrl score candidates.parquet --audit",
    ],
    "inspect": [
        "pivotrl inspect profile.parquet",
        "pivotrl inspect profile.parquet --row CANDIDATE_ID",
        "pivotrl inspect profile.parquet --trajectory TRAJECTORY_ID",
        'pivotrl inspect p.parquet --where "reward_mean < 0.5" --sample 3',
    ],
    "harness": [
        "pivotrl harness lm-eval:gsm8k --model path/to/model",
        "pivotrl harness --suite ood --model NAME --endpoint http://HOST:8000/v1 --run",
    ],
    "report": ["pivotrl report runs/demo -o report.html"],
    "desk": ["pivotrl desk -n 128 -o trajectories.jsonl"],
    "export": [
        "pivotrl export pivots.parquet --to trl -o for-trl",
        "pivotrl export pivots.parquet --to verl --model MODEL -o for-verl",
    ],
    "doctor": ["pivotrl doctor"],
}


def heading(command: str, field: str, config_type: type[Config]) -> str:
    """Heading that an option stands under."""
    for title, fields in SECTIONS.get(command, {}).items():
        if field in fields.split():
            return title
    shared = (title for base, title in SHARED if issubclass(config_type, base) and field in base.model_fields)
    return next(shared, "Options")


def value_word(name: str, field: FieldInfo) -> str | None:
    """The word for a value, as `FILE` in `--output FILE`; None for a flag, which has none."""
    kind = _inner(field.annotation)
    if (field.description or "").startswith("Folder "):
        return "FOLDER"
    if kind is bool:
        return None
    if get_origin(kind) is Literal:
        return "|".join(get_args(kind))
    if _extra(field).get("cli") == "argument":
        return VALUES.get(name, name.upper())
    return VALUES.get(name) or {int: "N", float: "X", Path: "FILE"}.get(kind, "TEXT")


def _extra(field: FieldInfo) -> dict[str, Any]:
    return field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}


def _inner(annotation: Any) -> Any:
    origin, args = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return _inner(next(arg for arg in args if arg is not type(None)))
    return _inner(args[0]) if origin is list else annotation


def command_class(command: str, config_type: type[Config]) -> type[TyperCommand]:
    """The class of a command whose help has these headings and examples."""

    class Command(TyperCommand):
        def collect_usage_pieces(self, ctx: Any) -> list[str]:
            return ["[OPTIONS]", *(_usage(p) for p in self.params if p.param_type_name == "argument")]

        def format_options(self, ctx: Any, formatter: Any) -> None:
            sections: dict[str, list[tuple[int, tuple[str, str]]]] = {}
            for parameter in self.get_params(ctx):
                if record := parameter.get_help_record(ctx):
                    title, place = _place(command, parameter, config_type)
                    shown = (_usage(parameter), record[1]) if title == "Arguments" else record
                    sections.setdefault(title, []).append((place, shown))
            for title in sorted(sections, key=_order(command).index):
                with formatter.section(title):
                    formatter.write_dl([record for _, record in sorted(sections[title], key=lambda pair: pair[0])])

        def format_epilog(self, ctx: Any, formatter: Any) -> None:
            if command in EXAMPLES:
                with formatter.section("Examples"):
                    for example in EXAMPLES[command]:
                        formatter.write(f"  {example}\n")

    return Command


def _place(command: str, parameter: Any, config_type: type[Config]) -> tuple[str, int]:
    """Heading, and how far down under it."""
    if parameter.param_type_name == "argument":
        return "Arguments", 0
    if parameter.name not in config_type.model_fields:
        return "Other", 0
    title = heading(command, parameter.name, config_type)
    named = SECTIONS.get(command, {}).get(title, "").split()
    return title, named.index(parameter.name) if parameter.name in named else len(named)


def _order(command: str) -> list[str]:
    own = [title for title in SECTIONS.get(command, {}) if title != "Output"]
    return ["Arguments", *own, "Options", *(title for _, title in SHARED), "Other"]


def _usage(argument: Any) -> str:
    return f"{argument.metavar}{'...' if argument.nargs == -1 else ''}"
