"""The section of findings as a reader meets it: navigation, phone, paper, accessibility, hostile text."""

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from thinktwice.config import parse, to_dict
from thinktwice.records import Finding, Summary
from thinktwice.report import report
from thinktwice.run import Run

spec = importlib.util.spec_from_file_location("report_runs", Path(__file__).parents[1] / "report" / "conftest.py")
assert spec is not None
assert spec.loader is not None
runs = importlib.util.module_from_spec(spec)
spec.loader.exec_module(runs)
HOSTILE = "<img src=x onerror=alert(1)>\u202e" + "x" * 3000
NAMES = tuple(f"type {i}" for i in range(12))
WIDE = Finding(
    "What follows what",
    ("after", *NAMES),
    tuple((name, *(f"{10 * i}.{i}\u00a0% (4.0 to 50.3)" for i in range(12))) for name in NAMES),
    "Shares of the rows.",
    tuple((i / 7, (i * i % 5) / 5, f"{name} (before)" if i % 2 else name) for i, name in enumerate(NAMES)),
)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    root: Path = runs.build(tmp_path_factory.mktemp("runs") / "sample", problems=5)
    run = Run.load(root)
    summary = parse(Summary, run.summary() or {}, "summary.json")
    hostile = Finding(HOSTILE, ("type", HOSTILE), ((HOSTILE, "1"),), HOSTILE, ((0.0, 0.0, HOSTILE),))
    run.write_summary(to_dict(replace(summary, findings={"backtrack": (WIDE,), "control": (WIDE,)})))
    run.write_note("attribution-backtrack", {"findings": [to_dict(hostile)]})
    return report(root).as_uri()


def no_overflow(page) -> None:
    width, window = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert width <= window, f"the page is {width} px wide in a window of {window} px"


@pytest.mark.parametrize("dark", [False, True])
def test_findings_are_reached_fit_a_phone_and_can_be_read_by_everyone(
    open_page: Callable, accessible: Callable, url: str, dark: bool
) -> None:
    page = open_page(url, width=380, height=800, dark=dark)
    page.locator('nav.contents a[href="#findings"]').click()
    section = page.locator("#findings")
    assert section.locator("h2").is_visible()
    for details in section.locator("details").all():
        details.evaluate("d => { d.open = true }")
    no_overflow(page)
    accessible(page, "#findings")
    assert section.locator("svg.chart:visible").count() == 3
    assert section.locator("img").count() == 0


def test_on_paper_every_table_is_unfolded(open_page: Callable, url: str) -> None:
    page = open_page(url)
    folded = page.locator("#findings details").nth(1)
    assert folded.get_attribute("open") is None
    page.emulate_media(media="print")
    assert folded.locator("table").is_visible()
    no_overflow(page)
