"""Report: one page that shows a run, in one file that fetches nothing.

    collect.py    the tables of a folder, finished or not
    figures.py    charts: Vega-Lite, drawn to SVG here, so that the page has no chart library to load
    strips.py     trajectories turn by turn; the details that a click shows are packed per trajectory
    sections.py   the values and charts for each section of the page
    page.html     the layout (jinja2, which escapes every value), with page.css and page.js

The page's content security policy lets our one script run, by its hash, and nothing else. So text that a model wrote
stays text, even if the escaping failed.
"""

from __future__ import annotations

import base64
import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pivotrl_cli.configs import ReportConfig
from pivotrl_cli.errors import MissingExtra, OutputError
from pivotrl_cli.rows import Summary
from pivotrl_cli.storage.files import open_partial, publish, remove_partial
from pivotrl_cli.text import plural

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["describe", "run"]

_HERE = Path(__file__).parent
_MARK = b'<meta name="generator" content="pivotrl report'


class ReportSummary(Summary):
    """What the page shows."""

    tables: dict[str, int]
    """Rows of each table, by name."""
    left_out: dict[str, str]
    """Files that are not shown, and why."""
    bytes: int
    """Size of the page."""


def run(config: ReportConfig) -> ReportSummary:
    """Write the report of a folder."""
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
    tables = {table.name: table.n_rows for table in found.tables}
    return ReportSummary(tables=tables, left_out=dict(found.left_out), bytes=len(page))


def _refuse_foreign(config: ReportConfig) -> None:
    """Raise where the output exists and is not a report."""
    place = Path(config.output)
    if config.output == "-" or config.force or not place.is_file():
        return
    with place.open("rb") as file:
        if _MARK not in file.read(1000):
            raise OutputError(f"{place} exists and is not a report", "choose another -o, or add --force")


def render(content: dict[str, Any]) -> str:
    """Render the page; every value is escaped except the charts, which are our own SVG."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    script = (_HERE / "page.js").read_text()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    style = (_HERE / "page.css").read_text()
    return environment.get_template("page.html").render(content, style=style, script=script, script_digest=digest)


def describe(summary: ReportSummary) -> RenderableType:
    """The summary for a terminal."""
    from rich.console import Group

    lines = [f"report of {plural(len(summary.tables), 'table')}, {summary.bytes / 1e6:.1f} MB"]
    lines += [f"{name}: left out: {why}" for name, why in summary.left_out.items()]
    return Group(*lines)
