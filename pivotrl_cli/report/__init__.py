"""Report: one page that shows a run, whole in one file, with nothing fetched from anywhere.

    collect.py    the tables of a folder, finished or not
    figures.py    charts: Vega-Lite, drawn to SVG here, so that the page has no chart library to load
    strips.py     trajectories turn by turn, what a click shows packed per trajectory
    sections.py   what the page says of each table
    page.html     how it is laid out (jinja2, which escapes every value), with page.css and page.js

The page's policy (CSP) lets the one script of ours run, by its hash, and nothing else: what a model wrote stays text
twice over.
"""

from __future__ import annotations

import base64
import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pivotrl_cli.configs import ReportConfig
from pivotrl_cli.errors import MissingExtra, OutputError
from pivotrl_cli.storage.files import open_partial, publish, remove_partial

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["describe", "run"]

_HERE = Path(__file__).parent
_MARK = b'<meta name="generator" content="pivotrl report'


def run(config: ReportConfig) -> dict[str, Any]:
    """Write the report of a folder; returns the summary."""
    if find_spec("vl_convert") is None or find_spec("jinja2") is None:
        raise MissingExtra("the report", "report")
    from pivotrl_cli.report.collect import collect
    from pivotrl_cli.report.sections import sections

    _refuse_foreign(config)
    found = collect(Path(config.folder))
    page = render(sections(found, config)).encode()
    file = open_partial(config.output, binary=False)
    try:
        file.write(page)
    except BaseException:
        file.close()
        remove_partial(config.output)
        raise
    publish(file, config.output)
    return {
        "tables": {table.name: table.n_rows for table in found.tables},
        "left_out": dict(found.left_out),
        "bytes": len(page),
    }


def _refuse_foreign(config: ReportConfig) -> None:
    """Raise where something stands in the way that is no report of ours."""
    place = Path(config.output)
    if config.output == "-" or config.force or not place.is_file():
        return
    with place.open("rb") as file:
        if _MARK not in file.read(1000):
            raise OutputError(f"{place} exists and is not a report", "choose another -o, or add --force")


def render(content: dict[str, Any]) -> str:
    """The page; every value is escaped but the charts, which are SVG of ours."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    script = (_HERE / "page.js").read_text()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    style = (_HERE / "page.css").read_text()
    return environment.get_template("page.html").render(content, style=style, script=script, script_digest=digest)


def describe(summary: dict[str, Any]) -> RenderableType:
    """The summary for a terminal."""
    from rich.console import Group

    n = len(summary["tables"])
    lines = [f"report of {n:,} table{'s' if n > 1 else ''}, {summary['bytes'] / 1e6:.1f} MB"]
    lines += [f"{name}: left out: {why}" for name, why in summary["left_out"].items()]
    return Group(*lines)
