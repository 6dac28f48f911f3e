import json
import multiprocessing
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from thinktwice import __version__
from thinktwice.errors import ConfigError, DataError, EngineError
from thinktwice.tools.cassette import Cassette
from thinktwice.tools.mediawiki import MediaWiki
from thinktwice.tools.web import Patience

PAGES = {
    "John F. Kennedy": "He was president.\n\n== Life ==\nLong text.",
    "Robert Kennedy": "He was a senator.",
    "Kennedy": "Kennedy may refer to:",
}
REDIRECTS = {"JFK": "John F. Kennedy"}
LINKS = {"Kennedy": ["John F. Kennedy", "Robert Kennedy"]}


class Wiki(ThreadingHTTPServer):
    """Enough of api.php: generator=search, extracts, redirects, pageprops, links in parts."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked, self.agents, self.failures = [], [], []
        self.busy, self.most_busy = 0, 0
        self.guard = threading.Lock()

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}/w/api.php"

    def answer(self, asked):
        query = {}
        if asked.get("generator") == "search":
            titles = [t for t in PAGES if asked["gsrsearch"].lower() in f"{t} {PAGES[t]}".lower()]
            titles = titles[: int(asked["gsrlimit"])]
        else:
            name = asked["titles"]
            titles = [REDIRECTS.get(name, name)]
            if name in REDIRECTS:
                query["redirects"] = [{"from": name, "to": REDIRECTS[name]}]
        if not titles:
            return {"batchcomplete": True}
        if asked["prop"] == "links":
            links = LINKS[titles[0]]
            start = int(asked.get("plcontinue", 0))
            page = {"title": titles[0], "links": [{"ns": 0, "title": links[start]}]}
            more = {"continue": {"plcontinue": str(start + 1), "continue": "||"}} if start + 1 < len(links) else {}
            return {**more, "query": {"pages": [page]}}
        pages = []
        for index, title in enumerate(titles, 1):
            page = {"title": title, "index": index}
            if title in PAGES:
                page["extract"] = PAGES[title].split("\n\n==")[0] if "exintro" in asked else PAGES[title]
            else:
                page["missing"] = True
            if title in LINKS:
                page["pageprops"] = {"disambiguation": ""}
            pages.append(page)
        return {"query": {**query, "pages": pages[::-1]}}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        with self.server.guard:
            self.server.busy += 1
            self.server.most_busy = max(self.server.busy, self.server.most_busy)
        asked = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        self.server.asked.append(asked)
        self.server.agents.append(self.headers["User-Agent"])
        failures = self.server.failures
        status, headers, body = failures.pop(0) if failures else (200, {}, self.server.answer(asked))
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        with self.server.guard:
            self.server.busy -= 1
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def wiki():
    server = Wiki()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def naps():
    return []


@pytest.fixture
def ask(wiki, naps):
    patience = Patience(sleep=naps.append, now=lambda: 0.0, uniform=lambda low, high: high, attempts=3)

    def make(**changes):
        return MediaWiki("ada@example.org", wiki.address, patience=patience, **changes)

    return make


def test_search_gives_introductions_in_the_wikis_order(wiki, ask):
    found = ask().search("he was", 5)
    assert [(p.title, p.text) for p in found] == [
        ("John F. Kennedy", "He was president."),
        ("Robert Kennedy", "He was a senator."),
    ]
    assert found[0].score > found[1].score
    assert len(ask().search("he was", 1)) == 1
    assert wiki.asked[0]["maxlag"] == "5"
    assert wiki.agents[0] == f"thinktwice/{__version__} (ada@example.org) Python-urllib"


def test_open_follows_redirects(ask):
    page = ask().open("JFK")
    assert (page.title, page.text, page.via) == ("John F. Kennedy", "He was president.", "JFK")
    assert ask(introduction=False).open("John_F._Kennedy").text.endswith("Long text.")
    assert ask().open("John F. Kennedy").via == ""


def test_ambiguous_pages_have_choices_from_all_parts_of_the_answer(ask):
    assert ask().open("Kennedy").choices == ("John F. Kennedy", "Robert Kennedy")
    assert ask().search("may refer", 3)[0].choices == ("John F. Kennedy", "Robert Kennedy")


def test_nothing_found_is_empty(wiki, ask):
    assert ask().search("no such thing", 3) == ()
    assert ask().open("No such page") is None
    asked = len(wiki.asked)
    assert ask().search("", 3) == ask().search('"?', 3) == ask().search("x", 0) == ()
    assert [ask().open(name) for name in ("", "a|b", "a#b", "<i>", "x" * 300)] == [None] * 5
    assert len(wiki.asked) == asked  # no title of the wiki: not worth a request


def test_a_query_is_words_only(wiki, ask):
    ask().search('insource:/.*/ -president "he was" ~x* ' + "y" * 500, 3)
    assert wiki.asked[0]["gsrsearch"].startswith("insource . president he was x yyy")
    assert len(wiki.asked[0]["gsrsearch"]) == 300


BUSY = {"error": {"code": "maxlag", "info": "Waiting for a database server: 5.2 seconds lagged."}}


@pytest.mark.parametrize(
    ("failure", "pause"),
    [
        ((429, {"Retry-After": "4"}, b"Too many requests"), 4.5),
        ((503, {}, b"<html>"), 0.5),
        ((200, {"Retry-After": "5"}, BUSY), 5.5),
        ((200, {}, {"error": {"code": "ratelimited", "info": "slow down"}}), 0.5),
        ((200, {}, b"<!DOCTYPE html><title>Our servers are busy"), 0.5),
    ],
)
def test_what_may_pass_is_asked_again_when_the_wiki_says(wiki, ask, naps, failure, pause):
    wiki.failures = [failure]
    assert ask().open("JFK").title == "John F. Kennedy"
    assert naps == [pause]


def test_html_for_ever_is_one_sentence(wiki, ask):
    wiki.failures = [(200, {}, b"<!DOCTYPE html>\n<title>Error")] * 3
    with pytest.raises(EngineError, match=r"3 attempts .*not JSON but '<!DOCTYPE html> <title>Error'"):
        ask().search("x")


def test_an_error_of_the_api_is_not_asked_again(wiki, ask, naps):
    wiki.failures = [(200, {}, {"error": {"code": "badvalue", "info": "Unrecognized value"}})]
    with pytest.raises(EngineError, match="refused: badvalue: Unrecognized value"):
        ask().search("x")
    assert (len(wiki.asked), naps) == (1, [])


def test_one_request_at_a_time(wiki, ask):
    threads = [threading.Thread(target=ask().open, args=("JFK",)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wiki.asked) == 16
    assert wiki.most_busy == 1


@pytest.mark.parametrize("contact", ["", "me", "a@b\nX-Evil: 1", "ä@example.org"])
def test_a_contact_is_required(contact):
    with pytest.raises(ConfigError, match="operators want"):
        MediaWiki(contact)


def test_a_recording_is_replayed_without_the_network(wiki, ask, tmp_path):
    path = tmp_path / "tapes/wiki.jsonl"
    recording = ask(cassette=Cassette(path, "record"))
    wanted = [recording.search("he was", 2), recording.open("JFK"), recording.open("Kennedy"), recording.open("None")]
    asked = len(wiki.asked)
    assert recording.search("he was", 2) == wanted[0]  # recorded: not asked again
    assert len(wiki.asked) == asked
    assert "ada@" not in path.read_text()
    assert recording.corpus == "live 127.0.0.1"

    replaying = ask(cassette=Cassette(path))
    found = [replaying.search("he was", 2), replaying.open("JFK"), replaying.open("Kennedy"), replaying.open("None")]
    assert found == wanted
    with pytest.raises(DataError, match=r'has no answer to .*"gsrsearch": "another".*mode=.record'):
        replaying.search("another", 2)
    assert len(wiki.asked) == asked
    assert replaying.corpus == Cassette(path).digest == ask(cassette=Cassette(path)).corpus


def test_a_failure_is_not_recorded(wiki, ask, tmp_path):
    wiki.failures = [(200, {}, b"<html>")] * 3
    tape = Cassette(tmp_path / "w.jsonl", "record")
    with pytest.raises(EngineError):
        ask(cassette=tape).search("he was")
    assert len(tape) == 0
    assert ask(cassette=tape).search("he was")
    assert len(tape) == 1


def test_a_half_written_line_is_passed_over(tmp_path):
    path = tmp_path / "w.jsonl"
    Cassette(path, "record").answer({"a": "1"}, lambda: [1])
    with path.open("a") as file:
        file.write('{"request": {"a"')
    tape = Cassette(path, "record")
    assert tape.answer({"a": "1"}, lambda: [9]) == [1]
    assert tape.answer({"a": "2"}, lambda: [2]) == [2]
    again = Cassette(path)
    assert [again.answer({"a": n}, lambda: None) for n in "12"] == [[1], [2]]


def _record(path, number):
    for n in range(20):
        Cassette(path, "record").answer({"from": str(number), "n": str(n)}, lambda n=n: "x" * 5000 + str(n))


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_processes_record_into_one_file(tmp_path):
    path = tmp_path / "w.jsonl"
    with multiprocessing.get_context("fork").Pool(3) as pool:
        pool.starmap(_record, [(path, number) for number in range(3)])
    assert len(Cassette(path)) == 60
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_what_is_no_cassette_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"no cassette .*Record it first"):
        Cassette(tmp_path / "none.jsonl")
    (tmp_path / "text").write_text("hello\nthere")
    with pytest.raises(DataError, match="is no cassette"):
        Cassette(tmp_path / "text")
