"""Charts as SVG, drawn with Vega-Lite by vl-convert: no script in the page, and text that stays text.

Colors are names of the page's CSS, so one drawing serves light and dark. Vega writes the description of each mark
beside it (`aria-label`), which screen readers read and the page shows under the pointer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Rows = Sequence[dict[str, Any]]

WIDTH = 340
"""Units of a drawing's width: pixels on a narrow telephone, more on a wider screen."""
COLORS = [f"var(--c{i})" for i in range(8)]

_CONFIG = {
    "view": {"stroke": None},
    "font": "inherit",
    "axis": {
        "labelColor": "var(--ink)",
        "titleColor": "var(--muted)",
        "gridColor": "var(--line)",
        "domainColor": "var(--line)",
        "tickColor": "var(--line)",
        "labelFontSize": 11,
        "titleFontSize": 11,
        "titleFontWeight": "normal",
        "labelLimit": 120,
    },
    "legend": {
        "labelColor": "var(--ink)",
        "labelFontSize": 11,
        "labelLimit": 300,
        "orient": "bottom",
        "title": None,
        "columns": 2,
        "symbolType": "square",
        "symbolStrokeWidth": 0,
    },
    "text": {"color": "var(--ink)", "fontSize": 11},
    "range": {"category": COLORS},
}
_SAYS = {"description": {"field": "says", "type": "nominal"}}
"""Description of a mark: the field `says` of its row, instead of a list of all its fields."""
_COUNT = {"axis": {"format": "~s", "tickCount": 4}}


def draw(body: dict[str, Any], height: int) -> str:
    """A Vega-Lite specification as an SVG element."""
    import vl_convert

    spec = {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "background": None,
        "width": WIDTH,
        "height": height,
        "autosize": {"type": "fit", "contains": "padding"},
        "config": _CONFIG,
    } | body
    return str(vl_convert.vegalite_to_svg(spec))


def _color(field: str, values: Sequence[str], colors: Sequence[str], *, legend: bool = True) -> dict[str, Any]:
    """Encoding of a nominal field by color."""
    scale = {"domain": list(values), "range": list(colors)}
    return {"field": field, "type": "nominal", "scale": scale, "legend": {} if legend else None}


def funnel(steps: Rows) -> str:
    """Bars of the candidates left after each step: rows of `step` and `left`."""
    y = {"field": "step", "type": "nominal", "sort": None, "title": None}
    x = {"field": "left", "type": "quantitative", "title": "candidates", **_COUNT}
    return draw(
        {
            "data": {"values": [step | {"says": f"{step['step']}: {step['left']:,}"} for step in steps]},
            "encoding": {"y": y, "x": x, **_SAYS},
            "layer": [
                {"mark": {"type": "bar", "color": COLORS[0]}},
                {
                    "mark": {"type": "text", "align": "left", "dx": 4},
                    "encoding": {"text": {"field": "left", "format": ","}},
                },
            ],
        },
        40 + 24 * len(steps),
    )


def histogram(bins: Rows, title: str) -> str:
    """Bars of `bin` and `n`, split by `what`; the first `what` is drawn first."""
    names = list(dict.fromkeys(row["what"] for row in bins))
    return draw(
        {
            "data": {"values": [one | {"says": f"{one['bin']}: {one['n']:,} {one['what']}".strip()} for one in bins]},
            "mark": "bar",
            "encoding": {
                **_SAYS,
                "x": {
                    "field": "bin",
                    "type": "ordinal",
                    "sort": None,
                    "title": title,
                    "axis": {"labelAngle": -60, "labelOverlap": False},
                },
                "y": {"field": "n", "type": "quantitative", "title": "candidates", **_COUNT},
                "color": _color("what", names, COLORS[: len(names)], legend=len(names) > 1),
                "order": {"field": "place", "type": "quantitative"},
            },
        },
        240,
    )


def shares(rows: Rows, kinds: Sequence[str], colors: Sequence[str]) -> str:
    """Horizontal bars of `name`, each split into the `n` of its kinds as shares; rows of `name`, `kind` and `n`."""
    names = list(dict.fromkeys(row["name"] for row in rows))
    return draw(
        {
            "data": {"values": [row | {"place": kinds.index(row["kind"]), "says": _share(row)} for row in rows]},
            "mark": "bar",
            "encoding": {
                **_SAYS,
                "y": {"field": "name", "type": "nominal", "sort": names, "title": None},
                "x": {
                    "field": "n",
                    "type": "quantitative",
                    "stack": "normalize",
                    "title": "share of the candidates",
                    "axis": {"format": ".0%", "tickCount": 4},
                },
                "color": _color("kind", kinds, colors),
                "order": {"field": "place", "type": "quantitative"},
            },
        },
        90 + 22 * len(names),
    )


def _share(row: dict[str, Any]) -> str:
    return f"{row['name']}: {row['n']:,} {row['kind']}"


def curves(rows: Rows, x: str, y: str, x_title: str) -> str:
    """Lines of `y` over `x`, one per `run`."""
    runs = list(dict.fromkeys(row["run"] for row in rows))
    return draw(
        {
            "data": {"values": list(rows)},
            "mark": {"type": "line", "point": {"size": 18}, "strokeWidth": 1.5},
            "encoding": {
                "x": {"field": x, "type": "quantitative", "title": x_title, "axis": {"format": "~s", "tickCount": 5}},
                "y": {
                    "field": y,
                    "type": "quantitative",
                    "title": None,
                    "scale": {"zero": False},
                    "axis": {"tickCount": 5, "format": "~g"},
                },
                "color": _color("run", runs, COLORS),
            },
        },
        200,
    )


def intervals(rows: Rows, models: Sequence[str]) -> str:
    """Points with 95 % intervals, in percent: rows of `benchmark`, `model`, `mean`, `low` and `high`."""
    benchmarks = list(dict.fromkeys(row["benchmark"] for row in rows))
    y = {"field": "benchmark", "type": "nominal", "sort": benchmarks, "title": None}
    color = _color("model", models, COLORS, legend=len(models) > 1)
    offset = {"field": "model", "type": "nominal", "sort": list(models)}
    return draw(
        {
            "data": {"values": [row | {"says": _interval(row)} for row in rows]},
            "encoding": {
                "y": y,
                "yOffset": offset,
                "color": color,
                **_SAYS,
            },
            "layer": [
                {
                    "mark": {"type": "rule", "strokeWidth": 2},
                    "encoding": {
                        "x": {"field": "low", "type": "quantitative", "title": "score, percent"},
                        "x2": {"field": "high"},
                    },
                },
                {
                    "mark": {"type": "point", "filled": True, "size": 50, "opacity": 1},
                    "encoding": {"x": {"field": "mean", "type": "quantitative"}},
                },
            ],
        },
        80 + 16 * len(benchmarks) * max(len(models), 2),
    )


def _interval(row: dict[str, Any]) -> str:
    return f"{row['benchmark']}, {row['model']}: {row['mean']:.1f} [{row['low']:.1f}, {row['high']:.1f}]"
