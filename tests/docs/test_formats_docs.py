"""What docs/formats.md says is there: every format, every reason, and a reader that works as it is printed."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from tables import read

from pivotrl_cli.configs import ExtractConfig
from pivotrl_cli.readers import READERS
from pivotrl_cli.rows import Candidate, Reject, RejectReason
from pivotrl_cli.stages.extract import run as extract

PAGE = (Path(__file__).parents[2] / "docs" / "formats.md").read_text()
FORMATS, _, REASONS, ADDING = re.split(r"^## .*\n", PAGE, flags=re.MULTILINE)


def first_cells(section: str) -> list[str]:
    return re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)


def test_every_format_has_a_row_and_no_other():
    assert sorted(first_cells(FORMATS)) == sorted(READERS)


def test_every_reason_has_a_row_and_no_other():
    assert sorted(first_cells(REASONS)) == sorted(RejectReason)


def test_rows_have_all_their_cells():
    rows = [line for line in PAGE.splitlines() if line.startswith("|")]
    assert {line.count(" | ") for line in rows if "---" not in line} == {5, 2}


def test_the_printed_reader_reads_from_outside_the_package(tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", ADDING, re.DOTALL)
    (tmp_path / "dialogs.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    dialog = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "Done."}]
    lines: list[object] = [{"dialog": dialog, "solved": True}, {"dialog": [*dialog, {"role": 7}]}]
    (tmp_path / "runs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    config = ExtractConfig(
        sources=[str(tmp_path / "runs.jsonl")], format="dialogs:DialogReader", output=str(tmp_path / "c.parquet")
    )
    extract.run(config)
    (row,) = read(tmp_path / "c.parquet", Candidate)
    (reject,) = read(tmp_path / "c.rejects.parquet", Reject)
    assert ([m.content for m in row.state], row.expected_action.content, row.outcome) == (["?"], "Done.", 1.0)
    assert (reject.line, reject.reason) == (2, RejectReason.BAD_RECORD)
    assert reject.detail == "dialog.2.role: expected text, got a number"
    assert sys.modules.pop("dialogs").__file__ == str(tmp_path / "dialogs.py")


@pytest.mark.parametrize("option", re.findall(r"`(--[a-z-]+)", PAGE))
def test_every_option_on_the_page_is_one(option):
    assert option.removeprefix("--").replace("-", "_") in ExtractConfig.model_fields
