"""Write `schemas/`: the JSON Schema of every table row and every command's config; `--check` only compares."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from pydantic import BaseModel

from pivotrl_cli.interface.commands import COMMANDS
from pivotrl_cli.storage.provenance import TABLES

FOLDER = Path(__file__).parents[1] / "schemas"


def schemas() -> dict[str, str]:
    """File names and their contents."""
    models: dict[str, type[BaseModel]] = {f"{name}.row.json": model for name, model in TABLES.items()}
    models |= {f"{name}.config.json": command.config() for name, command in COMMANDS.items()}
    return {name: json.dumps(model.model_json_schema(), indent=2) + "\n" for name, model in sorted(models.items())}


def stale() -> list[str]:
    """Names of files that differ from the models or belong to none."""
    expected = schemas()
    present = {path.name: path.read_text() for path in FOLDER.glob("*.json")}
    return sorted(name for name in expected.keys() | present.keys() if expected.get(name) != present.get(name))


def main() -> None:
    """Write the files, or with `--check` fail if one of them is stale."""
    if "--check" in sys.argv[1:]:
        if found := stale():
            sys.exit(f"stale schemas: {', '.join(found)}; run: make fix")
        return
    FOLDER.mkdir(exist_ok=True)
    for name in stale():
        (FOLDER / name).unlink(missing_ok=True)
    for name, text in schemas().items():
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    main()
