"""tau-bench, version 1: a JSON array of `{task_id, reward, info, traj, trial}`.

`traj` holds OpenAI's chat messages, system prompt included. The tool schemas are not in the file (`--tools`), and
neither is the name of the domain. A run that crashed has an empty `traj` and the reason in `info.error`.
"""

from __future__ import annotations

from pivotrl_cli.readers.document import Record, RecordReader
from pivotrl_cli.readers.fields import compact
from pivotrl_cli.readers.messages import messages_of
from pivotrl_cli.readers.parsing import Head
from pivotrl_cli.rows import Trajectory


class TauBenchReader(RecordReader):
    """Result files of tau-bench."""

    def sniff(self, head: Head) -> str | None:
        return "records have task_id and traj" if {"task_id", "traj"} <= set(head.keys) else None

    def trajectory(self, record: Record) -> Trajectory:
        json = record.json
        return record.trajectory(
            messages=messages_of(json["traj"]),
            task_id=json["task_id"].label(),
            trial=json["trial"].label(),
            outcome=json["reward"].number_or_none(),
            provenance=compact({"error": error.value} if (error := json["info"].fields()["error"]) else {}),
        )
