"""verl: `pivots.parquet` in the form that its RLHF data set reads, and `reward.py` with `compute_score`.

verl renders each prompt with the tools of its own configuration, the same for every row. With a model named, the prompt
is therefore the finished text in one user message, and `pass_on.jinja` is the chat template that leaves it as it is
(`data.apply_chat_template_kwargs.chat_template`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from pivotrl_cli.errors import InputError
from pivotrl_cli.exporters.destination import Destination
from pivotrl_cli.exporters.prompts import MESSAGES, PromptRow, message_values, prompt_batches
from pivotrl_cli.rows import Candidate, Message

if TYPE_CHECKING:
    from pivotrl_cli.model.chat import ChatFormat

PASS_ON = "{{ messages[0]['content'] }}"
"""Chat template under which a rendered prompt stays as it is."""

REWARD = '''\
"""The reward of these pivots for verl: name this file in its configuration of custom reward functions. Needs pivotrl.

Reads completions as text with Hermes-style calls, which is what verl hands over.
"""

from pivotrl_cli.exporters.scoring import reward_of_text


def compute_score(data_source, solution_str, ground_truth, extra_info=None, **_):
    """Reward in [0, 1]."""
    reward = reward_of_text(solution_str, ground_truth)
    if reward is None:
        raise ValueError(f"the demonstration cannot be judged: {extra_info}")
    return reward
'''

_TEXT = pa.string()
_EXTRA = pa.struct(
    [
        ("index", pa.int64()),
        ("split", _TEXT),
        *((name, _TEXT) for name in ("candidate_id", "trajectory_id", "task_id", "verifier", "tools")),
        ("turn", pa.int64()),
        ("weight", pa.float64()),
        ("reward_mean", pa.float64()),
    ]
)
SCHEMA = pa.schema(
    [
        ("data_source", _TEXT),
        ("prompt", MESSAGES),
        ("ability", _TEXT),
        ("reward_model", pa.struct([("style", _TEXT), ("ground_truth", _TEXT)])),
        ("extra_info", _EXTRA),
    ]
)


class VerlExporter:
    """One Parquet file."""

    renders = True

    def write(self, rows: Iterator[Candidate], to: Destination) -> None:
        stored = SCHEMA.with_metadata({"pivotrl": json.dumps(to.provenance)})
        n = 0
        with pq.ParquetWriter(to.folder / "pivots.parquet", stored, compression="zstd") as out:
            for batch in prompt_batches(rows, to):
                values = [_row(one, n + i) for i, one in enumerate(batch)]
                out.write_table(pa.Table.from_pylist(values, schema=stored))
                n += len(batch)
        (to.folder / "reward.py").write_text(_reward_file(to.chat))
        if to.chat is not None:
            (to.folder / "pass_on.jinja").write_text(PASS_ON)


def _reward_file(chat: ChatFormat | None) -> str:
    """The reward file; of a model that does not write Hermes-style calls, with its format."""
    if chat is None or chat.found.format.name == "hermes":
        return REWARD
    form = chat.found.format
    if form.body == "template":
        raise InputError(
            "verl hands over text, and transformers' response templates need the tokenizer",
            "describe the format in the notation of docs/models.md",
        )
    record = {name: value for name, value in asdict(form).items() if value not in ("", None, ())}
    text = REWARD.replace("with Hermes-style calls, which is", f"in the format {form.name}, which is")
    text = text.replace("(solution_str, ground_truth)", "(solution_str, ground_truth, FORMAT)")
    return text.replace("\n\n\ndef ", f"\n\nFORMAT = {record | {'reasoning': form.reasoning or ()}!r}\n\n\ndef ", 1)


def _row(one: PromptRow, index: int) -> dict[str, Any]:
    candidate = one.candidate
    state = candidate.state if one.text is None else [Message(role="user", content=one.text)]
    names = ("split", "candidate_id", "trajectory_id", "task_id", "verifier", "tools", "turn")
    return {
        "data_source": "pivotrl",
        "prompt": message_values(state),
        "ability": candidate.domain or "agent",
        "reward_model": {"style": "rule", "ground_truth": one.ground_truth},
        "extra_info": {"index": index, **{name: getattr(candidate, name) for name in names}, **one.weight_and_mean()},
    }
