"""Small figures of a comparison: two accuracies on one scale, and every problem as a square."""

import math
from collections.abc import Mapping

from markupsafe import Markup, escape

from thinktwice.records import Cell
from thinktwice.report.chart import Plot, both, svg
from thinktwice.report.outcomes import Flips

SQUARES = 4000
"""Above this many problems no square is large enough to be seen."""


def versus(a: tuple[str, Cell], b: tuple[str, Cell], colours: Mapping[str, int]) -> Markup:
    """Draw two accuracies with their intervals on one scale from 0 to 100 %, `b` above and `a` below."""

    def draw(narrow: bool) -> Markup:
        plot = Plot((0.0, 1.0), (0, 1), 340 if narrow else 660, 104, left=18, right=26, top=0, bottom=24)
        parts = []
        for v in range(0, 101, 25):
            x, y = plot.at(v / 100, 0)
            parts.append(f'<line class="grid" x1="{x}" y1="2" x2="{x}" y2="{y}"/>')
            parts.append(f'<text class="tick" x="{x}" y="{y + 17}" text-anchor="middle">{v} %</text>')
        for place, (name, cell) in ((0.74, b), (0.26, a)):
            (low, y), (high, _), (middle, _) = (plot.at(v, place) for v in (*cell.ci, cell.accuracy))
            text = escape(f"{name} {100 * cell.accuracy:.1f} %")
            parts.append(
                f'<g class="series c{colours[name]}"><line class="whisker" x1="{low}" y1="{y}" x2="{high}" y2="{y}"/>'
                f'<circle class="dot" cx="{middle}" cy="{y}" r="5.5"/>'
            )
            left = low - plot.left > 8 * len(text)
            x, anchor = (low - 10, "end") if left else (high + 10, "start")
            parts.append(f'<text class="name" x="{x}" y="{y + 4.5}" text-anchor="{anchor}">{text}</text></g>')
        return svg(plot, f"{a[0]} beside {b[0]}, with 95 % intervals", parts)

    return both(draw)


def waffle(flips: Flips) -> Markup | None:
    """Draw every problem as one square: both right, gained, lost, neither; column by column. None for too many.

    `flips.js` draws the same for another pair.
    """
    if flips.n > SQUARES:
        return None
    rows = max(1, math.ceil(math.sqrt(flips.n / 5)))
    columns = math.ceil(flips.n / rows)
    parts, place = [], 0
    for kind, count in _groups(flips):
        squares = (divmod(i, rows) for i in range(place, place + count))
        path = "".join(f"M{10 * x} {10 * y}h8v8h-8z" for x, y in squares)
        parts.append(f'<path class="square {kind}" d="{path}"/>')
        place += count
    plot = Plot((0, 1), (0, 1), 10 * columns - 2, 10 * rows - 2)
    return svg(plot, f"Every problem as a square: {flips.both} both right, {len(flips.gained)} gained", parts)


def _groups(flips: Flips) -> tuple[tuple[str, int], ...]:
    return (
        ("both", flips.both),
        ("gained", len(flips.gained)),
        ("lost", len(flips.lost)),
        ("neither", flips.neither),
    )
