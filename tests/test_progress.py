from __future__ import annotations

import re

from pivotrl_cli.progress import Progress


def test_without_a_terminal_a_line_appears_every_so_often(capsys):
    with Progress("eval", 4, "episodes", log_seconds=0.0) as bar:
        bar.advance(0, "4 running")
        bar.advance(1, "3 running")
    first, second = capsys.readouterr().err.splitlines()
    assert first == "eval: 0/4 episodes, 0 episodes/s, 4 running"
    assert re.fullmatch(r"eval: 1/4 episodes, [\d.e+]+ episodes/s, 3 running, \d+ s left", second)


def test_between_two_lines_nothing_is_written(capsys):
    with Progress("eval", 4, "episodes") as bar:
        bar.advance(1)
    assert capsys.readouterr().err == ""
