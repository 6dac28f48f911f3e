"""Serve a corpus to other machines: POST /retrieve, POST /open, GET /health (`remote` has the format).

Law: it reads only; whatever is sent, the answer is JSON with a status, and the next request is served. Every request
has its own thread, and SQLite lets them search at once.
"""

import json
import logging
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any

from thinktwice.errors import ConfigError, ThinkTwiceError
from thinktwice.tools import Retriever
from thinktwice.tools.corpus import Corpus
from thinktwice.tools.remote import MOST_QUERIES, document_of
from thinktwice.tools.web import is_loopback

log = logging.getLogger(__name__)

LARGEST_REQUEST = 8 << 20
"""Bytes."""
MOST_RESULTS = 1000
"""For one query."""
DEFAULT_RESULTS = 3
IDLE_S = 30.0


class _Bad(Exception):  # noqa: N818  an answer, not an error of ours
    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Server(ThreadingHTTPServer):
    """A listening server; `serve_forever` answers, `address` says where."""

    daemon_threads = True
    request_queue_size = 512
    """Connections that may wait to be taken: many episodes ask at once."""

    def __init__(
        self, retriever: Retriever, host: str = "127.0.0.1", port: int = 8000, *, expose: bool = False
    ) -> None:
        """Listen.

        Raises:
            ConfigError: the port is taken, or other machines could reach it and `expose` is not set.
        """
        if not (expose or is_loopback(host)):
            raise ConfigError(
                f"{host} can be reached by other machines, and there is no password. Add --expose to do so."
            )
        self.retriever = retriever
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(f"cannot listen at {host}:{port} ({reason}); choose another --port.") from None

    @property
    def address(self) -> str:
        """Where it answers."""
        return f"http://{self.server_name}:{self.server_port}"

    def server_bind(self) -> None:
        """Bind without asking a name server what this machine is called."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    server_version = "thinktwice"
    sys_version = ""
    timeout = IDLE_S
    wbufsize = 1 << 16  # head and body leave together, ...
    disable_nagle_algorithm = True  # ... and at once: else each answer waits 40 ms for an acknowledgement

    def do_GET(self) -> None:
        """Say what is served."""
        self._answer({"/health": self._health})

    def do_POST(self) -> None:
        """Search or open."""
        self._answer({"/retrieve": self._retrieve, "/open": self._open})

    def log_message(self, format: str, *args: Any) -> None:
        """Write to the log, not to the terminal."""
        log.debug(format, *args)

    def _answer(self, paths: Mapping[str, Callable[[], Any]]) -> None:
        status = 200
        try:
            answer = paths.get(self.path.split("?")[0].rstrip("/"), self._unknown)()
        except _Bad as bad:
            status, answer = bad.status, {"error": str(bad)}
        except ThinkTwiceError as error:
            status, answer = 500, {"error": str(error)}
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        if status != 200:  # what was sent may not have been read to its end
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        self.wfile.write(data)

    def _unknown(self) -> Any:
        raise _Bad(404, "there is POST /retrieve, POST /open, GET /health")

    def _health(self) -> Any:
        retriever = self.server.retriever
        told: dict[str, Any] = {"status": "ok", "corpus": retriever.corpus}
        return told | ({"documents": retriever.info.documents} if isinstance(retriever, Corpus) else {})

    def _retrieve(self) -> Any:
        body = self._body()
        queries, k = body.get("queries"), body.get("topk")
        k = DEFAULT_RESULTS if k is None else k
        if not isinstance(queries, list) or not all(isinstance(query, str) for query in queries):
            raise _Bad(422, "'queries' must be a list of texts")
        if len(queries) > MOST_QUERIES:
            raise _Bad(413, f"at most {MOST_QUERIES} queries in a request; got {len(queries)}")
        if isinstance(k, bool) or not isinstance(k, int) or not 0 <= k <= MOST_RESULTS:
            raise _Bad(422, f"'topk' must be a number from 0 to {MOST_RESULTS}")
        found = [self.server.retriever.search(query, k) for query in queries]
        if body.get("return_scores"):
            return {"result": [[{"document": document_of(p), "score": p.score} for p in pages] for pages in found]}
        return {"result": [[document_of(p) for p in pages] for pages in found]}

    def _open(self) -> Any:
        title = self._body().get("title")
        if not isinstance(title, str):
            raise _Bad(422, "'title' must be a text")
        page = self.server.retriever.open(title)
        return {"document": None if page is None else document_of(page)}

    def _body(self) -> Mapping[str, Any]:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            raise _Bad(411, "say how long the request is: Content-Length")
        if int(length) > LARGEST_REQUEST:
            raise _Bad(413, f"a request has at most {LARGEST_REQUEST >> 20} MiB")
        try:
            body = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError):
            raise _Bad(400, "the request is not JSON") from None
        if not isinstance(body, dict):
            raise _Bad(422, "the request must be a JSON object")
        return body
