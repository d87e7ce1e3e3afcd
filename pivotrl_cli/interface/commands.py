"""The commands: what each is for, its config, the stage that it runs, and examples for `--help`."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pivotrl_cli.configs import Config


@dataclass(frozen=True, slots=True)
class Command:
    """A row of the table below; naming a config or a stage loads nothing."""

    help: str
    config_name: str
    stage_name: str
    examples: tuple[str, ...]

    def config(self) -> type[Config]:
        """The config class; its fields are the command's options."""
        config: type[Config] = getattr(import_module("pivotrl_cli.configs"), self.config_name)
        return config

    def stage(self) -> ModuleType:
        """The module with `run(config)`, and `describe(summary)` unless `run` prints by itself."""
        return import_module(f"pivotrl_cli.{self.stage_name}")


COMMANDS = {
    "extract": Command(
        "Turn trajectories into candidates, one per assistant turn.",
        "ExtractConfig",
        "stages.extract.run",
        (
            "pivotrl extract runs/*.jsonl -o candidates.parquet --holdout 0.1",
            "pivotrl extract runs/ --only-successful --dedup -o candidates.parquet",
            "pivotrl extract swe/ --tools tools.json --verifier swe -o c.parquet",
        ),
    ),
    "profile": Command(
        "Sample and score rollouts at every candidate.",
        "ProfileConfig",
        "stages.profile.run",
        (
            "pivotrl profile candidates.parquet --model MODEL -o profile.parquet",
            "pivotrl profile c.parquet --model MODEL --engine vllm -n 8 -o p.parquet",
            "pivotrl profile c.parquet --model MODEL --shard 0/8 -o shards/0.parquet",
        ),
    ),
    "merge": Command(
        "Merge the shards of a profile.",
        "MergeConfig",
        "stages.profile.merge",
        ("pivotrl merge shards/*.parquet -o profile.parquet",),
    ),
    "filter": Command(
        "Keep the pivots of a profile.",
        "FilterConfig",
        "stages.filter.run",
        (
            "pivotrl filter profile.parquet -o pivots.parquet",
            "pivotrl filter profile.parquet --max-mean 0.9 --dry-run",
            'pivotrl filter p.parquet --where "turn > 0" --balance tool --limit 2000',
        ),
    ),
    "train": Command(
        "Train a policy on the pivots.",
        "TrainConfig",
        "stages.train.run",
        (
            "pivotrl train pivots.parquet --model MODEL -o tuned",
            "pivotrl train pivots.parquet --model MODEL --nproc 8 -o tuned",
            "pivotrl train pivots.parquet --model MODEL --lora-rank 16 -o tuned",
            "pivotrl train candidates.parquet --model MODEL --method sft -o sft",
        ),
    ),
    "eval": Command(
        "Evaluate a policy on benchmarks.",
        "EvalConfig",
        "stages.eval.run",
        (
            "pivotrl eval pivots:candidates.parquet --model tuned -o tuned.parquet",
            "pivotrl eval desk skills --limit 100 -o base.parquet",
        ),
    ),
    "harness": Command(
        "Plan and run other evaluation harnesses.",
        "HarnessConfig",
        "stages.harness.run",
        (
            "pivotrl harness lm-eval:gsm8k --model path/to/model",
            "pivotrl harness --suite ood --model NAME --endpoint http://HOST:8000/v1 --run",
        ),
    ),
    "import-eval": Command(
        "Import the results of another harness.",
        "ImportConfig",
        "stages.import_eval",
        ("pivotrl import-eval lm-eval-results/ -o base.parquet",),
    ),
    "compare": Command(
        "Compare evaluations, with paired differences.",
        "CompareConfig",
        "stages.compare.run",
        (
            "pivotrl compare base.parquet tuned.parquet --in-domain desk",
            "pivotrl compare base.parquet tuned.parquet --max-regression 0.02",
        ),
    ),
    "score": Command(
        "Score recorded rollouts again; audit verifiers.",
        "ScoreConfig",
        "stages.score.run",
        (
            "pivotrl score profile.parquet --verifier exact --verifier tool_name",
            "pivotrl score profile.parquet --verifier exact -o strict.parquet",
            "pivotrl score candidates.parquet --audit",
        ),
    ),
    "inspect": Command(
        "Show a table: numbers, rows, provenance.",
        "InspectConfig",
        "stages.inspect.run",
        (
            "pivotrl inspect profile.parquet",
            "pivotrl inspect profile.parquet --row CANDIDATE_ID",
            "pivotrl inspect profile.parquet --trajectory TRAJECTORY_ID",
            'pivotrl inspect p.parquet --where "reward_mean < 0.5" --sample 3',
        ),
    ),
    "report": Command(
        "Show a run on one HTML page.",
        "ReportConfig",
        "report",
        ("pivotrl report runs/demo -o report.html",),
    ),
    "desk": Command(
        "Write example trajectories of a service desk.",
        "DeskConfig",
        "stages.desk",
        ("pivotrl desk -n 128 -o trajectories.jsonl",),
    ),
    "export": Command(
        "Export pivots for another trainer.",
        "ExportConfig",
        "stages.export",
        (
            "pivotrl export pivots.parquet --to trl -o for-trl",
            "pivotrl export pivots.parquet --to verl --model MODEL -o for-verl",
        ),
    ),
    "doctor": Command(
        "Check the installation.",
        "DoctorConfig",
        "stages.doctor",
        ("pivotrl doctor",),
    ),
}
