"""The commands, read from `commands.toml`; naming a config or a stage there loads nothing."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pivotrl_cli.configs import Config


@dataclass(frozen=True, slots=True)
class Command:
    """A table of `commands.toml`."""

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
    name: Command(one["help"], one["config"], one["stage"], tuple(one["examples"]))
    for name, one in tomllib.loads(Path(__file__).with_name("commands.toml").read_text()).items()
}
