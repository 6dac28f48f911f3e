import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from thinktwice.records import Cell, Comparison
from thinktwice.report import chart


def places(svg: str, name: str) -> list[tuple[float, float]]:
    """Where the texts of one class lie."""
    root = ElementTree.fromstring(svg)
    return [(float(e.get("x", 0)), float(e.get("y", 0))) for e in root.iter("text") if name in (e.get("class") or "")]


def cell(p: float) -> Cell:
    return Cell(500, p, (max(0.0, p - 0.04), min(1.0, p + 0.04)))


@pytest.mark.parametrize("values", [[0.0] * 6, [1.0] * 6, [0.5, 0.5, 0.51, 0.49, 0.2, 0.9]])
def test_names_at_the_line_ends_never_cover_each_other_nor_leave_the_drawing(values: list[float]) -> None:
    arms = {f"arm_{i}": {4: cell(v), 8: cell(v)} for i, v in enumerate(values)}
    svg = chart.accuracy(arms, {name: i for i, name in enumerate(arms)}, {8: "headline"})
    ys = sorted(y for _, y in places(svg, "name"))
    assert all(b - a >= 15.9 for a, b in pairwise(ys))
    assert 0 < ys[0] <= ys[-1] < 290


def test_a_name_cannot_break_out_of_a_drawing() -> None:
    name = '"><script>x</script>'
    for svg in (
        chart.accuracy({name: {4: cell(0.5), 8: cell(0.4)}}, {name: 0}, {4: name}),
        chart.curves({name: [(0, 1), (1, 2)]}, {name: 0}, name, name),
        chart.staircase([(name, None, 0.5)], [0]),
        *chart.forest([Comparison(name, name, 8, 0.1, (0.0, 0.2))]),
    ):
        assert "<script" not in svg
        ElementTree.fromstring(svg)


def test_points_lie_where_their_values_say() -> None:
    plot = chart.Plot((0, 10), (0.0, 1.0))
    assert plot.at(0, 0) == (plot.left, plot.height - plot.bottom)
    assert plot.at(10, 1) == (plot.width - plot.right, plot.top)
    svg = chart.accuracy({"a": {4: cell(0.25), 8: cell(0.75)}}, {"a": 0}, {})
    heights = [float(y) for y in re.findall(r'class="dot c0" cx="[\d.]+" cy="([\d.]+)"', svg)]
    assert heights[0] - heights[1] == pytest.approx((290 - 40 - 34) / 2, abs=0.2)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.26, 1.13), (10, 300), (1, 1), (0, 24000)])
def test_ticks_are_few_round_and_inside(low: float, high: float) -> None:
    found = chart.ticks(low, high)
    assert 1 <= len(found) <= 7
    assert all(low <= t <= high for t in found)


def test_the_steps_of_a_gain_carry_their_sign() -> None:
    svg = chart.staircase(
        [("b", None, 0.0), ("worse", 0.5, 0.42), ("none", 0.3, 0.3), ("full", None, 1.0)], [0, 1, 2, 3]
    )
    assert re.findall(r'class="value[^>]*>([^<]+)<', svg) == ["0.0 %", "−8.0", "+0.0", "100.0 %"]


def test_an_interval_is_green_only_above_zero() -> None:
    svgs = chart.forest([Comparison("a", "b", 8, d, (d - 0.05, d + 0.05)) for d in (0.1, 0.0, -0.1)])
    assert [re.search(r"whisker (\w+)", svg).group(1) for svg in svgs] == ["up", "flat", "down"]  # type: ignore[union-attr]
