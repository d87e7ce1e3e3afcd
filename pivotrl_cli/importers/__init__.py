"""Results of other harnesses: an importer recognises a file by content and turns its records into our eval rows.

A new harness is a new file here and a line in `IMPORTERS`; a user's own is named as `module:Class`. No two importers
recognise the same file. What was not measured (a failed request, a sample that never ran) is a row with status
`infra_error` and no score. Means that the harness wrote itself come along as `Reported`, for the stage to compare with
ours.

Shared by the importers: `results.py`. Documents, JSON with places and transcripts are the readers'.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

from pivotrl_cli.errors import InputError
from pivotrl_cli.importers.results import File, Reported
from pivotrl_cli.readers import describe_head
from pivotrl_cli.registry import load
from pivotrl_cli.rows import EvalResult, Reject

IMPORTERS: dict[str, str] = {
    "lm_eval": "pivotrl_cli.importers.lm_eval:LmEvalImporter",
    "inspect": "pivotrl_cli.importers.inspect:InspectImporter",
    "bfcl": "pivotrl_cli.importers.bfcl:BfclImporter",
    "tau2_bench": "pivotrl_cli.importers.tau2_bench:Tau2BenchImporter",
    "tau_bench": "pivotrl_cli.importers.tau_bench:TauBenchImporter",
    "swe_bench": "pivotrl_cli.importers.swe_bench:SweBenchImporter",
    "harbor": "pivotrl_cli.importers.harbor:HarborImporter",
    "terminal_bench": "pivotrl_cli.importers.terminal_bench:TerminalBenchImporter",
    "nemo_gym": "pivotrl_cli.importers.nemo_gym:NemoGymImporter",
    "nemo_skills": "pivotrl_cli.importers.nemo_skills:NemoSkillsImporter",
}
"""Harness -> where its importer is."""


class Importer(Protocol):
    """One harness. Made without arguments, keeps nothing between files."""

    def sniff(self, file: File) -> str | None:
        """Why this is the harness's, in a few words, or None. Looks at the head of the file."""

    def read(self, file: File, metric: str | None) -> Iterator[EvalResult | Reject | Reported]:
        """Rows by the metric that the user names, else by the harness's first; and the means that it states itself.

        A file that only goes with another one (scores beside answers) may have nothing of its own.
        """


@runtime_checkable
class WithOthers(Protocol):
    """An importer whose rows depend on a further file too, whether the user names that or not."""

    def beside(self, file: File) -> Path:
        """Where that file would be."""


def load_importer(name: str) -> Importer:
    importer: type[Importer] = load("format", name, IMPORTERS)
    return importer()


def detect(file: File) -> tuple[str, str] | None:
    """Harness and the reason for it, or None where no importer recognises the file."""
    for name in IMPORTERS:
        why = load_importer(name).sniff(file)
        if why:
            return name, why
    return None


def unknown(file: File) -> InputError:
    return InputError(
        f"{file.source}: unknown results ({describe_head(file.head)})",
        f"formats are {', '.join(sorted(IMPORTERS))}; --format forces one",
    )
