"""The stages as functions over polars frames: what the command line does, from a notebook.

    candidates = pv.extract("runs/*.jsonl")
    pivots = pv.filter(pv.profile(candidates, n=8), max_mean=0.9)

A table goes in as a frame or as the path of a file. Without `output`, a stage returns a frame. With `output`, it writes
the table to that file as the command would and returns the path: for tables that do not fit into memory, and for long
runs, which resume when the same call is made again.

Options are the fields of the command's config, as a config object, as keywords, or as both (keywords win):
`pv.filter(profile, FilterConfig(max_mean=0.9), seed=1)`. `--max-mean` of the command line is `max_mean`.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import polars as pl
from pydantic import ValidationError

from pivotrl_cli.configs import (
    CompareConfig,
    Config,
    DeskConfig,
    EvalConfig,
    ExportConfig,
    ExtractConfig,
    FilterConfig,
    ImportConfig,
    MergeConfig,
    ProfileConfig,
    ScoreConfig,
    TrainConfig,
)
from pivotrl_cli.configs.base import option_extras
from pivotrl_cli.errors import ConfigError, InputError, naming_extras
from pivotrl_cli.interface import frames
from pivotrl_cli.interface.commands import COMMANDS
from pivotrl_cli.interface.frames import as_file, read_frame, scratch_folder
from pivotrl_cli.storage.folders import read_note
from pivotrl_cli.storage.provenance import Provenance, table_name
from pivotrl_cli.storage.table import Table, table_kind

if TYPE_CHECKING:
    from pivotrl_cli.stages.compare.paired import BenchmarkScores, CompareSummary

__all__ = [
    "agreement",
    "audit",
    "compare",
    "desk",
    "evaluate",
    "export",
    "extract",
    "filter",
    "import_eval",
    "left_out",
    "lineage",
    "merge",
    "profile",
    "read",
    "score",
    "summary",
    "train",
    "write",
]

AnyPath = str | Path
AnyTable = str | Path | pl.DataFrame
FrameOrPath = pl.DataFrame | Path


# ---- tables -----------------------------------------------------------------------------------------------------


def read(path: AnyPath) -> pl.DataFrame:
    """Read any table. A stage that gets the frame unchanged uses the file itself, provenance included."""
    return read_frame(Path(path))


def write(frame: pl.DataFrame, path: AnyPath, *, derived_from: AnyTable | None = None) -> Path:
    """Write a frame and return the path.

    An unchanged frame is written byte for byte as the command would have written it. A changed frame has no provenance,
    unless `derived_from` names the table it was made from. Columns that the table does not define are kept.
    """
    target, behind = Path(path), frames.file_of(frame)
    if behind is None:
        provenance = None
        if derived_from is not None:
            origin = _stored_file(derived_from)
            with Table.open(origin, table_kind(origin)) as table:
                provenance = Provenance(table_name(frames.row_of(frame)), "python", {}, [table.as_input()])
        frames.save(frame, target, provenance)
    elif behind != target.resolve():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(behind, target)
    return target


def summary(table: AnyTable) -> dict[str, Any]:
    """The summary that the stage stored with a table or a folder: what `--json` prints."""
    if not isinstance(table, pl.DataFrame) and (noted := read_note(Path(table))):
        found: dict[str, Any] = noted["summary"]
        return found
    path = _stored_file(table)
    with Table.open(path, table_kind(path)) as opened:
        return opened.summary


def lineage(table: AnyTable) -> dict[str, Any]:
    """Provenance of a table: command, config, fingerprints, and the inputs with their own provenance."""
    path = _stored_file(table)
    with Table.open(path, table_kind(path)) as opened:
        return opened.provenance or {}


def left_out(frame: pl.DataFrame) -> pl.DataFrame:
    """The rows that the stage left out of this frame, with reasons: rejects of `extract`, dropped rows of `filter`."""
    behind = frames.file_of(frame)
    siblings = [_sibling(behind, kind) for kind in ("rejects", "dropped")] if behind else []
    for path in siblings:
        if path.is_file():
            return read_frame(path)
    raise InputError("no rejects or dropped rows belong to this frame", "pass a frame that extract or filter returned")


# ---- stages -----------------------------------------------------------------------------------------------------

Sources = AnyPath | Sequence[AnyPath | dict[str, Any]]
Benchmarks = AnyTable | Sequence[AnyTable]


@overload
def extract(sources: Sources, config: ExtractConfig | None = None, *, output: AnyPath, **fields: Any) -> Path: ...
@overload
def extract(sources: Sources, config: ExtractConfig | None = None, **fields: Any) -> pl.DataFrame: ...
def extract(sources: Sources, config: ExtractConfig | None = None, **fields: Any) -> FrameOrPath:
    """Turn trajectories into candidates, one row per assistant turn.

    `sources` are files, folders or globs, or records in memory, such as `[{"messages": [...]}, ...]`.
    """
    with scratch_folder() as folder:
        return _table("extract", config, fields, "candidates", sources=_source_files(sources, folder))


@overload
def profile(candidates: AnyTable, config: ProfileConfig | None = None, *, output: AnyPath, **fields: Any) -> Path: ...
@overload
def profile(candidates: AnyTable, config: ProfileConfig | None = None, **fields: Any) -> pl.DataFrame: ...
def profile(candidates: AnyTable, config: ProfileConfig | None = None, **fields: Any) -> FrameOrPath:
    """Sample rollouts at every candidate from a frozen policy and score them."""
    with scratch_folder() as folder:
        return _table("profile", config, fields, "profile", candidates=as_file(candidates, "candidates", folder))


@overload
def merge(shards: Sequence[AnyTable], config: MergeConfig | None = None, *, output: AnyPath, **fields: Any) -> Path: ...
@overload
def merge(shards: Sequence[AnyTable], config: MergeConfig | None = None, **fields: Any) -> pl.DataFrame: ...
def merge(shards: Sequence[AnyTable], config: MergeConfig | None = None, **fields: Any) -> FrameOrPath:
    """Merge the shards of a profile."""
    with scratch_folder() as folder:
        paths = [as_file(shard, f"shard{i}", folder) for i, shard in enumerate(_as_list(shards))]
        return _table("merge", config, fields, "profile", shards=paths)


@overload
def filter(profile: AnyTable, config: FilterConfig | None = None, *, output: AnyPath, **fields: Any) -> Path: ...
@overload
def filter(profile: AnyTable, config: FilterConfig | None = None, **fields: Any) -> pl.DataFrame: ...
def filter(profile: AnyTable, config: FilterConfig | None = None, **fields: Any) -> FrameOrPath:
    """Keep the pivots of a profile; `left_out` of the returned frame has the other rows."""
    with scratch_folder() as folder:
        return _table("filter", config, fields, "pivots", profile=as_file(profile, "profile", folder))


@overload
def evaluate(benchmarks: Benchmarks, config: EvalConfig | None = None, *, output: AnyPath, **fields: Any) -> Path: ...
@overload
def evaluate(benchmarks: Benchmarks, config: EvalConfig | None = None, **fields: Any) -> pl.DataFrame: ...
def evaluate(benchmarks: Benchmarks, config: EvalConfig | None = None, **fields: Any) -> FrameOrPath:
    """Evaluate a policy on benchmarks, one row per task and trial; a frame of candidates stands for `pivots:FILE`."""
    with scratch_folder() as folder:
        names = [
            f"pivots:{as_file(one, 'candidates', folder)}" if isinstance(one, pl.DataFrame) else str(one)
            for one in _as_list(benchmarks)
        ]
        return _table("eval", config, fields, "eval", benchmarks=names)


@overload
def import_eval(sources: Sources, config: ImportConfig | None = None, *, output: AnyPath, **fields: Any) -> Path: ...
@overload
def import_eval(sources: Sources, config: ImportConfig | None = None, **fields: Any) -> pl.DataFrame: ...
def import_eval(sources: Sources, config: ImportConfig | None = None, **fields: Any) -> FrameOrPath:
    """Read the results of another harness into an eval table."""
    return _table("import-eval", config, fields, "eval", sources=[str(source) for source in _as_list(sources)])


@overload
def score(rollouts: AnyTable, config: ScoreConfig | None = None, *, output: AnyPath, **fields: Any) -> Path: ...
@overload
def score(rollouts: AnyTable, config: ScoreConfig | None = None, **fields: Any) -> pl.DataFrame: ...
def score(rollouts: AnyTable, config: ScoreConfig | None = None, **fields: Any) -> FrameOrPath:
    """Return the profile with the rewards of another verifier; nothing is sampled."""
    with scratch_folder() as folder:
        return _table("score", config, fields, "profile", rollouts=as_file(rollouts, "profile", folder))


def agreement(rollouts: AnyTable, config: ScoreConfig | None = None, **fields: Any) -> dict[str, Any]:
    """Compare verifiers on recorded rollouts: means, agreement of each pair, and typical disagreements."""
    with scratch_folder() as folder:
        found = _run("score", config, fields, rollouts=as_file(rollouts, "profile", folder), output=None)
        return found.model_dump(mode="json")  # type: ignore[no-any-return]


def audit(rollouts: AnyTable, config: ScoreConfig | None = None, **fields: Any) -> dict[str, Any]:
    """Score deliberately wrong actions at every candidate and count those that a verifier accepts."""
    with scratch_folder() as folder:
        path = as_file(rollouts, "profile", folder)
        found = _run("score", config, fields, rollouts=path, output=None, audit=True)
        return found.model_dump(mode="json")  # type: ignore[no-any-return]


def train(pivots: AnyTable, config: TrainConfig | None = None, *, output: AnyPath | None = None, **fields: Any) -> Path:
    """Train a policy on the pivots; returns the model's folder, which has `metrics.parquet` and `rollouts.parquet`.

    Runs in one process; for several GPUs use `pivotrl train --nproc` or torchrun.
    """
    with scratch_folder() as folder:
        return _output("train", config, fields, output, pivots=as_file(pivots, "pivots", folder))


def export(
    pivots: AnyTable, config: ExportConfig | None = None, *, output: AnyPath | None = None, **fields: Any
) -> Path:
    """Export pivots for another trainer; returns the folder."""
    with scratch_folder() as folder:
        return _output("export", config, fields, output, pivots=as_file(pivots, "pivots", folder))


def desk(config: DeskConfig | None = None, *, output: AnyPath | None = None, **fields: Any) -> Path:
    """Write expert trajectories of the built-in service desk as OpenAI chat JSONL; returns the path."""
    return _output("desk", config, fields, output)


def compare(results: Mapping[str, AnyTable], config: CompareConfig | None = None, **fields: Any) -> pl.DataFrame:
    """Compare evaluations, `{"base": ..., "tuned": ...}`; the first is the baseline.

    One row per benchmark and model. `mean` leaves out what was not measured, which `n_unscored` and `n_missing` count;
    `mean_errors_as_zero` counts it as 0. The difference to the baseline is paired, with its interval and p-value.
    """
    from pivotrl_cli.stages.compare.paired import compare as compare_frames
    from pivotrl_cli.stages.compare.run import read_scores

    if not isinstance(results, Mapping):
        raise ConfigError("compare takes the tables by name", 'such as compare({"base": base, "tuned": tuned})')
    with scratch_folder() as folder:
        paths = [as_file(table, f"eval{i}", folder) for i, table in enumerate(results.values())]
        made = _config("compare", config, fields, {"results": paths, "names": ",".join(results)})
        assert isinstance(made, CompareConfig)
        return _comparison(compare_frames(read_scores(made), made))


# ---- how they run -----------------------------------------------------------------------------------------------


def _table(command: str, config: Config | None, fields: dict[str, Any], name: str, **inputs: Any) -> FrameOrPath:
    """Run a stage that writes a table: to `output`, or to a temporary file behind the frame that is returned."""
    output = fields.pop("output", None) or _set_output(config)
    if output is not None:
        return _output(command, config, fields, output, **inputs)
    folder = Path(tempfile.mkdtemp(prefix="pivotrl-"))
    path = folder / f"{name}.parquet"
    if command == "filter":
        fields.setdefault("dropped", _sibling(path, "dropped"))
    try:
        _run(command, config, fields, **inputs, output=str(path))
        return read_frame(path, folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _output(command: str, config: Config | None, fields: dict[str, Any], output: AnyPath | None, **inputs: Any) -> Path:
    """Run a stage that writes to `output`; returns the path."""
    output = output or _set_output(config)
    if output is None:
        raise TypeError(f"{command}: missing a required argument: 'output'")
    if str(output) == "-":
        raise ConfigError("output='-' is for the command line", "name a file, or leave it out for a frame")
    _run(command, config, fields, **inputs, output=str(output))
    return Path(output)


def _set_output(config: Config | None) -> str | None:
    return getattr(config, "output", None) if config is not None and "output" in config.model_fields_set else None


def _run(command: str, config: Config | None, fields: dict[str, Any], **inputs: Any) -> Any:
    checked = _config(command, config, fields, inputs)
    with naming_extras(command):
        return COMMANDS[command].stage().run(checked)


def _config(command: str, config: Config | None, fields: dict[str, Any], inputs: dict[str, Any]) -> Config:
    """The config with `fields` in place of its own. Raises `TypeError` for an unknown keyword, else `ConfigError`."""
    kind = COMMANDS[command].config()
    known = {name for name, field in kind.model_fields.items() if not option_extras(field).get("cli_only")}
    for name in fields.keys() - known:
        close = get_close_matches(name, known, n=1)
        guess = f"; did you mean '{close[0]}'?" if close else ""
        raise TypeError(f"{command}: got an unexpected keyword argument '{name}'{guess}")
    given = {} if config is None else {name: getattr(config, name) for name in config.model_fields_set & known}
    try:
        return kind.model_validate(given | fields | inputs)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "arguments"
        raise ConfigError(f"{place}: {first['msg']}", f"see docs/commands/{command}.md for the options") from error


def _source_files(sources: Sources, folder: Path) -> list[str]:
    """The sources as names of files; records in memory go to one file in `folder`."""
    listed = _as_list(sources)
    names = [str(one) for one in listed if not isinstance(one, dict)]
    records = [one for one in listed if isinstance(one, dict)]
    if not records:
        return names
    path = folder / "records.jsonl"
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")
    return [str(path), *names]


def _as_list(values: Any) -> list[Any]:
    return [values] if isinstance(values, str | Path | pl.DataFrame) else list(values)


def _sibling(output: Path, kind: str) -> Path:
    return output.with_suffix(f".{kind}.parquet")


def _stored_file(table: AnyTable) -> str:
    path = frames.file_of(table) if isinstance(table, pl.DataFrame) else Path(table)
    if path is None:
        raise InputError("this frame was changed or made by hand", "pass a frame that a stage or read() returned")
    return str(path)


def _comparison(found: CompareSummary) -> pl.DataFrame:
    rows = [_comparison_row(found, one, model) for one in found.benchmarks for model in found.models]
    shared = {one.benchmark for one in found.benchmarks}
    for model, missing in found.missing.items():
        unshared = {name: len(items) for name, items in missing.items() if name not in shared}
        rows += [[name, None, model, 0, None, n, *[None] * 10] for name, n in unshared.items()]
    return pl.DataFrame(rows, schema=_COMPARISON, orient="row")


def _comparison_row(found: CompareSummary, one: BenchmarkScores, model: str) -> list[Any]:
    """One benchmark and model; null where nothing was measured."""
    mean, paired = one.models.get(model), one.differences.get(model)
    as_zero = (one.errors_as_zero or one).models.get(model)
    return [
        *(one.benchmark, one.domain, model, one.n, one.unscored[model]),
        len(found.missing[model].get(one.benchmark, [])),
        *((mean.mean, mean.low, mean.high) if mean else [None] * 3),
        as_zero.mean if as_zero else None,
        *((paired.mean, paired.low, paired.high, paired.p, paired.wins, paired.losses) if paired else [None] * 6),
    ]


_TEXTS, _COUNTS = ("benchmark", "domain", "model"), ("n", "n_unscored", "n_missing")
_MEANS = ("mean", "low", "high", "mean_errors_as_zero", "difference", "difference_low", "difference_high", "p")
_COMPARISON = (
    dict.fromkeys(_TEXTS, pl.String)
    | dict.fromkeys(_COUNTS, pl.Int64)
    | dict.fromkeys(_MEANS, pl.Float64)
    | dict.fromkeys(("wins", "losses"), pl.Int64)
)
