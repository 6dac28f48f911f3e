"""The comparison as a reader meets it: from disk, in a real browser."""

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from thinktwice.config import Arm, Evaluation, Headline, Recipe, Spec, to_dict
from thinktwice.records import Cell, Comparison, Summary, TraceRecord
from thinktwice.report import report
from thinktwice.report.compare import compare
from thinktwice.run import Run
from thinktwice.scoring import stats
from thinktwice.types import Score, Step, Trace

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\u202e" + "x" * 100_000
RECIPE = Recipe(
    name="first",
    task=Spec("arith"),
    method=Spec("backtrack"),
    arms={"control": Arm(method={"name": "baseline"}), "backtrack": Arm()},
    train={"lr": 0.004},
    evaluation=Evaluation(problems=60, levels=(4, 6, 8)),
    headline=Headline("backtrack", "control", 8),
)
SHARES = {"control": 0.5, "backtrack": 0.8}


def build(root: Path, name: str, recipe: Recipe = RECIPE, *, finish: bool = True, problems: int = 60) -> Path:
    recipe = replace(recipe, name=name)
    marks = {
        arm: [random.Random(f"{name}{arm}{i}").random() < share for i in range(problems)]
        for arm, share in SHARES.items()
    }
    with Run.open(root / name, to_dict(recipe)) as run:
        for arm, right in marks.items():
            rows = [record(arm, level, i, right[i]) for level in recipe.evaluation.levels for i in range(problems)]
            run.traces(arm).append([to_dict(row) for row in rows])
        if finish:
            cells = {
                arm: {lv: Cell(len(r), sum(r) / len(r), stats.wilson(sum(r), len(r)), 0, 7.0) for lv in (4, 6, 8)}
                for arm, r in marks.items()
            }
            found = stats.paired_difference(marks["backtrack"], marks["control"])
            c = Comparison("backtrack", "control", 8, found.value, found.ci, 0.01)
            run.write_summary(to_dict(Summary(cells, (c,), c)))
    return root / name


def record(arm: str, level: int, i: int, right: bool) -> TraceRecord:
    question = f"{HOSTILE} {i}" if i == 0 else f"Ann has {i} pens. How many does Cal have?"
    trace = Trace(f"p{i}", (Step("text", "Ann has 3.\n#### 16", (1, 2, 3)),))
    said = "16" if right else HOSTILE
    return TraceRecord(
        f"{level}/p{i}", arm, level, question, "16", trace, Score(float(right), said), "" if right else "wrong answer"
    )


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two finished runs, the first with a page of its own; an unfinished third; six more; two comparisons."""
    root = tmp_path_factory.mktemp("runs")
    options = {HOSTILE[:90]: HOSTILE, "context": "a-very-long-value-without-any-place-to-break-it-" * 8}
    one = build(root, "first")
    two = build(root, "second-with-a-rather-long-name", replace(RECIPE, method=Spec("backtrack", options)))
    report(one)
    compare([one, two])
    third = build(root, "third", replace(RECIPE, seed=3), finish=False, problems=20)
    more = [build(root, f"run{i}", replace(RECIPE, train={"lr": i / 100}), problems=20) for i in range(7)]
    compare([one, two, third, *more], root / "ten.html")
    return root


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("name", ["compare.html", "ten.html"])
def test_the_page_is_accessible_in_both_themes(
    open_page: Callable, accessible: Callable, pages: Path, name: str, dark: bool
) -> None:
    page = open_page((pages / name).as_uri(), dark=dark)
    page.evaluate("for (const d of document.querySelectorAll('details')) d.open = true")
    accessible(page)


@pytest.mark.parametrize("width", [380, 800, 1280])
@pytest.mark.parametrize("name", ["compare.html", "ten.html"])
def test_nothing_is_wider_than_the_window(
    open_page: Callable, no_overflow: Callable, pages: Path, name: str, width: int
) -> None:
    page = open_page((pages / name).as_uri(), width=width)
    page.evaluate("for (const d of document.querySelectorAll('details')) d.open = true")
    no_overflow(page)
    # What is wide scrolls inside its own box, and can be reached with the keyboard.
    boxes = page.locator(".scroll").evaluate_all(
        "boxes => boxes.filter(b => b.scrollWidth > b.clientWidth).map(b => b.tabIndex)"
    )
    assert boxes if width == 380 else True
    assert set(boxes) <= {0}


def test_the_theme_turns_and_the_keys_work(open_page: Callable, pages: Path) -> None:
    page = open_page((pages / "compare.html").as_uri())
    colour = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(colour)
    button = page.get_by_role("button", name="Theme: auto")
    button.click()
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    page.keyboard.press("t")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert page.evaluate(colour) != light
    page.keyboard.press("?")
    assert page.locator("#keys").is_visible()


def test_a_changed_problem_opens_in_the_page_of_its_run(open_page: Callable, pages: Path) -> None:
    page = open_page((pages / "compare.html").as_uri())
    links = page.locator("#changed a")
    assert links.count() > 0
    target = page.locator("#changed a[href*='p1']").first
    key = target.get_attribute("aria-label").split()[1]
    target.click()
    page.wait_for_url(f"**/first/report.html#trace=8%2F{key.split('/')[1]}")
    assert page.locator("#traces").is_visible()


def test_hostile_text_is_text(open_page: Callable, pages: Path) -> None:
    page = open_page((pages / "compare.html").as_uri())  # open_page fails on dialogs, requests and errors
    page.evaluate("for (const d of document.querySelectorAll('details')) d.open = true")
    assert page.locator("img").count() == 0
    assert page.locator("script").count() == 2
    assert "<script>alert(1)</script>" in page.locator("#differs").inner_text()
    assert "\u202e" not in page.content()


def test_the_forest_has_one_axis(open_page: Callable, pages: Path) -> None:
    page = open_page((pages / "ten.html").as_uri())
    zeros = page.locator(".gains .none").evaluate_all(
        "marks => marks.map(m => Math.round(m.getBoundingClientRect().x))"
    )
    assert len(zeros) > 10
    assert len(set(zeros)) == 1
    inside = page.locator(".gains .rail").evaluate_all(
        "rails => rails.every(r => [...r.querySelectorAll('.reach')].every(i => "
        "i.getBoundingClientRect().left >= r.getBoundingClientRect().left - 1 && "
        "i.getBoundingClientRect().right <= r.getBoundingClientRect().right + 1))"
    )
    assert inside
