import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[2]


class Page(HTMLParser):
    """What a built page refers to, and the names it can be referred to by."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.names: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.names.update(found[name] for name in ("id", "name") if name in found)
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        elif tag in ("link", "script", "img", "iframe", "source", "image", "use", "object", "video"):
            self.loads += [found[name] for name in ("href", "src", "srcset", "xlink:href", "data") if name in found]


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the documentation as `make docs` does, from the checkout, into a directory of its own."""
    out = tmp_path_factory.mktemp("documentation") / "site"
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)]
    done = subprocess.run(command, cwd=ROOT, env=quiet, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture(scope="session")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}


def test_every_source_becomes_a_page_and_every_command_a_heading(site: Path, pages: dict[Path, Page]) -> None:
    sources = {p.relative_to(ROOT / "docs").with_suffix("") for p in (ROOT / "docs").rglob("*.md")}
    expected = {p.with_name("index") if p.name == "README" else p for p in sources}
    assert expected <= {path.relative_to(site).with_suffix("") for path in pages}
    assert {"run", "solve", "watch", "ui", "report"} <= pages[site / "reference/command-line.html"].names


def test_every_link_inside_the_site_leads_somewhere(site: Path, pages: dict[Path, Page]) -> None:
    broken = []
    for path, page in pages.items():
        if path.name == "404.html":  # its links are absolute, for a server
            continue
        for link in (*page.links, *page.loads):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.is_file():
                broken.append(f"{path.relative_to(site)} -> {link}")
            elif parts.fragment and target in pages and parts.fragment not in pages[target].names:
                broken.append(f"{path.relative_to(site)} -> {link}: no such place")
    assert broken == []


def test_no_page_loads_anything_from_anywhere(site: Path, pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        outside = [link for link in page.loads if urlsplit(link).scheme in ("http", "https") or link.startswith("//")]
        assert outside == [], path
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(?:https?:)?//", sheet.read_text(encoding="utf-8")), sheet


def test_no_page_keeps_a_directive_or_a_picture_without_words(site: Path) -> None:
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert "<!-- image:" not in text, path
        for picture in re.findall(r"<img[^>]*>", text):
            assert re.search(r'alt="[^"]{8,}"', picture), (path, picture[:200])


def test_the_site_opens_from_disk_and_finds_words_there(open_page, site: Path) -> None:
    page = open_page((site / "index.html").as_uri())
    box = page.get_by_role("textbox", name="Search")
    box.click()
    page.locator(".md-search-result__meta", has_text="Type to start searching").wait_for(state="attached")
    box.press_sequentially("McNemar")  # the theme listens to keys
    found = page.locator(".md-search-result__item a").first
    found.wait_for()
    assert page.locator(".md-search-result__meta").inner_text() != "No matching documents"
    found.click()
    page.wait_for_url("**/*.html*")
    assert "McNemar" in page.locator("article").inner_text()


@pytest.fixture
def served(site: Path) -> Iterator[str]:
    """The site behind a server on loopback, because axe reads style sheets as a script may not from disk."""
    handler = partial(Quiet, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_pages_are_accessible(open_page, accessible, served: str, dark: bool) -> None:
    page = open_page(f"{served}/index.html", dark=dark)
    for name in (
        "index",
        "concepts/index",
        "concepts/trace",
        "guides/report",
        "reference/command-line",
        "start/first-run",
    ):
        page.goto(f"{served}/{name}.html")
        accessible(page, "article")


def test_the_theme_is_the_systems_until_it_is_chosen(open_page, site: Path) -> None:
    page = open_page((site / "concepts/index.html").as_uri(), dark=True)
    ground = "getComputedStyle(document.body).backgroundColor"
    ink = "getComputedStyle(document.querySelector('svg.house .noun')).fill"
    before = page.evaluate(ground), page.evaluate(ink)
    page.locator("label[title='Light colours']").click()
    page.wait_for_function("document.body.dataset.mdColorScheme === 'default'")
    after = page.evaluate(ground), page.evaluate(ink)
    assert before[0] != after[0]
    assert before[1] != after[1]  # the diagram follows


def test_nothing_is_wider_than_a_phone(open_page, site: Path) -> None:
    page = open_page((site / "index.html").as_uri(), width=380, height=800)
    wide = {}
    for name in ("index", "concepts/index", "concepts/context", "reference/recipes", "guides/report", "results/nano"):
        page.goto((site / f"{name}.html").as_uri())
        wide[name] = page.evaluate("document.documentElement.scrollWidth")
    assert {name: width for name, width in wide.items() if width > 380} == {}
