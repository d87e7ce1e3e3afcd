"""One config per command: the field's docstring is the flag's help and the schema's description.

Only pydantic here, so that parsing a command line never touches torch. A field with `identity=False` does not
change what is computed (where it reads, where it writes, how it looks), so it stays out of the provenance.
"""

from __future__ import annotations

from pivotrl_cli.configs.base import Config, StageConfig
from pivotrl_cli.configs.data import DeskConfig, ExportConfig, ExtractConfig
from pivotrl_cli.configs.evaluation import CompareConfig, EvalConfig, HarnessConfig, ImportConfig, UserConfig
from pivotrl_cli.configs.filtering import FilterConfig
from pivotrl_cli.configs.looking import DoctorConfig, InspectConfig, ReportConfig
from pivotrl_cli.configs.profiling import MergeConfig, ProfileConfig, ScoreConfig
from pivotrl_cli.configs.shared import EngineConfig, JudgeConfig
from pivotrl_cli.configs.training import TrainConfig

__all__ = [
    "CompareConfig",
    "Config",
    "DeskConfig",
    "DoctorConfig",
    "EngineConfig",
    "EvalConfig",
    "ExportConfig",
    "ExtractConfig",
    "FilterConfig",
    "HarnessConfig",
    "ImportConfig",
    "InspectConfig",
    "JudgeConfig",
    "MergeConfig",
    "ProfileConfig",
    "ReportConfig",
    "ScoreConfig",
    "StageConfig",
    "TrainConfig",
    "UserConfig",
]
