import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from thinktwice.records import Cell, Comparison, Threshold, ThresholdPoint
from thinktwice.report import chart, figures


def places(svg: str, name: str) -> list[tuple[float, float]]:
    """Where the texts of one class lie."""
    root = ElementTree.fromstring(f"<div>{svg}</div>")
    return [(float(e.get("x", 0)), float(e.get("y", 0))) for e in root.iter("text") if name in (e.get("class") or "")]


def cell(p: float) -> Cell:
    return Cell(500, p, (max(0.0, p - 0.04), min(1.0, p + 0.04)))


@pytest.mark.parametrize("values", [[0.0] * 6, [1.0] * 6, [0.5, 0.5, 0.51, 0.49, 0.2, 0.9]])
def test_names_at_the_line_ends_never_cover_each_other_nor_leave_the_drawing(values: list[float]) -> None:
    arms = {f"arm_{i}": {4: cell(v), 8: cell(v)} for i, v in enumerate(values)}
    svg = chart.accuracy(arms, {name: i for i, name in enumerate(arms)}, {8: "headline"})
    ys = sorted(y for _, y in places(svg, "name"))
    assert all(b - a >= 15.9 for a, b in pairwise(ys))
    assert len(ys) == 6
    assert 0 < ys[0] <= ys[-1] <= 350 - 40


def test_a_name_cannot_break_out_of_a_drawing() -> None:
    name = '"><script>x</script>'
    for svg in (
        chart.accuracy({name: {4: cell(0.5), 8: cell(0.4)}}, {name: 0}, {4: name}),
        chart.curves({name: [(0, 1), (1, 2)]}, {name: 0}, name, name),
        chart.threshold(Threshold(0.0, (ThresholdPoint(0.0, 0.5, 0.5), ThresholdPoint(1.0, 0.6, 0.4)))) or "",
        figures.versus((name, cell(0.5)), (name, cell(0.4)), {name: 0}),
        *chart.forest([Comparison(name, name, 8, 0.1, (0.0, 0.2))]),
    ):
        assert "<script" not in svg
        ElementTree.fromstring(f"<div>{svg}</div>")


def test_points_lie_where_their_values_say() -> None:
    plot = chart.Plot((0, 10), (0.0, 1.0))
    assert plot.at(0, 0) == (plot.left, plot.height - plot.bottom)
    assert plot.at(10, 1) == (plot.width - plot.right, plot.top)
    svg = chart.accuracy({"a": {4: cell(0.25), 8: cell(0.75)}}, {"a": 0}, {})
    heights = [float(y) for y in re.findall(r'class="dot" cx="[\d.]+" cy="([\d.]+)"', svg)]
    wide, narrow = heights[:2], heights[2:]
    assert wide[0] - wide[1] == pytest.approx(0.5 * (350 - 44 - 40), abs=0.2)
    assert narrow[0] - narrow[1] == pytest.approx(0.5 * (290 - 44 - 40), abs=0.2)


@pytest.mark.parametrize(("lowest", "floor"), [(0.03, "0 %"), (0.5, "40 %"), (0.88, "80 %"), (0.99, "80 %")])
def test_the_accuracy_axis_shows_every_interval_whole(lowest: float, floor: str) -> None:
    svg = chart.accuracy({"a": {4: cell(lowest), 8: cell(0.97)}}, {"a": 0}, {})
    band = re.search(r'class="band c0" d="M([^Z]+)Z"', svg)
    assert band is not None
    assert max(float(point.split(",")[1]) for point in band[1].split("L")) <= 350 - 44
    assert re.findall(r'class="tick"[^>]*>([^<]+ %)<', svg)[0] == floor


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.26, 1.13), (10, 300), (1, 1), (0, 24000)])
def test_ticks_are_few_round_and_inside(low: float, high: float) -> None:
    found = chart.ticks(low, high)
    assert 1 <= len(found) <= 7
    assert all(low <= t <= high for t in found)


def test_smoothing_keeps_a_constant_and_follows_a_step() -> None:
    assert [y for _, y in chart.smoothed([(i, 2.0) for i in range(5)])] == pytest.approx([2.0] * 5)
    smooth = [y for _, y in chart.smoothed([(0, 1.0), (1, 0.0), (2, 0.0)])]
    assert smooth[0] == 1.0
    assert 1 > smooth[1] > smooth[2] > 0


def test_the_chosen_threshold_is_the_one_that_is_ringed() -> None:
    points = tuple(ThresholdPoint(b, 0.9 - 0.1 * b, 0.2 + 0.2 * b) for b in (0.0, 1.0, 2.0))
    svg = chart.threshold(Threshold(1.0, points))
    assert svg is not None
    ring = re.search(r'class="ring" cx="([\d.]+)"', svg)
    hints = dict(re.findall(r'class="hit" cx="([\d.]+)"[^>]*><title>(bias \S+):', svg))
    assert ring is not None
    assert hints[ring[1]] == "bias +1"
    assert chart.threshold(Threshold(0.0, points[:1])) is None


def test_a_loss_on_dev_is_dashed_and_never_smoothed() -> None:
    line = [(float(i), 1.0 / (i + 1)) for i in range(9)]
    svg = chart.curves({"a": line, "a (dev)": line}, {"a": 0, "a (dev)": 0}, "step", "loss", smooth=True)
    drawn = re.findall(r'<path class="(line[^"]*)" d="([^"]+)"', svg)
    raw, smooth, dev = drawn[:3]
    assert [name for name, _ in drawn[:3]] == ["line raw", "line thin", "line thin dashed"]
    assert raw[1] == dev[1] != smooth[1]


def test_an_interval_is_green_only_above_zero() -> None:
    svgs = chart.forest([Comparison("a", "b", 8, d, (d - 0.05, d + 0.05)) for d in (0.1, 0.0, -0.1)])
    assert [re.search(r"whisker (\w+)", svg).group(1) for svg in svgs] == ["up", "flat", "down"]  # type: ignore[union-attr]
