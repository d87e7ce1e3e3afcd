"""README.md and docs/: commands parse, options, names and links exist, and figures are those of the code.

What is generated there is compared by `make check`, and the commands are run by test_transcripts.py.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path
from typing import get_args

import pytest
import typer
from chain import KILLS
from tables import read

import pivotrl_cli as pv
from perf.train_memory import Shape, activations, cache, optimizer
from perf.train_step import Case
from pivotrl_cli.configs import ExtractConfig, TrainConfig
from pivotrl_cli.interface.cli import app
from pivotrl_cli.interface.commands import COMMANDS
from pivotrl_cli.learn.advantage import ADVANTAGES
from pivotrl_cli.learn.loss import LOSSES
from pivotrl_cli.readers import READERS
from pivotrl_cli.rows import Candidate, Reject, RejectReason, StepMetrics
from pivotrl_cli.stages.extract import run as extract
from pivotrl_cli.storage.arrow import arrow_schema
from pivotrl_cli.storage.provenance import TABLES
from pivotrl_cli.verifiers import VERIFIERS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "results" / "README.md", *sorted(DOCS.rglob("*.md"))]
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
GROUP = typer.main.get_command(app)
PROGRAMS = {name: GROUP.get_command(GROUP.make_context("pivotrl", [name]), name) for name in COMMANDS}
FLAGS = {name: {flag for param in PROGRAMS[name].params for flag in param.opts} for name in COMMANDS}
OF_OTHERS = {"--version", "--help", "--gres", "--rounds", "--tolerance", "--log_samples", "--enforce-eager", "--lines"}
"""Flags on the pages that no command has."""


def text_of(name: str) -> str:
    return (DOCS / name).read_text()


# ---- commands and options -------------------------------------------------------------------------------------------


def commands_of(page: Path) -> list[list[str]]:
    """Words of every `pivotrl` command in the page's blocks of shell."""
    blocks = re.findall(r"```(?:console|bash|sh)\n(.*?)```", page.read_text(), re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    pieces = [piece for line in lines for piece in re.split(r" \| | && | > ", line)]
    words = [shlex.split(piece.removeprefix("$ "), comments=True) for piece in pieces if "pivotrl " in piece]
    return [line[1:] for line in words if line[:1] == ["pivotrl"] and line[1:2] and not line[1].startswith("-")]


@every_page
def test_printed_commands_parse(page: Path) -> None:
    for name, *arguments in commands_of(page):
        assert name in COMMANDS
        PROGRAMS[name].make_context(name, [word for word in arguments if word != "$@"])


@every_page
def test_options_in_the_text_exist(page: Path) -> None:
    """An option that is named alone is one of some command; after a command's name, it is one of that command."""
    known = set().union(OF_OTHERS, *FLAGS.values())
    for span in re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)):
        program, name, *words = [*span.split(), "", ""]
        if alone := re.match(r"--[a-z_-]+\w", span):
            assert alone[0] in known, span
        elif program == "pivotrl" and name in FLAGS:
            assert {word for word in words if word.startswith("--")} <= FLAGS[name], span


def test_every_command_has_a_page_and_a_line_in_the_index() -> None:
    assert {path.stem for path in (DOCS / "commands").glob("*.md")} - {"README"} == set(COMMANDS)
    assert sorted(re.findall(r"\| \[([\w-]+)\]\(\1\.md\)", text_of("commands/README.md"))) == sorted(COMMANDS)


# ---- links and names ------------------------------------------------------------------------------------------------


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([\w-]+))?\)", page.read_text()):
        file = (page.parent / target) if target else page
        assert file.exists(), target
        assert not anchor or anchor in headings(file), f"{target}#{anchor}"


@every_page
def test_programs_and_files_in_the_text_exist(page: Path) -> None:
    text = page.read_text()
    modules = re.findall(r"python -m ((?:benchmarks|perf|study|tools)[\w.]*)", text)
    found = [name for name in modules if not (ROOT / name.replace(".", "/")).with_suffix(".py").exists()]
    assert [name for name in found if not (ROOT / name / "__main__.py").exists()] == []
    files = re.findall(r"`((?:perf|tools|recipes|study|tests|docs|schemas|results)/[\w./-]*\w)`", text)
    assert [name for name in files if not (ROOT / name.replace("NAME", "openai")).exists()] == []


def headings(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def first_cells(text: str) -> list[str]:
    return re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)


def test_every_format_and_every_reason_has_a_row_and_no_other() -> None:
    _, _, reasons = text_of("formats.md").partition("| reason")
    formats = text_of("formats.md").removesuffix(reasons)
    assert sorted(first_cells(formats)) == sorted(READERS)
    assert sorted(first_cells(reasons)) == sorted(RejectReason)


def test_every_verifier_column_loss_and_method_is_explained() -> None:
    named = set(re.findall(r"`([^`]+)`", text_of("training.md")))
    assert set(StepMetrics.model_fields) | set(LOSSES) | set(ADVANTAGES) <= named
    assert set(get_args(TrainConfig.model_fields["method"].annotation)) <= named
    assert {name for name in VERIFIERS if f"`{name}`" not in text_of("verifiers.md")} == set()


def test_what_is_survived_names_tests_that_are_there() -> None:
    rows = [
        line.split("|") for line in text_of("survives.md").partition("\n## ")[0].splitlines()[3:] if line[:2] == "| "
    ]
    named = {name.strip("` ") for row in rows[1:] for name in row[3].split(",")}
    files = {path.stem.removeprefix("test_") for path in (ROOT / "tests").rglob("test_*.py")}
    assert named
    assert sorted(named - files) == []
    assert f"{sum(KILLS.values())} random moments" in text_of("survives.md")
    assert [name for name, n in KILLS.items() if f"`{name}` ({n})" not in text_of("survives.md")] == []


@pytest.mark.parametrize("model", [*TABLES.values(), *(command.config() for command in COMMANDS.values())])
def test_every_field_is_documented(model) -> None:
    assert [name for name, field in model.model_fields.items() if not field.description] == []


@pytest.mark.parametrize("row", TABLES.values())
def test_every_table_has_an_arrow_schema(row) -> None:
    assert arrow_schema(row).names == list(row.model_fields)


# ---- examples that are read -----------------------------------------------------------------------------------------


def test_the_record_of_the_tutorial_is_read(tmp_path: Path) -> None:
    (record,) = re.findall(r"```json\n(.*?)```", text_of("tutorial.md"), re.DOTALL)
    (tmp_path / "runs.jsonl").write_text(json.dumps(json.loads(record)) + "\n")
    candidates = pv.extract(tmp_path / "runs.jsonl")
    assert candidates["task_id"].to_list() == ["order-status-3"] * 2
    assert candidates["outcome"].to_list() == [1.0, 1.0]
    assert len(pv.left_out(candidates)) == 0


def test_the_printed_reader_reads_from_outside_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", text_of("formats.md"), re.DOTALL)
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


# ---- figures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_counted_bytes_are_what_the_memory_formulas_say(dtype: str) -> None:
    shape = Shape(3, 96, 320, 6, 3, 16, 4096)  # the page shows others
    found, predicted = activations(shape, dtype, Case([200, 300], 4, 16, []))
    assert predicted == pytest.approx(found, rel=0.03)
    found, predicted = optimizer(shape, dtype)
    assert predicted == pytest.approx(found, rel=0.001)
    found, predicted = cache(shape, dtype)
    assert predicted == found


def test_the_page_on_scaling_has_the_numbers_of_the_formulas() -> None:
    layers, hidden, inner, heads, keys, head, vocabulary = 28, 2048, 6144, 16, 8, 128, 151936
    parameters = 1.72e9
    per_position = layers * (16 * hidden + 8 * inner + 10 * head * (heads + keys)) + 6 * hidden
    page = text_of("scaling.md")
    assert f"{per_position / 1e6:.1f} MB" in page
    assert f"{20 * parameters / 1e9:.0f} GB" in page
    assert f"{2 * layers * keys * head * 2 / 1e3:.0f} kB" in page
    assert f"{4 * vocabulary / 1e6:.1f} MB" in page


def test_the_layout_in_the_readme_is_there() -> None:
    tree = (ROOT / "README.md").read_text().partition("## Layout")[2].split("```")[1]
    names = [(line.startswith("  "), name) for line in tree.splitlines() for name in re.findall(r"([a-z_]+)/", line)]
    folders = [ROOT / "pivotrl_cli" / name if inside else ROOT / name for inside, name in names]
    assert [folder for folder in folders if not folder.is_dir()] == []
    assert {f for f in (ROOT / "pivotrl_cli").iterdir() if (f / "__init__.py").exists()} <= set(folders)
