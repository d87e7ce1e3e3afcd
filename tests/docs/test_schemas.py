from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pivotrl_cli.interface.commands import COMMANDS
from pivotrl_cli.storage.arrow import arrow_schema
from pivotrl_cli.storage.provenance import TABLES

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
import schemas


def test_schemas_are_what_the_models_say():
    assert schemas.stale() == []


@pytest.mark.parametrize("model", [*TABLES.values(), *(command.config() for command in COMMANDS.values())])
def test_every_field_is_documented_and_has_a_type(model):
    undocumented = [name for name, field in model.model_fields.items() if not field.description]
    assert undocumented == []


@pytest.mark.parametrize("row", TABLES.values())
def test_every_row_model_has_an_arrow_schema(row):
    assert arrow_schema(row).names == list(row.model_fields)
