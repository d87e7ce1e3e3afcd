"""Inspect: look at any table, finished or not.

    overview         the whole of it: where it came from, the funnel, pass rates, columns
    rows             --row, --sample
    trajectory       --trajectory, turn by turn in the pager
    disagreements    --disagreements, the first places to look for a verifier's mistakes

`--where` narrows all of them but `--row` and `--trajectory`, which name what they show.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from pivotrl_cli.configs import InspectConfig
from pivotrl_cli.errors import ConfigError, InputError
from pivotrl_cli.rows import Row
from pivotrl_cli.stages.filter.columns import rows_where
from pivotrl_cli.stages.inspect.disagreements import find_disagreements, print_disagreements
from pivotrl_cli.stages.inspect.overview import overview, print_overview
from pivotrl_cli.stages.inspect.rows import id_with_prefix, print_row
from pivotrl_cli.stages.inspect.trajectory import pager, print_trajectory, turns_of
from pivotrl_cli.stages.inspect.unfinished import open_table
from pivotrl_cli.storage.provenance import table_name
from pivotrl_cli.storage.table import Table

if TYPE_CHECKING:
    from rich.console import Console

_MOST_ROWS = 10
"""Rows of one id that `--row` shows; a task has one for each trial."""
_KEYS = ("candidate_id", "task_id", "step")


def run(config: InspectConfig) -> None:
    """Print the view of the table on standard output."""
    from rich.console import Console

    _check(config)
    console = Console(highlight=False, markup=False, emoji=False)
    with open_table(config.file) as (table, note):
        if note and not config.json_summary:
            console.print(f"{config.file}: {note}", soft_wrap=True)
        _show(table, note, config, console)


def _check(config: InspectConfig) -> None:
    views = {
        "--row": config.row,
        "--sample": config.sample,
        "--trajectory": config.trajectory,
        "--disagreements": config.disagreements,
    }
    given = [name for name, value in views.items() if value is not None]
    if len(given) > 1:
        raise ConfigError(f"{' and '.join(given)} show different things", "give one of them")
    if config.where is not None and given and given[0] in ("--row", "--trajectory"):
        raise ConfigError(f"--where does nothing beside {given[0]}", "leave one of them out")


def _show(table: Table[Row], note: str | None, config: InspectConfig, console: Console) -> None:
    mask = None if config.where is None else rows_where(table, config.where)
    if config.row is not None:
        _show_rows(_rows_of_id(table, config.row), config, console)
    elif config.sample is not None:
        _show_rows(_sample(table, mask, config.sample, config.seed), config, console)
    elif config.trajectory is not None:
        turns = turns_of(table, config.trajectory)
        if config.json_summary:
            _show_rows(turns, config, console)
        else:
            with pager(console):
                print_trajectory(turns, config.messages, console)
    elif config.disagreements is not None:
        found = find_disagreements(table, config.disagreements, mask)
        _print_json(found.model_dump()) if config.json_summary else print_disagreements(found, console)
    else:
        whole = overview(table, mask, config.where, note)
        _print_json(whole.model_dump()) if config.json_summary else print_overview(whole, console)


def _print_json(value: dict[str, Any]) -> None:
    print(json.dumps(value))


def _show_rows(rows: Sequence[Row], config: InspectConfig, console: Console) -> None:
    if config.json_summary:
        _print_json({"rows": [row.model_dump(mode="json") for row in rows]})
        return
    for i, row in enumerate(rows):
        if i:
            console.rule(characters="-")
        print_row(row, config.messages, console)


def _sample(table: Table[Row], mask: pl.Series | None, n: int, seed: int) -> list[Row]:
    """Rows drawn at random, each equally likely, in the order of the table."""
    places = range(table.n_rows) if mask is None else mask.arg_true().to_list()
    if not len(places):
        raise InputError(f"{table.name}: no row to sample", "it is empty" if mask is None else "loosen --where")
    return [table.at(i) for i in sorted(random.Random(seed).sample(places, min(n, len(places))))]


def _rows_of_id(table: Table[Row], wanted: str) -> list[Row]:
    """The rows with an id, or with the only one that begins so; for metrics, of a step."""
    key = next((key for key in _KEYS if key in table.row.model_fields), None)
    if key is None:
        raise InputError(
            f"{table.name}: a {table_name(table.row)} table has no rows with ids", "use --where with --sample"
        )
    ids = table.frame([key])[key].cast(pl.String)
    matches = (ids == id_with_prefix(ids, wanted, f"{table.name}: no row with {key}")).arg_true().to_list()
    if len(matches) > _MOST_ROWS:
        raise InputError(
            f"{table.name}: {len(matches):,} rows have {key} {wanted!r}",
            f"""--where "{key} = '{wanted}'" --sample {_MOST_ROWS} shows some of them""",
        )
    return [table.at(i) for i in matches]
