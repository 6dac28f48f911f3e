"""A real browser: Debian's Chromium, driven by Playwright. Where it is absent the tests skip, with the reason."""

import os
import shutil
from collections.abc import Callable, Iterator

import pytest

CHROMIUM = os.environ.get("THINKTWICE_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="session")
def chromium() -> Iterator[object]:
    """One browser for all tests of a process."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium: apt-get install chromium, or name one in THINKTWICE_CHROMIUM")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium) -> Iterator[Callable]:
    """Open pages, each with a clean profile, that must not log an error, throw, or reach out to any other host.

    `open_page(url, width=1280, height=900, dark=False)` returns a Playwright page. Requests other than file:, data:,
    blob: and loopback are refused and make the test fail, as do console errors and uncaught exceptions.
    """
    faults: list[str] = []
    contexts = []

    def route(route):
        url = route.request.url
        if url.startswith(("file:", "data:", "blob:", "http://127.0.0.1", "http://localhost")):
            route.continue_()
        else:
            faults.append(f"the page asked for {url}")
            route.abort()

    def go(url: str, *, width: int = 1280, height: int = 900, dark: bool = False, **options):
        context = chromium.new_context(
            viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light", **options
        )
        contexts.append(context)
        context.route("**/*", route)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda m: faults.append(f"console: {m.text}") if m.type == "error" else None)
        page.on("pageerror", lambda error: faults.append(f"uncaught: {error}"))
        page.on("dialog", lambda dialog: (faults.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.goto(url)
        return page

    yield go
    for context in contexts:
        context.close()
    assert not faults, faults


@pytest.fixture
def accessible() -> Callable:
    """Assert that axe finds nothing serious or critical on a page."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")

    def check(page, context: str | None = None) -> None:
        found = axe.Axe().run(page, context).response["violations"]
        serious = [
            f"{v['id']}: {v['help']} -> {[node['target'] for node in v['nodes'][:5]]}"
            for v in found
            if v["impact"] in ("serious", "critical")
        ]
        assert not serious, "\n".join(serious)

    return check


@pytest.fixture
def no_overflow() -> Callable:
    """Assert that nothing makes a page wider than its window."""

    def check(page) -> None:
        width, window = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
        assert width <= window, f"the page is {width} px wide in a window of {window} px"

    return check
