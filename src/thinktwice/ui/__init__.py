"""A local web page over a runs directory: list, open, compare, watch, and ask the models.

Law: it owns no state. Everything shown is read from the run directories and computed by the commands' own functions;
close it and nothing is lost. It answers this machine only, unless told otherwise.
"""

import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from http import HTTPStatus
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from thinktwice.errors import ConfigError, RunError, ThinkTwiceError
from thinktwice.ui.guard import Guard
from thinktwice.ui.pages import Pages
from thinktwice.ui.playground import Playground
from thinktwice.ui.problems import Problems
from thinktwice.ui.shelf import Shelf
from thinktwice.ui.view import message, static

__all__ = ["create_app", "serve", "serving"]

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def create_app(
    runs: Path,
    models: Sequence[str] = (),
    *,
    exposed: bool = False,
    allow_code: bool = False,
    closing: threading.Event | None = None,
) -> Starlette:
    """Return the application.

    Args:
        runs: the runs directory; it need not exist yet.
        models: more models to offer in the playground, as paths or hub ids.
        exposed: answer other machines too.
        allow_code: run task and method files that a run names.
        closing: set when the server ends, so that open streams end too.

    Example: `create_app(Path("runs"))`, for any ASGI server.
    """
    ends: Callable[[], bool] = (closing or threading.Event()).is_set
    pages = Pages(runs, ends)
    playground = Playground(Shelf(runs, models, allow_code=allow_code), Problems(allow_code=allow_code), ends)
    routes = [
        Route("/", pages.runs),
        Route("/states", pages.states),
        Route("/run/{name}", pages.run),
        Route("/run/{name}/events", pages.events),
        Route("/compare", pages.compare),
        Route("/playground", playground.show),
        Route("/playground/samples/{name}", playground.samples),
        Route("/playground/answer", playground.answer, methods=["POST"]),
        Route("/static/{name}", static),
    ]
    handlers = {ThinkTwiceError: _explain, HTTPException: _explain, Exception: _apologise}
    return Starlette(routes=routes, middleware=[Middleware(Guard, exposed=exposed)], exception_handlers=handlers)


def serve(
    runs: Path,
    models: Sequence[str] = (),
    *,
    host: str = "127.0.0.1",
    port: int = 8421,
    expose: bool = False,
    allow_code: bool = False,
    ready: Callable[[str], None] = print,
) -> None:
    """Serve the page until Ctrl-C.

    Args:
        runs: the runs directory.
        models: more models to offer in the playground.
        host: the address to listen at.
        port: 0 takes a free one.
        expose: must be given for any other host than loopback.
        allow_code: run task and method files that a run names.
        ready: called with the address, once it answers.

    Raises:
        ConfigError: another host than loopback without `expose`.
        RunError: the port is taken, or may not be used.
    """
    if host not in LOOPBACK and not expose:
        raise ConfigError(
            f"--host {host} would let anyone who reaches this machine read the runs and use the models, without a "
            "password. If that is what you want, add --expose; else leave --host out, and use an SSH tunnel."
        )
    server, listener, address = _prepare(runs, models, host, port, expose, allow_code)
    try:
        ready(address)
        with suppress(KeyboardInterrupt):
            server.run(sockets=[listener])
    finally:
        listener.close()


@contextmanager
def serving(runs: Path, models: Sequence[str] = (), *, port: int = 0, allow_code: bool = False) -> Iterator[str]:
    """Serve the page from a thread while the block runs, and yield its address: from a notebook, or in a test.

    Example:
        >>> with serving(Path("runs")) as address:  # doctest: +SKIP
        ...     print(address)
    """
    server, listener, address = _prepare(runs, models, "127.0.0.1", port, False, allow_code)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="thinktwice ui", daemon=True)
    thread.start()
    try:
        yield address
    finally:
        server.handle_exit(signal.SIGINT, None)
        thread.join()
        listener.close()


def _prepare(
    runs: Path, models: Sequence[str], host: str, port: int, exposed: bool, allow_code: bool
) -> tuple["_Server", socket.socket, str]:
    closing = threading.Event()
    app = create_app(runs, models, exposed=exposed, allow_code=allow_code, closing=closing)
    listener = _listen(host, port)
    options = uvicorn.Config(
        app, log_level="warning", access_log=False, lifespan="off", server_header=False, timeout_graceful_shutdown=3
    )
    shown = f"[{host}]" if ":" in host else host
    return _Server(options, closing), listener, f"http://{shown}:{listener.getsockname()[1]}"


class _Server(uvicorn.Server):
    """Ends open streams before it waits for them."""

    def __init__(self, config: uvicorn.Config, closing: threading.Event) -> None:
        super().__init__(config)
        self._closing = closing

    def handle_exit(self, sig: int, frame: object) -> None:
        self._closing.set()
        super().handle_exit(sig, frame)  # type: ignore[arg-type]


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        words = getattr(error, "strerror", None) or str(error)
        raise RunError(
            f"cannot listen at {host} port {port} ({words}); choose another with --port, or --port 0 for a free one"
        ) from None


async def _explain(request: Request, error: Exception) -> Response:
    """Say what is wrong and what to do: a page to a reader, JSON to a script."""
    status, words = 409, str(error)
    if isinstance(error, HTTPException):
        status, words = error.status_code, error.detail
        if error.detail == HTTPStatus(status).phrase:
            words = "There is no such page here." if status == 404 else f"{error.detail}."
    if "text/html" not in request.headers.get("accept", ""):
        return JSONResponse({"message": words}, status_code=status)
    return message("Not here" if status == 404 else "That did not work", words, status)


async def _apologise(request: Request, error: Exception) -> Response:
    """Answer after a programmer's error; the server logs where it was."""
    print(f"thinktwice ui: {request.url.path}: {type(error).__name__}: {error}", file=sys.stderr)
    return message("That is a fault of thinktwice", "The terminal that runs thinktwice ui says where.", 500)
