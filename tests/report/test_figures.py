"""Figures of several arms: bars of what became of every answer, numbers beside one another."""

import re
from collections import Counter

from thinktwice.records import Finding, Measure, Summary
from thinktwice.report.figures import beside, kinds_of, stacked
from thinktwice.report.findings import gather_findings, gather_measures

COUNTED = {"a": Counter({"loop": 3, "step limit": 1}), "b<i>": Counter({"step limit": 5, "<script>": 1})}


def test_a_bar_holds_every_answer_once_in_proportion() -> None:
    kinds = kinds_of(COUNTED)
    assert kinds == ["step limit", "loop", "<script>"]
    drawn = str(stacked(COUNTED, {"a": 10, "b<i>": 6}, kinds, {"a": 0}))
    bars = re.findall(r"<li>.*?</li>", drawn, re.DOTALL)
    assert [sum(map(int, re.findall(r"flex-grow:(\d+)", bar))) for bar in bars] == [10, 6]
    assert 'aria-label="a: right 6, step limit 1, loop 3"' in bars[0]
    assert "right" not in bars[1].partition("aria-label")[2].partition(">")[0]  # none is right
    assert "<script>" not in drawn
    assert "b&lt;i&gt;" in drawn


def test_the_same_kind_has_the_same_colour_in_every_bar() -> None:
    order = ["loop", "step limit"]
    one, two = (str(stacked({"a": c}, {"a": 9}, order, {})) for c in (Counter(loop=1), Counter({"step limit": 1})))
    assert 'class="k0 part"' in one
    assert 'class="k1 part"' in two


def test_numbers_stand_beside_one_another_on_one_scale() -> None:
    drawn = str(beside("loops", {"a": Measure("loops", 0.1, (0.05, 0.19)), "<b>": Measure("loops", 0, (0, 0.1))}, {}))
    assert "10.0 % (5.0 to 19.0)" in drawn
    assert "20 %" in drawn  # the end of the scale
    assert "100 %" not in drawn
    assert "<b>" not in drawn


def test_numbers_of_a_single_arm_are_not_compared() -> None:
    def told(*names: str) -> tuple[Finding, ...]:
        return (Finding("t", (), (), measures=tuple(Measure(name, 0.5, (0.4, 0.6)) for name in names)),)

    summary = Summary({}, findings={"a": told("x", "y"), "b": told("x")})
    assert {name: list(arms) for name, arms in gather_measures(summary, ["b", "a"]).items()} == {"x": ["b", "a"]}
    assert gather_measures(None, ["a"]) == {}


def test_rows_lead_to_the_answers_that_they_count() -> None:
    finding = Finding(
        "What went wrong",
        ("failure", "episodes"),
        (("step limit", "4/p1 4/p2 …"), ("loop", "4/p1 and"), ("other", "")),
        views=("failure=step limit", "mark=exact adjacent,exact later", "href=javascript:alert(1)"),
    )
    summary = Summary({}, findings={"a b": (finding,)})
    ((table,),) = (f.tables for f in gather_findings(summary, {}, (), {"4/p1", "4/p2"}))
    assert table.links == (
        "#arms=a%20b&failure=step%20limit", "#arms=a%20b&mark=exact%20adjacent,exact%20later", ""
    )  # fmt: skip
    assert table.episodes == {
        "4/p1 4/p2 …": (("4/p1", "#trace=4%2Fp1&arms=a%20b"), ("4/p2", "#trace=4%2Fp2&arms=a%20b"))
    }
