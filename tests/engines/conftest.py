"""A real HTTP server on loopback that answers as the test says."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


class Server(ThreadingHTTPServer):
    """Answers POSTs with `script(body, number)`, GETs with the list of `models`; remembers all it was asked.

    A script returns an `Answer`, a text (a whole reply), or a dict (a body of its own).
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128  # five, its default, turns connections away

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.script = lambda body, number: "yes"
        self.models = ["small", "large"]
        self.asked, self.headers, self.paths = [], [], []
        self.active = self.peak = 0
        self.lock = threading.Lock()
        self.released = threading.Event()
        """Set at the end, for answers that hang until then."""

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, request, client_address):
        pass  # clients that hang up are what these tests are about

    def hang(self):
        self.released.wait(60)


class Answer:
    def __init__(self, body=b"", status=200, headers=(), cut=False, drip=False, kind="application/json"):
        self.body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.status, self.headers, self.kind = status, dict(headers), kind
        self.cut, self.drip = cut, drip  # hang up before the end; a byte now and then


def reply(body, text="yes", **choice):
    """A whole reply in the form the request asks for."""
    if "messages" in body:
        choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop", **choice}
    else:
        choice = {"text": text, "finish_reason": "stop", **choice}
    usage = {"prompt_tokens": 7, "completion_tokens": len(text.split()), "total_tokens": 0}
    return {"id": "1", "object": "x", "model": body["model"], "choices": [{"index": 0, **choice}], "usage": usage}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        found = self.path == "/v1/models" and self.server.models
        data = {"object": "list", "data": [{"id": name, "object": "model"} for name in self.server.models]}
        self.send(Answer(data if found else {"detail": "Not Found"}, 200 if found else 404))

    def do_POST(self):
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.active += 1
            server.peak = max(server.peak, server.active)
            number = len(server.asked)
            server.asked.append(body)
            server.headers.append({name.lower(): value for name, value in self.headers.items()})
            server.paths.append(self.path)
        try:
            answer = server.script(body, number)
        finally:
            with server.lock:
                server.active -= 1
        if isinstance(answer, str):
            answer = reply(body, answer)
        if answer is None:  # hang up without a word
            self.close_connection = True
        else:
            self.send(answer if isinstance(answer, Answer) else Answer(answer))

    def send(self, answer):
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body) + 100 * answer.cut))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        for part in [answer.body[i : i + 1] for i in range(len(answer.body))] if answer.drip else [answer.body]:
            self.wfile.write(part)
            self.wfile.flush()
            if answer.drip:
                self.server.released.wait(0.05)
        if answer.cut:
            self.close_connection = True


@pytest.fixture
def new_server():
    servers = []

    def new():
        server = Server()
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        servers.append(server)
        return server

    yield new
    for server in servers:
        server.released.set()
        server.shutdown()
        server.server_close()


@pytest.fixture
def server(new_server):
    return new_server()


@pytest.fixture
def answer():
    return Answer


@pytest.fixture
def whole():
    return reply
