"""The page about step types: what a model or a dataset wrote is text, and every count is on it."""

import re
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise

from thinktwice.methods.planning.typers.pictures import Picture
from thinktwice.report.steptypes import apart, colours_of, plane, short, steptypes_page, transitions

SEEN = Picture(
    problems=2,
    steps=5,
    types=("kmeans0", "kmeans1"),
    counts={"kmeans0": 3, "kmeans1": 2},
    transitions=((1, 1, 0), (1, 1, 1), (1, 0, 1)),
    labels={"kmeans0": {"memory": 3}, "kmeans1": {"reason": 2}},
    examples={"kmeans0": ("<script>alert(1)</script>", "a\u202eb"), "kmeans1": ("so 3 < 4",)},
    points=((-1.0, 0.2, "kmeans0"), (0.5, -0.3, "kmeans1"), (0.6, 0.9, "kmeans0")),
    explained=(0.61, 0.2),
)


def test_the_page_escapes_and_loads_nothing() -> None:
    page = steptypes_page(SEEN, {"source of types": "<b>k-means</b>"}, "a </title><script>")
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "\u202e" not in page
    assert "<b>k-means" not in page
    assert page.count("<script>") == 1
    assert "default-src 'none'" in page.replace("&#39;", "'")
    assert not re.search(r"""(src|href)=["']?http""", page)


def test_the_page_has_counts_labels_and_pictures() -> None:
    page = steptypes_page(SEEN, {}, "t")
    assert "2 types of step in 5 steps" in page
    assert "60.0 %" in page
    assert "labelled memory" in page
    assert "61 % and 20 % of the variance" in page
    assert page.count('aria-label="Steps on the plane') == 2  # wide and narrow
    assert "Where the steps lie" not in steptypes_page(replace(SEEN, points=()), {}, "t")


def test_every_transition_is_drawn_and_the_share_is_of_its_row() -> None:
    drawn = str(transitions(SEEN.transitions, SEEN.types))
    wide = drawn.split('class="narrow"')[0]
    assert wide.count("<rect") == 9
    assert "start → kmeans0: 1, 50 % of the row" in wide
    assert "kmeans0 → answer: 1, 33 % of the row" in wide


def test_every_point_is_drawn_inside() -> None:
    drawn = str(plane(SEEN.points, SEEN.types, colours_of(SEEN.types))).split('class="narrow"')[0]
    places = [tuple(map(float, pair)) for pair in re.findall(r"M([\d.-]+) ([\d.-]+)h0", drawn)]
    assert len(places) == 3
    assert all(0 < x < 660 and 0 < y < 430 for x, y in places)


def test_no_label_covers_another() -> None:
    placed = apart([(50.0, 50.0, "kmeans0"), (52.0, 51.0, "kmeans1"), (54.0, 60.0, "kmeans2"), (400.0, 50.0, "far")])
    assert {name: y for _, y, name in placed}["far"] == 50.0
    near = sorted(y for _, y, name in placed if name != "far")
    assert all(b - a >= 15 for a, b in pairwise(near))


def test_counts_are_short() -> None:
    assert [short(n) for n in (0, 999, 1000, 4242, 9960, 31_500, 2_000_000)] == [
        "0", "999", "1.0k", "4.2k", "10k", "32k", "2.0M"
    ]  # fmt: skip


def test_it_needs_no_torch() -> None:
    code = "import sys, thinktwice.report.steptypes; print({'torch', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
