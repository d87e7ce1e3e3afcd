"""The records of tests/data: what is in each, and that nothing of them is lost on the way to candidates."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from readings import read_file
from records import RECORDS

from pivotrl_cli.configs import ExtractConfig
from pivotrl_cli.readers.sources import find_sources
from pivotrl_cli.rows import Candidate, Reject, Trajectory
from pivotrl_cli.stages.extract.extraction import Extraction
from pivotrl_cli.stages.extract.turns import turns_of

COUNTS = {
    "anthropic": (2, 3, 2, 2, 0, 0),
    "atif": (3, 8, 3, 5, 2, 1),
    "hermes": (3, 6, 5, 7, 0, 0),
    "inspect": (3, 6, 3, 3, 3, 2),
    "mini_swe_agent": (3, 4, 0, 0, 0, 0),
    "nemo_gym": (4, 5, 3, 3, 1, 1),
    "openai": (2, 6, 3, 4, 0, 0),
    "openhands": (4, 7, 6, 6, 1, 1),
    "sharegpt": (3, 5, 2, 2, 0, 0),
    "swe_agent": (2, 4, 1, 1, 0, 0),
    "tau2_bench": (3, 8, 3, 3, 2, 2),
    "tau_bench": (2, 4, 2, 2, 2, 1),
    "toolbench": (2, 3, 3, 3, 2, 1),
}
"""Format -> trajectories, turns, turns with a call, calls, known outcomes, successes."""


@pytest.mark.parametrize("name", RECORDS)
def test_counts_of_every_format(name: str, tmp_path: Path) -> None:
    trajectories = []
    for record in RECORDS[name]:
        (tmp_path / "t.json").write_text(json.dumps(record))
        found, rows = read_file(tmp_path / "t.json")
        assert found == name
        trajectories += [row for row in rows if isinstance(row, Trajectory)]
    turns = [t.messages[i] for t in trajectories for _, i in turns_of(t)]
    assert COUNTS[name] == (
        len(trajectories),
        len(turns),
        sum(bool(turn.tool_calls) for turn in turns),
        sum(len(turn.tool_calls) for turn in turns),
        sum(t.outcome is not None for t in trajectories),
        sum(t.outcome is not None and t.outcome >= 1 for t in trajectories),
    )


def test_a_folder_of_all_formats_becomes_candidates_or_rejects(tmp_path: Path) -> None:
    for name, records in RECORDS.items():
        for number, record in enumerate(records):
            (tmp_path / f"{name}-{number}.json").write_text(json.dumps(record))
    extraction = Extraction.from_config(ExtractConfig(sources=[str(tmp_path)]))
    rows = list(extraction.rows(find_sources([str(tmp_path)])))
    candidates = [row for row in rows if isinstance(row, Candidate)]
    assert {row.source.partition("-")[0] for row in candidates} == set(RECORDS)
    assert {row.reason.value for row in rows if isinstance(row, Reject)} == {
        "empty_action",
        "undeclared_tool",
    }
    totals = extraction.counts.totals
    assert totals["n_in"] == totals["n_candidates"] + totals["n_rejects"] == len(rows)
