"""Processor seconds that light commands take to start: the least of five runs each.

python -m perf.startup
"""

from __future__ import annotations

import resource
import subprocess
import sys

COMMANDS = (["--help"], ["--version"], ["filter", "--help"], ["train", "--help"])


def seconds(arguments: list[str]) -> float:
    """Of one run in a process of its own; processor time, because the clock depends on what else runs."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "pivotrl_cli", *arguments], capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print one line per command."""
    for arguments in COMMANDS:
        print(f"{' '.join(arguments):<16} {min(seconds(arguments) for _ in range(5)):.2f} s")


if __name__ == "__main__":
    main()
