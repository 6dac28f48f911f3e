"""The run page, opened from disk like a reader would: themes, keys, flips, phone, paper, hostile text."""

import importlib.util
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from thinktwice.report import report
from thinktwice.run import Run

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect
spec = importlib.util.spec_from_file_location("report_runs", Path(__file__).parents[1] / "report" / "conftest.py")
assert spec is not None
assert spec.loader is not None
runs = importlib.util.module_from_spec(spec)
spec.loader.exec_module(runs)
ATTACK = ("<script>alert(1)</script>\u202egnp", "</script><img src=x onerror=alert(1)>", "x" * 20_000)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root: Path = runs.build(tmp_path_factory.mktemp("runs") / "sample")
    report(root)
    return root


@pytest.fixture
def url(run_dir: Path) -> str:
    return (run_dir / "report.html").as_uri()


def background(page) -> str:
    return page.evaluate("getComputedStyle(document.body).backgroundColor")


def test_the_theme_is_the_systems_until_a_reader_chooses_and_is_remembered(open_page: Callable, url: str) -> None:
    page = open_page(url)
    light = background(page)
    button = page.locator("[data-theme-toggle]")
    assert button.inner_text().endswith("auto")
    button.click()  # light
    assert background(page) == light
    page.keyboard.press("t")  # dark
    dark = background(page)
    assert dark != light
    page.reload()
    assert background(page) == dark
    assert button.get_attribute("aria-label") == "Theme: dark"
    assert background(open_page(url, dark=True)) == dark
    page.emulate_media(media="print")
    assert background(page) == "rgb(255, 255, 255)"  # a dark page is not printed dark


def test_a_browser_that_may_not_store_anything_still_turns(open_page: Callable, url: str) -> None:
    page = open_page("about:blank")
    page.add_init_script("Object.defineProperty(window, 'localStorage', {get() {throw new DOMException('denied')}})")
    page.goto(url)
    before = background(page)
    for _ in range(2):
        page.locator("[data-theme-toggle]").click()
    assert background(page) != before


@pytest.mark.parametrize("width", [380, 800, 1280])
def test_nothing_is_wider_than_its_window(open_page: Callable, url: str, width: int, no_overflow: Callable) -> None:
    page = open_page(url, width=width, height=800)
    no_overflow(page)
    for details in page.locator("main details").all():
        details.evaluate("d => { d.open = true }")
    no_overflow(page)
    page.goto(f"{url}#training")
    no_overflow(page)


def test_letters_in_charts_are_as_large_as_the_text_on_a_phone(open_page: Callable, url: str) -> None:
    page = open_page(url, width=380, height=800)
    sizes = page.evaluate(
        """[...document.querySelectorAll('main .chart text')].filter(t => t.getClientRects().length)
        .map(t => parseFloat(getComputedStyle(t).fontSize) * t.getScreenCTM().a)"""
    )
    assert len(sizes) > 10
    assert min(sizes) >= 11
    assert not page.locator(".wide >> nth=0").is_visible()


def test_a_reader_gets_round_with_the_keyboard_alone(open_page: Callable, url: str) -> None:
    page = open_page(url, height=700)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the claim"
    page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    current = page.locator(".contents [aria-current]")
    names = page.locator(".contents a").all_inner_texts()
    for name in names[1:4]:
        page.keyboard.press("]")
        expect(current).to_have_text(name)
    page.keyboard.press("[")
    expect(current).to_have_text(names[2])
    page.keyboard.press("?")
    assert page.locator("#keys").is_visible()
    page.keyboard.press("]")  # not while the list of keys is open
    page.keyboard.press("Escape")
    assert not page.locator("#keys").is_visible()
    assert current.inner_text() == names[2]
    page.locator(".contents a", has_text="Rerun").press("Enter")
    expect(current).to_have_text("Rerun")


def test_keys_do_nothing_while_a_reader_is_writing(open_page: Callable, url: str) -> None:
    page = open_page(url)
    page.wait_for_selector("#traces[data-ready]")
    before = background(page)
    page.locator("#traces input[type=search]").press_sequentially("t]?[")
    assert background(page) == before
    assert page.locator("#traces input[type=search]").input_value() == "t]?["


def test_a_flip_opens_both_traces_side_by_side(open_page: Callable, url: str) -> None:
    page = open_page(url)
    page.wait_for_selector("#traces[data-ready]")
    link = page.locator("[data-list=gained] a").first
    question = link.inner_text()
    link.click()
    expect(page.locator("#traces [data-part=question]")).to_contain_text(question[:40])
    shown = page.locator("#traces [data-part=arms]").inner_text()
    assert "backtrack" in shown
    assert "control" in shown


def test_any_two_arms_can_be_compared_at_any_level(open_page: Callable, url: str, run_dir: Path) -> None:
    run = Run.load(run_dir)

    def right(arm: str) -> set[str]:
        rows = run.traces(arm).done.items()
        return {key for key, row in rows if row["level"] == 6 and row["score"]["value"] == 1}

    gained, lost = right("control") - right("base"), right("base") - right("control")
    page = open_page(url)
    for name, value in (("level", "6"), ("a", "control"), ("b", "base")):
        page.locator(f"#flips select[name={name}]").select_option(value)
    sentence = page.locator("[data-flips=sentence]")
    expect(sentence).to_contain_text("control gains")
    said = sentence.inner_text()
    assert f"control gains {len(gained)} that base gets wrong, and loses {len(lost)} that base gets right" in said
    points = 100 * (len(gained) - len(lost)) / 40
    assert f"{points:+.1f} points. Exact McNemar p" in said.replace("−", "-")  # no interval: the summary has none
    assert page.locator(".matrix .gained b").inner_text() == str(len(gained))
    keys = page.locator("[data-list=gained] a").evaluate_all("links => links.map(a => a.hash)")
    assert {key.split("=")[1].split("&")[0] for key in keys} == {key.replace("/", "%2F") for key in gained}
    page.locator("#flips select[name=b]").select_option("backtrack")
    expect(sentence).to_contain_text("backtrack gets")
    stored = next(
        c for c in run.summary()["comparisons"] if (c["a"], c["b"], c["level"]) == ("backtrack", "control", 6)
    )
    low, high = (f"{-100 * end:+.1f}".replace("-", "−") for end in reversed(stored["ci"]))
    assert f"95 % interval {low} to {high}" in sentence.inner_text()


def test_a_square_is_read_and_opened(open_page: Callable, url: str) -> None:
    page = open_page(url)
    page.wait_for_selector("#traces[data-ready]")
    square = page.locator(".waffle .chart")
    square.scroll_into_view_if_needed()
    page.locator("[data-list=lost] a").first.wait_for()
    square.hover(position={"x": 3, "y": 3})
    expect(page.locator(".waffle")).to_have_attribute("title", re.compile("reference: 16"))
    square.click(position={"x": 3, "y": 3})
    expect(page).to_have_url(re.compile("#trace=8%2F"))


def test_a_script_that_is_not_the_pages_does_not_run(chromium, run_dir: Path, tmp_path: Path) -> None:
    page_text = (run_dir / "report.html").read_text()
    path = tmp_path / "tampered.html"
    path.write_text(page_text.replace("<main>", "<main><script>document.title = 'obeyed'</script>", 1))
    context = chromium.new_context()
    page = context.new_page()
    refused = []
    page.on("console", lambda message: refused.append(message.text))
    page.goto(path.as_uri())
    assert page.title() == "sample · thinktwice"
    assert any("Content Security Policy" in text for text in refused)
    page.evaluate(
        "document.querySelector('main').insertAdjacentHTML('beforeend', '<img src=x onerror=\"document.title=1\">')"
    )
    page.wait_for_timeout(50)
    assert page.title() == "sample · thinktwice"
    context.close()


def test_hostile_text_is_shown_and_has_no_effect(open_page: Callable, tmp_path: Path, no_overflow: Callable) -> None:
    root = runs.build(tmp_path / "hostile", said=ATTACK, problems=3)
    page = open_page(report(root).as_uri(), width=380, height=800)  # a dialog or an error fails by itself
    page.wait_for_selector("#traces[data-ready]")
    page.locator("#flips select[name=b]").select_option("base")
    no_overflow(page)
    page.set_viewport_size({"width": 720, "height": 1000})
    page.emulate_media(media="print")
    no_overflow(page)
    assert "<script>alert(1)</script>" in page.locator(".paper").inner_text()


@pytest.mark.parametrize("dark", [False, True])
def test_nothing_serious_stands_in_the_way_of_a_reader(
    open_page: Callable, accessible: Callable, url: str, dark: bool
) -> None:
    page = open_page(url, dark=dark, reduced_motion="reduce")  # colours on their way are not what is judged
    page.wait_for_selector("#traces[data-ready]")
    accessible(page)


def test_paper_has_no_navigation_and_everything_unfolded(open_page: Callable, url: str) -> None:
    page = open_page(url)
    page.emulate_media(media="print")
    for hidden in (".contents", "#flips form", "[data-copy] >> nth=0"):
        assert not page.locator(hidden).is_visible()
    assert page.locator(".paper").is_visible()
    folded = page.locator("#arms details:not([open]) table").first
    assert folded.evaluate("table => table.getBoundingClientRect().height") > 50
    page.emulate_media(media="screen")
    assert not page.locator(".paper").is_visible()


def test_without_scripts_only_the_viewer_is_missing(open_page: Callable, url: str) -> None:
    page = open_page(url, java_script_enabled=False)
    assert page.locator("h1").is_visible()
    assert page.locator("noscript").count() == 1
    assert page.locator("[data-list=gained] li").first.is_visible()
    assert page.locator(".paper").is_visible()
    for button in ("[data-theme-toggle]", "[data-keys]", "[data-copy] >> nth=0", "#flips form"):
        assert not page.locator(button).is_visible()


def test_the_page_of_an_unfinished_run_opens_without_a_fault(open_page: Callable, tmp_path: Path) -> None:
    root = runs.build(tmp_path / "young", problems=2)
    (root / "summary.json").unlink()
    page = open_page(report(root).as_uri())
    assert page.locator("h1").inner_text() == "young is not finished"
    assert "points" not in page.locator("#claim").inner_text()
    assert page.locator("#arms tbody tr").first.inner_text().split()[-1] == "8"  # answered so far
    config = json.loads((root / "config.json").read_text())
    empty = tmp_path / "empty"
    with Run.open(empty, config):
        pass
    page.goto(report(empty).as_uri())
    assert page.locator("h1").inner_text() == "empty is not finished"
    assert page.locator("#traces .missing").is_visible()


def test_the_command_is_copied_or_at_least_selected(open_page: Callable, url: str) -> None:
    page = open_page(url)
    button = page.locator("[data-copy]").first
    button.click()
    expect(button).to_have_text(re.compile("copied|selected"))
