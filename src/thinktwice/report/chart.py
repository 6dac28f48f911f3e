"""Charts as inline SVG, coloured by the page's style sheet so that they follow light and dark; no library, no script.

Every function returns `Markup`: names are escaped here, numbers are ours.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from thinktwice.records import Cell, Comparison, Interval

Point = tuple[float, float]


@dataclass(frozen=True)
class Plot:
    """A plotting area: data coordinates to places on the drawing."""

    x: Interval
    """Lowest and highest value on the horizontal axis."""
    y: Interval
    width: int = 480
    height: int = 290
    left: int = 50
    right: int = 110
    top: int = 14
    bottom: int = 40

    def at(self, x: float, y: float) -> Point:
        """Return where a value lies on the drawing."""
        across = (x - self.x[0]) / ((self.x[1] - self.x[0]) or 1)
        up = (y - self.y[0]) / ((self.y[1] - self.y[0]) or 1)
        return (
            round(self.left + across * (self.width - self.left - self.right), 1),
            round(self.height - self.bottom - up * (self.height - self.top - self.bottom), 1),
        )


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Return round numbers between two values, about `wanted` of them."""
    if high <= low:
        return [low]
    raw = (high - low) / wanted
    scale = 10 ** math.floor(math.log10(raw))
    step = next(s * scale for s in (1, 2, 2.5, 5, 10) if s * scale >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 10) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def _svg(plot: Plot, title: str, parts: Sequence[str]) -> Markup:
    body = Markup("").join(Markup(part) for part in parts)
    return Markup(
        '<svg class="chart" viewBox="0 0 {w} {h}" role="img" aria-label="{t}"><title>{t}</title>{body}</svg>'
    ).format(w=plot.width, h=plot.height, t=title, body=body)


def _axes(plot: Plot, xs: Mapping[float, str], ys: Mapping[float, str], x_label: str, y_label: str) -> list[str]:
    parts = []
    for value, text in ys.items():
        x0, y = plot.at(plot.x[0], value)
        x1, _ = plot.at(plot.x[1], value)
        parts.append(f'<line class="grid" x1="{x0}" y1="{y}" x2="{x1}" y2="{y}"/>')
        parts.append(f'<text class="tick" x="{x0 - 8}" y="{y + 4}" text-anchor="end">{escape(text)}</text>')
    for value, text in xs.items():
        x, y = plot.at(value, plot.y[0])
        parts.append(f'<text class="tick" x="{x}" y="{y + 18}" text-anchor="middle">{escape(text)}</text>')
    x0, base = plot.at(plot.x[0], plot.y[0])
    x1, _ = plot.at(plot.x[1], plot.y[0])
    parts.append(f'<line class="axis" x1="{x0}" y1="{base}" x2="{x1}" y2="{base}"/>')
    middle = (x0 + x1) / 2
    parts.append(f'<text class="label" x="{middle}" y="{base + 35}" text-anchor="middle">{escape(x_label)}</text>')
    if y_label:
        parts.append(f'<text class="label" x="{x0 - 42}" y="10">{escape(y_label)}</text>')
    return parts


def _room(names: Iterable[str]) -> int:
    """Return the margin that the longest name needs at the end of its line."""
    return 20 + round(8 * max(map(len, names), default=0))


def _path(points: Sequence[Point]) -> str:
    return "M" + "L".join(f"{x},{y}" for x, y in points)


def _spread(wanted: Sequence[tuple[float, str]], gap: float, lowest: float) -> dict[str, float]:
    """Move labels apart so that none covers another or leaves the drawing at its lower edge; keeps their order."""
    ordered = sorted(wanted)
    places: list[float] = []
    for y, _ in ordered:
        places.append(max(y, places[-1] + gap) if places else y)
    limit = lowest
    for i in reversed(range(len(places))):
        places[i] = min(places[i], limit)
        limit = places[i] - gap
    return {name: y for (_, name), y in zip(ordered, places, strict=True)}


def accuracy(arms: Mapping[str, Mapping[int, Cell]], colours: Mapping[str, int], marked: Mapping[int, str]) -> Markup:
    """Draw accuracy against difficulty, one line an arm with its 95 % band.

    Args:
        arms: arm -> level -> cell.
        colours: arm -> number of its colour.
        marked: levels to point out, with a word each ("training", "headline").
    """
    levels = sorted({level for cells in arms.values() for level in cells})
    plot = Plot((min(levels), max(levels)), (0.0, 1.0), top=34, right=_room(arms))
    parts = _axes(plot, {v: str(v) for v in levels}, {v / 4: f"{25 * v} %" for v in range(5)}, "difficulty level", "")
    for level, word in marked.items():
        x, y = plot.at(level, 0)
        _, top = plot.at(level, 1)
        parts.append(f'<line class="mark" x1="{x}" y1="{y}" x2="{x}" y2="{top - 6}"/>')
        parts.append(f'<text class="note" x="{x}" y="{top - 12}" text-anchor="middle">{escape(word)}</text>')
    for name, cells in arms.items():
        known = sorted(cells)
        above = [plot.at(level, cells[level].ci[1]) for level in known]
        below = [plot.at(level, cells[level].ci[0]) for level in reversed(known)]
        parts.append(f'<path class="band c{colours[name]}" d="{_path([*above, *below])}Z"/>')
    for name, cells in arms.items():
        middle = [plot.at(level, cells[level].accuracy) for level in sorted(cells)]
        parts.append(f'<path class="line c{colours[name]}" d="{_path(middle)}"/>')
        for (x, y), level in zip(middle, sorted(cells), strict=True):
            c = cells[level]
            hint = escape(f"{name}, level {level}: {100 * c.accuracy:.1f} % of {c.n}")
            parts.append(
                f'<circle class="dot c{colours[name]}" cx="{x}" cy="{y}" r="3.5"><title>{hint}</title></circle>'
            )
    ends = [(plot.at(max(cells), cells[max(cells)].accuracy)[1], name) for name, cells in arms.items() if cells]
    for name, y in _spread(ends, 16, plot.height - plot.bottom).items():
        x, _ = plot.at(plot.x[1], 0)
        parts.append(f'<text class="name c{colours[name]}" x="{x + 10}" y="{y + 4:.1f}">{escape(name)}</text>')
    return _svg(plot, "Accuracy against difficulty, with 95 % intervals", parts)


def curves(
    lines: Mapping[str, Sequence[Point]],
    colours: Mapping[str, int],
    x_label: str,
    y_label: str,
    *,
    shares: bool = False,
) -> Markup:
    """Draw lines over a common axis: losses over steps, precision over recall. A name ending in " (dev)" is dashed.

    `shares`: both axes go from 0 to 1, whatever the values.
    """
    points = [p for line in lines.values() for p in line]
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    low, high = min(ys), max(ys)
    margin = 0.05 * (high - low) or 0.05
    floor = 0.0 if low >= 0 and low < 0.4 * high else low - margin
    x_span, y_span = ((0.0, 1.0), (0.0, 1.0)) if shares else ((min(xs), max(xs)), (floor, high + margin))
    plot = Plot(x_span, y_span, height=240, top=24, right=_room(lines))
    x_ticks = {v: f"{v:g}" for v in ticks(*plot.x)}
    parts = _axes(plot, x_ticks, {v: f"{v:g}" for v in ticks(*plot.y, wanted=4)}, x_label, y_label)
    for name, line in lines.items():
        dashed = " dashed" if name.endswith(" (dev)") else ""
        drawn = [plot.at(*p) for p in line]
        parts.append(f'<path class="line thin{dashed} c{colours[name]}" d="{_path(drawn)}"/>')
    ends = [(plot.at(*line[-1])[1], name) for name, line in lines.items()]
    for name, y in _spread(ends, 15, plot.height - plot.bottom).items():
        x, _ = plot.at(plot.x[1], plot.y[0])
        parts.append(f'<text class="name c{colours[name]}" x="{x + 10}" y="{y + 4:.1f}">{escape(name)}</text>')
    return _svg(plot, f"{y_label} over {x_label}", parts)


def forest(comparisons: Sequence[Comparison]) -> list[Markup]:
    """Draw one interval bar a comparison, all on the same scale, zero marked."""
    ends = [0.0, *(v for c in comparisons for v in (*c.ci, c.difference))]
    plot = Plot((min(-0.02, *ends), max(0.02, *ends)), (0, 1), width=180, height=22, left=4, right=4, top=0, bottom=0)
    drawn = []
    for c in comparisons:
        (low, y), (high, _), (middle, _) = plot.at(c.ci[0], 0.5), plot.at(c.ci[1], 0.5), plot.at(c.difference, 0.5)
        zero, _ = plot.at(0, 0)
        tone = "up" if c.ci[0] > 0 else "down" if c.ci[1] < 0 else "flat"
        parts = [
            f'<line class="zero" x1="{zero}" y1="1" x2="{zero}" y2="21"/>',
            f'<line class="whisker {tone}" x1="{low}" y1="{y}" x2="{high}" y2="{y}"/>',
            f'<circle class="point {tone}" cx="{middle}" cy="{y}" r="4"/>',
        ]
        drawn.append(_svg(plot, f"{c.a} minus {c.b}, level {c.level}", parts))
    return drawn


def staircase(steps: Sequence[tuple[str, float | None, float]], colours: Sequence[int]) -> Markup:
    """Draw how one accuracy becomes another: bars from `start` to `end`, one below the other.

    Args:
        steps: (name, start, end) as fractions; start None draws the whole of an accuracy.
        colours: the colour number of each bar.
    """
    plot = Plot((0.0, 1.0), (0, 1), width=480, height=36 * len(steps) + 30, left=138, right=28, top=4, bottom=26)
    parts = []
    for v in range(0, 101, 25):
        x, y = plot.at(v / 100, 0)
        parts.append(f'<line class="grid" x1="{x}" y1="{plot.top}" x2="{x}" y2="{y}"/>')
        parts.append(f'<text class="tick" x="{x}" y="{y + 16}" text-anchor="middle">{v} %</text>')
    for row, ((name, start, end), colour) in enumerate(zip(steps, colours, strict=True)):
        y = plot.top + 36 * row + 7
        x0, _ = plot.at(min(start or 0.0, end), 0)
        x1, _ = plot.at(max(start or 0.0, end), 0)
        text = f"{100 * end:.1f} %" if start is None else f"{100 * (end - start):+.1f}".replace("-", "−")
        width = max(1.0, x1 - x0)
        parts.append(f'<rect class="bar c{colour}" x="{x0}" y="{y}" width="{width:.1f}" height="22" rx="3"/>')
        parts.append(f'<text class="row" x="{plot.left - 10}" y="{y + 15}" text-anchor="end">{escape(name)}</text>')
        if x1 + 56 <= plot.width:
            parts.append(f'<text class="value" x="{x1 + 6}" y="{y + 15}">{text}</text>')
        elif start is None:
            parts.append(f'<text class="value on" x="{x1 - 8}" y="{y + 15}" text-anchor="end">{text}</text>')
        else:
            parts.append(f'<text class="value" x="{x0 - 6}" y="{y + 15}" text-anchor="end">{text}</text>')
    return _svg(plot, "How the gain comes about", parts)
