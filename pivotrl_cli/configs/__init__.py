"""One config per command: a field is an option, and its docstring the help, the schema's description and the docs.

Only pydantic here, so that parsing a command line never loads torch. A field with `identity=False` does not change the
result (where to read, where to write, how to print), so the provenance leaves it out.
"""

from __future__ import annotations

from pivotrl_cli.configs.base import Config, StageConfig
from pivotrl_cli.configs.data import DeskConfig, ExportConfig, ExtractConfig
from pivotrl_cli.configs.evaluation import CompareConfig, EvalConfig, HarnessConfig, ImportConfig, UserConfig
from pivotrl_cli.configs.filtering import FilterConfig
from pivotrl_cli.configs.looking import DoctorConfig, InspectConfig, ReportConfig
from pivotrl_cli.configs.profiling import MergeConfig, ProfileConfig, ScoreConfig
from pivotrl_cli.configs.shared import EngineConfig, JudgeConfig, PolicyConfig, TemplateConfig
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
    "PolicyConfig",
    "ProfileConfig",
    "ReportConfig",
    "ScoreConfig",
    "StageConfig",
    "TemplateConfig",
    "TrainConfig",
    "UserConfig",
]
