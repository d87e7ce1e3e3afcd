"""Every line of the table of what it survives names tests that are there."""

from __future__ import annotations

from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "survives.md"


def test_every_line_names_tests_that_are_there():
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    table = lines[1 : next(i for i, line in enumerate(lines) if line.startswith("| input"))]
    named = {name.strip("` ") for line in table for name in line.split("|")[3].split(",")}
    assert len(table) == 19
    assert sorted(named - {path.stem.removeprefix("test_") for path in TESTS.rglob("test_*.py")}) == []


def test_the_counts_of_kills_are_the_tests():
    from test_kill import COMMANDS

    counts = {name: n for name, (n, _) in COMMANDS.items()}
    said = ", ".join(f"`{name}` ({n})" for name, n in list(counts.items())[:-1]) + f" and `merge` ({counts['merge']})"
    assert f"SIGKILL at {sum(counts.values())} random moments of {said} |" in PAGE.read_text()
