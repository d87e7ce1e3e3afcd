"""The printed comparison, in percent: for a terminal, and as Markdown."""

from __future__ import annotations

from pivotrl_cli.stages.compare.paired import (
    CompareSummary,
    DomainScores,
    MeanScore,
    PairedDifference,
    Scores,
    item_name,
)

_ITEMS_NAMED = 3


def table_cells(summary: CompareSummary) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table."""
    first, *others = summary.models
    idle = {one.benchmark: one.do_nothing for one in summary.benchmarks if one.do_nothing is not None}
    header = ["benchmark", "n", *(["do nothing"] if idle else []), first]
    header += [part for m in others for part in (m, f"{m} - {first}", "won/lost")]
    labels = {"in": "mean in domain", "out": "mean out of domain"}
    lines: list[tuple[str, Scores | DomainScores]] = [*benchmark_lines(summary)]
    lines += [(labels[d], one) for d, one in summary.domains.items() if one and len(one.benchmarks) > 1]
    rows = []
    for label, one in lines:
        share = getattr(one, "do_nothing", None)
        row = [label, f"{one.n:,}", *([_percent(share)] if idle else []), _mean(one.models.get(first))]
        for model in others:
            difference = one.differences.get(model)
            won = f"{difference.wins:,}/{difference.losses:,}" if difference else "-"
            row += [_mean(one.models.get(model)), difference_cell(difference), won]
        rows.append(row)
    return header, rows


def benchmark_lines(summary: CompareSummary) -> list[tuple[str, Scores]]:
    """Benchmarks with their labels, and again with errors as 0 where that differs."""
    lines: list[tuple[str, Scores]] = []
    for one in summary.benchmarks:
        lines.append((f"{one.benchmark} (out of domain)" if one.domain == "out" else one.benchmark, one))
        if one.errors_as_zero:
            lines.append((f"{one.benchmark}, errors as 0", one.errors_as_zero))
    return lines


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"


def _mean(one: MeanScore | None) -> str:
    return f"{100 * one.mean:.1f} [{100 * one.low:.1f}, {100 * one.high:.1f}]" if one else "-"


def difference_cell(one: PairedDifference | None) -> str:
    """Example: `+66.7 [+15.8, +93.3] *`"""
    if one is None:
        return "-"
    mark = " *" if one.significant else ""
    return f"{100 * one.mean:+.1f} [{100 * one.low:+.1f}, {100 * one.high:+.1f}]{mark}"


def notes(summary: CompareSummary) -> list[str]:
    """Lines below the table: units, marks, and the items that are not in the numbers."""
    found = ["scores in percent with 95 % intervals"]
    if len(summary.models) > 1:
        found[0] += "; * marks a paired difference with p < 0.05"
    if any(one.do_nothing is not None for one in summary.benchmarks):
        found.append("do nothing: what an agent that refuses at once scores on the whole benchmark")
    for one in summary.benchmarks:
        found += [f"{m}: {n:,} items of {one.benchmark} not measured" for m, n in one.unscored.items() if n]
    for model, missing in summary.missing.items():
        for items in missing.values():
            more = f" and {len(items) - _ITEMS_NAMED:,} more" if len(items) > _ITEMS_NAMED else ""
            found.append(f"{model}: lacks {', '.join(items[:_ITEMS_NAMED])}{more}")
    return found


def flip_lines(summary: CompareSummary) -> list[str]:
    """The flipped items, one line each."""
    return [
        f"{model}: {item_name(flip.benchmark, flip.task_id, flip.trial)}: {flip.before:g} -> {flip.after:g}"
        for model, flips in summary.flips.items()
        for flip in flips
    ]


def markdown(summary: CompareSummary) -> str:
    """The comparison as a Markdown table with its notes."""
    header, rows = table_cells(summary)
    lines = [header, ["---"] * len(header), *rows]
    table = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
    flips = [f"- {line}" for line in flip_lines(summary)]
    parts = [table, "\n".join(notes(summary)), *(["\n".join(flips)] if flips else [])]
    return "\n\n".join(parts)


def print_table(summary: CompareSummary) -> None:
    """Print the table with its notes on standard output."""
    from rich.console import Console
    from rich.table import Table as RichTable

    header, rows = table_cells(summary)
    table = RichTable(box=None, pad_edge=False)
    for i, column in enumerate(header):
        table.add_column(column, justify="left" if i == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = 10_000  # a file has no edge to fold at
    console.print(table)
    for note in [*notes(summary), *flip_lines(summary)]:
        console.print(note, soft_wrap=True)
