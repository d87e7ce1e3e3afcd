"""Storage: size of candidates on disk and in memory, compared with the raw trajectories they come from.

    python perf/storage.py [--trajectories 50] [--turns 100]

Disk: the candidates file against two baselines in the same run: a zstd Parquet of the raw trajectories (one row per
message), and the naive candidates file with every state written out as JSON text. Memory: peak RSS of `extract`, each
run in a process of its own, over that of a run on short trajectories, in units of one trajectory's JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import polars as pl

TOOLS = [{"type": "function", "function": {"name": "search", "parameters": {"type": "object", "properties": {}}}}]


def trajectory(rng: random.Random, turns: int, reply_words: int = 60) -> dict[str, Any]:
    """One recorded run: a call and a tool reply per turn, words drawn so that nothing compresses to nothing."""

    def words(n: int) -> str:
        return " ".join(f"{rng.randrange(16**6):06x}"[: rng.randint(2, 6)] for _ in range(n))

    messages = [{"role": "system", "content": words(200)}, {"role": "user", "content": words(40)}]
    for i in range(turns):
        arguments = json.dumps({"query": words(6), "page": rng.randrange(9)})
        call = {"id": f"c{i}", "type": "function", "function": {"name": "search", "arguments": arguments}}
        messages.append({"role": "assistant", "content": "", "tool_calls": [call]})  # type: ignore[dict-item]
        messages.append({"role": "tool", "tool_call_id": f"c{i}", "content": words(reply_words)})
    return {"messages": messages, "tools": TOOLS}


def write_jsonl(path: Path, records: list[dict[str, Any]]) -> None:
    """Records as JSONL."""
    path.write_text("".join(json.dumps(r) + "\n" for r in records))


def raw_parquet(path: Path, records: list[dict[str, Any]]) -> None:
    """The raw trajectories, one message per row, as polars' zstd Parquet."""
    rows = [
        {
            "trajectory": t,
            "role": m["role"],
            "content": m["content"],
            "call": json.dumps(m["tool_calls"]) if m.get("tool_calls") else None,
            "tool_call_id": m.get("tool_call_id"),
        }
        for t, record in enumerate(records)
        for m in record["messages"]
    ]
    pl.DataFrame(rows).write_parquet(path, compression="zstd")


def naive_parquet(path: Path, records: list[dict[str, Any]]) -> None:
    """One row per assistant turn with its whole state as JSON text."""
    rows = [
        {"state": json.dumps(r["messages"][:i]), "action": json.dumps(m)}
        for r in records
        for i, m in enumerate(r["messages"])
        if m["role"] == "assistant"
    ]
    pl.DataFrame(rows).write_parquet(path, compression="zstd")


def extract_peak_mb(source: Path, output: Path) -> float:
    """Peak RSS of `pivotrl extract` in a fresh process."""
    command = [sys.executable, "-m", "pivotrl_cli", "extract", str(source), "-o", str(output), "--force"]
    probe = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stderr=subprocess.DEVNULL); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)"
    )
    out = subprocess.run([sys.executable, "-c", probe, *command], check=True, capture_output=True, text=True).stdout
    return float(out)


def disk(folder: Path, n: int, turns: int) -> None:
    """Print the sizes of one input in its four forms."""
    records = [trajectory(random.Random(i), turns) for i in range(n)]
    source, candidates = folder / "t.jsonl", folder / "candidates.parquet"
    write_jsonl(source, records)
    raw_parquet(folder / "raw.parquet", records)
    naive_parquet(folder / "naive.parquet", records)
    extract_peak_mb(source, candidates)
    raw = (folder / "raw.parquet").stat().st_size
    print(f"disk: {n} trajectories of {turns} assistant turns, {source.stat().st_size / 1e6:.1f} MB of JSONL")
    for name in ("raw", "candidates", "naive"):
        size = (folder / f"{name}.parquet").stat().st_size
        print(f"  {name:<11}{size / 1e6:8.2f} MB   {size / raw:6.2f} x raw")


def memory(folder: Path, turns: int) -> None:
    """Print how extract's peak grows with the size of one trajectory and with their number."""

    def peak(name: str, n: int, reply_words: int) -> tuple[float, float]:
        write_jsonl(folder / name, [trajectory(random.Random(i), turns, reply_words) for i in range(n)])
        return extract_peak_mb(folder / name, folder / "m.parquet"), (folder / name).stat().st_size / n / 1e6

    print(f"memory: peak of extract on trajectories of {turns} assistant turns")
    constant, _ = peak("small.jsonl", 400, 60)
    print(f"  400 short ones: {constant:.0f} MB, the constant")
    for n, words in ((1, 20_000), (1, 40_000), (6, 40_000)):
        top, size = peak("big.jsonl", n, words)
        print(f"  {n} of {size:.1f} MB each: {top - constant:+.0f} MB, {(top - constant) / size:.1f} x one trajectory")


def main() -> None:
    """Print both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trajectories", type=int, default=50)
    parser.add_argument("--turns", type=int, default=100)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        disk(Path(folder), options.trajectories, options.turns)
        memory(Path(folder), options.turns)


if __name__ == "__main__":
    main()
