"""A finding's figure: lines over two named axes. Law: names are escaped here, and every point says its numbers."""

from markupsafe import Markup, escape

from thinktwice.records import Figure
from thinktwice.report.chart import Plot, axes, both, legend, path, svg, ticks
from thinktwice.show import printable

TONES = 7
"""Lines that are told apart by colour alone; further ones are dashed."""


def lines(figure: Figure, title: str) -> Markup | None:
    """Draw a figure; points that are not to be trusted are hollow. None where there is no point.

    Args:
        figure: what is drawn. Where its axes are shares, they run from 0 to 1, the diagonal dashed.
        title: of the table it goes with.
    """
    points = [point for line in figure.lines for point in line.points]
    if not points:
        return None
    xs = [x for x, _ in points]
    ys = [*(y for _, y in points), *(end for line in figure.lines for ends in line.band for end in ends)]
    shares = figure.diagonal or (min(ys) >= 0 and max(ys) <= 1)
    span = (0.0, 1.0) if figure.diagonal else (min(xs), max(xs) if max(xs) > min(xs) else min(xs) + 1)
    height = (0.0, 1.0) if shares else (min(ys), max(ys) if max(ys) > min(ys) else min(ys) + 1)
    names = [printable(line.name) for line in figure.lines]
    colours = {name: number % TONES for number, name in enumerate(names)}
    dashed = frozenset(names[TONES:])
    x_label, y_label = printable(figure.x), printable(figure.y)

    def draw(narrow: bool) -> Markup:
        size = ((340, 300) if narrow else (460, 400)) if figure.diagonal else ((340, 240) if narrow else (660, 280))
        plot = Plot(span, height, *size, left=48, right=18, top=28)
        across = {v: f"{v:g}" for v in ticks(*span)}
        up = {v: f"{100 * v:g} %" if shares else f"{v:g}" for v in ticks(*height, wanted=4)}
        parts = axes(plot, across, up, x_label, y_label)
        if figure.diagonal:
            (x0, y0), (x1, y1) = plot.at(0, 0), plot.at(1, 1)
            parts.append(f'<line class="mark" x1="{x0}" y1="{y0}" x2="{x1}" y2="{y1}"/>')
        for name, line in zip(names, figure.lines, strict=True):
            if line.band:
                rows = [*zip((x for x, _ in line.points), line.band, strict=True)]
                edge = [
                    *(plot.at(x, high) for x, (_, high) in rows),
                    *(plot.at(x, low) for x, (low, _) in reversed(rows)),
                ]
                parts.append(f'<path class="band c{colours[name]}" d="{path(edge)}Z"/>')
        for name, line in zip(names, figure.lines, strict=True):
            places = [plot.at(x, y) for x, y in line.points]
            kind = "line thin dashed" if name in dashed else "line thin"
            parts.append(f'<g class="series c{colours[name]}"><path class="{kind}" d="{path(places)}"/>')
            for index, ((x, y), (cx, cy)) in enumerate(zip(line.points, places, strict=True)):
                look = "ring hollow" if index in line.hollow else "dot"
                value = f"{100 * y:.1f} %" if shares else f"{y:g}"
                text = escape(f"{name}: {figure.x} {x:g}, {figure.y} {value}".replace("-", "\u2212"))
                parts.append(f'<circle class="{look}" cx="{cx}" cy="{cy}" r="4.5"><title>{text}</title></circle>')
            parts.append("</g>")
        return svg(plot, f"{printable(title)}, drawn", parts)

    return both(draw) + (legend(names, colours, dashed) if len(names) > 1 else Markup(""))
