"""Charts over several runs: one line a run, and intervals on one axis. Names are escaped here; numbers are ours."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from thinktwice.records import Cell
from thinktwice.report.chart import Plot, ticks


@dataclass(frozen=True)
class Bar:
    """One interval on a shared axis, as percentages of the axis' length."""

    low: float
    middle: float
    high: float
    tone: str
    """up, down or flat: whether the interval excludes zero, and on which side."""


@dataclass(frozen=True)
class Axis:
    """A horizontal axis in percentage points, shared by several intervals."""

    low: float
    high: float

    def at(self, value: float) -> float:
        """Return where a value lies, in per cent of the length."""
        return round(100 * (value - self.low) / (self.high - self.low), 2)

    @property
    def marks(self) -> list[tuple[float, str]]:
        """(place, label) of every tick, in points."""
        return [(self.at(v / 100), f"{v:+g}".replace("-", "−") if v else "0")
                for v in ticks(100 * self.low, 100 * self.high, 4)]  # fmt: skip

    def bar(self, value: float, low: float, high: float, *, settled: bool) -> Bar:
        """Return an interval's place; one that is not settled yet has no colour, whatever it excludes."""
        tone = "flat" if not settled or low <= 0 <= high else "up" if low > 0 else "down"
        return Bar(self.at(low), self.at(value), self.at(high), tone)


def axis(intervals: Sequence[tuple[float, float]]) -> Axis:
    """Return an axis that holds all intervals, zero, and a little room."""
    ends = [0.0, *(end for pair in intervals for end in pair)]
    room = 0.05 * (max(ends) - min(ends)) or 0.02
    return Axis(min(ends) - room, max(ends) + room)


def accuracy(
    arm: str, lines: Mapping[str, Mapping[int, Cell]], tones: Mapping[str, int], marked: int | None, floor: float
) -> Markup:
    """Draw one arm's accuracy against difficulty, one line a run with its 95 % band.

    Args:
        arm: the arm, for the title.
        lines: letter of the run -> level -> cell.
        tones: letter -> number of its colour.
        marked: the headline level.
        floor: the lowest accuracy on the axis.
    """
    levels = sorted({level for cells in lines.values() for level in cells})
    plot = Plot((levels[0], levels[-1]), (floor, 1.0), 250, 170, left=48, right=26, top=10, bottom=24)
    parts: list[str] = []
    for share in ticks(floor, 1.0, 4):
        (x0, y), (x1, _) = plot.at(levels[0], share), plot.at(levels[-1], share)
        parts.append(f'<line class="grid" x1="{x0}" y1="{y}" x2="{x1}" y2="{y}"/>')
        parts.append(f'<text class="tick" x="{x0 - 7}" y="{y + 4}" text-anchor="end">{100 * share:g} %</text>')
    (x0, base), (x1, _) = plot.at(levels[0], floor), plot.at(levels[-1], floor)
    parts.append(f'<line class="axis" x1="{x0}" y1="{base}" x2="{x1}" y2="{base}"/>')
    for level in levels:
        x, base = plot.at(level, floor)
        if level == marked:
            parts.append(f'<line class="mark" x1="{x}" y1="{base}" x2="{x}" y2="{plot.top}"/>')
        parts.append(f'<text class="tick" x="{x}" y="{base + 17}" text-anchor="middle">{level}</text>')
    for letter, cells in lines.items():
        known = sorted(cells)
        above = [plot.at(level, max(floor, cells[level].ci[1])) for level in known]
        below = [plot.at(level, max(floor, cells[level].ci[0])) for level in reversed(known)]
        if len(known) > 1:
            parts.append(f'<path class="band c{tones[letter]}" d="{_path([*above, *below])}Z"/>')
    ends = []
    for letter, cells in lines.items():
        points = [plot.at(level, max(floor, cells[level].accuracy)) for level in sorted(cells)]
        if len(points) > 1:
            parts.append(f'<path class="line c{tones[letter]}" d="{_path(points)}"/>')
        for (x, y), level in zip(points, sorted(cells), strict=True):
            c = cells[level]
            hint = f"{letter}, level {level}: {100 * c.accuracy:.1f} % of {c.n}"
            parts.append(f'<circle class="dot c{tones[letter]}" cx="{x}" cy="{y}" r="3"><title>{hint}</title></circle>')
        ends.append((points[-1], letter))
    for (x, y), letter in _apart(ends, 13, plot.height - plot.bottom):
        parts.append(f'<text class="name c{tones[letter]}" x="{x + 8}" y="{y + 4:.1f}">{letter}</text>')
    title = escape(f"{arm}: accuracy against difficulty, one line a run")
    body = Markup("").join(Markup(part) for part in parts)
    return Markup(
        '<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{t}"><title>{t}</title>{}</svg>'
    ).format(plot.width, plot.height, body, t=title)


def lowest(cells: Sequence[Cell]) -> float:
    """Return where the accuracy axis begins: the fifth below every interval."""
    return max(0.0, math.floor(5 * min((c.ci[0] for c in cells), default=0.0)) / 5)


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x},{y}" for x, y in points)


def _apart(
    labels: Sequence[tuple[tuple[float, float], str]], gap: float, lowest_place: float
) -> list[tuple[tuple[float, float], str]]:
    """Move labels at the ends of lines apart; keeps their order."""
    placed: list[tuple[tuple[float, float], str]] = []
    for (x, y), name in sorted(labels, key=lambda label: label[0][1]):
        placed.append(((x, max(y, placed[-1][0][1] + gap) if placed else y), name))
    limit = lowest_place
    for i in reversed(range(len(placed))):
        (x, y), name = placed[i]
        placed[i] = ((x, min(y, limit)), name)
        limit = placed[i][0][1] - gap
    return placed
