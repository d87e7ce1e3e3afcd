"""docs/: its commands run, its tables are the program's, and its links lead somewhere."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import pivotrl_cli as pv
from pivotrl_cli.interface.commands import COMMANDS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
pages = import_module("tools.pages")


def test_every_command_has_a_page():
    found = {path.stem for path in (DOCS / "commands").glob("*.md")} - {"README"}
    assert found == set(COMMANDS)
    index = (DOCS / "commands" / "README.md").read_text()
    assert sorted(re.findall(r"\| \[([\w-]+)\]\(\1\.md\)", index)) == sorted(COMMANDS)


def test_tables_of_options_and_columns_are_what_the_code_says():
    files = [*map(str, sorted((DOCS / "commands").glob("*.md"))), "docs/numbers.md"]
    done = subprocess.run(
        [sys.executable, "-m", "cogapp", "--check", *files],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_row_of_the_table_says_all_of_an_option():
    lines = pages.options("train").splitlines()
    assert lines[:4] == ["| option | default | |", "|---|---|---|", "| **Arguments** | | |", lines[3]]
    assert "| `--kl-coef X` | `0.0` | Weight of KL(policy \\|\\| frozen policy); 0 makes no reference pass. |" in lines
    assert "| `--schedule constant\\|cosine` | `constant` |" in pages.options("train")
    assert "| `reward` | `float?` |" in pages.columns("rollouts")


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda path: str(path.relative_to(DOCS)))
def test_links_lead_somewhere(page):
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([\w-]+))?\)", page.read_text()):
        file = (page.parent / target) if target else page
        assert file.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in headings(file), f"{page.name}: {target}#{anchor}"


def headings(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_record_of_the_tutorial_is_read(tmp_path):
    (record,) = re.findall(r"```json\n(.*?)```", (DOCS / "tutorial.md").read_text(), re.DOTALL)
    (tmp_path / "runs.jsonl").write_text(json.dumps(json.loads(record)) + "\n")
    candidates = pv.extract(tmp_path / "runs.jsonl")
    assert candidates["task_id"].to_list() == ["order-status-3"] * 2
    assert candidates["outcome"].to_list() == [1.0, 1.0]
    assert len(pv.left_out(candidates)) == 0


def first_line(text: str) -> str:
    """The first line, whatever its numbers are; they differ between machines."""
    return re.sub(r"\s+", " ", re.sub(r"[\d.,]+", "N", text.lstrip().partition("\n")[0])).strip()


@pytest.mark.slow
def test_the_commands_of_the_pages_run_one_after_another(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in [*pages.PAGES, "tutorial"]:
        page = (DOCS / ("" if name == "tutorial" else "commands") / f"{name}.md").read_text()
        if name == "tutorial":
            (tmp_path / "tutorial").mkdir()
            monkeypatch.chdir(tmp_path / "tutorial")
        shown = pages.shown(page)
        assert shown
        for command, expected in shown:
            printed = pages.run(command)
            assert first_line(printed) == first_line(expected), command
