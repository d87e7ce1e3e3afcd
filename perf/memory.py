"""Memory: the peak of each command as its input grows, in a process of its own.

    python -m perf.memory                                  20 and 100 MB of trajectories
    python -m perf.memory --gb 0.1 --gb 10
    python -m perf.memory --candidates 2000 --candidates 100000 -n 16

extract, profile with the replay engine, and filter, on synthetic trajectories of ten calls: with replies of 50 kB for
a size in GB, of 200 bytes for a number of candidates. The last column is the peak over that of the smallest size.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from perf.peak import Cost, cost

TURNS = 10
LARGE_REPLY, SMALL_REPLY = 50_000, 200
"""Characters of a tool's reply."""
CALL = '<tool_call>\n{"name": "search", "arguments": {"page": %d}}\n</tool_call>'
RIGHT = 7
TOOL = {"name": "search", "parameters": {"type": "object", "properties": {"page": {"type": "integer"}}}}
_POOL = 8 << 20
"""Characters of the text that replies are cut from, so that making gigabytes takes minutes."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much is made."""

    name: str
    trajectories: int
    reply: int


def of_gb(gb: float) -> Size:
    """Trajectories with large replies, so many gigabytes."""
    return Size(f"{gb:g} GB", max(1, round(gb * 1e9 / (TURNS * LARGE_REPLY))), LARGE_REPLY)


def of_candidates(n: int) -> Size:
    """Trajectories with small replies, so many turns."""
    return Size(f"{n:,} candidates", max(1, n // TURNS), SMALL_REPLY)


def write_trajectories(path: Path, size: Size) -> None:
    """JSONL; no two replies are alike."""
    rng = random.Random(0)
    pool = " ".join(f"{rng.randrange(16**6):06x}"[: rng.randint(2, 6)] for _ in range(_POOL // 5))
    with path.open("w") as file:
        for number in range(size.trajectories):
            file.write(json.dumps(_trajectory(rng, pool, number, size.reply)) + "\n")


def _trajectory(rng: random.Random, pool: str, number: int, reply: int) -> dict[str, Any]:
    messages: list[dict[str, Any]] = [{"role": "user", "content": f"Case {number}."}]
    for i in range(TURNS):
        call = {"name": "search", "arguments": json.dumps({"page": RIGHT})}
        messages.append({"role": "assistant", "content": "", "tool_calls": [{"id": f"c{i}", "function": call}]})
        start = rng.randrange(len(pool) - reply)
        messages.append({"role": "tool", "tool_call_id": f"c{i}", "content": pool[start : start + reply]})
    return {"id": str(number), "messages": messages, "tools": [{"type": "function", "function": TOOL}]}


def write_script(candidates: Path, path: Path, n: int) -> int:
    """A replay script for the engine with `n` completions each, right with a rate of its own; returns the number."""
    rng = random.Random(0)
    keys = 0
    with path.open("w") as file:
        for key in _ids(candidates):
            rate = rng.random()
            pages = [RIGHT if rng.random() < rate else rng.randrange(RIGHT) for _ in range(n)]
            file.write(json.dumps({"candidate_id": key, "completions": [CALL % page for page in pages]}) + "\n")
            keys += 1
    return keys


def _ids(candidates: Path) -> Iterator[str]:
    for batch in pq.ParquetFile(candidates).iter_batches(columns=["candidate_id"]):
        yield from batch.column(0).to_pylist()


def measure(folder: Path, size: Size, n: int) -> dict[str, Cost]:
    """The cost of each command at this size."""
    source, script = folder / "t.jsonl", folder / "replay.jsonl"
    candidates, profile, pivots = (folder / f"{name}.parquet" for name in ("candidates", "profile", "pivots"))
    write_trajectories(source, size)
    print(f"{size.name}: {source.stat().st_size / 1e9:.3f} GB of JSONL", flush=True)
    found = {"extract": cost("extract", source, "-o", candidates, "--force")}
    source.unlink()
    keys = write_script(candidates, script, n)
    replay = ("--engine", "replay", "--replay", script, "-n", n)
    found["profile"] = cost("profile", candidates, "-o", profile, *replay, "--force")
    found["filter"] = cost("filter", profile, "-o", pivots, "--dropped", folder / "dropped.parquet", "--force")
    for name, one in found.items():
        print(
            f"  {name:<8}{one.mb:8,.0f} MB {one.seconds:9,.1f} s {keys / one.seconds:10,.0f} candidates/s", flush=True
        )
    return found


def main() -> None:
    """Print the peaks at every size, and how they grow."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gb", type=float, action="append", default=[], help="a size; repeat it")
    parser.add_argument("--candidates", type=int, action="append", default=[], help="another kind of size; repeat it")
    parser.add_argument("-n", type=int, default=4, help="rollouts at each candidate")
    parser.add_argument("--folder", type=Path, help="where the files go, such as a disk with room")
    options = parser.parse_args()
    sizes = [*map(of_gb, options.gb), *map(of_candidates, options.candidates)] or [of_gb(0.02), of_gb(0.1)]
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        found = {size.name: measure(Path(folder), size, options.n) for size in sizes}
    smallest = found[sizes[0].name]
    print(f"{'':<22}" + "".join(f"{name:>22}" for name in smallest))
    for name, costs in found.items():
        cells = (f"{one.mb:,.0f} MB {one.mb / smallest[stage].mb:.2f} x" for stage, one in costs.items())
        print(f"{name:<22}" + "".join(f"{cell:>22}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
