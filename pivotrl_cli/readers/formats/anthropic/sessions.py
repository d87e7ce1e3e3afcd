"""Claude Code sessions: from the lines of a file to the conversations that the model saw.

Lines point to the line before them (`parentUuid`), so a file is a forest. Each leaf ends one conversation, the last
leaf the main one; a message that two of them share is a turn only in the first and context in the others. Sidechains
are subagents, with conversations of their own. Lines of one `message.id` are blocks of one message. Replies to parallel
calls hang beside the path, and are put where their calls are. Where no line points to another in the file, the order of
the lines counts.

Lines of other types (summaries, progress, the marks of a compaction) hold no message, but may link the chain. A turn
behind a message that could not be read or is not in the file is incomplete, and one that the harness wrote
(`<synthetic>`) is context.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from pivotrl_cli.readers.blocks import messages_of_blocks
from pivotrl_cli.readers.document import Record
from pivotrl_cli.readers.fields import RecordError
from pivotrl_cli.readers.messages import merge_assistant
from pivotrl_cli.rows import Fault, Message, RejectReason

_SYNTHETIC = "<synthetic>"


@dataclass
class Line:
    """One line of a session; without messages where it only links others, or could not be read.

    Example: `Line(3, "u2", "u1", False, "msg_1", [Message(role="assistant", content="hi")])`
    """

    number: int
    uuid: str
    parent: str
    sidechain: bool
    message_id: str
    messages: list[Message]
    synthetic: bool = False
    broken: bool = False

    @property
    def role(self) -> str:
        """Role of its message; empty without one."""
        return self.messages[-1].role if self.messages else ""


@dataclass
class Conversation:
    """The messages that the model saw at one leaf."""

    line: int
    sidechain: bool
    messages: list[Message] = field(default_factory=list)
    context: list[int] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


def line_of(record: Record) -> tuple[Line, RecordError | None]:
    """A typed line, and the error of its message, if it cannot be read."""
    json = record.json
    kind = json["type"].text()
    uuid, parent = json["uuid"].text_or_none() or f"line {record.line}", json["parentUuid"].text_or_none() or ""
    line = Line(record.line, uuid, parent, json["isSidechain"].value is True, "", [])
    if kind not in ("user", "assistant"):
        return line, None
    try:
        message = json["message"]
        line.message_id = message["id"].text_or_none() or ""
        line.synthetic = message["model"].value == _SYNTHETIC
        line.messages = messages_of_blocks(message["role"], message["content"])
    except RecordError as error:
        line.broken = True
        return line, error
    return line, None


def conversations(lines: list[Line]) -> Iterator[Conversation]:
    """One per leaf that has a turn of its own, the last one first."""
    by_uuid = {line.uuid: line for line in sorted(lines, key=lambda line: bool(line.messages))}
    if not any(line.parent in by_uuid for line in lines):
        for sidechain in (False, True):
            path = [line for line in lines if line.sidechain is sidechain]
            if any(line.messages for line in path):
                yield _conversation(path, set(), {}, linked=False)
        return
    replies = {message.tool_call_id: line for line in lines for message in line.messages if message.role == "tool"}
    parents, seen = {line.parent for line in lines}, set[int]()
    # Read where no leaf has a turn, so that the session is rejected for that; all lines where there is no leaf.
    silent = lines
    for leaf in reversed(lines):
        if leaf.uuid in parents or by_uuid[leaf.uuid] is not leaf:
            continue
        path, visited = [leaf], {leaf.uuid}
        while (parent := by_uuid.get(path[-1].parent)) and parent.uuid not in visited:
            visited.add(parent.uuid)
            path.append(parent)
        path.reverse()
        own = any(line.number not in seen and line.role == "assistant" for line in path)
        if own or (not seen and leaf.messages):
            yield _conversation(path, seen, replies)
            seen |= {line.number for line in path}
        elif any(line.messages for line in path):
            silent = path
    if not seen and any(line.messages for line in silent):
        yield _conversation(silent, seen, replies, linked=False)


def _conversation(
    path: list[Line], seen: set[int], replies: dict[str | None, Line], linked: bool = True
) -> Conversation:
    found = Conversation(path[0].number, path[0].sidechain)
    lost = f"the message before line {path[0].number} is not in the file" if linked and path[0].parent else ""
    for group in _lines_per_message(line for line in path if line.messages or line.broken):
        first = group[0]
        if first.broken and not lost:
            lost = f"a message before it could not be read (line {first.number})"
        if first.role == "assistant":
            place = len(found.messages)
            found.messages.append(merge_assistant([line.messages[0] for line in group]))
            if first.number in seen or first.synthetic:
                found.context.append(place)
            elif lost:
                found.faults.append(Fault(message=place, reason=RejectReason.INCOMPLETE, detail=lost))
            found.messages += _replies_off_path(found.messages[place], path, replies)
        else:
            found.messages += first.messages
    return found


def _lines_per_message(path: Iterable[Line]) -> Iterator[list[Line]]:
    """Lines of one assistant message together, all others alone."""
    group: list[Line] = []
    for line in path:
        if group and line.role == "assistant" and line.message_id and line.message_id == group[-1].message_id:
            group.append(line)
            continue
        if group:
            yield group
        group = [line]
    if group:
        yield group


def _replies_off_path(action: Message, path: Iterable[Line], replies: dict[str | None, Line]) -> list[Message]:
    """Replies to this action's calls that hang beside the path."""
    on_path = {line.number for line in path}
    lines = {line.number: line for call in action.tool_calls if (line := replies.get(call.id)) is not None}
    return [message for number, line in lines.items() if number not in on_path for message in line.messages]
