"""Charts as inline SVG, coloured by the page's style sheet so that they follow light and dark; no library, no script.

Every chart is drawn twice, for a wide page and for a narrow one, each at its own size: letters are as large as the text
around them. Every function returns `Markup`: names are escaped here, numbers are ours.
"""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from thinktwice.records import Cell, Comparison, Interval, Threshold

Point = tuple[float, float]


@dataclass(frozen=True)
class Plot:
    """A plotting area: data coordinates to places on the drawing."""

    x: Interval
    """Lowest and highest value on the horizontal axis."""
    y: Interval
    width: int = 660
    height: int = 330
    left: int = 50
    right: int = 110
    top: int = 14
    bottom: int = 44

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


def smoothed(line: Sequence[Point], weight: float = 0.6) -> list[Point]:
    """Return the exponential moving average of a curve, not biased towards its start (TensorBoard's smoothing)."""
    done, mean, mass = [], 0.0, 0.0
    for x, y in line:
        mean, mass = weight * mean + (1 - weight) * y, weight * mass + (1 - weight)
        done.append((x, mean / mass))
    return done


def both(draw: Callable[[bool], Markup]) -> Markup:
    """Return a chart drawn wide and narrow; the style sheet shows one of them."""
    return Markup('<div class="wide">{}</div><div class="narrow">{}</div>').format(draw(False), draw(True))


def svg(plot: Plot, title: str, parts: Sequence[str]) -> Markup:
    """Put parts, which must be safe, into a drawing with a name."""
    body = Markup("").join(Markup(part) for part in parts)
    return Markup(
        '<svg class="chart" viewBox="0 0 {w} {h}" width="{w}" height="{h}" role="img" aria-label="{t}">{body}</svg>'
    ).format(w=plot.width, h=plot.height, t=title, body=body)


def legend(names: Iterable[str], colours: Mapping[str, int], dashed: Collection[str] = ()) -> Markup:
    """Return the names with their colours, for where there is no room at the ends of the lines."""
    keys = (
        Markup('<span class="arm"><i class="key{} c{}"></i>{}</span>').format(
            " dashed" if name.endswith(" (dev)") or name in dashed else "", colours[name], name
        )
        for name in names
    )
    return Markup('<div class="legend">{}</div>').format(Markup(" ").join(keys))


def axes(plot: Plot, xs: Mapping[float, str], ys: Mapping[float, str], x_label: str, y_label: str) -> list[str]:
    """Return the parts of two axes, whose marks are given as value -> text."""
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
    parts.append(f'<text class="label" x="{middle}" y="{base + 38}" text-anchor="middle">{escape(x_label)}</text>')
    if y_label:
        parts.append(f'<text class="label" x="0" y="12">{escape(y_label)}</text>')
    return parts


def _room(names: Iterable[str]) -> int:
    """Return the margin that the longest name needs at the end of its line."""
    return 24 + round(7.4 * max(map(len, names), default=0))


def path(points: Sequence[Point]) -> str:
    """Return places on a drawing as the path through them."""
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


def _ends(plot: Plot, ends: Sequence[tuple[float, str]], colours: Mapping[str, int]) -> list[str]:
    """Write each name at the end of its line, joined to it where it had to move."""
    x, _ = plot.at(plot.x[1], plot.y[0])
    real = {name: y for y, name in ends}
    parts = []
    for name, y in _spread(ends, 17, plot.height - plot.bottom).items():
        if abs(y - real[name]) > 3:
            parts.append(f'<path class="leader" d="M{x + 5},{real[name]}L{x + 12},{y:.1f}"/>')
        parts.append(f'<text class="name c{colours[name]}" x="{x + 15}" y="{y + 4:.1f}">{escape(name)}</text>')
    return parts


def accuracy(arms: Mapping[str, Mapping[int, Cell]], colours: Mapping[str, int], marked: Mapping[int, str]) -> Markup:
    """Draw accuracy against difficulty, one line an arm with its 95 % band.

    Args:
        arms: arm -> level -> cell.
        colours: arm -> number of its colour.
        marked: levels to point out, with a word each ("training", "headline").
    """
    return both(lambda narrow: _accuracy(arms, colours, marked, narrow))


def _accuracy(
    arms: Mapping[str, Mapping[int, Cell]], colours: Mapping[str, int], marked: Mapping[int, str], narrow: bool
) -> Markup:
    levels = sorted({level for cells in arms.values() for level in cells})
    lowest = min((cell.ci[0] for cells in arms.values() for cell in cells.values()), default=0.0)
    floor = max(0.0, min(0.8, math.floor(5 * lowest - 0.1) / 5))  # lines, not bars: they need not start at zero
    wide = Plot((min(levels), max(levels)), (floor, 1.0), height=350, top=40, right=_room(arms))
    small = Plot(wide.x, wide.y, 340, 290, left=44, right=26, top=40)
    plot = small if narrow else wide
    parts = axes(
        plot, {v: str(v) for v in levels}, {v: f"{100 * v:g} %" for v in ticks(floor, 1.0)}, "difficulty level", ""
    )
    for level, word in marked.items():
        x, y = plot.at(level, floor)
        _, top = plot.at(level, 1.0)
        anchor = "start" if level == plot.x[0] else "end" if level == plot.x[1] else "middle"
        parts.append(f'<line class="mark" x1="{x}" y1="{y}" x2="{x}" y2="{top - 6}"/>')
        parts.append(f'<text class="note" x="{x}" y="{top - 14}" text-anchor="{anchor}">{escape(word)}</text>')
    for name, cells in arms.items():
        known = sorted(cells)
        above = [plot.at(level, cells[level].ci[1]) for level in known]
        below = [plot.at(level, cells[level].ci[0]) for level in reversed(known)]
        parts.append(f'<path class="band c{colours[name]}" d="{path([*above, *below])}Z"/>')
    for name, cells in arms.items():
        middle = [plot.at(level, cells[level].accuracy) for level in sorted(cells)]
        parts.append(f'<g class="series c{colours[name]}"><path class="line" d="{path(middle)}"/>')
        for (x, y), level in zip(middle, sorted(cells), strict=True):
            c = cells[level]
            share = f"{100 * c.accuracy:.1f} % of {c.n} ({100 * c.ci[0]:.1f} to {100 * c.ci[1]:.1f})"
            parts.append(
                f'<circle class="dot" cx="{x}" cy="{y}" r="3.5"/>'
                f'<circle class="hit" cx="{x}" cy="{y}" r="11">'
                f"<title>{escape(f'{name}, level {level}: {share}')}</title></circle>"
            )
        parts.append("</g>")
    if not narrow:
        ends = [(plot.at(max(cells), cells[max(cells)].accuracy)[1], name) for name, cells in arms.items() if cells]
        parts += _ends(plot, ends, colours)
    drawn = svg(plot, "Accuracy against difficulty, with 95 % intervals; the table above has the numbers", parts)
    return drawn + legend(arms, colours) if narrow else drawn


def curves(
    lines: Mapping[str, Sequence[Point]],
    colours: Mapping[str, int],
    x_label: str,
    y_label: str,
    *,
    smooth: bool = False,
    height: int = 270,
) -> Markup:
    """Draw lines over a common axis, such as losses over steps. A name ending in " (dev)" is dashed.

    `smooth` draws a moving average in front of the curve itself.
    """
    points = [p for line in lines.values() for p in line]
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    low, high = min(ys), max(ys)
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 0.05
    floor = 0.0 if low >= 0 and low < 0.4 * high else low - margin
    spans = (min(xs), max(xs)), (floor, high + margin)

    def draw(narrow: bool) -> Markup:
        wide = Plot(*spans, height=height, top=28, right=_room(lines))
        plot = Plot(*spans, 340, min(height, 240), left=50, right=14, top=28) if narrow else wide
        x_ticks = {v: f"{v:g}" for v in ticks(*plot.x)}
        parts = axes(plot, x_ticks, {v: f"{v:g}" for v in ticks(*plot.y, wanted=4)}, x_label, y_label)
        for name, line in lines.items():
            dashed = " dashed" if name.endswith(" (dev)") else ""
            soft = smooth and not dashed and len(line) > 4
            raw = [plot.at(*p) for p in line]
            parts.append(f'<g class="series c{colours[name]}">')
            if soft:
                parts.append(f'<path class="line raw" d="{path(raw)}"/>')
            drawn = [plot.at(*p) for p in smoothed(line)] if soft else raw
            parts.append(f'<path class="line thin{dashed}" d="{path(drawn)}"/></g>')
        if not narrow:
            ends = [(plot.at(*(smoothed(line) if smooth and len(line) > 4 else line)[-1])[1], n)
                    for n, line in lines.items()]  # fmt: skip
            parts += _ends(plot, ends, colours)
        done = svg(plot, f"{y_label} over {x_label}", parts)
        return done + legend(lines, colours) if narrow else done

    return both(draw)


def threshold(found: Threshold) -> Markup | None:
    """Draw precision over recall for every bias that was tried on dev, the chosen one ringed; None below two points."""
    tried = [(p.recall, p.precision, p) for p in found.points if p.recall is not None and p.precision is not None]
    known = sorted(tried, key=lambda point: point[:2])
    if len(known) < 2:
        return None

    def draw(narrow: bool) -> Markup:
        plot = Plot((0.0, 1.0), (0.0, 1.0), *((340, 270) if narrow else (660, 300)), left=44, right=26, top=28)
        shares = {v / 4: f"{25 * v} %" for v in range(5)}
        parts = axes(plot, shares, shares, "recall: share of wrong steps that are taken back", "precision")
        parts.append(f'<g class="series c0"><path class="line thin" d="{path([plot.at(r, p) for r, p, _ in known])}"/>')
        for recall, precision, point in known:
            x, y = plot.at(recall, precision)
            chosen = point.bias == found.bias
            right = "" if point.accuracy is None else f", {100 * point.accuracy:.1f} % right"
            hint = f"bias {point.bias:+g}: precision {100 * precision:.0f} %, recall {100 * recall:.0f} %{right}"
            if chosen:
                parts.append(f'<circle class="ring" cx="{x}" cy="{y}" r="8"/>')
                parts.append(f'<text class="note" x="{x + 13}" y="{y - 5}">chosen</text>')
            parts.append(
                f'<circle class="dot" cx="{x}" cy="{y}" r="2.5"/><circle class="hit" cx="{x}" cy="{y}" r="7">'
                f"<title>{escape(hint.replace('-', '−'))}</title></circle>"
            )
        return svg(plot, "Precision over recall of the undo token on dev", [*parts, "</g>"])

    return both(draw)


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
        drawn.append(svg(plot, f"{c.a} minus {c.b}, level {c.level}", parts))
    return drawn
