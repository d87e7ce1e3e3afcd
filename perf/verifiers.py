"""Verifiers: verdicts per second per core on string-heavy actions, beside the plain difflib way in the same run.

    python perf/verifiers.py [--pairs 480] [--seconds 2]

Actions are shell commands of some hundred characters, edits and file contents of some hundred to some thousand, cut
from the standard library's sources; 16 actions for each demonstration. A fifth of them equal it, three fifths change
one word in twenty, a fifth are others. The baseline is the rule as it is usually written: parse both sides, compare
names, `difflib.SequenceMatcher(None, expected, actual).ratio() >= threshold` for each text, on the first 2,000
characters for `swe_compat`, as its rule says. It checks less than the verifiers do, so rewards differ (`same`).
"""

from __future__ import annotations

import argparse
import difflib
import json
import random
import time
from collections.abc import Callable
from pathlib import Path

from pivotrl_cli.rows import Candidate, Message, ToolCall
from pivotrl_cli.verifiers import load_verifier

Pair = tuple[Candidate, Message]
TOOLS = json.dumps([{"name": name, "parameters": {"type": "object"}} for name in ("bash", "exec_command", "write")])
GROUP = 16
PROGRAMS = ["grep -rn", "python -m pytest", "sed -n", "cat", "find", "git diff", "awk"]


def source_lines() -> list[str]:
    """Lines of real code."""
    folder = Path(difflib.__file__).parent
    return [
        line for name in ("argparse", "ast", "inspect") for line in (folder / f"{name}.py").read_text().splitlines()
    ]


def changed(rng: random.Random, text: str, others: list[str]) -> str:
    """The text with some of its words replaced, by one in twenty."""
    words = text.split(" ")
    return " ".join(rng.choice(others) if rng.random() < 0.05 else word for word in words)


def command(rng: random.Random, lines: list[str]) -> str:
    """A pipeline with paths and quoted code."""
    parts = [
        f"{rng.choice(PROGRAMS)} {rng.choice(lines).strip()!r} src/{rng.randrange(99)}/part_{rng.randrange(9)}.py"
        for _ in range(rng.randint(2, 16))
    ]
    return "cd /workspace/repo && " + " | ".join(parts)


def block(rng: random.Random, lines: list[str], most: int = 60) -> str:
    """Some lines in a row."""
    start, size = rng.randrange(len(lines) - most), rng.randint(8, most)
    return "\n".join(lines[start : start + size])


def arguments(kind: str, rng: random.Random, lines: list[str]) -> dict[str, str]:
    """Of one call."""
    match kind:
        case "command":
            return {"command": command(rng, lines)}
        case "edit":
            old = block(rng, lines, 40)
            return {"command": "str_replace", "path": "src/a.py", "old_str": old, "new_str": changed(rng, old, lines)}
    return {"path": "src/a.py", "content": block(rng, lines, 120)}


TOOL_NAMES = {"command": "bash", "edit": "str_replace_editor", "content": "write_file"}


def pairs(kind: str, n: int, seed: int = 0) -> list[Pair]:
    """Demonstrations with a group of actions each."""
    rng, lines = random.Random(seed), source_lines()
    vocabulary = " ".join(lines).split()
    found: list[Pair] = []
    for i in range(n):
        if i % GROUP == 0:
            want = arguments(kind, rng, lines)
            demonstration = candidate(message(kind, want))
        got = action(kind, i % 5, want, rng, lines, vocabulary)
        found.append((demonstration, message(kind, got)))
    return found


def action(
    kind: str, which: int, want: dict[str, str], rng: random.Random, lines: list[str], vocabulary: list[str]
) -> dict[str, str]:
    """One in five the same, one in five another, the rest with changed texts."""
    if which == 4:
        return arguments(kind, rng, lines)
    fixed = {"path", "command"} if kind == "edit" else {"path"}
    return {k: v if which == 0 or k in fixed else changed(rng, v, vocabulary) for k, v in want.items()}


def message(kind: str, values: dict[str, str]) -> Message:
    """An action of one call."""
    return Message(role="assistant", tool_calls=[ToolCall(name=TOOL_NAMES[kind], arguments=json.dumps(values))])


def candidate(expected: Message) -> Candidate:
    """A demonstration with nothing around it."""
    return Candidate(
        candidate_id="t-0", trajectory_id="t", task_id="", source="", turn=0, n_turns=1, domain="", verifier="swe",
        state=[], tools=TOOLS, expected_action=expected, outcome=None, split="train", provenance="{}",
    )  # fmt: skip


def plain(threshold: float, most: int | None) -> Callable[[Candidate, Message], float]:
    """The usual implementation: every text by difflib's ratio, all of which have to reach the threshold."""

    def reward(candidate: Candidate, action: Message) -> float:
        want, got = candidate.expected_action.tool_calls[0], action.tool_calls[0]
        if want.name != got.name:
            return 0.0
        wanted, given = json.loads(want.arguments), json.loads(got.arguments)
        keys = [key for key in ("old_str", "new_str", "content") if key in wanted] or ["command"]
        ratios = [difflib.SequenceMatcher(None, given[key][:most], wanted[key][:most]).ratio() for key in keys]
        return float(min(ratios) >= threshold)

    return reward


def per_second(score: Callable[[Candidate, Message], object], found: list[Pair], seconds: float) -> float:
    """Verdicts per second of processor time, warm."""
    for pair in found[:10]:
        score(*pair)
    done, start = 0, time.process_time()
    while time.process_time() - start < seconds:
        for pair in found:
            score(*pair)
        done += len(found)
    return done / (time.process_time() - start)


CASES = {
    "swe": (0.8, None, ("command", "edit", "content")),
    "terminal": (0.9, None, ("command",)),
    "swe_compat": (0.8, 2_000, ("command", "edit", "content")),
}


def main() -> None:
    """Print one line per verifier and kind of action."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=480)
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    print(f"{'verifier':12} {'action':9} {'characters':>10} {'verdicts/s':>11} {'difflib/s':>10} {'times':>6}  same")
    for name, (threshold, most, kinds) in CASES.items():
        for kind in kinds:
            report(name, kind, plain(threshold, most), pairs(kind, options.pairs), options.seconds)


def report(
    name: str, kind: str, baseline: Callable[[Candidate, Message], float], found: list[Pair], seconds: float
) -> None:
    """One line; `same` is the share of equal rewards."""
    verify = load_verifier(name)
    same = sum(verify(*pair).reward == baseline(*pair) for pair in found) / len(found)
    size = sum(len(action.tool_calls[0].arguments) for _, action in found) // len(found)
    fast, slow = per_second(verify, found, seconds), per_second(baseline, found, seconds)
    print(f"{name:12} {kind:9} {size:10,} {fast:11,.0f} {slow:10,.0f} {fast / slow:6.1f}  {same:.0%}")


if __name__ == "__main__":
    main()
