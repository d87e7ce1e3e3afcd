"""ToolBench: the answers of ToolLLaMA, one depth-first search per file.

`answer_generation.train_messages` holds a row per turn of the path that was kept, each the prompt of that turn and the
answer. The rows overlap: most begin with the row before, and those are one trajectory. A row that does not (the search
once told the model that earlier tries had failed, and later left that out of the history) is a trajectory of its own,
whose last message alone is a turn. So every turn is read once, in the state that the model saw.

Calls are the older `function_call`; `win` is the outcome. Left out: the branches of the tree that were given up.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256

from pivotrl_cli.readers.document import Document, Record, trajectories_per_record
from pivotrl_cli.readers.fields import provenance
from pivotrl_cli.readers.messages import messages_of, tools_of
from pivotrl_cli.readers.parsing import Head
from pivotrl_cli.rows import Message, Reject, RejectReason, Trajectory


class ToolBenchReader:
    """Answers of ToolBench."""

    def sniff(self, head: Head) -> str | None:
        keys = set(head.keys)
        return "one object with win and tree" if "win" in keys and keys & {"tree", "answer_generation"} else None

    def read(self, document: Document) -> Iterator[Trajectory | Reject]:
        return trajectories_per_record(document.records(), _trajectories, document.source)


def _trajectories(record: Record) -> Iterator[Trajectory | Reject]:
    answer = record.json["answer_generation"]
    chains = _chains([messages_of(row) for row in answer["train_messages"].list()])
    tools, win = tools_of(answer["function"]), record.json["win"].number_or_none()
    # The number of the question is in the file's name alone, and not unique.
    question = (answer["query"].text_or_none() or "").strip()
    for messages, context in chains:
        yield record.trajectory(
            messages=messages,
            context=context,
            tools=tools,
            task_id=sha256(question.encode()).hexdigest()[:16] if question else "",
            outcome=win,
            provenance=provenance(finish_type=answer["finish_type"]),
        )
    if not chains:
        detail = "the search kept no path, so it has no turn"
        reason = RejectReason.NO_ASSISTANT_TURN
        yield Reject(source=record.source, line=record.line, reason=reason, detail=detail)


def _chains(rows: list[list[Message]]) -> list[tuple[list[Message], list[int]]]:
    """Rows that continue each other as one, each with the assistant messages that are turns elsewhere."""
    chains: list[tuple[list[Message], list[int]]] = []
    for row in rows:
        before = chains[-1] if chains else None
        if before and row[: len(before[0])] == before[0]:
            chains[-1] = (row, before[1])
        else:
            chains.append((row, [i for i, message in enumerate(row[:-1]) if message.role == "assistant"]))
    return chains
