"""Results as tables on the terminal."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from thinktwice.config import Recipe, parse
from thinktwice.records import Cell, Summary
from thinktwice.report.claims import headline, interval, measured, percent, points, split
from thinktwice.report.preference import answer
from thinktwice.run import Run


def plain_table(*columns: str) -> Table:
    """Return an empty table in the house's style."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, no_wrap=column == columns[0])
    return table


def outcome(place: Path) -> None:
    """Print a finished run's accuracies (mean grades where answers are graded), and what it may claim."""
    run = Run.load(place)
    recipe = parse(Recipe, run.config)
    summary = parse(Summary, run.summary() or {}, str(place / "summary.json"))
    console = Console(highlight=False)
    levels = sorted({level for cells in summary.arms.values() for level in cells})
    graded = measured(summary)
    table = plain_table(f"mean {graded} %" if graded else "accuracy %", *(f"level {level}" for level in levels))
    for name, cells in summary.arms.items():
        row = [_accuracy(cells[level]) if level in cells else "–" for level in levels]
        main = recipe.headline is not None and name == recipe.headline.a
        table.add_row(escape(name), *row, style="bold" if main else None)
    console.print(table)
    claim = headline(summary)
    if claim is not None:
        console.print(f"\n[bold]{escape(claim.sentence)}[/]\n{escape(claim.verdict)}")
    asked = answer(summary, recipe.headline)
    if asked is not None:
        console.print(f"\n[bold]{asked.question}[/] {escape(asked.verdict)}. {escape(asked.sentence)}")
        for line in asked.beside:
            console.print(f"  {escape(line)}")
    for part in split(summary, recipe.headline) or ():
        c = part.comparison
        console.print(f"  {part.name}: {points(c.difference)} points ({interval(c.ci)})")


def _accuracy(cell: Cell) -> str:
    """Return an accuracy with its interval, narrow enough for three levels beside each other on 80 columns."""
    return f"{100 * cell.accuracy:.1f} [{100 * cell.ci[0]:.1f},\u00a0{100 * cell.ci[1]:.1f}]"


def evaluations(found: Mapping[str, Any]) -> None:
    """Print what the harness found, task by task."""
    console = Console(highlight=False)
    for name, evaluation in found.items():
        console.print(f"[bold]{escape(name)}[/], {evaluation.n} problems")
        table = plain_table("metric", "value")
        if evaluation.accuracy is not None:
            low, high = evaluation.accuracy.ci
            value = f"{percent(evaluation.accuracy.value)} ({100 * low:.1f} to {100 * high:.1f})"
            table.add_row("accuracy, strict", value)
        for level, accuracy in evaluation.levels.items():
            low, high = accuracy.ci
            text = f"{percent(accuracy.value)} ({100 * low:.1f} to {100 * high:.1f}) of {accuracy.n}"
            table.add_row(f"  level {level}", text)
        for metric, number in evaluation.metrics.items():
            table.add_row(escape(metric), f"{number:.4g}")
        console.print(table)
