"""Inspect: look at any table, finished or not.

    the whole of it      where it came from, the funnel, pass rates, columns      (overview.py)
    some of its rows     --row, --sample                                          (show.py)
    one trajectory       --trajectory, turn by turn in the pager                  (story.py)
    what to doubt        --disagreements                                          (disagreements.py)

`--where` narrows all of them but `--row` and `--trajectory`, which name what they show.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from pivotrl_cli.configs import InspectConfig
from pivotrl_cli.errors import ConfigError, InputError
from pivotrl_cli.rows import Row
from pivotrl_cli.stages.filter.columns import CALLED, with_tool
from pivotrl_cli.stages.filter.where import Where
from pivotrl_cli.stages.inspect.overview import overview, print_overview
from pivotrl_cli.stages.inspect.rows import print_row
from pivotrl_cli.stages.inspect.unfinished import opened
from pivotrl_cli.storage.provenance import table_name
from pivotrl_cli.storage.table import Table

if TYPE_CHECKING:
    from rich.console import Console

_MOST_ROWS = 10
"""Rows of one id that `--row` shows; a task has one for each trial."""


def run(config: InspectConfig) -> None:
    """Print what there is to know, on standard output."""
    from rich.console import Console

    _check(config)
    console = Console(highlight=False, markup=False, emoji=False)
    with opened(config.file, config.candidates) as found:
        if found.note and not config.json_summary:
            console.print(f"{config.file}: {found.note}", soft_wrap=True)
        _look(found.table, found.note, config, console)


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


def _look(table: Table[Row], note: str | None, config: InspectConfig, console: Console) -> None:
    if config.row is not None:
        _show(_named(table, config.row), config, console)
    elif config.trajectory is not None:
        _tell(table, config, console)
    elif config.sample is not None:
        _show(_sampled(table, config, config.sample), config, console)
    elif config.disagreements is not None:
        _doubt(table, config, config.disagreements, console)
    else:
        whole = overview(table, _mask(table, config.where), config.where) | ({"unfinished": note} if note else {})
        if config.json_summary:
            print(json.dumps(whole))
        else:
            print_overview(whole, console)


def _mask(table: Table[Row], text: str | None) -> pl.Series | None:
    """True where the condition is; None without one."""
    if text is None:
        return None
    where = Where.of(text, table)
    columns = [CALLED if name == "tool" and table.has("expected_action") else name for name in where.columns]
    frame = table.frame(columns or list(table.row.model_fields)[:1])
    decided = where.of_frame(with_tool(frame) if CALLED in columns else frame).fill_null(value=False)
    return decided if len(decided) == table.n_rows else pl.Series([bool(decided[0])] * table.n_rows)


def _show(rows: Sequence[Row], config: InspectConfig, console: Console) -> None:
    if config.json_summary:
        print(json.dumps({"rows": [row.model_dump(mode="json") for row in rows]}))
        return
    for i, row in enumerate(rows):
        if i:
            console.rule(characters="-")
        print_row(row, config.messages, console)


def _tell(table: Table[Row], config: InspectConfig, console: Console) -> None:
    from pivotrl_cli.stages.inspect.trajectory import pager, print_story, turns_of

    rows = turns_of(table, config.trajectory or "")
    if config.json_summary:
        _show(rows, config, console)
        return
    with pager(console):
        print_story(rows, config.messages, console)


def _doubt(table: Table[Row], config: InspectConfig, n: int, console: Console) -> None:
    from pivotrl_cli.stages.inspect.disagreements import print_worst, worst

    found = worst(table, n, _mask(table, config.where))
    if config.json_summary:
        print(json.dumps(found))
    else:
        print_worst(found, console)


def _sampled(table: Table[Row], config: InspectConfig, n: int) -> list[Row]:
    """Rows drawn at random, each equally likely, in the order of the table."""
    mask = _mask(table, config.where)
    places = range(table.n_rows) if mask is None else mask.arg_true().to_list()
    if not len(places):
        raise InputError(f"{table.name}: no row to sample", "loosen --where" if config.where else "it is empty")
    return [table.at(i) for i in sorted(random.Random(config.seed).sample(places, min(n, len(places))))]


_KEYS = ("candidate_id", "task_id", "step")


def _named(table: Table[Row], wanted: str) -> list[Row]:
    """The rows of an id, or of the only one that begins so; for metrics, of a step."""
    key = next((key for key in _KEYS if key in table.row.model_fields), None)
    if key is None:
        raise InputError(
            f"{table.name}: a {table_name(table.row)} table has no rows with ids", "use --where with --sample"
        )
    ids = table.frame([key])[key].cast(pl.String)
    matches = (ids == wanted).arg_true().to_list()
    if not matches:
        begin = ids.filter(ids.str.starts_with(wanted)).unique(maintain_order=True).to_list()
        if len(begin) != 1:
            near = begin[:3] or ids.head(3).to_list()
            raise InputError(
                f"{table.name}: no row with {key} {wanted!r}", f"there are, for example: {', '.join(near)}"
            )
        matches = (ids == begin[0]).arg_true().to_list()
    if len(matches) > _MOST_ROWS:
        raise InputError(
            f"{table.name}: {len(matches):,} rows have {key} {wanted!r}",
            f"""--where "{key} = '{wanted}'" --sample {_MOST_ROWS} shows some of them""",
        )
    return [table.at(i) for i in matches]
