"""The section of findings: whose they are, in which order, tables and pictures; nothing of them runs."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from thinktwice.config import parse, to_dict
from thinktwice.records import Finding, Summary
from thinktwice.report import report
from thinktwice.report.findings import gather_findings, places
from thinktwice.run import Run

STEPS = Finding(
    "Steps of each type",
    ("type", "steps", "right"),
    (("memory", "1,204", "93.1\u00a0% (91.5 to 94.4)"), ("<b>reason</b>", "88", "–")),
    "As the model wrote them.",
    ((0.0, 0.5, "memory (before)"), (1.0, -0.5, "memory"), (-1.0, 0.0, "<script>alert(1)</script>\u202e")),
)


def with_findings(root: Path, **findings: tuple[Finding, ...]) -> Run:
    run = Run.load(root)
    summary = parse(Summary, run.summary() or {}, "summary.json")
    run.write_summary(to_dict(replace(summary, findings=findings)))
    return run


def section(root: Path) -> str:
    html = report(root).read_text(encoding="utf-8")
    found = re.search(r'<section id="findings">.*?</section>', html, re.DOTALL)
    return found[0] if found else ""


def test_a_run_without_findings_has_no_such_section(make_run: Callable[..., Path], tmp_path: Path) -> None:
    root = make_run(tmp_path / "sample")
    assert section(root) == ""
    assert 'href="#findings"' not in report(root).read_text()


def test_every_arms_tables_are_shown_those_of_the_claim_first(make_run: Callable[..., Path], tmp_path: Path) -> None:
    root = make_run(tmp_path / "sample")
    other = replace(STEPS, title="Another table", points=())
    with_findings(root, control=(other,), base=(other,), backtrack=(STEPS, other))
    shown = section(root)
    assert 'href="#findings"' in report(root).read_text()
    names = re.findall(r"<summary><span class=\"arm\"><i[^>]*></i>(\w+)</span>", shown)
    assert names == ["backtrack", "control", "base"]
    assert shown.count('<details class="findings" open>') == 1
    assert shown.count("Another table</h3>") == 3
    assert "As the model wrote them." in shown
    assert '<td class="number">1,204</td><td class="number">93.1\u00a0% (91.5 to 94.4)</td>' in shown
    assert shown.count('<svg class="chart"') == 2  # wide and narrow


def test_what_a_model_wrote_stays_text(make_run: Callable[..., Path], tmp_path: Path) -> None:
    root = make_run(tmp_path / "sample")
    with_findings(root, backtrack=(replace(STEPS, title="</section><script>alert(2)</script>\u202e"),))
    html = report(root).read_text(encoding="utf-8")
    assert "<script>alert" not in html
    assert "<b>reason</b>" not in html
    assert "&lt;b&gt;reason&lt;/b&gt;" in html
    assert "\u202e" not in html


def test_what_was_found_out_afterwards_is_shown_and_the_run_is_untouched(
    make_run: Callable[..., Path], tmp_path: Path
) -> None:
    root = make_run(tmp_path / "sample")
    before = {p: p.read_bytes() for p in root.rglob("*") if p.is_file()}
    run = Run.load(root)
    path = run.write_note("attribution-typed", {"cases": [], "findings": [to_dict(STEPS)]})
    run.write_note("other", {"nothing": "to show"})
    assert json.loads(path.read_text())["cases"] == []
    assert list(run.notes()) == ["attribution-typed", "other"]
    assert {p: p.read_bytes() for p in before} == before
    with Run.open(root, run.config):
        pass  # a run with notes is still a run
    shown = section(root)
    assert "attribution typed, looked into afterwards" in shown
    assert shown.count("<details") == 1
    with pytest.raises(ValueError, match="names a file"):
        run.write_note("../outside", {})


def test_a_column_is_one_of_numbers_when_all_its_cells_are() -> None:
    rows = (
        ("a", "1,204", "−0.5", "0.995 → −0.991", "–", "−1.7 (−8.3 to +3.3)", "12 of 20", ""),
        ("b", "3.25", "+2", "1.000", "45.2\u00a0%", "–", "7", ""),
    )
    summary = Summary({}, findings={"typed": (Finding("t", tuple("abcdefgh"), rows),)})
    ((table,),) = (found.tables for found in gather_findings(summary, {}))
    assert table.numbers == (False, True, True, True, True, True, False, False)


def test_what_was_before_is_hollow_in_the_colour_of_what_it_became() -> None:
    drawn = str(places(((0, 0, "memory (before)"), (1, 1, "memory"), (1, 0, "reason")), "How far"))
    wide = drawn[: drawn.index("</svg>")]
    series = re.findall(r'<g class="series (c\d)">(.*?)</g>', wide)
    assert [colour for colour, _ in series] == ["c0", "c1"]
    assert re.findall(r'class="(ring|dot)".*?<title>(.*?)</title>', series[0][1]) == [
        ("ring", "memory (before)"), ("dot", "memory"),
    ]  # fmt: skip
    assert "before" not in drawn[drawn.index('class="legend"') :]
    assert "nan" not in str(places(((0.5, 0.5, "one"),), "a single place"))
