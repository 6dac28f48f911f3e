"""Small figures of a comparison: two accuracies on one scale, and every problem as a square."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from markupsafe import Markup, escape

from thinktwice.records import Cell, Measure
from thinktwice.report.chart import Plot, both, svg, ticks
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


def beside(name: str, by_arm: Mapping[str, Measure], colours: Mapping[str, int]) -> Markup:
    """Draw one number of several arms, each with its interval, below one another on a scale that begins at 0."""
    most = max(m.ci[1] for m in by_arm.values())
    end = next(edge for edge in (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0) if edge >= min(most, 1.0) - 1e-9)
    room = 16 + round(7.4 * max(map(len, by_arm)))
    rows = len(by_arm)
    plot = Plot((0.0, end), (rows - 0.5, -0.5), 380, 26 * rows + 26, left=room, right=52, top=0, bottom=24)
    parts = []
    for v in ticks(0.0, end, 4):
        x, y = plot.at(v, rows - 0.5)
        parts.append(f'<line class="grid" x1="{x}" y1="0" x2="{x}" y2="{y}"/>')
        parts.append(f'<text class="tick" x="{x}" y="{y + 17}" text-anchor="middle">{100 * v:g} %</text>')
    for place, (arm, m) in enumerate(by_arm.items()):
        (low, y), (high, _), (middle, _) = (plot.at(v, place) for v in (*m.ci, m.value))
        said = f"{arm}: {100 * m.value:.1f} % ({100 * m.ci[0]:.1f} to {100 * m.ci[1]:.1f})"
        parts.append(
            f'<g class="series c{colours.get(arm, 7)}"><title>{escape(said)}</title>'
            f'<text class="name" x="0" y="{y + 4}">{escape(arm)}</text>'
            f'<line class="whisker" x1="{low}" y1="{y}" x2="{high}" y2="{y}"/>'
            f'<circle class="dot" cx="{middle}" cy="{y}" r="4.5"/>'
            f'<text class="tick" x="{plot.width}" y="{y + 4}" text-anchor="end">{100 * m.value:.1f} %</text></g>'
        )
    return svg(plot, f"{name}, arm by arm", parts)


def kinds_of(counted: Mapping[str, Counter[str]]) -> list[str]:
    """Return the kinds of failure of several arms, the most frequent first."""
    return [kind for kind, n in sum(counted.values(), Counter[str]()).most_common() if n]


def stacked(
    counted: Mapping[str, Counter[str]], totals: Mapping[str, int], order: Sequence[str], colours: Mapping[str, int]
) -> Markup:
    """Draw what became of every answer of some arms: a bar an arm, right answers first, then each kind of failure.

    Args:
        counted: arm -> kind -> answers.
        totals: arm -> all its answers.
        order: kinds, in the order of their colours, the same in all figures of a page.
        colours: of the arms' names.
    """
    kinds = [kind for kind in order if any(counts[kind] for counts in counted.values())]
    look = {kind: f"k{place % 12}" for place, kind in enumerate(order)}
    bars = []
    for arm, counts in counted.items():
        whole = totals[arm] or 1
        parts = [("right", "ok", whole - sum(counts.values())), *((kind, look[kind], counts[kind]) for kind in kinds)]
        cells = [
            Markup('<i class="{} part" style="flex-grow:{}" title="{}"></i>').format(name, n, f"{kind}: {n} of {whole}")
            for kind, name, n in parts
            if n
        ]
        said = f"{arm}: " + ", ".join(f"{kind} {n}" for kind, _, n in parts if n)
        bars.append(
            Markup(
                '<li><span class="arm"><i class="key c{}"></i>{}</span>'
                '<span class="stack" role="img" aria-label="{}">{}</span></li>'
            ).format(colours.get(arm, 7), arm, said, Markup("").join(cells))
        )
    names = [("right", "ok"), *((kind.replace("_", " "), look[kind]) for kind in kinds)]
    keys = (Markup('<span class="arm"><i class="{} chip"></i> {}</span>').format(name, kind) for kind, name in names)
    return Markup('<ul class="bars stacks">{}</ul><p class="note stack-keys">{}</p>').format(
        Markup("").join(bars), Markup(" ").join(keys)
    )
