"""10,000 damaged trajectories over all readers and 10,000 damaged completions over the parser and all verifiers.

Seeded, so that what fails once fails again; `test_readers_mutations.py` and `test_verifiers_properties.py` search by
hypothesis, which makes small cases of what it finds. A crash is named by its number and its text.
"""

from __future__ import annotations

import copy
import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from records import RECORDS, SESSION, assert_accounted, damaged, places
from verifiers_actions import BY_RULE, EVERY_TOOL, candidate, demonstrated

from pivotrl_cli.model.chat import UnparsableError, parse_hermes
from pivotrl_cli.readers.parsing import parse_json
from pivotrl_cli.rows import Message
from pivotrl_cli.verifiers import UnverifiableError, load_verifier

N_TRAJECTORIES = N_COMPLETIONS = 10_000

ODD: list[Any] = [None, True, -1, 10**400, 1.5, "", "\ud800", "9" * 5000, "{", "[]", '{"a": 1}', [], {}, [[]], [{}]]
PIECES = [
    b"",
    b"\x00",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b'"',
    b"\\",
    b"\\u",
    b"{",
    b"}",
    b"[" * 300,
    b"]",
    b",",
    b":",
    b"\n",
]
PIECES += [b"null", b"1e999", b"-", b"NaN", b"9" * 400, b"</think>", b"<think>", b"<tool_call>", b"</tool_call>"]


def structural(rng: random.Random, record: Any) -> bytes:
    """Up to four values replaced, dropped, or put elsewhere."""
    for _ in range(rng.randint(0, 4)):
        place = rng.choice(places(record))
        odd = rng.choice([*ODD, copy.deepcopy(value_at(record, rng.choice(places(record))))])
        record = damaged(record, place, odd, drop=rng.random() < 0.3)
    return json.dumps(record, indent=rng.choice([None, None, 1])).encode()


def value_at(record: Any, place: tuple[Any, ...]) -> Any:
    for key in place:
        record = record[key]
    return record


def textual(rng: random.Random, text: bytes) -> bytes:
    """Up to three bytes turned over, stretches cut out or doubled, and pieces put in."""
    data = bytearray(text)
    for _ in range(rng.randint(0, 3)):
        at = rng.randrange(len(data) + 1)
        end = min(len(data), at + rng.choice([0, 1, 8, 200]))
        match rng.randrange(4):
            case 0:
                data[at:end] = rng.choice(PIECES)
            case 1:
                data[at:at] = data[at:end]
            case 2:
                del data[at:end]
            case _ if at < len(data):
                data[at] ^= 1 << rng.randrange(8)
    return bytes(data)


def named(case: Callable[[], None], what: object) -> None:
    """Run one case, and name it where it raises."""
    try:
        case()
    except Exception as error:
        raise AssertionError(f"{what!r}: {type(error).__name__}: {error}") from error


@pytest.mark.slow
def test_ten_thousand_damaged_trajectories_are_read_or_refused(tmp_path: Path) -> None:
    rng, path = random.Random(0), tmp_path / "read" / "t.json"
    path.parent.mkdir()
    names = [(name, record) for name, records in RECORDS.items() for record in records]
    names += [("anthropic", SESSION)]
    for number in range(N_TRAJECTORIES):
        name, record = names[number % len(names)]
        if record is SESSION:
            text = b"\n".join(structural(rng, line) for line in copy.deepcopy(SESSION))
        else:
            text = structural(rng, copy.deepcopy(record))
        text = textual(rng, text) or b" "
        path.write_bytes(text)
        name = rng.choice([name, name, name, "auto"])
        named(lambda name=name: assert_accounted(path.parent, name), (number, name, text))


def completions() -> list[bytes]:
    """What a policy writes, by the demonstrations that verifiers know."""
    written = [b"", b"Which order?", b"<think>\nHm.\n</think>\n\nNone.", b'{"commands": [{"keystrokes": "ls\\n"}]}']
    for action in demonstrated():
        blocks = [
            f'<tool_call>\n{{"name": "{one.name}", "arguments": {one.arguments}}}\n</tool_call>'
            for one in action.tool_calls
        ]
        written.append("\n".join([action.content, *blocks]).encode())
        written.append(b"<think>so</think>" + "\n".join(blocks * 2).encode())
    return written


@pytest.mark.slow
def test_ten_thousand_damaged_completions_are_parsed_and_scored_or_refused() -> None:
    rng = random.Random(1)
    verifiers = {name: load_verifier(name) for name in BY_RULE}
    candidates = [candidate(action, EVERY_TOOL) for action in demonstrated()]
    found: Counter[str] = Counter()
    written = completions()

    def case(text: str) -> None:
        try:
            action = parse_hermes(text, reasoning_open=rng.random() < 0.1)
        except UnparsableError:
            found["unparsable"] += 1
            return
        Message.model_validate_json(action.model_dump_json())
        for name, verify in verifiers.items():
            try:
                verdict = verify(rng.choice(candidates), action)
            except UnverifiableError:
                found["unverifiable"] += 1
                continue
            assert 0.0 <= verdict.reward <= 1.0, name
            found["right" if verdict.reward == 1.0 else "wrong"] += 1

    for number in range(N_COMPLETIONS):
        text = textual(rng, rng.choice(written)).decode(errors="replace")
        named(lambda text=text: case(text), (number, text))
    assert all(found[kind] > 100 for kind in ("unparsable", "right", "wrong")), found


# ---- what they found ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("half", ["\\udc80", "\\uDFFF", "\\ud800", "\\ud800x\\udc00"])
def test_half_of_a_surrogate_pair_is_refused_whichever_half_it_is(half: str) -> None:
    with pytest.raises(ValueError, match="half of a surrogate pair in an escape"):
        parse_json(f'"{half}"'.encode())


def test_a_session_whose_last_line_says_nothing_is_still_accounted_for(tmp_path: Path) -> None:
    asked, empty = copy.deepcopy(SESSION[:2])
    path = tmp_path / "t.jsonl"
    path.write_text(f"{json.dumps(asked)}\n{json.dumps(empty | {'type': 'note'})}\n")
    assert_accounted(path, "anthropic")
