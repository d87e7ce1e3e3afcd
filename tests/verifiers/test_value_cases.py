"""The recorded cases on values: each line of the replay beside the demonstration of its task."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from verifiers_actions import call, calls, score

CASES = Path(__file__).parents[3] / "shared/data/cases"


@pytest.mark.parametrize(
    ("name", "reward"),
    [("case18_prose_rule_on_values", 0.0), ("case19_whitespace_of_code", 0.0), ("case20_scripts_without_spaces", 1.0)],
)
def test_a_case_has_its_right_reward(name: str, reward: float) -> None:
    if not (CASES / f"{name}.jsonl").exists():
        pytest.skip("the cases are not in this checkout")
    lines = [
        [json.loads(line) for line in (CASES / f"{name}{end}").read_text("utf-8").splitlines()]
        for end in (".jsonl", ".replay.jsonl")
    ]
    found = []
    for task, replay in zip(*lines, strict=True):
        wanted = task["messages"][1]["tool_calls"][0]["function"]
        for text in replay["completions"]:
            given = json.loads(text.removeprefix("<tool_call>\n").removesuffix("\n</tool_call>"))
            pair = (call(wanted["name"], **json.loads(wanted["arguments"])), call(given["name"], **given["arguments"]))
            found.append(score("tool_call", calls(pair[0]), calls(pair[1])).reward)
    assert found == [reward] * len(found) != []
