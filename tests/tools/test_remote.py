import http.client
import json
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from thinktwice.errors import ConfigError, EngineError
from thinktwice.tools.corpus import open_corpus
from thinktwice.tools.remote import MOST_QUERIES, Remote, document_of, passage_of
from thinktwice.tools.serving import Server
from thinktwice.tools.web import Patience

QUERIES = ("president", "JFK", "kennedy", "viva", "VIVA music", "", "no such word", '"', "\ud800president")


class Naps(list):
    def patience(self, **changes):
        return Patience(sleep=self.append, now=lambda: 0.0, uniform=lambda low, high: high, **changes)


@pytest.fixture
def naps():
    return Naps()


@pytest.fixture
def scripted():
    """A server that answers from a list of (status, headers, body), the last one for ever; and what it was asked."""
    servers = []

    def start(*answers):
        asked = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                asked.append((self.path, json.loads(body) if body else None))
                answer = answers[min(len(asked), len(answers)) - 1]
                status, headers, data = answer(asked[-1]) if callable(answer) else answer
                if status == 0:
                    self.close_connection = True
                    return
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}", asked

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def ok(*results):
    return 200, {}, json.dumps({"result": list(results)}).encode()


THEIRS = {"document": {"id": "14", "contents": '"Evan Morris"\nHe was a lobbyist.\nTwo lines.'}, "score": 31.5}


def test_a_server_finds_what_the_file_holds(small, serving):
    remote = open_corpus(serving(small))
    assert isinstance(remote, Remote)
    assert remote.corpus == small.corpus
    for query in QUERIES:
        assert [remote.search(query, k) for k in (0, 1, 5)] == [small.search(query, k) for k in (0, 1, 5)]
        assert remote.open(query) == small.open(query)
    assert remote.open("Kennedy").choices
    assert remote.search_all(QUERIES, 4) == [small.search(query, 4) for query in QUERIES]


def test_many_threads_ask_one_server(small, serving):
    remote = pickle.loads(pickle.dumps(Remote(serving(small))))
    with ThreadPoolExecutor(32) as pool:
        found = list(pool.map(remote.search, QUERIES * 16))
    assert found == [small.search(query) for query in QUERIES] * 16


def test_a_connection_is_kept_and_opened_again_when_the_server_hung_up(small, serving, naps, monkeypatch):
    from thinktwice.tools import serving as home

    taken = []
    accept = Server.get_request
    monkeypatch.setattr(Server, "get_request", lambda self: taken.append(1) or accept(self))
    monkeypatch.setattr(home._Handler, "timeout", 0.05)
    remote = Remote(serving(small), patience=naps.patience())
    assert [remote.search("president", 1)[0].title for _ in range(5)] == ["Robert Kennedy"] * 5
    assert len(taken) <= 2  # one, unless this machine slept between two questions
    time.sleep(0.3)  # the server hangs up on who says nothing for so long
    assert remote.search("president", 1)[0].title == "Robert Kennedy"
    assert len(taken) >= 2
    assert naps == []


def test_more_queries_than_one_request_holds(small, serving):
    assert len(Remote(serving(small)).search_all(["president"] * (MOST_QUERIES + 3), 1)) == MOST_QUERIES + 3


def test_the_wire_format_is_search_r1s(small, serving, scripted):
    """As its retrieval_server.py answers and its generation.py reads: title, a line break, text."""
    connection = http.client.HTTPConnection(serving(small).removeprefix("http://"), timeout=10)

    def post(body):
        connection.request("POST", "/retrieve", json.dumps(body), {"Content-Type": "application/json"})
        return json.loads(connection.getresponse().read())

    answer = post({"queries": ["senator"], "topk": 1, "return_scores": True})
    contents = '"Robert Kennedy"\nHe was a senator, and a brother of the president.'
    score = small.search("senator", 1)[0].score
    assert answer == {"result": [[{"document": {"id": "Robert Kennedy", "contents": contents}, "score": score}]]}
    assert post({"queries": ["senator"]})["result"][0][0] == {"id": "Robert Kennedy", "contents": contents}
    connection.close()

    address, asked = scripted(ok([THEIRS]))
    (passage,) = Remote(address).search("lobbyist", 3)
    assert (passage.title, passage.text, passage.score) == ("Evan Morris", "He was a lobbyist.\nTwo lines.", 31.5)
    assert asked == [("/retrieve", {"queries": ["lobbyist"], "topk": 3, "return_scores": True})]


def test_a_server_with_retrieve_only_opens_by_searching(scripted):
    unknown = (404, {}, b'{"detail":"Not Found"}')
    address, asked = scripted(lambda request: ok([THEIRS]) if request[0] == "/retrieve" else unknown)
    remote = Remote(f"{address}/retrieve", name="wiki-18")
    assert remote.open("evan_morris").title == "Evan Morris"
    assert remote.open("Somebody else") is None
    assert [path for path, _ in asked] == ["/open", "/retrieve", "/retrieve"]
    assert remote.corpus == "wiki-18"
    assert Remote(address).corpus == f"at {address}"


@pytest.mark.parametrize("title", ['"Heroes"', "A", '"', "", 'x "y"'])
def test_titles_with_quotes_come_back(title):
    from thinktwice.tools import Passage

    passage = Passage(title, "text\nmore", 1.5, "by", ("c", "d"))
    assert passage_of({"document": json.loads(json.dumps(document_of(passage))), "score": 1.5}) == passage


@pytest.mark.parametrize(
    "failure",
    [(503, {}, b"busy"), (429, {}, b"{}"), (200, {}, b"<html>"), (200, {}, b'{"result": 7}'), (0, {}, b"")],
)
def test_what_may_pass_is_asked_again(scripted, naps, failure):
    address, asked = scripted(failure, failure, ok([THEIRS]))
    assert Remote(address, patience=naps.patience()).search("x")[0].title == "Evan Morris"
    assert len(asked) == 3
    assert naps == [0.5, 1.0]


def test_a_server_is_left_alone_as_long_as_it_asks(scripted, naps):
    address, _ = scripted((503, {"Retry-After": "7"}, b""), ok([]))
    assert Remote(address, patience=naps.patience()).search("x") == ()
    assert naps == [7.5]
    address, asked = scripted((429, {"Retry-After": "9999"}, b""))
    with pytest.raises(EngineError, match="left alone for 9999 s"):
        Remote(address, patience=naps.patience()).search("x")
    assert len(asked) == 1


def test_a_server_that_is_not_there_is_one_sentence(naps):
    server = Server(open_corpus("wiki"), port=0)
    server.server_close()
    with pytest.raises(EngineError, match=r"no answer in 2 attempts .*refused.*thinktwice corpus serve FILE"):
        Remote(server.address, patience=naps.patience(attempts=2)).search("x")


def test_a_refusal_is_not_asked_again(scripted, naps):
    address, asked = scripted((422, {}, b'{"error": "no topk"}'))
    with pytest.raises(EngineError, match="refused: status 422, 'no topk'"):
        Remote(address, patience=naps.patience()).search("x")
    address, _ = scripted((302, {"Location": "http://127.0.0.1:9/"}, b""))
    with pytest.raises(EngineError, match="status 302"):
        Remote(address, patience=naps.patience()).search("x")
    assert len(asked) == 1
    assert naps == []


def test_an_answer_to_another_number_of_queries_is_refused(scripted, naps):
    address, _ = scripted(ok([], []))
    with pytest.raises(EngineError, match="2 of 1 queries"):
        Remote(address, patience=naps.patience()).search("x")


@pytest.mark.parametrize("address", ["ftp://x", "localhost:8000", "http://", "http://me:secret@host/"])
def test_what_is_no_address_is_refused(address):
    with pytest.raises(ConfigError, match="http://HOST:PORT") as refused:
        Remote(address)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/nowhere", "{}", 404),
        ("/retrieve", "{", 400),
        ("/retrieve", "[]", 422),
        ("/retrieve", '{"queries": "one"}', 422),
        ("/retrieve", '{"queries": [7]}', 422),
        ("/retrieve", '{"queries": ["x"], "topk": -1}', 422),
        ("/retrieve", '{"queries": ["x"], "topk": true}', 422),
        ("/retrieve", '{"queries": ["x"], "topk": 100000}', 422),
        ("/retrieve", json.dumps({"queries": ["x"] * 300}), 413),
        ("/open", '{"title": 7}', 422),
        ("/retrieve", "[" * 100_000, 400),
    ],
)
def test_bad_requests_are_answered(small, serving, path, body, status):
    address = serving(small)
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=10)
    connection.request("POST", path, body)
    response = connection.getresponse()
    assert response.status == status
    assert json.loads(response.read())["error"]
    connection.close()
    assert Remote(address).search("president", 1)  # the next one is served


def test_health_says_what_is_served(small, serving):
    connection = http.client.HTTPConnection(serving(small).removeprefix("http://"), timeout=10)
    connection.request("GET", "/health")
    told = json.loads(connection.getresponse().read())
    connection.close()
    assert told == {"status": "ok", "corpus": small.corpus, "documents": small.info.documents}


def test_only_this_machine_is_served_unless_asked(small):
    with pytest.raises(ConfigError, match="--expose"):
        Server(small, "0.0.0.0", 0)
    with Server(small, port=0) as taken, pytest.raises(ConfigError, match=r"cannot listen at .*another --port"):
        Server(small, port=taken.server_port)


def test_a_damaged_corpus_is_an_answer(small, serving, naps):
    class Broken:
        corpus = "x"

        def search(self, query, k=3):
            from thinktwice.errors import DataError

            raise DataError("the corpus is damaged")

    with pytest.raises(EngineError, match="'the corpus is damaged'"):
        Remote(serving(Broken()), patience=naps.patience(attempts=1)).search("x")
