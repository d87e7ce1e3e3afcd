"""Small records of every format, from tests/data, and ways to damage them."""

from __future__ import annotations

import copy
import json
from collections import Counter
from pathlib import Path
from typing import Any

from pivotrl_cli.configs import ExtractConfig
from pivotrl_cli.readers.sources import find_sources
from pivotrl_cli.rows import Candidate, Reject
from pivotrl_cli.stages.extract.extraction import Extraction

FOLDER = Path(__file__).parents[1] / "data" / "records"


def lines_of(name: str) -> list[Any]:
    return [json.loads(line) for line in (FOLDER / f"{name}.jsonl").read_text().splitlines()]


SESSION = lines_of("claude_code_session")
"""The lines of one session, which are one record together."""
RECORDS: dict[str, list[Any]] = {path.stem: lines_of(path.stem) for path in sorted(FOLDER.glob("*.jsonl"))}
"""By the name of the format, which each line has by itself."""
del RECORDS["claude_code_session"]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [path, *(place for key in keys for place in places(value[key], (*path, key)))]


def damaged(record: Any, place: tuple[Any, ...], odd: Any, drop: bool) -> Any:
    """A copy with another value at a place, or without it."""
    whole = {"": copy.deepcopy(record)}
    at: Any = whole
    for key in ("", *place[:-1])[: len(place)]:
        at = at[key]
    last = place[-1] if place else ""
    if drop and place:
        del at[last]
    else:
        at[last] = odd
    return whole[""]


def assert_accounted(path: Path, name: str) -> None:
    config = ExtractConfig(sources=[str(path)], format=name, output=str(path.parent / "c.parquet"), dedup=True)
    extraction = Extraction.from_config(config)
    rows = list(extraction.rows(find_sources(config.sources)))
    totals, kinds = extraction.counts.totals, Counter(map(type, rows))
    assert (totals["n_candidates"], totals["n_rejects"]) == (kinds[Candidate], kinds[Reject])
    assert totals["n_in"] == totals["n_candidates"] + totals["n_rejects"] + totals["n_filtered"] > 0
    ids = [found.candidate_id for found in rows if isinstance(found, Candidate)]
    assert len(ids) == len(set(ids))
    for found in rows:
        found.model_dump_json()
