import re

from thinktwice.records import Figure, Finding, Line, Summary
from thinktwice.report.assets import asset
from thinktwice.report.drawing import lines
from thinktwice.report.findings import gather_findings


def test_a_point_lies_where_its_axes_say_and_one_that_is_not_trusted_is_hollow():
    figure = Figure(
        "said", "was so", (Line("slot 1", ((0.0, 0.0), (0.5, 0.5), (1.0, 1.0)), hollow=(1,)),), diagonal=True
    )
    wide = str(lines(figure, "Reliability")).split('<div class="narrow">')[0]
    dots = re.findall(r'<circle class="([\w ]+)" cx="([\d.]+)" cy="([\d.]+)"', wide)
    assert [look for look, _, _ in dots] == ["dot", "ring hollow", "dot"]
    (x0, y0), (x1, y1), (x2, y2) = ((float(x), float(y)) for _, x, y in dots)
    assert (x0 + x2) / 2 == x1
    assert (y0 + y2) / 2 == y1
    diagonal = re.search(r'class="mark" x1="([\d.]+)" y1="([\d.]+)" x2="([\d.]+)" y2="([\d.]+)"', wide)
    assert [float(v) for v in diagonal.groups()] == [x0, y0, x2, y2]


def test_names_are_escaped_and_a_figure_without_points_is_none():
    shown = str(lines(Figure("<b>", "y", (Line("<script>", ((1.0, 0.5),)),)), "<i>"))
    assert "<script>" not in shown
    assert "<b>" not in shown
    assert "<i>" not in shown
    assert lines(Figure("x", "y", (Line("a", ()),)), "t") is None


def test_a_finding_shows_its_figure():
    finding = Finding(
        "Evaluations", ("step",), (("1",),), figure=Figure("step", "right", (Line("dev", ((1.0, 0.5),)),))
    )
    found = gather_findings(Summary(arms={}, findings={"text": (finding,)}), {})
    assert "dev: step 1, right 50.0 %" in str(found[0].tables[0].picture)


def test_a_line_has_its_band_and_the_axis_has_room_for_it():
    line = Line("greedy", ((0.0, 0.5), (1.0, 0.6)), band=((0.4, 0.6), (0.45, 0.75)))
    wide = str(lines(Figure("round", "right", (line,)), "Rounds")).split('<div class="narrow">')[0]
    (outline,) = re.findall(r'<path class="band c0" d="M([\d.,L]+)Z"/>', wide)
    corners = [tuple(map(float, corner.split(","))) for corner in outline.split("L")]
    dots = [(float(x), float(y)) for x, y in re.findall(r'<circle class="dot" cx="([\d.]+)" cy="([\d.]+)"', wide)]
    assert [x for x, _ in corners] == [dots[0][0], dots[1][0], dots[1][0], dots[0][0]]
    assert corners[0][1] < dots[0][1] < corners[3][1]  # above, the point, below
    assert corners[1][1] < dots[1][1] < corners[2][1]
    assert "band" not in str(lines(Figure("x", "y", (Line("a", ((0.0, 0.5),)),)), "t"))


def test_more_lines_than_colours_are_dashed_and_a_hollow_point_is_no_part_that_scripts_hide():
    many = tuple(Line(f"arm {n}", ((0.0, 0.1 * n), (1.0, 0.1 * n)), hollow=(1,)) for n in range(9))
    shown = str(lines(Figure("round", "right", many), "Rounds"))
    wide = shown.split('<div class="narrow">')[0]
    assert wide.count('class="line thin dashed"') == 2
    assert shown.count('class="key dashed c') == 2
    hidden = re.findall(r"\.js \.([\w-]+) \{ display: none", asset("page.css"))
    assert hidden
    assert not {*hidden} & {
        name for classes in re.findall(r'<circle class="([^"]+)"', shown) for name in classes.split()
    }
