from __future__ import annotations

import re

import pytest

from pivotrl_cli.progress import Progress, clock, short


def test_without_a_terminal_a_line_appears_every_so_often(capsys):
    with Progress("eval", 4, "episodes", log_seconds=0.0) as bar:
        bar.advance(0, "4 running")
        bar.advance(1, "3 running")
    first, second = capsys.readouterr().err.splitlines()
    assert first == "eval: 0/4 episodes, 0 episodes/s, 4 running"
    assert re.fullmatch(r"eval: 1/4 episodes, [\d.]+[kM]? episodes/s, 3 running, 0:\d\d left", second)


def test_between_two_lines_nothing_is_written(capsys):
    with Progress("eval", 4, "episodes") as bar:
        bar.advance(1)
    assert capsys.readouterr().err == ""


def test_what_was_done_before_says_nothing_of_the_rate(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("pivotrl_cli.progress.time.monotonic", lambda: now[0])
    with Progress("profile", 100, "rollouts", log_seconds=0.0) as bar:
        now[0] = 60.0
        bar.restart()
        bar.skip(40)
        now[0] = 70.0
        bar.advance(20)
    assert capsys.readouterr().err == "profile: 60/100 rollouts, 2 rollouts/s, 0:20 left\n"


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "0:00"), (95, "1:35"), (3599.7, "1:00:00"), (7265, "2:01:05")])
def test_remaining_time(seconds, text):
    assert clock(seconds) == text


@pytest.mark.parametrize(
    ("rate", "text"), [(0.0, "0"), (0.5217, "0.522"), (312.4, "312"), (999.9, "1k"), (5123.0, "5.12k"), (2e6, "2M")]
)
def test_rates_are_short(rate, text):
    assert short(rate) == text
