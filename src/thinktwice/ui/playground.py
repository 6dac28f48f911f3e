"""The playground: one question, answered live by a saved model and by its control beside it."""

import json
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from thinktwice.config import parse
from thinktwice.errors import ConfigError, ThinkTwiceError
from thinktwice.ui.answers import Answers, Ask
from thinktwice.ui.guard import is_own_page
from thinktwice.ui.problems import Problems
from thinktwice.ui.shelf import Choice, Shelf, run_directories
from thinktwice.ui.stream import told
from thinktwice.ui.view import page

LARGEST = 200_000
"""Bytes of a request that are read."""


class Playground:
    """The page, the questions to try, and the answers."""

    def __init__(self, shelf: Shelf, problems: Problems, closing: Callable[[], bool]) -> None:
        """Load nothing yet; `closing` says when the server ends."""
        self._shelf, self._problems, self._closing = shelf, problems, closing
        self._answers = Answers(shelf, problems)
        self._warm = threading.Event()

    async def show(self, request: Request) -> Response:
        """Show the page. Its state is in the address (question, models, settings), so that it can be shared."""
        choices = await run_in_threadpool(self._shelf.choices)
        if not self._warm.is_set():
            self._warm.set()
            threading.Thread(target=_import_torch, daemon=True).start()
        setup = {"choices": [_public(choice) for choice in choices.values()]}
        return page("playground.html.jinja", {"setup": setup, "here": "playground"})

    async def samples(self, request: Request) -> Response:
        """Return some test problems of a run, for the page to offer."""
        root = run_directories(self._shelf.runs).get(request.path_params["name"])
        if root is None:
            return _refusal("there is no such run", 404)
        try:
            found = await run_in_threadpool(self._problems.samples, root)
        except ThinkTwiceError as error:
            return _refusal(str(error), 409)
        shown = [{"kind": sample.kind, **asdict(sample.problem)} for sample in found]
        return JSONResponse(shown, background=BackgroundTask(self._prepare, root))

    def _prepare(self, root: Path) -> None:
        with suppress(ThinkTwiceError):  # it is said where an answer is judged
            self._problems.prepare(root)

    async def answer(self, request: Request) -> Response:
        """Answer one question, as server-sent events; when the reader leaves, the decoding stops."""
        if not is_own_page(request):
            return _refusal("only the page itself may ask, by POST with JSON", 403)
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > LARGEST:
                return _refusal(f"the request is longer than {LARGEST:,} bytes; shorten the question.", 413)
        try:
            ask = parse(Ask, json.loads(body), "the request")
        except (ConfigError, ValueError, RecursionError) as error:
            return _refusal(str(error), 400)
        stream = told(lambda tell, stopped: self._answers.answer(ask, tell, stopped), self._closing)
        return StreamingResponse(stream, media_type="text/event-stream")


def _public(choice: Choice) -> dict[str, Any]:
    """Return what the page may know of a choice: everything but where it lies."""
    known = asdict(choice)
    del known["place"]
    return known


def _refusal(words: str, status_code: int) -> JSONResponse:
    return JSONResponse({"message": words}, status_code=status_code)


def _import_torch() -> None:
    """Import what decoding needs while the reader still types."""
    import thinktwice.engines.local  # noqa: F401
