"""A damaged table or model folder is one line that names it, and exit code 2, whatever command it is given to."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
from chain import COMMANDS, linked, output_of, run

pytestmark = pytest.mark.slow

TABLES = {
    "profile": "c.parquet",
    "merge": "s1.parquet",
    "filter": "p.parquet",
    "score": "p.parquet",
    "train": "q.parquet",
    "eval": "q.parquet",
    "export": "pivots.parquet",
    "inspect": "p.parquet",
    "compare": "e.parquet",
}
"""A table that each command reads."""
READING = COMMANDS | {"inspect": ["inspect", "p.parquet"], "compare": ["compare", "e.parquet", "whole"]}


def cut(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def flipped(path: Path) -> None:
    """Bytes of the first pages turned over; the footer is whole."""
    data = bytearray(path.read_bytes())
    start = pq.ParquetFile(path).metadata.row_group(0).column(0).data_page_offset
    for i in range(4, max(start + 40, 400)):
        data[i] ^= 0xFF
    path.write_bytes(bytes(data))


def another_version(path: Path) -> None:
    table = pq.read_table(path)
    stored = json.loads(pq.read_metadata(path).metadata[b"pivotrl"]) | {"schema_version": 99}
    pq.write_table(table.replace_schema_metadata({b"pivotrl": json.dumps(stored)}), path)


def foreign(path: Path) -> None:
    pl.DataFrame({"a": [1]}).write_parquet(path)


DAMAGE = {
    "cut": cut,
    "flipped": flipped,
    "another version": another_version,
    "foreign": foreign,
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("not a table\n" * 50),
    "missing": lambda path: path.unlink(),
    "folder": lambda path: (path.unlink(), path.mkdir()),
}


def one_line(code: int, errors: str, *names: str) -> None:
    lines = [line for line in errors.splitlines() if line.startswith(("error: ", "hint: "))]
    assert (code, "Traceback" in errors) == (2, False), errors
    assert len(lines) == 2, errors
    assert any(name in lines[0] for name in names), errors
    assert len(lines[0]) < 300


def own(folder: Path, name: str) -> Path:
    """A copy in the place of a link."""
    path = folder / name
    target = path.resolve()
    path.unlink()
    return Path(shutil.copytree(target, path) if target.is_dir() else shutil.copy(target, path))


@pytest.fixture
def folder(chain_inputs, tmp_path) -> Path:
    return linked(chain_inputs, tmp_path / "work")


@pytest.mark.parametrize("name", TABLES)
def test_a_damaged_table_is_one_line(name, folder, chain_inputs):
    if name == "compare":
        assert run(folder, "import-eval", "samples.jsonl", "-o", "e.parquet")[0] == 0
        (folder / "e.parquet").rename(folder / "whole")
        (folder / "e.parquet").symlink_to(folder / "whole")
    target = (folder / TABLES[name]).resolve()
    for damage in DAMAGE.values():
        damage(own(folder, TABLES[name]))
        one_line(*run(folder, *READING[name]), TABLES[name])
        if "-o" in READING[name]:
            assert not (folder / output_of(name)).exists()
        path = folder / TABLES[name]
        if path.is_dir():
            path.rmdir()
        path.unlink(missing_ok=True)
        path.symlink_to(target)


def without(*patterns: str):
    def damage(model: Path) -> None:
        for pattern in patterns:
            for path in model.glob(pattern):
                path.unlink()

    return damage


def edited(name: str, **values: object):
    def damage(model: Path) -> None:
        config = json.loads((model / name).read_text())
        (model / name).write_text(json.dumps(config | values))

    return damage


def sharded(model: Path) -> None:
    """An index that names a shard that is not there."""
    (model / "model.safetensors").rename(model / "model-00001-of-00002.safetensors")
    index = {"metadata": {}, "weight_map": {"model.norm.weight": "model-00002-of-00002.safetensors"}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))


def pickled(model: Path) -> None:
    """Weights in the format that can run code."""
    (model / "model.safetensors").rename(model / "pytorch_model.bin")


OWN = {"AutoConfig": "m.C", "AutoModelForCausalLM": "m.M"}
BROKEN = {
    "no config": without("config.json"),
    "no tokenizer": without("tokenizer*", "chat_template*", "special_tokens*"),
    "no weights": without("*.safetensors"),
    "pickled weights": pickled,
    "missing shard": sharded,
    "cut weights": lambda model: cut(model / "model.safetensors"),
    "empty weights": lambda model: (model / "model.safetensors").write_bytes(b""),
    "config is no JSON": lambda model: (model / "config.json").write_text("{"),
    "config is a list": lambda model: (model / "config.json").write_text("[]"),
    "unknown architecture": edited("config.json", model_type="unheard"),
    "code of its own": edited("config.json", model_type="own", auto_map=OWN),
    "other shapes": edited("config.json", hidden_size=48),
    "unknown dtype": edited("config.json", dtype="float5", torch_dtype="float5"),
    "tokenizer is no JSON": lambda model: (model / "tokenizer.json").write_text("{"),
    "broken template": lambda model: (model / "chat_template.jinja").write_text("{% for %}"),
    "no template": without("chat_template*"),
}
ASKING = {
    "profile": "profile q.parquet --model tiny --engine hf --device cpu -n 1 --max-new-tokens 2 -o out.parquet",
    "train": " ".join(COMMANDS["train"]),
    "eval": " ".join(COMMANDS["eval"]),
}


@pytest.mark.parametrize("name", ASKING)
@pytest.mark.parametrize("damage", BROKEN)
def test_a_model_folder_with_missing_pieces_is_one_line(name, damage, folder):
    model = own(folder, "tiny")
    (model / "m.py").write_text("raise SystemExit('ran code of the model folder')")
    BROKEN[damage](model)
    one_line(*run(folder, *ASKING[name].split()), "tiny")
    assert not (folder / output_of(name)).exists()
