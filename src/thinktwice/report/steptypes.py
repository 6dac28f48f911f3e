"""Step types as a page: how often each occurs, what follows what, and where its steps lie. Takes plain data."""

from collections.abc import Mapping, Sequence

from markupsafe import Markup, escape

from thinktwice.methods.planning.tokens import ANSWER
from thinktwice.methods.planning.typers.pictures import START, Picture
from thinktwice.report.assets import asset, content_policy
from thinktwice.report.chart import Plot, both, legend, svg
from thinktwice.show import printable


def steptypes_page(picture: Picture, facts: Mapping[str, str], title: str) -> str:
    """Return one self-contained page about the types of some solutions; nothing in it is loaded or runs unasked.

    Args:
        picture: how the types fell.
        facts: what to say about where they come from, term -> words.
        title: what the types belong to.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("thinktwice.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: printable(value) if type(value) is str else value,
    )
    colours = colours_of(picture.types)
    labels = sorted({label for counts in picture.labels.values() for label in counts})
    script = asset("theme.js")
    return environment.get_template("steptypes.html.jinja").render(
        picture=picture,
        facts=facts,
        title=title,
        colours=colours,
        labels=labels,
        total=max(1, sum(picture.counts.values())),
        plane=plane(picture.points, picture.types, colours) if picture.points else None,
        transitions=transitions(picture.transitions, picture.types),
        style=Markup(asset("style.css") + asset("page.css")),
        script=Markup(script),
        policy=content_policy(script),
    )


def colours_of(types: Sequence[str]) -> dict[str, int]:
    """Return each type's number of a colour; there are eight."""
    return {name: number % 8 for number, name in enumerate(types)}


def plane(points: Sequence[tuple[float, float, str]], types: Sequence[str], colours: Mapping[str, int]) -> Markup:
    """Draw steps as points on a plane, one colour a type, its name where its steps are.

    Args:
        points: (x, y, type), x and y between -1 and 1.
        types: in the order of their colours.
        colours: type -> number of its colour.
    """
    places = {name: [(x, y) for x, y, own in points if own == name] for name in types}

    def draw(narrow: bool) -> Markup:
        xs, ys = [x for x, _, _ in points], [y for _, y, _ in points]
        room = 0.06
        spans = (min(xs) - room, max(xs) + room), (min(ys) - room, max(ys) + room)
        plot = Plot(*spans, *((340, 300) if narrow else (660, 430)), left=8, right=8, top=8, bottom=8)
        dots, wanted = [], []
        for name in types:
            if not places[name]:
                continue
            # Strokes of no length with round ends: one element a type, however many points.
            path = "".join(f"M{x} {y}h0" for x, y in (plot.at(*p) for p in places[name]))
            hint = escape(f"{name}: {len(places[name])} of {len(points)} steps drawn")
            dots.append(
                f'<g class="series c{colours[name]}"><path class="line" style="stroke-width:{4 if narrow else 5};'
                f'stroke-opacity:.55" d="{path}"><title>{hint}</title></path></g>'
            )
            middle = [sum(values) / len(values) for values in zip(*places[name], strict=True)]
            wanted.append((*plot.at(*middle), name))
        for x, y, name in apart(wanted):
            dots.append(
                f'<text class="name c{colours[name]}" x="{x}" y="{y}" text-anchor="middle" '
                f'style="paint-order:stroke;stroke:var(--card);stroke-width:5px;stroke-linejoin:round">'
                f"{escape(name)}</text>"
            )
        drawn = svg(plot, "Steps on the plane of largest variance, coloured by type", dots)
        return drawn + legend([name for name in types if places[name]], colours) if narrow else drawn

    return both(draw)


def apart(wanted: Sequence[tuple[float, float, str]]) -> list[tuple[float, float, str]]:
    """Move labels (x, y, text) down until none covers another; the upper one stays."""
    done: list[tuple[float, float, str]] = []
    for x, y, name in sorted(wanted, key=lambda label: (label[1], label[0])):
        while True:
            hit = [b for a, b, other in done
                   if abs(a - x) < 3.9 * (len(name) + len(other)) and abs(b - y) < 15]  # fmt: skip
            if not hit:
                break
            y = max(hit) + 15
        done.append((x, round(y, 1), name))
    return done


def transitions(counts: Sequence[Sequence[int]], types: Sequence[str]) -> Markup:
    """Draw how often a type follows a type; the darker, the larger the share of its row.

    Args:
        counts: rows are start and the types, columns the types and the answer.
        types: their names, in order.
    """
    rows, columns = [START, *types], [*types, ANSWER]

    def draw(narrow: bool) -> Markup:
        left = 20 + round(7.2 * max(map(len, rows)))
        cell = max(18.0, min(64.0, ((340 if narrow else 660) - left - 8) / len(columns)))
        height = min(cell, 34.0)
        slanted = 7.2 * max(map(len, columns)) > cell - 4
        top = 40 + (round(4.6 * max(map(len, columns))) if slanted else 0)
        right = 8 + (round(5.5 * len(columns[-1])) if slanted else 0)
        width = round(left + cell * len(columns) + right)
        plot = Plot((0, 1), (0, 1), width, round(top + height * len(rows) + 6), left, right, top, 6)
        parts = [f'<text class="label" x="{left}" y="12">next →</text>']
        for j, name in enumerate(columns):
            x, base = round(left + cell * (j + 0.5), 1), top - 8
            turn = f' transform="rotate(-40 {x} {base})" text-anchor="start"' if slanted else ' text-anchor="middle"'
            parts.append(f'<text class="tick" x="{x}" y="{base}"{turn}>{escape(name)}</text>')
        for i, (name, row) in enumerate(zip(rows, counts, strict=True)):
            y, total = round(top + height * i, 1), max(1, sum(row))
            middle = f"{y + height / 2 + 4:.1f}"
            parts.append(f'<text class="tick" x="{left - 8}" y="{middle}" text-anchor="end">{escape(name)}</text>')
            for j, count in enumerate(row):
                x, share = round(left + cell * j, 1), count / total
                hint = escape(f"{name} → {columns[j]}: {count:,}, {100 * share:.0f} % of the row")
                parts.append(
                    f'<g class="c0"><rect class="dot" x="{x + 1}" y="{y + 1}" width="{cell - 2:.1f}" '
                    f'height="{height - 2:.1f}" rx="3" fill-opacity="{0.04 + 0.5 * share:.3f}">'
                    f"<title>{hint}</title></rect></g>"
                )
                text = short(count)
                if 7 * len(text) < cell - 4:
                    parts.append(
                        f'<text x="{x + cell / 2:.1f}" y="{middle}" text-anchor="middle" '
                        f'style="font-size:11.5px;pointer-events:none">{text}</text>'
                    )
        return svg(plot, "How often a type follows a type", parts)

    return both(draw)


def short(count: int) -> str:
    """Return a count in at most four letters: 980, 4.2k, 31k, 1.2M."""
    for size, letter in ((10**6, "M"), (10**3, "k")):
        if count >= size:
            value = count / size
            return f"{value:.1f}{letter}" if value < 9.95 else f"{value:.0f}{letter}"
    return str(count)
