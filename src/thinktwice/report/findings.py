"""What methods found in their arms' answers, and what was found out about the run afterwards: tables and pictures."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from markupsafe import Markup, escape

from thinktwice.config import parse
from thinktwice.records import Finding, Measure, Summary
from thinktwice.report.chart import Plot, both, legend, svg
from thinktwice.report.drawing import lines
from thinktwice.report.outcomes import link
from thinktwice.show import printable

BEFORE = " (before)"
VIEWS = ("failure", "mark", "outcome")
"""Filters of the trace viewer that a finding may name."""
_NUMBER = re.compile(r"[+−-]?[\d.,]+(\s*%)?(\s*\([^()]*\))?|[<>]\s*[\d.]+|–|[+−-]?[\d.,]+ (to|→) [+−-]?[\d.,]+")


@dataclass(frozen=True)
class Table:
    """One finding, ready to be laid out."""

    finding: Finding
    numbers: tuple[bool, ...]
    """Of each column: whether it holds numbers, which stand at its right edge."""
    picture: Markup | None
    links: tuple[str, ...]
    """Of each row: the address, inside the page, of the answers it counts; "" where it has none."""
    episodes: Mapping[str, tuple[tuple[str, str], ...]]
    """Cells that name answers -> (key, address) of each."""


@dataclass(frozen=True)
class Found:
    """The findings of one arm, or of one look at the run."""

    name: str
    arm: bool
    """Whether the name is an arm's."""
    tables: tuple[Table, ...]


def gather_findings(
    summary: Summary | None, notes: Mapping[str, Any], first: Sequence[str] = (), keys: Collection[str] = ()
) -> list[Found]:
    """Return everything that was found: arm by arm, those in `first` before the others, then the notes of the run.

    A note is shown when it has `findings`; any other is not ours to show. Cells that name answers of the run, whose
    `keys` these are, become links.
    """
    by_arm = summary.findings if summary is not None else {}
    order = sorted(by_arm, key=lambda name: first.index(name) if name in first else len(first))
    found = [Found(name, True, tuple(_table(f, name, keys) for f in by_arm[name])) for name in order if by_arm[name]]
    for name, note in notes.items():
        saved = note.get("findings") if isinstance(note, Mapping) else None
        if isinstance(saved, list) and saved:
            tables = (parse(Finding, row, f"notes/{name}.json") for row in saved)
            found.append(Found(name, False, tuple(map(_table, tables))))
    return found


def gather_measures(summary: Summary | None, names: Sequence[str]) -> dict[str, dict[str, Measure]]:
    """Return the numbers that several arms have, by name and by arm, the arms in the order of `names`."""
    found: dict[str, dict[str, Measure]] = {}
    for arm in names:
        for finding in summary.findings.get(arm, ()) if summary else ():
            for measure in finding.measures:
                found.setdefault(measure.name, {})[arm] = measure
    return {name: by_arm for name, by_arm in found.items() if len(by_arm) > 1}


def _table(finding: Finding, arm: str = "", keys: Collection[str] = ()) -> Table:
    columns = [[row[i] for row in finding.rows if i < len(row)] for i in range(len(finding.columns))]
    numbers = tuple(any(cells) and all(_NUMBER.fullmatch(c) for c in cells if c) for cells in columns)
    picture = places(finding.points, finding.title) if finding.points else None
    if finding.figure is not None:
        picture = lines(finding.figure, finding.title)
    views = (*finding.views, *("" for _ in finding.rows))[: len(finding.rows)] if arm else ("",) * len(finding.rows)
    named = {cell: _named(cell, arm, keys) for row in finding.rows for cell in row if arm and cell}
    return Table(
        finding,
        numbers,
        picture,
        tuple(_address(arm, view) for view in views),
        {cell: links for cell, links in named.items() if links},
    )


def _address(arm: str, view: str) -> str:
    """Return where the page shows an arm's answers of a view ("failure=loop"); "" for none."""
    name, _, value = view.partition("=")
    return f"#arms={quote(arm, safe='')}&{name}={quote(value, safe=',')}" if name in VIEWS and value else ""


def _named(cell: str, arm: str, keys: Collection[str]) -> tuple[tuple[str, str], ...]:
    """Return the answers that a cell names, if it says nothing else."""
    words = [word for word in cell.split(" ") if word != "…"]
    return tuple((key, link(key, arm)) for key in words) if words and all(word in keys for word in words) else ()


def places(points: Sequence[tuple[float, float, str]], title: str) -> Markup:
    """Draw places on a plane, one colour a name; what is " (before)" is hollow, in the colour of what it became.

    Args:
        points: (x, y, what).
        title: of the table they go with.
    """
    points, title = [(x, y, printable(name)) for x, y, name in points], printable(title)
    names = list(dict.fromkeys(name.removesuffix(BEFORE) for _, _, name in points))
    colours = {name: number % 8 for number, name in enumerate(names)}
    xs, ys = [x for x, _, _ in points], [y for _, y, _ in points]

    def draw(narrow: bool) -> Markup:
        plot = Plot(_span(xs), _span(ys), *((340, 280) if narrow else (560, 360)), left=8, right=8, top=8, bottom=8)
        parts = []
        for name in names:
            parts.append(f'<g class="series c{colours[name]}">')
            for x, y, own in points:
                if own.removesuffix(BEFORE) == name:
                    cx, cy = plot.at(x, y)
                    look = "ring" if own.endswith(BEFORE) else "dot"
                    parts.append(
                        f'<circle class="{look}" cx="{cx}" cy="{cy}" r="4.5"><title>{escape(own)}</title></circle>'
                    )
            parts.append("</g>")
        return svg(plot, f"{title}, drawn", parts)

    return both(draw) + legend(names, colours)


def _span(values: Sequence[float]) -> tuple[float, float]:
    room = 0.07 * ((max(values) - min(values)) or 1.0)
    return min(values) - room, max(values) + room
