"""The folder of a training run: metrics and rollouts as they come, checkpoints, and its name once it is complete.

While a run goes on it lives in `OUTPUT.partial`, and a run that was ended there goes on from its last checkpoint. A
checkpoint is a folder that transformers loads, with the optimiser's tensors and the data cursor beside the weights.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pivotrl_cli.errors import OutputError
from pivotrl_cli.rows import StepMetrics, TrainRollout
from pivotrl_cli.storage.files import writing
from pivotrl_cli.storage.provenance import Provenance, differences, refuse_another
from pivotrl_cli.storage.table import Table, TableWriter

if TYPE_CHECKING:
    from torch import Tensor

_NOTE = "pivotrl.json"
_CURSOR = "cursor.json"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A saved state of a run."""

    TENSORS: ClassVar = "optimiser.safetensors"

    folder: Path

    @property
    def sharded(self) -> bool:
        """Whether it is the parts that several processes had."""
        return any(self.folder.glob("shard-*.safetensors"))

    @property
    def step(self) -> int:
        """Steps that were taken."""
        return int(self.folder.name)

    def adapter(self) -> dict[str, Tensor]:
        """The adapters' tensors by name, where they were what was saved."""
        from safetensors.torch import load_file

        return load_file(self.folder / "adapter_model.safetensors")

    def cursor(self) -> dict[str, Any]:
        """Where the learner stood."""
        found: dict[str, Any] = json.loads((self.folder / _CURSOR).read_text())
        return found

    def tensors(self) -> dict[str, Tensor]:
        """The optimiser's tensors by name."""
        from safetensors.torch import load_file

        return load_file(self.folder / self.TENSORS)


def stored_summary(folder: Path, provenance: Provenance, force: bool) -> dict[str, Any] | None:
    """The summary of a finished run with this provenance; raises where another output is in the way."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    stored = _note(folder)
    if force:
        if not stored:
            raise OutputError(f"{folder} exists and pivotrl did not write it", "choose another name")
        return None
    refuse_another(str(folder), stored.get("provenance"), provenance)
    summary: dict[str, Any] = stored["summary"]
    return summary


def published(final: Path, provenance: Provenance) -> dict[str, Any] | None:
    """The summary of a run that was complete but for its name when it was killed; it has it now."""
    partial = partial_folder(final)
    stored = _note(partial)
    if "summary" not in stored or differences(stored["provenance"], provenance.to_dict()):
        return None
    _publish(final)
    summary: dict[str, Any] = stored["summary"]
    return summary


def partial_folder(final: Path) -> Path:
    """Where a run lives until it is complete."""
    return final.with_name(f"{final.name}.partial")


def _note(folder: Path) -> dict[str, Any]:
    note = folder / _NOTE
    try:
        found = json.loads(note.read_text()) if note.is_file() else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


class RunFolder:
    """The output folder while it is being made."""

    def __init__(self, final: Path, provenance: Provenance, *, force: bool, keep: int) -> None:
        self.final, self.provenance, self.keep = final, provenance, keep
        self.partial = partial_folder(final)
        self.metrics: list[StepMetrics] = []
        self.resumed = self._resume(force)
        if self.resumed is None:
            self._start()

    def _start(self) -> None:
        with writing(self.final):
            shutil.rmtree(self.partial, ignore_errors=True)
            (self.partial / "rollouts").mkdir(parents=True)
            (self.partial / "checkpoints").mkdir()
            _write(self.partial / _NOTE, {"provenance": self.provenance.to_dict()})

    def _resume(self, force: bool) -> Checkpoint | None:
        """The last checkpoint of an ended run; what came after it is forgotten. Refuses to lose another run's."""
        kept = self._checkpoints()
        if force or not kept:
            return None
        refuse_another(str(self.partial), _note(self.partial).get("provenance"), self.provenance)
        last = kept[-1]
        with Table.open(self.partial / "metrics.parquet", StepMetrics) as table:
            self.metrics = [row for row in table.rows() if row.step <= last.step]
        for part in (self.partial / "rollouts").glob("*.parquet"):
            if int(part.stem) > last.step:
                part.unlink()
        return last

    def _checkpoints(self) -> list[Checkpoint]:
        folders = (self.partial / "checkpoints").glob("*")
        return sorted((Checkpoint(f) for f in folders if f.name.isdigit()), key=lambda kept: kept.step)

    def write_step(self, metrics: StepMetrics, rollouts: list[TrainRollout]) -> None:
        """Record one step."""
        self.metrics.append(metrics)
        with TableWriter(self.partial / "metrics.parquet", StepMetrics, self.provenance) as out:
            for row in self.metrics:
                out.write(row)
        if rollouts:
            with TableWriter(self._part(metrics.step), TrainRollout, self.provenance.for_table(TrainRollout)) as part:
                for rollout in rollouts:
                    part.write(rollout)

    def write_checkpoint(self, write: Callable[[Path], None], cursor: dict[str, Any]) -> None:
        """Have the state after the last step that was written saved into a folder; older ones beyond `keep` go."""
        place = self._place()
        with _made_whole(place) as making:
            write(making)
            _write(making / _CURSOR, cursor)
        for old in self._checkpoints()[: -self.keep]:
            shutil.rmtree(old.folder)

    def write_copy(self, write: Callable[[Path], None]) -> None:
        """Have the model after the last step that was written saved to stay."""
        with _made_whole(self.partial / "steps" / f"{self.metrics[-1].step:06d}") as making:
            write(making)

    def finish(self, summary: dict[str, Any], card: str) -> None:
        """Join the rollouts, note the provenance, add the model card, and give the folder its name."""
        provenance = self.provenance.for_table(TrainRollout)
        with TableWriter(self.partial / "rollouts.parquet", TrainRollout, provenance) as out:
            for path in filter(Path.exists, (self._part(m.step) for m in self.metrics)):
                with Table.open(path, TrainRollout) as part:
                    for table in part.tables():
                        out.write_table(table)
        with writing(self.final):
            (self.partial / "README.md").write_text(card)
            for file in filter(Path.is_file, self.partial.iterdir()):
                _to_disk(file)
            _write(self.partial / _NOTE, {"provenance": self.provenance.to_dict(), "summary": summary})
            _publish(self.final)

    def _place(self) -> Path:
        """Folder of the checkpoint after the last step."""
        return self.partial / "checkpoints" / f"{self.metrics[-1].step:06d}"

    def _part(self, step: int) -> Path:
        return self.partial / "rollouts" / f"{step:06d}.parquet"


class Onlooker(RunFolder):
    """The folder as the processes know it that do not write it: what is in there, and no way to change it."""

    def __init__(self, known: dict[str, Any]) -> None:
        vars(self).update(known)

    def write_step(self, metrics: StepMetrics, rollouts: list[TrainRollout]) -> None:
        """Know of the step."""
        self.metrics.append(metrics)

    def write_checkpoint(self, write: Callable[[Path], None], cursor: dict[str, Any]) -> None:
        """Add what this process has to the folder that the first one makes."""
        write(self._place().with_suffix(".making"))

    def write_copy(self, write: Callable[[Path], None]) -> None:
        """Take part in what the first process writes."""
        write(self.partial)

    def finish(self, summary: dict[str, Any], card: str) -> None:
        """Leave it to the first process."""


@contextmanager
def _made_whole(place: Path) -> Iterator[Path]:
    """An empty folder that gets its name once all in it is on the disk."""
    making = place.with_suffix(".making")
    with writing(place):
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(parents=True)
        yield making
        for file in making.iterdir():
            _to_disk(file)
        shutil.rmtree(place, ignore_errors=True)
        making.rename(place)
        _to_disk(place.parent)


def _publish(final: Path) -> None:
    """Give a complete folder its name."""
    partial = partial_folder(final)
    for name in ("rollouts", "checkpoints"):
        shutil.rmtree(partial / name, ignore_errors=True)
    if final.is_dir():
        shutil.rmtree(final)
    partial.rename(final)
    _to_disk(final.parent)


def _write(path: Path, content: dict[str, Any]) -> None:
    """Whole or not at all: a note that was cut by a kill would be nobody's."""
    making = path.with_suffix(".making")
    making.write_text(json.dumps(content, indent=1) + "\n")
    _to_disk(making)
    making.replace(path)
    _to_disk(path.parent)


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
