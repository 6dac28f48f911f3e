"""The pages that show runs: the list, one run (live, or its report), several side by side.

Law: everything shown is read from the run directories when it is asked for; nothing is written there.
"""

import asyncio
import re
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response, StreamingResponse

from thinktwice.config import Recipe, parse, to_dict
from thinktwice.errors import ThinkTwiceError, nearest
from thinktwice.report import gather, render_page
from thinktwice.report.claims import interval, points
from thinktwice.report.compare import compare_page
from thinktwice.run import Run
from thinktwice.status import Status, Watcher, read_status
from thinktwice.ui.guard import OWN_POLICY
from thinktwice.ui.shelf import run_directories
from thinktwice.ui.stream import event
from thinktwice.ui.view import own, page

EVERY = 1.0
"""Seconds between two looks at a running run."""
KEPT = 6
"""Rendered pages kept in memory."""


class Pages:
    """The pages over one runs directory."""

    def __init__(self, runs: Path, closing: Callable[[], bool]) -> None:
        """Read nothing yet; `closing` says when the server ends, so that no stream holds it up."""
        self._runs, self._closing = runs, closing
        self._rendered: OrderedDict[tuple[str, ...], str] = OrderedDict()
        self._lock = threading.Lock()
        self._watchers: dict[tuple[Path, int], Watcher] = {}
        self._watching = threading.Lock()

    async def runs(self, request: Request) -> Response:
        """Show every run below the directory, the one that said something last first."""
        rows = await run_in_threadpool(self._rows)
        return page("runs.html.jinja", {"runs": rows, "place": str(self._runs), "here": "runs"})

    async def states(self, request: Request) -> Response:
        """Say what every run is doing, for the list that keeps itself up to date."""
        found = await run_in_threadpool(self._statuses)
        return JSONResponse([_status(status) for status in found])

    async def run(self, request: Request) -> Response:
        """Show one run: its report when it is finished, its stages while it is not."""
        root = self._find(request.path_params["name"])
        status = await run_in_threadpool(read_status, root)
        if status.state == "finished":
            html = await run_in_threadpool(self._page, "report", [root])
            return HTMLResponse(html, headers={"content-security-policy": OWN_POLICY})
        return page("live.html.jinja", {"status": status, "setup": _status(status), "here": "runs"})

    async def events(self, request: Request) -> Response:
        """Say what a run is doing, whenever that changes (server-sent events)."""
        watcher = await run_in_threadpool(Watcher, self._find(request.path_params["name"]))

        async def look() -> AsyncIterator[str]:
            said, spoke = None, time.monotonic()
            while not self._closing():
                status = await run_in_threadpool(watcher.read)
                if status != said:
                    said, spoke = status, time.monotonic()
                    yield event(_status(status))
                    if status.state != "running":
                        return
                elif time.monotonic() - spoke > 15:
                    spoke = time.monotonic()
                    yield ": still here\n\n"
                await asyncio.sleep(EVERY)

        return StreamingResponse(look(), media_type="text/event-stream")

    async def compare(self, request: Request) -> Response:
        """Show several runs side by side."""
        names = list(dict.fromkeys(request.query_params.getlist("run")))
        if len(names) < 2:
            return RedirectResponse("/", status_code=303)
        html = await run_in_threadpool(self._page, "compare", [self._find(name) for name in names])
        return HTMLResponse(html, headers={"content-security-policy": OWN_POLICY})

    def _find(self, name: str) -> Path:
        known = run_directories(self._runs)
        if name not in known:
            near = nearest(name, known) if known else ""
            raise HTTPException(404, f"There is no run {name!r} under {self._runs}/.{near}")
        return known[name]

    def _statuses(self) -> list[Status]:
        """Return what every run is doing, as `status.list_runs` does; of long traces only what is new is read."""
        found = []
        with self._watching:
            known, self._watchers = self._watchers, {}
            for root in run_directories(self._runs).values():
                key = root, (root / "config.json").stat().st_mtime_ns
                try:
                    watcher = self._watchers[key] = known.get(key) or Watcher(root)
                    found.append(watcher.read())
                except ThinkTwiceError:
                    continue
        return sorted(found, key=lambda status: status.updated, reverse=True)

    def _rows(self) -> list[dict[str, Any]]:
        rows = [_row(status) for status in self._statuses()]
        read = {row["name"] for row in rows}
        for name, root in run_directories(self._runs).items():
            if name not in read:  # said, not hidden
                rows.append({"name": name, "state": "damaged", "why": _fault(root)})
        return rows

    def _page(self, kind: str, roots: list[Path]) -> str:
        """Render a page, or return the one that was rendered from the same files."""
        key = kind, *map(_stamp, roots)
        with self._lock:
            if key not in self._rendered:
                runs = [Run.load(root) for root in roots]
                made = render_page(gather(runs[0])) if kind == "report" else compare_page(runs, link=_link)
                self._rendered[key] = _with_bar(made, roots[0].name if kind == "report" else None)
                while len(self._rendered) > KEPT:
                    self._rendered.popitem(last=False)
            self._rendered.move_to_end(key)
            return self._rendered[key]


def _link(run: Run) -> str:
    return f"/run/{quote(run.root.name)}"


def _status(status: Status) -> dict[str, Any]:
    """Return a status as the scripts read it; paths of this machine stay here."""
    known = to_dict(status)
    del known["root"]
    done = sum(stage.share for stage in status.stages) / max(1, len(status.stages))
    share = done if status.eta_s is None else status.seconds / max(1e-9, status.seconds + status.eta_s)
    current = status.current.name if status.current else None
    if status.comparison is not None:  # in the words that every page and the terminal use
        found = status.comparison
        known["comparison"] |= {"points": points(found.difference), "interval": interval(found.ci)}
    return {
        **known,
        "seconds": status.seconds,
        "current": current,
        "share": 1.0 if status.state == "finished" else share,
    }


def _row(status: Status) -> dict[str, Any]:
    root = Path(status.root)
    recipe = parse(Recipe, Run.load(root).config, str(root / "config.json"))
    found = status.comparison
    return {
        "name": status.name,
        "state": status.state,
        "why": status.why,
        "method": recipe.method.name,
        "task": recipe.task.name,
        "base": recipe.model.path,
        "headline": recipe.headline is not None,
        "status": status,
        "claim": None
        if found is None
        else {
            "points": points(found.difference),
            "interval": interval(found.ci),
            "words": f"{found.a} over {found.b} at level {found.level}",
            "tone": "up" if found.ci[0] > 0 else "down" if found.ci[1] < 0 else "flat",
            "so_far": status.state != "finished",
            "n": found.n,
            "of": found.of,
        },
    }


def _fault(root: Path) -> str:
    try:
        parse(Recipe, Run.load(root).config, str(root / "config.json"))
        read_status(root)
    except ThinkTwiceError as error:
        return str(error)
    return "it cannot be read"


def _stamp(root: Path) -> str:
    """Return what changes when anything that a page shows of a run changes."""
    paths = [root / "config.json", root / "summary.json", root / "stages", *sorted((root / "traces").glob("*.jsonl"))]
    states = [path.stat() for path in paths if path.exists()]
    return f"{root}:{[(state.st_mtime_ns, state.st_size) for state in states]}"


def _with_bar(html: str, run: str | None) -> str:
    """Put the way back on top of a page that stands on its own otherwise; its own policy allows the style."""
    bar = Markup(
        '<style>{}</style><nav class="ui-bar" aria-label="thinktwice ui"><a class="ui-brand" href="/">'
        '<span aria-hidden="true">↶</span> thinktwice</a><a href="/">Runs</a>'
        '<a href="/playground{}">Playground</a></nav>'
    ).format(Markup(own("bar.css")), f"?run={quote(run)}" if run else "")
    return re.sub(r"<body[^>]*>", lambda found: found[0] + str(bar), html, count=1)
