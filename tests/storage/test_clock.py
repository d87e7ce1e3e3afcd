"""A clock that jumps, back or ahead, breaks nothing, and nobody waits for it."""

from __future__ import annotations

import ast
import itertools
import random
import time
from pathlib import Path

import httpx2
import pytest
from chain import COMMANDS, but_times, contents, linked, output_of, run

import pivotrl_cli
from pivotrl_cli.endpoint import _asked_wait

PACKAGE = Path(pivotrl_cli.__file__).parent
WALL = {"time", "time_ns", "now", "utcnow", "today", "ctime", "localtime", "gmtime", "strftime", "getmtime", "st_mtime"}
SHOWN = {"storage/locks.py"}
"""Where the time of day is told to a person, and decides nothing."""


def test_no_decision_is_taken_by_the_time_of_day():
    """Seconds are differences of `time.monotonic`, and files are compared by content."""
    found = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and node.attr in WALL
        and not (isinstance(node.value, ast.Name) and node.value.id == "self")
    }
    assert found == SHOWN


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_clock_that_jumps_by_years_changes_no_byte(name, chain_inputs, tmp_path, monkeypatch):
    whole, folder = linked(chain_inputs, tmp_path / "whole"), linked(chain_inputs, tmp_path / "work")
    assert run(whole, *COMMANDS[name])[0] == 0
    rng, now = random.Random(name), time.time
    jumps = itertools.cycle([3e7, -6e7, -1e9, 2e9])
    monkeypatch.setattr(time, "time", lambda: max(0.0, now() + next(jumps) * rng.random()))
    assert run(folder, *COMMANDS[name])[0] == 0
    assert but_times(contents(folder / output_of(name))) == but_times(contents(whole / output_of(name)))
    if name != "desk":
        assert run(folder, *COMMANDS[name])[1].endswith("is up to date\n")


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("2", 2.0), ("1e9", 30.0), ("inf", 30.0), ("nan", None), ("-5", None), ("Wed, 21 Oct 2015 07:28:00 GMT", None)],
)
def test_a_server_that_asks_for_an_impossible_wait_is_not_followed(header, seconds):
    assert _asked_wait(httpx2.Response(429, headers={"retry-after": header})) == seconds
