"""System prompt and tool schemas that the user gives for records that lack them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from pivotrl_cli.configs import ExtractConfig
from pivotrl_cli.errors import InputError
from pivotrl_cli.readers.fields import Json
from pivotrl_cli.readers.messages import tools_of
from pivotrl_cli.readers.parsing import parse_json
from pivotrl_cli.rows import Message, Trajectory


@dataclass(frozen=True)
class Supplied:
    """What `--system` and `--tools` hold."""

    system: Message | None
    tools: str | None

    @classmethod
    def from_config(cls, config: ExtractConfig) -> Supplied:
        return cls(
            read_system(config.system) if config.system else None,
            read_tools(config.tools) if config.tools else None,
        )

    def complete(self, trajectory: Trajectory, counts: Counter[str]) -> Trajectory:
        """The trajectory with the system prompt and tools that its record lacks; counts how often each was used."""
        if self.system:
            lacks = all(message.role != "system" for message in trajectory.messages)
            counts["system"] += lacks
            trajectory = prepend_system(self.system, trajectory) if lacks else trajectory
        if self.tools:
            lacks = trajectory.tools == "[]"
            counts["tools"] += lacks
            trajectory = trajectory.model_copy(update={"tools": self.tools}) if lacks else trajectory
        return trajectory


def prepend_system(system: Message, trajectory: Trajectory) -> Trajectory:
    """The trajectory behind a system message; everything that names a message by its number moves along."""
    moved = {
        "messages": [system, *trajectory.messages],
        "context": [i + 1 for i in trajectory.context],
        "faults": [fault.model_copy(update={"message": fault.message + 1}) for fault in trajectory.faults],
    }
    return trajectory.model_copy(update=moved)


def read_tools(path: Path) -> str:
    """Tool schemas from a JSON file: a list, or an object that has it as `tools`."""
    try:
        tools = Json(parse_json(path.read_bytes()))
        return tools_of(tools["tools"] if isinstance(tools.value, dict) else tools)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}", "check the path given to --tools") from error
    except ValueError as error:
        raise InputError(f"{path}: {error}", "--tools takes a JSON list of function schemas") from error


def read_system(path: Path) -> Message:
    try:
        return Message(role="system", content=path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {error}", "--system takes a UTF-8 text file") from error
