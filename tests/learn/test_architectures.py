"""The table of docs/models.md: two ways to compute the same agree on every architecture, or the tool refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

pytest.importorskip("peft", reason="the lora extra is not installed")

from peft.tuners.lora.layer import Linear

from perf.architectures import COLUMNS, KINDS, TOLERANCES, lora_gap, measure, tiny
from pivotrl_cli.errors import ConfigError
from pivotrl_cli.learn.lora import add_adapters

DOCS = Path(__file__).parents[2] / "docs" / "models.md"
QUICK = {"llama", "qwen3_moe"}
LLAMA_4 = "refused: --lora-targets all-linear: the adapted model fails: 'tuple' object has no attribute 'dtype'"
"""Its router is a linear layer that returns a pair."""


@pytest.mark.parametrize("kind", [k if k in QUICK else pytest.param(k, marks=pytest.mark.slow) for k in KINDS])
def test_each_cell_is_within_its_tolerance(kind):
    cells = dict(zip(COLUMNS, measure(kind, torch.float32), strict=True))
    said = {column: value for column, value in cells.items() if isinstance(value, str)}
    wrong = {column: value for column, value in cells.items() if column not in said and value > TOLERANCES[column]}
    assert wrong == {}
    expected = {"all-linear": LLAMA_4} if kind == "llama4_text" else {"attention": "none"} if kind == "mamba2" else {}
    assert said == expected | {column: value for column, value in said.items() if value == "padded rows"}


def test_the_docs_show_every_architecture():
    header, _, *rows = (
        DOCS.read_text().partition("\n## Architectures\n")[2].partition("\n| | ")[2].split("\n\n")[0].split("\n")
    )
    assert header.strip("| ").split(" | ") == list(COLUMNS)
    cells = {kind: values for kind, *values in (row.strip("| ").split(" | ") for row in rows)}
    assert list(cells) == list(KINDS)
    for values in cells.values():
        for column, value in zip(COLUMNS, values, strict=True):
            assert value in ("padded rows", "refused", "none") or float(value) <= TOLERANCES[column]


@pytest.mark.parametrize("target", ["lm_head", "embed_tokens"])
def test_adapters_on_tied_weights_are_refused(target):
    assert lora_gap("llama", torch.float32, target, tied=True) == (
        f"refused: --lora-targets {target}: lm_head.weight and model.embed_tokens.weight are one weight, "
        "of which one is adapted"
    )


def test_a_merge_that_is_not_the_adapted_layer_is_refused_before_training(monkeypatch):
    merge = Linear.get_delta_weight
    monkeypatch.setattr(Linear, "get_delta_weight", lambda *args: 2 * merge(*args))
    with pytest.raises(ConfigError, match=r"q_proj: \S+q_proj with its adapters merged differs by 0.\d"):
        add_adapters(tiny("llama"), rank=4, alpha=8.0, targets=["q_proj"], seed=0)


def test_targets_that_no_layer_has_are_answered_with_those_that_are_there():
    with pytest.raises(ConfigError) as caught:
        add_adapters(tiny("mpt"), rank=4, alpha=8.0, targets=["q_proj"], seed=0)
    assert caught.value.hint == "name others of Wqkv, down_proj, lm_head, out_proj, up_proj"
