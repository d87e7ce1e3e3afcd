"""Trajectory formats: a reader recognises one by content and turns its records into trajectories.

A new format is a new file in `formats/` and a line in `READERS`, before any format that would also recognise it; a
user's own is named as `module:Class`.

    sources             files, folders, globs and data sets that the user names
    tables              rows of Parquet, Arrow and data sets, without the nulls that Arrow invents
    document, archive   the input of a reader: numbered records, one in memory at a time
    parsing, split      strict JSON, and JSON in pieces
    fields              a cursor over a record; every error names the place
    messages            OpenAI's chat messages and tools, as ours
    responses, blocks   items of OpenAI's Responses API, Anthropic's content blocks
    tags                calls and schemas in the text
"""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import shorten
from typing import Protocol

from pivotrl_cli.errors import InputError
from pivotrl_cli.readers.document import Document
from pivotrl_cli.readers.parsing import Head
from pivotrl_cli.registry import load
from pivotrl_cli.rows import Reject, Trajectory

READERS: dict[str, str] = {
    "tau_bench": "pivotrl_cli.readers.formats.tau_bench:TauBenchReader",
    "tau2_bench": "pivotrl_cli.readers.formats.tau2_bench:Tau2BenchReader",
    "nemo_gym": "pivotrl_cli.readers.formats.nemo_gym:NemoGymReader",
    "swe_agent": "pivotrl_cli.readers.formats.swe_agent:SweAgentReader",
    "mini_swe_agent": "pivotrl_cli.readers.formats.mini_swe_agent:MiniSweAgentReader",
    "openhands": "pivotrl_cli.readers.formats.openhands:OpenHandsReader",
    "toolbench": "pivotrl_cli.readers.formats.toolbench:ToolBenchReader",
    "inspect": "pivotrl_cli.readers.formats.inspect:InspectReader",
    "atif": "pivotrl_cli.readers.formats.atif:AtifReader",
    "anthropic": "pivotrl_cli.readers.formats.anthropic:AnthropicReader",
    "hermes": "pivotrl_cli.readers.formats.hermes:HermesReader",
    "sharegpt": "pivotrl_cli.readers.formats.sharegpt:ShareGptReader",
    "openai": "pivotrl_cli.readers.formats.openai:OpenAIReader",
}
"""Format -> where its reader is. The first that recognises a document reads it, so the most special stand first."""


class Reader(Protocol):
    """One format. Made without arguments, keeps nothing between documents."""

    def sniff(self, head: Head) -> str | None:
        """The reason to recognise the format, in a few words, or None; the first record may be cut short."""

    def read(self, document: Document) -> Iterator[Trajectory | Reject]:
        """Every record of the document, as a trajectory or a reject; only one in memory at a time."""


def load_reader(name: str) -> Reader:
    reader: type[Reader] = load("format", name, READERS)
    return reader()


def detect(document: Document) -> tuple[str, str] | None:
    """Format of the document and the reason for it, or None."""
    reasons = ((name, load_reader(name).sniff(document.head)) for name in READERS)
    return next(((name, why) for name, why in reasons if why), None)


def unknown_format(document: Document) -> InputError:
    """The error for a document that the user named but no reader recognises."""
    if document.head.container == "empty":
        return InputError(f"{document.source}: the file is empty", "name a file with trajectories")
    return InputError(
        f"{document.source}: unknown format ({describe_head(document.head)})",
        f"formats are {', '.join(sorted(READERS))}; --format forces one",
    )


def describe_head(head: Head) -> str:
    """Packing and keys of a document of unknown format."""
    packing = {
        "lines": "JSON lines",
        "array": "a JSON array",
        "object": "one JSON object",
        "rows": "a data set",
        "zip": "a zip archive",
        "text": "not JSON",
        "empty": "empty",
    }[head.container]
    keys = ", ".join(head.keys)
    return f"{packing} with {shorten(keys, 80, placeholder=' ...')}" if keys else packing
