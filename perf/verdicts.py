"""Verdicts: how often the default verifiers err on labelled pairs of actions, by kind of value.

    python -m perf.verdicts [--errors | --update]

The pairs are in `tests/data/verdicts`, one JSON object a line, written by hand: a demonstrated action, another one,
the tool's schema, and whether an engineer calls them equivalent. A false accept is reward 1 for a pair that is not,
a false reject less than 1 for one that is. `word overlap` is the rule that likeness over the whole stands for: the same
tools, and half of all words in common (Dice).
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pivotrl_cli.rows import Candidate, Message, ToolCall
from pivotrl_cli.verifiers import load_verifier

PAIRS = Path(__file__).parents[1] / "tests/data/verdicts"
LISTED = PAIRS / "errors.txt"
"""The pairs on which a default verifier errs; a test compares."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two actions and the label."""

    id: str
    """`<kind>-<number>`."""
    kind: str
    candidate: Candidate
    action: Message
    equivalent: bool
    reason: str


Accepts = Callable[[Pair], bool]


@dataclass(frozen=True, slots=True)
class Errors:
    """Ids of the pairs on which a rule errs."""

    accepts: list[str]
    rejects: list[str]


def read_pairs(folder: Path = PAIRS) -> list[Pair]:
    """All pairs, by file and line."""
    lines = [line for path in sorted(folder.glob("*.jsonl")) for line in path.read_text().splitlines()]
    return [_pair(json.loads(line)) for line in lines]


def _pair(record: dict[str, Any]) -> Pair:
    candidate = Candidate(
        candidate_id=record["id"], trajectory_id="t", task_id="", source="", turn=0, n_turns=1, domain="",
        verifier=record["verifier"], state=[Message(role="user", content="?")],
        tools=json.dumps([{"type": "function", "function": tool} for tool in record["tools"]]),
        expected_action=_message(record["expected"]), outcome=None, split="train", provenance="{}",
    )  # fmt: skip
    action = _message(record["action"])
    return Pair(record["id"], record["kind"], candidate, action, record["equivalent"], record["reason"])


def _message(record: dict[str, Any]) -> Message:
    """Arguments are an object, or the raw text where its notation is the point."""
    calls = [
        ToolCall(name=call["name"], arguments=raw if isinstance(raw := call["arguments"], str) else json.dumps(raw))
        for call in record.get("tool_calls", [])
    ]
    return Message(role="assistant", content=record.get("content", ""), tool_calls=calls)


# --- the rules


def default_accepts(pair: Pair) -> bool:
    return load_verifier(pair.candidate.verifier)(pair.candidate, pair.action).reward >= 1.0


def word_overlap_accepts(pair: Pair) -> bool:
    expected, action = pair.candidate.expected_action, pair.action
    if [call.name for call in expected.tool_calls] != [call.name for call in action.tool_calls]:
        return False
    wanted, given = _words(expected), _words(action)
    return 2 * (wanted & given).total() >= 0.5 * (wanted.total() + given.total())


def _words(message: Message) -> Counter[str]:
    values = [json.loads(call.arguments) for call in message.tool_calls]
    return Counter(f"{message.content} {_text(values)}".casefold().split())


def _text(value: Any) -> str:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return str(value) if items is None else " ".join(map(_text, items))


def errors(pairs: Iterable[Pair], accepts: Accepts) -> Errors:
    wrong = [pair for pair in pairs if accepts(pair) != pair.equivalent]
    return Errors([p.id for p in wrong if not p.equivalent], [p.id for p in wrong if p.equivalent])


# --- the table


def table(pairs: list[Pair]) -> str:
    """Markdown: a row per kind, false accepts of the wrong pairs and false rejects of the right ones by both rules."""
    found = [errors(pairs, rule) for rule in (default_accepts, word_overlap_accepts)]
    wrong, right = (Counter(p.kind for p in pairs if p.equivalent is label) for label in (False, True))
    lines = ["| kind | pairs | false accepts | false rejects | word overlap: false accepts | false rejects |"]
    lines.append("|---|---|---|---|---|---|")
    for kind in dict.fromkeys(pair.kind for pair in pairs):
        counts = [(_of_kind(one.accepts, kind), _of_kind(one.rejects, kind)) for one in found]
        lines.append(_row(kind, wrong[kind], right[kind], counts))
    totals = [(len(one.accepts), len(one.rejects)) for one in found]
    lines.append(_row("**all**", wrong.total(), right.total(), totals))
    return "\n".join(lines)


def _of_kind(ids: list[str], kind: str) -> int:
    return sum(one.rpartition("-")[0] == kind for one in ids)


def _row(kind: str, wrong: int, right: int, counts: list[tuple[int, int]]) -> str:
    cells = [f"{accepts} of {wrong} | {rejects} of {right}" for accepts, rejects in counts]
    return f"| {kind.replace('_', ' ')} | {wrong + right} | {' | '.join(cells)} |"


def listing(pairs: list[Pair]) -> str:
    """One line for each pair on which a default verifier errs, as in `errors.txt`."""
    found = errors(pairs, default_accepts)
    return "".join(f"{_headline(pair)}\n" for pair in pairs if pair.id in {*found.accepts, *found.rejects})


def _headline(pair: Pair) -> str:
    return f"{pair.id} false {'reject' if pair.equivalent else 'accept'}: {pair.reason}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--errors", action="store_true", help="print each error with what was compared")
    parser.add_argument("--update", action="store_true", help=f"list the errors in {LISTED.name}")
    options = parser.parse_args()
    pairs = read_pairs()
    if options.update:
        LISTED.write_text(listing(pairs))
    if options.errors:
        found = errors(pairs, default_accepts)
        for pair in pairs:
            if pair.id in {*found.accepts, *found.rejects}:
                _print_error(pair)
    print(table(pairs))


def _print_error(pair: Pair) -> None:
    verdict = load_verifier(pair.candidate.verifier)(pair.candidate, pair.action)
    print(f"{_headline(pair)} ({verdict.category} {verdict.detail})")
    for name, one in (("expected", pair.candidate.expected_action), ("action", pair.action)):
        print(f"  {name:8} {one.content!r} {[(call.name, call.arguments) for call in one.tool_calls]}")
    print()


if __name__ == "__main__":
    main()
