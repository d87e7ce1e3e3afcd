"""Soak: many candidates through the whole chain with the replay engine; time, peak memory and counts of each command.

    python -m perf.soak                            2,000 candidates
    python -m perf.soak --candidates 200000

extract, profile in four shards, merge, score with another verifier, filter, export, inspect, then a few SFT steps of
the shipped policy on the pivots and its evaluation on some of them. What one command wrote is what the next one reads,
and the counts are checked against each other on the way.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import pyarrow.parquet as pq

from perf.memory import of_candidates, write_script, write_trajectories
from perf.peak import cost

SHARDS = 4
TRAINING = ("--method", "sft", "--steps", 4, "--prompts-per-step", 4, "--device", "cpu")
SCORING = ("--split", "test", "--limit", 8, "--max-new-tokens", 32, "--device", "cpu", "--max-error-rate", 1)


def rows(path: Path) -> int:
    """Rows of a table."""
    return int(pq.ParquetFile(path).metadata.num_rows)


class Chain:
    """The commands in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __getitem__(self, name: str) -> Path:
        return self.folder / name

    def run(self, *words: object, rows_of: str | None = None) -> None:
        """Run a command and print what it cost."""
        found = cost(*words)
        n = f"{rows(self[rows_of]):11,} rows" if rows_of else ""
        print(f"{words[0]:<8}{found.mb:9,.0f} MB{found.seconds:10,.1f} s{n}", flush=True)

    def prepare(self, n: int) -> None:
        """From trajectories to a whole profile."""
        write_trajectories(self["t.jsonl"], of_candidates(n))
        self.run("extract", self["t.jsonl"], "-o", self["c.parquet"], "--holdout", 0.1, rows_of="c.parquet")
        keys = write_script(self["c.parquet"], self["replay.jsonl"], 4)
        replay = (
            "--engine",
            "replay",
            "--replay",
            self["replay.jsonl"],
            "-n",
            4,
            "--split",
            "all",
            "--window",
            min(512, max(16, n // 32)),
        )
        shards = [self[f"s{i}.parquet"] for i in range(SHARDS)]
        for i, shard in enumerate(shards):
            part = ("--shard", f"{i}/{SHARDS}", "-o", shard)
            self.run("profile", self["c.parquet"], *replay, *part, rows_of=shard.name)
        self.run("merge", *shards, "-o", self["p.parquet"], rows_of="p.parquet")
        assert rows(self["p.parquet"]) == sum(map(rows, shards)) == keys

    def use(self) -> None:
        """From the profile to a model and its scores."""
        scored = ("--verifier", "tool_name", "-o", self["scored.parquet"])
        self.run("score", self["p.parquet"], *scored, rows_of="scored.parquet")
        kept = ("-o", self["pivots.parquet"], "--dropped", self["dropped.parquet"])
        self.run("filter", self["p.parquet"], *kept, rows_of="pivots.parquet")
        assert rows(self["pivots.parquet"]) + rows(self["dropped.parquet"]) == rows(self["p.parquet"])
        self.run("export", self["pivots.parquet"], "--to", "openai", "-o", self["openai"])
        self.run("inspect", self["p.parquet"])
        self.run("train", self["pivots.parquet"], "--model", "desk", *TRAINING, "-o", self["model"])
        items = f"pivots:{self['p.parquet']}"
        self.run("eval", items, "--model", self["model"], *SCORING, "-o", self["e.parquet"], rows_of="e.parquet")


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=2_000)
    parser.add_argument("--folder", type=Path, help="where the files go, such as a disk with room")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        chain = Chain(Path(folder))
        chain.prepare(options.candidates)
        chain.use()


if __name__ == "__main__":
    main()
