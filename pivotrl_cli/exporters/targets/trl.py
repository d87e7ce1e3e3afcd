"""TRL: a folder for `datasets.load_from_disk`, and `reward.py` with the reward function for its GRPOTrainer.

Columns: `prompt`, `tools` and `ground_truth` (JSON; the latter is the candidate) and where the row came from. TRL's
trainer renders message prompts without the tools of a row. With a model named, `prompt` is therefore the text that
profiling and training here put before that model.

The Arrow file is written as the rows come, and its bytes depend on the rows alone; `Dataset.save_to_disk` promises
neither.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pivotrl_cli.exporters.destination import Destination
from pivotrl_cli.exporters.prompts import MESSAGES, PromptRow, message_values, prompt_batches
from pivotrl_cli.rows import Candidate

if TYPE_CHECKING:
    from pivotrl_cli.model.chat import ChatFormat

REWARD = '''\
"""The reward of these pivots for TRL's GRPOTrainer: `reward_funcs=[reward_for(tokenizer)]`. Needs pivotrl."""

from pivotrl_cli.exporters.scoring import trl_reward as reward_for

__all__ = ["reward_for"]
'''

_DATA = "data-00000-of-00001.arrow"


class TrlExporter:
    """A dataset on disk."""

    renders = True

    def write(self, rows: Iterator[Candidate], to: Destination) -> None:
        columns = {"prompt": MESSAGES if to.chat is None else pa.string()}
        columns |= dict.fromkeys(("tools", "ground_truth", "verifier", "candidate_id", "trajectory_id"), pa.string())
        columns |= {"turn": pa.int64(), "weight": pa.float64(), "reward_mean": pa.float64()}
        schema = pa.schema(list(columns.items()))
        with pa.OSFile(str(to.folder / _DATA), "wb") as file, pa.ipc.new_stream(file, schema) as out:
            for batch in prompt_batches(rows, to):
                out.write_batch(pa.RecordBatch.from_pylist([_row(one, to.chat) for one in batch], schema=schema))
        (to.folder / "reward.py").write_text(REWARD)
        fingerprint = hashlib.sha256(json.dumps(to.provenance, sort_keys=True).encode()).hexdigest()[:16]
        state: dict[str, Any] = {
            "_data_files": [{"filename": _DATA}],
            "_fingerprint": fingerprint,
            "_format_columns": None,
            "_format_kwargs": {},
            "_format_type": None,
            "_output_all_columns": False,
            "_split": None,
        }
        for name, content in (("state.json", state), ("dataset_info.json", {"dataset_name": "pivots"})):
            (to.folder / name).write_text(json.dumps(content, indent=1) + "\n")


def _row(one: PromptRow, chat: ChatFormat | None) -> dict[str, Any]:
    candidate = one.candidate
    text = one.text if one.text is None or chat is None else _without_doubled_start(one.text, chat)
    return {
        "prompt": message_values(candidate.state) if text is None else text,
        "ground_truth": one.ground_truth,
        **{name: getattr(candidate, name) for name in ("tools", "verifier", "candidate_id", "trajectory_id", "turn")},
        **one.weight_and_mean(),
    }


def _without_doubled_start(text: str, chat: ChatFormat) -> str:
    """The text without the start token that TRL's tokenization adds, where the template has written it already."""
    start = chat.tokenizer.bos_token
    if not isinstance(start, str) or not text.startswith(start):
        return text
    bare = text.removeprefix(start)
    return bare if chat.tokenizer(bare)["input_ids"] == chat.encode(text) else text
