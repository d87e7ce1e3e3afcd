"""Peak memory, processor time and wall time of a command, each run in its own process.

The command is the only child of a small process that does nothing else, because on Linux a process's peak begins with
that of the one that started it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass

_PROBE = """
import json, resource, subprocess, sys, time
start = time.perf_counter()
ended = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps({"code": ended.returncode, "errors": ended.stderr[-2000:], "mb": used.ru_maxrss / 1024,
                  "cpu": used.ru_utime + used.ru_stime, "seconds": time.perf_counter() - start}))
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one run."""

    mb: float
    """Peak resident memory."""
    cpu: float
    """Processor seconds, which do not count what else runs there."""
    seconds: float


def cost(*arguments: object) -> Cost:
    """Run `pivotrl` with these arguments; raises with what it printed where it fails."""
    return cost_of_python("-m", "pivotrl_cli", *arguments)


def cost_of_python(*arguments: object) -> Cost:
    """Run Python with these arguments; raises as `cost` does."""
    command = [sys.executable, *map(str, arguments)]
    out = subprocess.run([sys.executable, "-c", _PROBE, *command], check=True, capture_output=True, text=True).stdout
    found = json.loads(out)
    if found["code"]:
        raise RuntimeError(f"{' '.join(command)}: exit {found['code']}\n{found['errors']}")
    return Cost(found["mb"], found["cpu"], found["seconds"])
