"""The stages as functions over polars frames: what the shell does, from a notebook.

    candidates = pv.extract("runs/*.jsonl")
    pivots = pv.filter(pv.profile(candidates, n=8), max_mean=0.9)

A table goes in as a frame or as the path of a file. Without `output` a frame comes back. With it the table goes to that
file, as the command would write it, and its path comes back: the way for what does not fit into memory, and for long
runs, which then go on where they were ended. Keywords, defaults and checks are those of the command's config. Errors
name options as the shell does: `--max-mean` is `max_mean`.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

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
    StageConfig,
    TrainConfig,
)
from pivotrl_cli.errors import ConfigError, InputError
from pivotrl_cli.interface import frames
from pivotrl_cli.interface.frames import as_file, opened, scratch
from pivotrl_cli.interface.signatures import Given, config_of, hints_shown, keywords_of
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

AnyTable = str | Path | pl.DataFrame
Run = Callable[[Any], Any]
_TABLE = "str | Path | pl.DataFrame"


@hints_shown()
def read(path: str | Path) -> pl.DataFrame:
    """Read any table; given to a stage unchanged, it counts as that file, provenance included."""
    return opened(Path(path))


@hints_shown()
def write(frame: pl.DataFrame, path: str | Path, *, derived_from: AnyTable | None = None) -> Path:
    """Write a frame; returns the path.

    One that is as a stage made it is written to the byte as the command would have written it. A changed one has no
    provenance, unless `derived_from` names the table it was made from. Columns beyond the table's own are kept.
    """
    target, behind = Path(path), frames.file_of(frame)
    if behind is None:
        frames.save(frame, target, _derived(frame, derived_from))
    elif behind != target.resolve():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(behind, target)
    return target


@hints_shown()
def summary(table: AnyTable) -> dict[str, Any]:
    """What the stage that made a table, or a folder, said of it: the numbers of `--json`."""
    if not isinstance(table, pl.DataFrame) and (note := read_note(Path(table))):
        noted: dict[str, Any] = note["summary"]
        return noted
    path = _known_file(table)
    with Table.open(path, table_kind(path)) as opened_table:
        return opened_table.summary


@hints_shown()
def lineage(table: AnyTable) -> dict[str, Any]:
    """Provenance: command, config, inputs with theirs, fingerprints."""
    path = _known_file(table)
    with Table.open(path, table_kind(path)) as opened_table:
        return opened_table.provenance or {}


@hints_shown()
def left_out(frame: pl.DataFrame) -> pl.DataFrame:
    """What the stage that returned this frame left out, with the reasons: rejects of `extract`, dropped of `filter`."""
    behind = frames.file_of(frame)
    found = [p for p in (_beside(behind, "rejects"), _beside(behind, "dropped")) if p.is_file()] if behind else []
    if not found:
        raise InputError(
            "nothing stands beside this frame", "give what extract or filter returned; files are read with read()"
        )
    return opened(found[0])


@keywords_of(ExtractConfig, inputs={"sources": "str | Path | Sequence[str | Path] | Sequence[dict[str, Any]]"})
def extract(given: Given) -> pl.DataFrame | Path:
    """Turn trajectories into candidates, one row per assistant turn.

    `sources` are files, folders or globs, or records in memory, such as `[{"messages": [...]}, ...]`.
    """
    from pivotrl_cli.stages.extract.run import run

    with scratch() as folder:
        given["sources"] = _sources(given["sources"], folder)
        return _made(ExtractConfig, run, given, "candidates")


@keywords_of(ProfileConfig, inputs={"candidates": _TABLE})
def profile(given: Given) -> pl.DataFrame | Path:
    """Sample rollouts at every candidate from a frozen policy and score them."""
    from pivotrl_cli.stages.profile.run import run

    with scratch() as folder:
        given["candidates"] = as_file(given["candidates"], "candidates", folder)
        return _made(ProfileConfig, run, given, "profile")


@keywords_of(MergeConfig, inputs={"shards": f"Sequence[{_TABLE}]"})
def merge(given: Given) -> pl.DataFrame | Path:
    """Put the shards of a profile together."""
    from pivotrl_cli.stages.profile.merge import run

    with scratch() as folder:
        given["shards"] = [as_file(shard, f"shard{i}", folder) for i, shard in enumerate(_several(given["shards"]))]
        return _made(MergeConfig, run, given, "profile")


@keywords_of(FilterConfig, inputs={"profile": _TABLE})
def filter(given: Given) -> pl.DataFrame | Path:
    """Keep the pivots; `left_out` of the frame has the others."""
    from pivotrl_cli.stages.filter.run import run

    with scratch() as folder:
        given["profile"] = as_file(given["profile"], "profile", folder)
        return _made(FilterConfig, run, given, "pivots")


@keywords_of(TrainConfig, inputs={"pivots": _TABLE}, without={"nproc"})
def train(given: Given) -> Path:
    """Train a policy on the pivots; returns the model's folder, which has `metrics.parquet` and `rollouts.parquet`.

    In one process: several GPUs are for `pivotrl train --nproc` or torchrun.
    """
    from pivotrl_cli.stages.train.run import run

    with scratch() as folder:
        given["pivots"] = as_file(given["pivots"], "pivots", folder)
        return _ran(TrainConfig, run, given)


@keywords_of(EvalConfig, inputs={"benchmarks": f"str | pl.DataFrame | Sequence[{_TABLE}]"})
def evaluate(given: Given) -> pl.DataFrame | Path:
    """Score a policy on benchmarks, one row per task and trial; a frame of candidates stands for `pivots:` of it."""
    from pivotrl_cli.stages.eval.run import run

    with scratch() as folder:
        given["benchmarks"] = [
            f"pivots:{as_file(one, 'candidates', folder)}" if isinstance(one, pl.DataFrame) else str(one)
            for one in _several(given["benchmarks"])
        ]
        return _made(EvalConfig, run, given, "eval")


@keywords_of(ImportConfig, inputs={"sources": "str | Path | Sequence[str | Path]"})
def import_eval(given: Given) -> pl.DataFrame | Path:
    """Read the results of another harness into an eval table."""
    from pivotrl_cli.stages.import_eval import run

    given["sources"] = [str(source) for source in _several(given["sources"])]
    return _made(ImportConfig, run, given, "eval")


@keywords_of(
    CompareConfig,
    inputs={"results": f"Mapping[str, {_TABLE}]"},
    without={"names", "flips", "max_regression", "format"},
)
def compare(given: Given) -> pl.DataFrame:
    """Evaluations side by side: `{"base": ..., "tuned": ...}`, the first being the baseline.

    One row per benchmark and model. `mean` leaves out what was not measured, which `n_unscored` and `n_missing` count;
    `mean_errors_as_zero` counts it as 0. The difference to the first model is paired, with its interval and p-value.
    """
    from pivotrl_cli.stages.compare.paired import compare as compare_frames
    from pivotrl_cli.stages.compare.run import read_scores

    results = given.pop("results")
    if not isinstance(results, Mapping):
        raise ConfigError("compare takes the tables by name", 'such as compare({"base": base, "tuned": tuned})')
    with scratch() as folder:
        paths = [as_file(table, f"eval{i}", folder) for i, table in enumerate(results.values())]
        config = config_of(CompareConfig, given | {"results": paths, "names": ",".join(results)})
        return _side_by_side(compare_frames(read_scores(config), config))


@keywords_of(ScoreConfig, inputs={"rollouts": _TABLE}, without={"audit"})
def score(given: Given) -> pl.DataFrame | Path:
    """The profile with the rewards of another verifier, nothing sampled."""
    from pivotrl_cli.stages.score.run import run

    with scratch() as folder:
        given["rollouts"] = as_file(given["rollouts"], "profile", folder)
        return _made(ScoreConfig, run, given, "profile")


@keywords_of(ScoreConfig, inputs={"rollouts": _TABLE}, without={"audit", "output", "force"})
def agreement(given: Given) -> dict[str, Any]:
    """How verifiers agree on recorded rollouts: means, pairs, and the most telling disagreements."""
    return _scored(given)


@keywords_of(ScoreConfig, inputs={"rollouts": _TABLE}, without={"audit", "output", "force", "candidates"})
def audit(given: Given) -> dict[str, Any]:
    """What a verifier accepts of wrong actions made on purpose at every candidate."""
    return _scored(given | {"audit": True})


@keywords_of(ExportConfig, inputs={"pivots": _TABLE})
def export(given: Given) -> Path:
    """Write a folder for another trainer; returns it."""
    from pivotrl_cli.stages.export import run

    with scratch() as folder:
        given["pivots"] = as_file(given["pivots"], "pivots", folder)
        return _ran(ExportConfig, run, given)


@keywords_of(DeskConfig, inputs={})
def desk(given: Given) -> Path:
    """Write expert trajectories of the embedded service desk as OpenAI chat JSONL; returns the path."""
    from pivotrl_cli.stages.desk import run

    return _ran(DeskConfig, run, given)


# ---- how they run -----------------------------------------------------------------------------------------------


def _made(config_type: type[StageConfig], run: Run, given: Given, table: str) -> pl.DataFrame | Path:
    """Run a stage that writes a table: to the output, or to a file behind the frame that is returned."""
    if given.get("output") is not None:
        return _ran(config_type, run, given)
    folder = Path(tempfile.mkdtemp(prefix="pivotrl-"))
    output = folder / f"{table}.parquet"
    beside = {"dropped": _beside(output, "dropped")} if config_type is FilterConfig else {}
    try:
        run(config_of(config_type, beside | given | {"output": str(output)}))
        return opened(output, folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _ran(config_type: type[Config], run: Callable[[Any], Any], given: Given) -> Path:
    """Run a stage that writes to `output`."""
    if str(given["output"]) == "-":
        raise ConfigError("output='-' is for the shell", "name a file, or leave it out for a frame")
    run(config_of(config_type, given | {"output": str(given["output"])}))
    return Path(given["output"])


def _scored(given: Given) -> dict[str, Any]:
    from pivotrl_cli.stages.score.run import run

    with scratch() as folder:
        given["rollouts"] = as_file(given["rollouts"], "profile", folder)
        return run(config_of(ScoreConfig, given))


def _sources(sources: Any, folder: Path) -> list[str]:
    records = [one for one in _several(sources) if isinstance(one, dict)]
    if not records:
        return [str(one) for one in _several(sources)]
    path = folder / "records.jsonl"
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")
    return [str(path), *(str(one) for one in _several(sources) if not isinstance(one, dict))]


def _several(values: Any) -> Sequence[Any]:
    return [values] if isinstance(values, str | Path | pl.DataFrame) else list(values)


def _beside(output: Path, kind: str) -> Path:
    return output.with_suffix(f".{kind}.parquet")


def _known_file(table: AnyTable) -> str:
    path = frames.file_of(table) if isinstance(table, pl.DataFrame) else Path(table)
    if path is None:
        raise InputError("this frame is not as a stage made it", "ask for what a stage or read() returned")
    return str(path)


def _derived(frame: pl.DataFrame, origin: AnyTable | None) -> Provenance | None:
    if origin is None:
        return None
    path = _known_file(origin)
    with Table.open(path, table_kind(path)) as table:
        return Provenance(table_name(frames.row_of(frame)), "python", {}, [table.as_input()])


def _side_by_side(found: CompareSummary) -> pl.DataFrame:
    rows = [_compared(found, one, model) for one in found.benchmarks for model in found.models]
    shared = {one.benchmark for one in found.benchmarks}
    for model, missing in found.missing.items():
        unshared = {name: len(items) for name, items in missing.items() if name not in shared}
        rows += [[name, None, model, 0, None, n, *[None] * 10] for name, n in unshared.items()]
    return pl.DataFrame(rows, schema=_COMPARED, orient="row")


def _compared(found: CompareSummary, one: BenchmarkScores, model: str) -> list[Any]:
    """One row of the comparison; null where nothing was measured."""
    mean, paired = one.models.get(model), one.differences.get(model)
    as_zero = (one.errors_as_zero or one).models.get(model)
    return [
        *(one.benchmark, one.domain, model, one.n, one.unscored[model]),
        len(found.missing[model].get(one.benchmark, [])),
        *((mean.mean, mean.low, mean.high) if mean else [None] * 3),
        as_zero.mean if as_zero else None,
        *((paired.mean, paired.low, paired.high, paired.p, paired.wins, paired.losses) if paired else [None] * 6),
    ]


_COMPARED = {
    "benchmark": pl.String,
    "domain": pl.String,
    "model": pl.String,
    "n": pl.Int64,
    "n_unscored": pl.Int64,
    "n_missing": pl.Int64,
    "mean": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "mean_errors_as_zero": pl.Float64,
    "difference": pl.Float64,
    "difference_low": pl.Float64,
    "difference_high": pl.Float64,
    "p": pl.Float64,
    "wins": pl.Int64,
    "losses": pl.Int64,
}
