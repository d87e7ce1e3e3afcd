"""What the policy would have to write at a state for an action: cut out of what its template renders.

It begins where the prompt ends and ends with a token at which generation stops. Templates do not make this easy: the
prompt opens reasoning that a finished turn lacks, the end of a turn is written by the next message, or not at all, and
some begin the next turn whether asked or not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pivotrl_cli.text import common_prefix_length

Render = Callable[[list[dict[str, Any]], bool], str]


class NoTarget(ValueError):
    """The template rewrites history, so that the action cannot be cut out."""


@dataclass
class Turn:
    """An action at a state, and what the template writes about it."""

    render: Render
    state: list[dict[str, Any]]
    action: dict[str, Any]

    @cached_property
    def prompt(self) -> str:
        """The state, up to where the reply begins."""
        return self.render(self.state, True)

    @cached_property
    def bare(self) -> str:
        """The state without the opening of a reply."""
        return self.render(self.state, False)

    @cached_property
    def full(self) -> str:
        """The state and the action."""
        return self.render([*self.state, self.action], False)

    @cached_property
    def after(self) -> str:
        """What the template writes between the action and the next message, that message included."""
        calls = self.action.get("tool_calls") or []
        reply = [{"role": "tool", "content": "?", "name": one["function"]["name"], **_id(one)} for one in calls]
        try:
            text = self.render([*self.state, self.action, *(reply or [{"role": "user", "content": "?"}])], False)
        except ValueError:
            return ""
        done = self.full.rstrip()
        return text[len(done) :] if text.startswith(done) else ""


def _id(call: dict[str, Any]) -> dict[str, Any]:
    return {"tool_call_id": call["id"]} if "id" in call else {}


def body(turn: Turn, marks: Collection[str], reasoning: tuple[str, str] | None) -> str:
    """What the template writes from the end of the prompt on. `marks` are never cut in two; `reasoning` is closed
    where the prompt opened it."""
    begun, text = _divide(turn, marks, reasoning)
    return _close_reasoning(turn, begun, text, reasoning)


def end(
    turn: Turn,
    text: str,
    stops: Collection[str],
    endings: Collection[str] = (),
    rest: str = "",
    *,
    appends: bool = True,
) -> str:
    """The body up to the first stop behind the action, or behind an ending that is no token.

    `rest` is what stands behind the action's last call. `appends`: whether the template ends every render with
    something of its own, such as the opening of the next reply.
    """
    begin = len(text) - len(rest) if rest else _trailing(text, (*stops, *endings))
    if appends and not rest:
        begin = min(begin, len(text) - common_prefix_length([turn.bare[::-1], text[::-1]]))
    if found := _first(text, begin, stops):
        return text[:found]
    if found := _first(text, begin, endings):
        return text[:found] + next(iter(stops), "")
    after = turn.after
    ending = next((one for one in stops if after.lstrip().startswith(one)), None)
    if ending is not None:  # the next message writes the end of this one
        return text.rstrip() + after[: after.index(ending) + len(ending)]
    return text.rstrip() + next(iter(stops), "")


def _trailing(text: str, stops: Collection[str]) -> int:
    """Where the stops begin that a text ends with."""
    done = text.rstrip()
    while ending := next((one for one in stops if done.endswith(one)), None):
        done = done[: -len(ending)].rstrip()
    return len(done)


def _divide(turn: Turn, marks: Collection[str], reasoning: tuple[str, str] | None) -> tuple[str, str]:
    """What the prompt has begun of a reply that the full text lacks, and the action's text."""
    prompt, full = turn.prompt, turn.full
    if full.startswith(prompt):
        return "", full[len(prompt) :]
    cut = _whole_marks(common_prefix_length([prompt, full]), (prompt, full), marks)
    begun, text = prompt[cut:], full[cut:]
    state = prompt[: common_prefix_length([prompt, turn.bare])].rstrip()
    if cut < len(state) and not _is_reasoning(begun, reasoning):  # the template rewrites the history
        opening = prompt[len(state) :].lstrip() or prompt[-8:]
        begin = full.rfind(opening.rstrip())
        if begin < 0:
            raise NoTarget("the template rewrites history when it renders the action")
        return "", full[begin + len(opening.rstrip()) :].removeprefix(opening[len(opening.rstrip()) :])
    same = re.match(r"\s*" + r"\s*".join(map(re.escape, begun.split())), text) if begun.strip() else None
    if same is not None:  # they differ in white space
        return "", text[same.end() :]
    return begun, text


def _is_reasoning(begun: str, reasoning: tuple[str, str] | None) -> bool:
    text = begun
    for mark in reasoning or ():
        text = text.replace(mark.strip(), "", 1)
    return reasoning is not None and not text.strip()


def _whole_marks(cut: int, texts: Iterable[str], marks: Collection[str]) -> int:
    """The cut, or the beginning of the mark that it would divide."""
    for text in texts:
        for mark in marks:
            begin = text.find(mark, max(0, cut - len(mark) + 1), cut + len(mark) - 1)
            if 0 <= begin < cut < begin + len(mark):
                cut = begin
    return cut


def _close_reasoning(turn: Turn, begun: str, text: str, reasoning: tuple[str, str] | None) -> str:
    if reasoning is None:
        return text
    opening, closing = (mark.strip() for mark in reasoning)
    lead = turn.prompt[-400:].rstrip()
    if lead.endswith(opening):
        if closing in text:  # the template closes what the prompt opened
            return text.lstrip().removeprefix(opening) if begun else text
        space = "\n" if turn.prompt.endswith("\n") else ""
        thoughts = turn.action.get("reasoning_content") or turn.action.get("reasoning") or ""
        return f"{thoughts}{space}{closing}{space * 2}{text.lstrip()}"
    if closing in begun:  # the prompt holds an empty block; the action's own would be a second one
        block = re.match(rf"\s*(?:{re.escape(opening)})?\s*{re.escape(closing)}\s*", text)
        return text[block.end() :] if block else text
    return text


def _first(text: str, begin: int, stops: Collection[str]) -> int:
    """Where the first stop at or after `begin` ends; 0 where there is none."""
    places = [(place, -len(one)) for one in stops if (place := text.find(one, begin)) >= 0]
    return min(places)[0] - min(places)[1] if places else 0
