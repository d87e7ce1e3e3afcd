"""Desk: write expert trajectories of the embedded world as OpenAI chat JSONL, like recorded trajectories."""

from __future__ import annotations

import json

from pivotrl_cli.configs import DeskConfig
from pivotrl_cli.environments import desk
from pivotrl_cli.storage.files import open_partial, publish, remove_partial, write_errors


def run(config: DeskConfig) -> None:
    file = open_partial(config.output, binary=False)
    try:
        with write_errors(config.output):
            for task in desk.tasks("train", config.n, config.seed, config.min_turns):
                record = desk.to_record(task, desk.demonstrate(task, config.seed))
                file.write((json.dumps(record, ensure_ascii=False) + "\n").encode())
        publish(file, config.output)
    finally:
        remove_partial(config.output)
