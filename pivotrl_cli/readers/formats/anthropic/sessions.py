"""Claude Code sessions: from the lines of a file to the conversations that the model saw.

Lines point to the line before them (`parentUuid`), so a file is a forest. Each leaf ends one conversation, the last
leaf the main one; a message that two of them share is a turn only in the first and context in the others. Sidechains
are subagents, with conversations of their own. Lines of one `message.id` are blocks of one message, wherever they
stand, also beside the path, and the replies to its calls come directly behind it. Where no line points to another in
the file, the order of the lines counts.

Lines of other types (summaries, progress, the marks of a compaction) hold no message, but may link the chain. A turn
behind a message that could not be read or is not in the file is incomplete, and one that the harness wrote
(`<synthetic>`) is context.
"""

from __future__ import annotations

from collections import defaultdict
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
        line.message_id = (message["id"].text_or_none() or "") if kind == "assistant" else ""
        line.synthetic = message["model"].value == _SYNTHETIC
        line.messages = messages_of_blocks(message["role"], message["content"])
    except RecordError as error:
        line.broken = True
        return line, error
    return line, None


def conversations(lines: list[Line]) -> Iterator[Conversation]:
    """One per leaf that has a turn of its own, the last one first."""
    by_uuid = {line.uuid: line for line in sorted(lines, key=lambda line: bool(line.messages))}
    session = _Session([line for line in lines if by_uuid[line.uuid] is line])
    if not any(line.parent in by_uuid for line in lines):
        for sidechain in (False, True):
            path = [line for line in lines if line.sidechain is sidechain]
            if any(line.messages for line in path):
                yield session.conversation(path, set(), linked=False)
        return
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
            yield session.conversation(path, seen)
            seen |= {part.number for line in path for part in session.parts(line, path)}
        elif any(line.messages for line in path):
            silent = path
    if not seen and any(line.messages for line in silent):
        yield session.conversation(silent, seen, linked=False)


class _Session:
    """What belongs together in a file: the lines of a message, and the line that answers a call."""

    def __init__(self, lines: list[Line]) -> None:
        self._lines = defaultdict[tuple[bool, str], list[Line]](list)
        for line in lines:
            self._lines[line.sidechain, line.message_id].append(line)
        self._replies = {reply.tool_call_id: line for line in lines for reply in line.messages if reply.role == "tool"}

    def conversation(self, path: list[Line], seen: set[int], linked: bool = True) -> Conversation:
        found, done = Conversation(path[0].number, path[0].sidechain), set[int]()
        lost = f"the message before line {path[0].number} is not in the file" if linked and path[0].parent else ""
        for i, line in enumerate(path):
            if line.number in done or not (line.messages or line.broken):
                continue
            parts = self.parts(line, path)
            broken = next((part.number for part in parts if part.broken), 0)
            fault = lost or (f"a part of it could not be read (line {broken})" if broken else "")
            if broken and not lost:
                lost = f"a message before it could not be read (line {broken})"
            if line.role != "assistant" and not any(part.messages for part in parts if part.message_id):
                found.messages += line.messages
                continue
            place, action = len(found.messages), merge_assistant([one for part in parts for one in part.messages])
            found.messages.append(action)
            if line.number in seen or line.synthetic:
                found.context.append(place)
            elif fault:
                found.faults.append(Fault(message=place, reason=RejectReason.INCOMPLETE, detail=fault))
            answers = self._answers(action, path, i, done)
            found.messages += [message for answer in answers for message in answer.messages]
            done |= {one.number for one in (*parts, *answers)}
        return found

    def parts(self, line: Line, path: Iterable[Line]) -> list[Line]:
        """The lines of this line's message, in the order of the file; a copy beside the path does not count."""
        if not line.message_id:
            return [line]
        alike, on_path = self._lines[line.sidechain, line.message_id], {one.number for one in path}
        known = [one.messages for one in alike if one.number in on_path]
        return [one for one in alike if one.number in on_path or one.messages not in known]

    def _answers(self, action: Message, path: list[Line], first: int, done: set[int]) -> list[Line]:
        """Lines that answer this action's calls, in their order: on the path before the next action, or beside it."""
        found, on_path = list[Line](), {one.number for one in path}
        answers = {call.id: line for call in action.tool_calls if (line := self._replies.get(call.id))}
        answers = {key: line for key, line in answers.items() if line.number not in on_path}
        for line in path[first + 1 :]:
            if line.role == "assistant" and line.message_id != path[first].message_id:
                break
            if line.number not in done:
                answers |= {one.tool_call_id: line for one in line.messages if one.role == "tool"}
        for call in action.tool_calls:
            answer = answers.get(call.id)
            if answer and answer not in found:
                found.append(answer)
        return found
