"""The folder of a training run: metrics and rollouts as they come, checkpoints, and its name once it is complete.

Until then it is `OUTPUT.partial`, where a rerun resumes from the last checkpoint. A checkpoint is a folder that
transformers loads, with the tensors of the optimizer and the state of the method beside the weights.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pivotrl_cli.rows import StepMetrics, TrainRollout
from pivotrl_cli.stages.train.summary import TrainSummary
from pivotrl_cli.storage.files import write_errors
from pivotrl_cli.storage.folders import new_folder, read_note, replace_folder, sync_files, write_json, write_note
from pivotrl_cli.storage.provenance import Provenance, differences, refuse_another
from pivotrl_cli.storage.table import Table
from pivotrl_cli.storage.table_writer import TableWriter

if TYPE_CHECKING:
    from torch import Tensor

_METHOD_STATE = "state.json"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A saved state of a run."""

    TENSORS: ClassVar = "optimizer.safetensors"

    folder: Path

    @property
    def is_sharded(self) -> bool:
        """Whether it consists of the shards of several ranks."""
        return any(self.folder.glob("shard-*.safetensors"))

    @property
    def step(self) -> int:
        """Number of the last step before it."""
        return int(self.folder.name)

    def adapter(self) -> dict[str, Tensor]:
        """The tensors of the adapters by name; only of a run with LoRA."""
        from safetensors.torch import load_file

        return load_file(self.folder / "adapter_model.safetensors")

    def method_state(self) -> dict[str, Any]:
        """The `state_dict` of the method."""
        found: dict[str, Any] = json.loads((self.folder / _METHOD_STATE).read_text())
        return found

    def optimizer_state(self) -> dict[str, Tensor]:
        """The full `state_dict` of the optimizer."""
        from safetensors.torch import load_file

        return load_file(self.folder / self.TENSORS)


def publish_complete(final: Path, provenance: Provenance) -> dict[str, Any] | None:
    """Publish a run that was killed when it was complete but for its name; returns its summary, if there is one."""
    partial = partial_folder(final)
    stored = read_note(partial)
    if "summary" not in stored or differences(stored["provenance"], provenance.to_dict()):
        return None
    _publish(final)
    summary: dict[str, Any] = stored["summary"]
    return summary


def partial_folder(final: Path) -> Path:
    """Folder of an unfinished run."""
    return final.with_name(f"{final.name}.partial")


class RunFolder:
    """The output folder while the run makes it."""

    def __init__(self, final: Path, provenance: Provenance, *, force: bool, keep: int) -> None:
        self.final, self.provenance, self.keep = final, provenance, keep
        self.partial = partial_folder(final)
        self.metrics: list[StepMetrics] = []
        self.resumed = self._resume(force)
        if self.resumed is None:
            self._start()

    def _start(self) -> None:
        with write_errors(self.final):
            shutil.rmtree(self.partial, ignore_errors=True)
            (self.partial / "rollouts").mkdir(parents=True)
            (self.partial / "checkpoints").mkdir()
            write_note(self.partial, self.provenance)

    def _resume(self, force: bool) -> Checkpoint | None:
        """The last checkpoint of an earlier run, whose later steps are discarded; refuses one of another run."""
        kept = self._checkpoints()
        if force or not (self.partial / "metrics.parquet").is_file():
            return None
        if not kept:
            print(f"{self.partial}: no checkpoint was written yet, so training starts again", file=sys.stderr)
            return None
        refuse_another(str(self.partial), read_note(self.partial).get("provenance"), self.provenance)
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

    def write_checkpoint(self, write: Callable[[Path], None], method_state: dict[str, Any]) -> None:
        """Write a checkpoint after the last step; `write` fills its folder. Removes older ones beyond `keep`."""
        place = self._place()
        with new_folder(place, place.with_suffix(".making")) as making:
            write(making)
            write_json(making / _METHOD_STATE, method_state)
        for old in self._checkpoints()[: -self.keep]:
            shutil.rmtree(old.folder)

    def write_copy(self, write: Callable[[Path], None]) -> None:
        """Write a copy of the model after the last step that stays; `write` fills its folder."""
        place = self.partial / "steps" / f"{self.metrics[-1].step:06d}"
        with new_folder(place, place.with_suffix(".making")) as making:
            write(making)

    def finish(self, summary: TrainSummary, card: str) -> None:
        """Merge the rollouts, write model card, provenance and summary, and rename the folder."""
        provenance = self.provenance.for_table(TrainRollout)
        with TableWriter(self.partial / "rollouts.parquet", TrainRollout, provenance) as out:
            for path in filter(Path.exists, (self._part(m.step) for m in self.metrics)):
                with Table.open(path, TrainRollout) as part:
                    for table in part.tables():
                        out.write_table(table)
        with write_errors(self.final):
            (self.partial / "README.md").write_text(card)
            sync_files(self.partial)
            write_note(self.partial, self.provenance, summary.to_metadata())
            _publish(self.final)

    def _place(self) -> Path:
        """Folder of the checkpoint after the last step."""
        return self.partial / "checkpoints" / f"{self.metrics[-1].step:06d}"

    def _part(self, step: int) -> Path:
        return self.partial / "rollouts" / f"{step:06d}.parquet"


class ReadOnlyRunFolder(RunFolder):
    """The folder on ranks above 0, which do not write it, but for their part of what all write together."""

    def __init__(self, of_rank0: RunFolder) -> None:
        vars(self).update(vars(of_rank0))

    def write_step(self, metrics: StepMetrics, rollouts: list[TrainRollout]) -> None:
        """Keep the metrics."""
        self.metrics.append(metrics)

    def write_checkpoint(self, write: Callable[[Path], None], method_state: dict[str, Any]) -> None:
        """Write this rank's shards into the folder that rank 0 makes."""
        write(self._place().with_suffix(".making"))

    def write_copy(self, write: Callable[[Path], None]) -> None:
        """Take part in the collectives of `write`."""
        write(self.partial)

    def finish(self, summary: TrainSummary, card: str) -> None:
        """Nothing: rank 0 does it."""


def _publish(final: Path) -> None:
    """Rename a complete folder, without its checkpoints."""
    partial = partial_folder(final)
    for name in ("rollouts", "checkpoints"):
        shutil.rmtree(partial / name, ignore_errors=True)
    replace_folder(partial, final)
