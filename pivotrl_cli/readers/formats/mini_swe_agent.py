"""mini-swe-agent: a bare JSON list of chat messages, or `{info, messages, trajectory_format}`.

The action is a shell command in a code block of the text, and stays text, since the prompt asks for it; newer runs have
tool calls. A bare list of chat messages from anywhere else reads the same way. The instance is `instance_id`, else the
file's name; a closing message of the role `exit` is the harness's and is left out, as is `info.exit_status` as an
outcome, since a submission is not a success.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any

from pivotrl_cli.readers.document import Document, Parsed, Record, RecordReader, array_record
from pivotrl_cli.readers.fields import provenance
from pivotrl_cli.readers.messages import message_of, tools_of
from pivotrl_cli.readers.parsing import Head
from pivotrl_cli.rows import Trajectory


class MiniSweAgentReader(RecordReader):
    """Trajectories of mini-swe-agent."""

    def sniff(self, head: Head) -> str | None:
        if head.container == "array" and _is_message(head.record):
            return "a JSON array of chat messages"
        name = head.fields.get("trajectory_format")
        return f"trajectory_format is {name}" if isinstance(name, str) else None

    def records(self, document: Document) -> Iterable[Parsed]:
        if document.head.container == "array":
            return array_record(document, "messages", "message")
        return document.records()

    def trajectory(self, record: Record) -> Trajectory:
        json = record.json
        messages = [message for message in json["messages"].required_list() if message["role"].value != "exit"]
        info = json["info"].fields()
        model = info["config"].fields()["model"].fields()["model_name"]
        return record.trajectory(
            messages=[message_of(message) for message in messages],
            tools=tools_of(json["tools"]),
            task_id=json["instance_id"].label() or PurePosixPath(record.source).name.split(".")[0],
            provenance=provenance(exit_status=info["exit_status"], model=model),
        )


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and "role" in value and ("content" in value or "tool_calls" in value)
