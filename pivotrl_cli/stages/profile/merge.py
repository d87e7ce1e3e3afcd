"""Merge: the shards of a profile become the table that one run over all candidates would have written, to the byte.

A shard's row groups are windows of the whole run, and its provenance is that of the whole run with the shard added. So
the row groups one after another, recounted, are the whole table; the work is in checking that the
shards belong together and that none is missing. One row group is in memory at a time.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from pivotrl_cli.configs import MergeConfig, ProfileConfig
from pivotrl_cli.errors import InputError
from pivotrl_cli.rows import Profile, Rollout
from pivotrl_cli.stages.profile.statistics import ADDED
from pivotrl_cli.stages.profile.summary import ProfileSummary, Tally, describe
from pivotrl_cli.stages.profile.windows import parse_shard
from pivotrl_cli.storage.provenance import Input, Provenance, differences
from pivotrl_cli.storage.table import Table, cached_summary
from pivotrl_cli.storage.table_writer import TableWriter

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["describe", "run"]


def run(config: MergeConfig) -> ProfileSummary:
    """Merge shards into one profile."""
    with ExitStack() as stack:
        shards = _order_shards([stack.enter_context(Table.open(name, Profile)) for name in config.shards])
        provenance = _provenance(shards)
        cached = cached_summary(config.output, provenance, config.force, ProfileSummary)
        if cached is not None:
            return cached
        max_mean = provenance.config.get("adaptive_max_mean", ProfileConfig.model_fields["adaptive_max_mean"].default)
        tally, seen = Tally(max_mean), set[str]()
        with TableWriter(config.output, Profile, provenance) as out:
            for shard in shards:
                for group in shard.tables():
                    _refuse_repeated(shard, group, seen)
                    _count(tally, group)
                    out.write_table(group)
                    out.end_group()
            summary = tally.summary(shards[0].summary["left_out"])
            out.set_summary(summary.to_metadata())
    return summary


def _order_shards(tables: list[Table[Profile]]) -> list[Table[Profile]]:
    """By number of the shard; raises unless all of one run are there, each once."""
    by_number: dict[int, Table[Profile]] = {}
    for table in tables:
        number, count = parse_shard(_shard(table))
        _refuse_other_run(tables[0], table)
        if number in by_number:
            both = f"{by_number[number].name} and {table.name}"
            raise InputError(f"shard {number}/{count} is there twice: {both}", "name each shard once")
        by_number[number] = table
    missing = [f"{i}/{count}" for i in range(count) if i not in by_number]
    if missing:
        raise InputError(
            f"shards are missing: {', '.join(missing)}",
            f"make the first with: pivotrl profile ... --shard {missing[0]}",
        )
    return [by_number[i] for i in range(count)]


def _shard(table: Table[Profile]) -> str:
    shard = (table.provenance or {}).get("config", {}).get("shard")
    if shard is None:
        raise InputError(f"{table.name}: not a shard", "make shards with: pivotrl profile ... --shard I/N")
    return str(shard)


def _refuse_other_run(first: Table[Profile], table: Table[Profile]) -> None:
    """Raise unless both are shards of the same run."""
    a, b = ((one.provenance or {}) for one in (first, table))
    count_only = {"shard": _shard(table).partition("/")[2]}
    others = {"shard": _shard(first).partition("/")[2]}
    changed = differences(a | {"config": a["config"] | others}, b | {"config": b["config"] | count_only})
    if changed:
        raise InputError(
            f"{table.name} was made differently from {first.name}: {'; '.join(changed)}",
            "merge the shards of one run, all made with the same options",
        )


def _provenance(shards: list[Table[Profile]]) -> Provenance:
    """The provenance of the run without `--shard`; raises where another version of the program made the shards."""
    stored = shards[0].provenance or {}
    config = {key: value for key, value in stored["config"].items() if key != "shard"}
    inputs = [Input(one["name"], one["sha256"], one.get("provenance")) for one in stored["inputs"]]
    whole = Provenance(stored["table"], stored["command"], config, inputs, stored["fingerprints"])
    changed = differences(stored | {"config": config}, whole.to_dict())
    if changed:
        raise InputError(f"{shards[0].name} is of another version: {'; '.join(changed)}", "merge with that version")
    return whole


def _refuse_repeated(shard: Table[Profile], group: pa.Table, seen: set[str]) -> None:
    """Raise where a candidate is there twice; `seen` gets those of the row group."""
    for key in group["candidate_id"].to_pylist():
        if key in seen:
            raise InputError(f"{shard.name}: candidate {key} is in another shard too", "make that shard again")
        seen.add(key)


def _count(tally: Tally, group: pa.Table) -> None:
    for row in group.select(ADDED).to_pylist():
        tally.add(row | {"rollouts": [Rollout.model_validate(r) for r in row["rollouts"]]})
