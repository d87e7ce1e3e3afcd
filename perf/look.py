"""Inspect and report: CPU seconds and peak memory on a large profile.

    python -m perf.look [--rows 1000000] [--rollouts 8] [--folder FOLDER]

The profile is that of `perf.filter`; each command runs in a process of its own, start-up included. The report is
of the profile and 20,000 pivots.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from perf.filter import measure, write_profile


def main() -> None:
    """Make the profile unless the folder has it, and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rollouts", type=int, default=8)
    parser.add_argument("--folder", type=Path, help="keep the profile here, and use the one that is there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        profile = folder / "profile.parquet"
        if not profile.exists():
            write_profile(profile, options.rows, options.rollouts)
        look = ["-m", "pivotrl_cli", "inspect", str(profile)]
        measure("overview", *look)
        measure("overview --where turn=1", *look, "--where", "turn=1")
        measure("--sample 3", *look, "--sample", "3")
        measure("--disagreements 5", *look, "--disagreements", "5")
        select = ["-m", "pivotrl_cli", "filter", str(profile), "-o", str(folder / "pivots.parquet"), "--limit", "20000"]
        subprocess.run([sys.executable, *select], check=True, stderr=subprocess.DEVNULL)
        measure("report", "-m", "pivotrl_cli", "report", str(folder), "-o", str(folder / "report.html"))


if __name__ == "__main__":
    main()
