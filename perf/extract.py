"""Extract: turns per second, output size and peak memory beside a naive converter, on the same input in one run.

    python -m perf.extract [--turns 8000] [--large-mb 300] [--data FOLDER]

The naive converter does what reference converters do: one JSON row per assistant turn that repeats the whole prefix,
written to JSONL, and no check of anything. `pivotrl extract` parses strictly, derives ids from content, and runs each
turn's verifier on its own demonstration. Both run in this process, each the best of three, with the `tool_call`
verifier. Memory is the peak of `extract` in a process of its own, on one large file of large records.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from perf.storage import extract_peak_mb, trajectory, write_jsonl
from pivotrl_cli.configs import ExtractConfig
from pivotrl_cli.stages.extract import run as extract

_RECORD_WORDS = 35_000
"""Words of a reply in the large file: some 190 kB, so that five turns make a record of about 1 MB."""
_REAL = (
    "tau_bench/gpt-4o-airline.json",
    "tau2_bench/results/ft-gpt-4.1_airline.json",
    "tau2_bench/openai_sft/train_sft-v1-small.jsonl",
)


def records_of(path: Path) -> Iterator[dict[str, Any]]:
    """Records with `messages` and `tools` from OpenAI JSONL, tau-bench lists or tau2-bench results."""
    if path.suffix == ".jsonl":
        with path.open() as lines:
            yield from map(json.loads, lines)
        return
    whole = json.loads(path.read_text())
    for record in whole["simulations"] if isinstance(whole, dict) else whole:
        yield {"messages": record.get("messages") or record.get("traj"), "tools": record.get("tools") or []}


def naive(source: Path, output: Path) -> None:
    """One full-prefix row per assistant turn."""
    with output.open("w") as out:
        for record in records_of(source):
            messages = record["messages"]
            for i, message in enumerate(messages):
                if message["role"] == "assistant":
                    row = {"input": messages[:i], "tools": record["tools"], "expected_action": message}
                    out.write(json.dumps(row) + "\n")


def best_seconds(work: Callable[[], object]) -> float:
    """The fastest of three."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def compare(name: str, source: Path, folder: Path) -> None:
    """Print both converters on one file."""
    rows, table = folder / "naive.jsonl", folder / "candidates.parquet"
    naive_seconds = best_seconds(lambda: naive(source, rows))
    keys = {"sources": [str(source)], "output": str(table), "verifier": "tool_call", "force": True}
    config = ExtractConfig.model_validate(keys)
    seconds = best_seconds(lambda: extract.run(config))
    turns = extract.run(config).n_in
    size, naive_size, raw = (path.stat().st_size / 1e6 for path in (table, rows, source))
    print(f"{name}: {turns:,} turns, {raw:.1f} MB")
    print(f"  naive JSONL   {turns / naive_seconds:9,.0f} turns/s   {naive_size:9.2f} MB")
    print(f"  extract       {turns / seconds:9,.0f} turns/s   {size:9.2f} MB")
    print(f"  extract is {naive_seconds / seconds:.2f} x as fast, its file {naive_size / size:,.0f} x smaller")


def memory(folder: Path, megabytes: int) -> None:
    """Print the peak on files of that size, by the size of their records, over the peak on one small record."""
    small = folder / "small.jsonl"
    write_jsonl(small, [trajectory(random.Random(0), 5)])
    constant = extract_peak_mb(small, folder / "m.parquet")
    print(f"memory: one small record {constant:.0f} MB")
    found = []
    for scale in (1, 8):
        lines = [json.dumps(trajectory(random.Random(i), 5, _RECORD_WORDS * scale)) + "\n" for i in range(4)]
        large = folder / "large.jsonl"
        with large.open("w") as file:
            while file.tell() < megabytes * 1e6:
                named = f'{{"id": "{file.tell()}", '
                file.writelines(line.replace("{", named, 1) for line in lines)
        longest, size = max(map(len, lines)) / 1e6, large.stat().st_size / 1e6
        found.append((longest, extract_peak_mb(large, folder / "m.parquet") - constant))
        print(f"  {size:,.0f} MB of records of {longest:.1f} MB: {found[-1][1]:+.0f} MB")
    (short, less), (long, more) = found
    print(f"  so {(more - less) / (long - short):.1f} MB for each further MB of the longest record")


def main() -> None:
    """Print all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=8_000, help="of each synthetic file")
    parser.add_argument("--large-mb", type=int, default=300, help="size of the file for the memory; 0 leaves it out")
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for turns in (20, 100):
            source = folder / f"t{turns}.jsonl"
            write_jsonl(source, [trajectory(random.Random(i), turns) for i in range(options.turns // turns)])
            compare(f"trajectories of {turns} turns", source, folder)
        for relative in _REAL:
            if (options.data / relative).is_file():
                compare(relative, Path(shutil.copy(options.data / relative, folder)), folder)
        if options.large_mb:
            memory(folder, options.large_mb)


if __name__ == "__main__":
    main()
