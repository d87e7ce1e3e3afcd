"""Foreign data is never run, unpacked without limit or trusted with a secret; and what we build on may be used."""

from __future__ import annotations

import ast
import re
import tracemalloc
import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import polars as pl
import pytest
from chain import COMMANDS, linked, output_of, run
from faulty_server import faulty_server
from packaging.requirements import Requirement

import pivotrl_cli

pytestmark = pytest.mark.slow

PACKAGE = Path(pivotrl_cli.__file__).parent
OWN_PICKLES = {
    "stages/profile/ray_executor.py": "rows of ours on their way to workers of the same run and back",
    "environments/tau.py": "copies of a world's database that this process made",
    "environments/tau_world.py": "the same",
}
PICKLES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
RUNS_CODE = {"eval", "exec", "compile", "__import__"}
LOADS_CODE = {("torch", "load"), ("os", "system"), ("os", "popen"), ("yaml", "load"), ("yaml", "unsafe_load")}


def sources() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path.relative_to(PACKAGE).as_posix(), ast.parse(path.read_text())


def calls() -> Iterator[tuple[str, ast.Call]]:
    for name, tree in sources():
        yield from ((name, node) for node in ast.walk(tree) if isinstance(node, ast.Call))


def test_only_what_this_program_wrote_itself_is_unpickled():
    found = {
        name
        for name, tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for module in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [one.name for one in node.names])
        if module.partition(".")[0] in PICKLES
    }
    assert found == OWN_PICKLES.keys()


def test_nothing_runs_text_as_code():
    for name, call in calls():
        match call.func:
            case ast.Name(id=function):
                assert function not in RUNS_CODE, f"{name}:{call.lineno}"
            case ast.Attribute(value=ast.Name(id=module), attr=function):
                assert (module, function) not in LOADS_CODE, f"{name}:{call.lineno}"
        given = {keyword.arg: keyword.value for keyword in call.keywords}
        for option in ("shell", "allow_pickle", "trust_remote_code"):
            value = given.get(option)
            assert value is None or (isinstance(value, ast.Constant) and value.value is False), f"{name}:{call.lineno}"


def test_models_are_loaded_from_safetensors_alone():
    found = []
    for name, call in calls():
        match call.func:
            case ast.Attribute(value=ast.Name(id=kind), attr="from_pretrained") if "Model" in kind:
                found.append((name, {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}))
    assert [name for name, _ in found] == ["model/folder.py"]
    assert found[0][1]["use_safetensors"] == "True"


# ---- archives -----------------------------------------------------------------------------------------------------


def packed(path: Path, members: dict[str, bytes]) -> bytes:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return path.read_bytes()


def test_an_archive_in_an_archive_is_not_unpacked(tmp_path):
    inner = packed(tmp_path / "inner.zip", {"samples/1_epoch_1.json": b" " * (60 << 20)})
    packed(tmp_path / "t.eval", {"header.json": b"{}", "samples/1_epoch_1.json": inner})
    code, errors = run(tmp_path, "extract", "t.eval", "--format", "inspect", "-o", "c.parquet")
    assert code == 2
    assert errors.startswith(
        "error: no candidate: 1 of 1 turns and records are bad_json, first t.eval line 1: not UTF-8"
    )


def test_a_bomb_is_refused_by_what_it_declares_whatever_command_unpacks_it(tmp_path):
    member = b" " * (64 << 20)
    members = {f"samples/{i}_epoch_1.json": member for i in range(2)}
    packed(tmp_path / "t.eval", {"header.json": b"{}"} | members)
    tracemalloc.start()
    code, errors = run(tmp_path, "extract", "t.eval", "--format", "inspect", "-o", "c.parquet")
    assert code == 2
    assert "are too_large, first t.eval: the archive declares 134,217,730 bytes, more than 200 times its own" in errors
    code, errors = run(tmp_path, "import-eval", "t.eval", "-o", "e.parquet")
    assert (code, "Traceback" in errors) == (2, False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32 << 20


# ---- secrets ------------------------------------------------------------------------------------------------------

SECRETS = {
    "OPENAI_API_KEY": "sk-proj-0Zq1secret",
    "MY_KEY": "sk-ant-9Xw2secret",
    "HF_TOKEN": "hf_8Yv3secret",
    "WANDB_API_KEY": "4b5c6d7e8f9secret",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMIsecret",
}


def leaking(path: str, body: dict[str, object]) -> tuple[int, dict[str, object]]:
    """A server that refuses with the key in its words."""
    return 500, {"error": {"message": f"no luck with Bearer {SECRETS['MY_KEY']}"}}


def test_no_output_of_any_command_has_a_secret_in_it(chain_inputs, tmp_path, monkeypatch):
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    folder = linked(chain_inputs, tmp_path / "work")
    said = []
    for name, arguments in COMMANDS.items():
        code, errors = run(folder, *arguments)
        assert code == 0, errors
        said.append(errors)
        output = folder / output_of(name)
        output.rename(folder / f"{name}{output.suffix}")
    with faulty_server(leaking, lambda _: None) as (address, seen):
        url = address.replace("://", f"://user:{SECRETS['AWS_SECRET_ACCESS_KEY']}@")
        server = ["--endpoint", f"{url}/v1", "--endpoint-key-variable", "MY_KEY", "--endpoint-retries", "0"]
        asked = ["profile", "c.parquet", "--engine", "endpoint", "--model", "m", *server, "-n", "1", "-o", "e.parquet"]
        code, errors = run(folder, *asked, "--max-error-rate", "1", "--max-retries", "0")
        assert code in (1, 2), errors
        said.append(errors)
    assert seen
    written = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    assert len(written) > len(COMMANDS)
    for secret in SECRETS.values():
        assert [path.name for path in written if secret.encode() in plain(path)] == []
        assert [text for text in said if secret in text] == []


def plain(path: Path) -> bytes:
    """A file's bytes, and for a table the text of its columns, which are compressed in the file."""
    data = path.read_bytes()
    if path.suffix == ".parquet":
        data += pl.read_parquet(path).write_json().encode()
    return data


# ---- what we build on ---------------------------------------------------------------------------------------------

ALLOWED = re.compile(
    r"MIT|BSD|Apache|ISC|Python Software Foundation|PSF|MPL|Mozilla|Unlicense|Public Domain|Zlib|HPND|CC0|0BSD", re.I
)
"""Licences under which a program like this may be used and handed on; none asks for the source of what links it."""
REFUSED = re.compile(
    r"\bAGPL|Affero|\bGPL-?[23]|GNU General Public|Commons Clause|Business Source|non-?commercial", re.I
)
KNOWN = {
    "nvidia": "NVIDIA's own terms: part of the CUDA build of torch, and not handed on by us",
}


def required(name: str, seen: dict[str, Distribution]) -> None:
    """A distribution and all that it asks for, as far as it is installed here."""
    key = re.sub(r"[-_.]+", "-", name).lower()
    if key in seen:
        return
    try:
        seen[key] = distribution(name)
    except PackageNotFoundError:
        return
    for text in seen[key].requires or []:
        one = Requirement(text)
        wanted = ("lora", "ray", "tensorboard") if key == "pivotrl" else ("",)
        if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in wanted):
            required(one.name, seen)


def licence(found: Distribution) -> str:
    """By the expression, the classifiers, or the first words of the field."""
    fields = found.metadata
    named = [one.rpartition(" :: ")[2] for one in fields.get_all("Classifier", []) if one.startswith("License ::")]
    return " ".join([fields.get("License-Expression") or "", *named, (fields.get("License") or "")[:200]]).strip()


def test_every_dependency_has_a_licence_that_allows_this():
    seen: dict[str, Distribution] = {}
    required("pivotrl", seen)
    assert {"torch", "transformers", "polars", "pyarrow", "pydantic"} <= seen.keys()
    found = {name: licence(one) for name, one in seen.items() if not name.startswith(tuple(KNOWN))}
    odd = {n: text for n, text in found.items() if not ALLOWED.search(text) or REFUSED.search(text)}
    assert odd == {}


def test_every_dependency_has_a_lower_bound():
    asked = [Requirement(text) for text in distribution("pivotrl").requires or []]
    assert [one.name for one in asked if not one.specifier] == []
