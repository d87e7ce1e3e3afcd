"""Which model a profile is of: difficulty does not transfer between models, so pivots of another one are refused."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from pivotrl_cli.errors import InputError
from pivotrl_cli.storage.table import Table


def check_profile(table: Table[Any], model: str, fingerprint: str, way_out: str) -> None:
    """Raise `InputError` where the table's pass rates are another model's; say so where that cannot be told."""
    if not table.has("reward_mean"):
        return
    found = set(profiled_models(table.provenance))
    foreign = sorted(other for other in found if other is not None and other != fingerprint)
    if foreign:
        raise InputError(
            f"{table.name}: profiled with model {_short(foreign[0])}, but {model} is {_short(fingerprint)}; "
            "what is hard for one model is not for another",
            f"profile again with --model {model}, or {way_out}",
        )
    if None in found:
        print(f"{table.name}: no record of the model that profiled it; it may not be {model}", file=sys.stderr)


def profiled_models(provenance: dict[str, Any] | None) -> Iterator[str | None]:
    """Fingerprints of the models whose rollouts a table's pass rates are from; None where there is no record."""
    if provenance is None:
        yield None
    elif provenance["command"] == "profile":
        yield provenance["fingerprints"].get("model")
    else:
        for source in provenance["inputs"]:
            yield from profiled_models(source.get("provenance"))


def _short(fingerprint: str) -> str:
    return fingerprint[:12]
