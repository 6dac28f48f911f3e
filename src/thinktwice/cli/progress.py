"""What moves on the terminal while something is computed; in a pipe or a log, plain lines."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console, RenderableType
from rich.live import Live
from rich.logging import RichHandler
from rich.text import Text

from thinktwice.cli.view import roughly, standing_sentence, view
from thinktwice.errors import ThinkTwiceError
from thinktwice.run import Progress
from thinktwice.show import printable
from thinktwice.status import StageState, StageStatus, Standing, Status, Watcher

EVERY = 20.0
"""Seconds between two lines about the same stage where there is no terminal."""


def quiet_loading() -> None:
    """Keep transformers from drawing a bar for every model it loads; downloads keep theirs."""
    from importlib import import_module

    bars: Any = import_module("transformers.utils.logging")  # Any: neither module types these functions
    downloads: Any = import_module("huggingface_hub.utils")
    bars.disable_progress_bar()  # switches off the hub's as well
    downloads.enable_progress_bars()


@contextmanager
def logging_to(console: Console) -> Iterator[None]:
    """Show warnings of the package above whatever moves."""
    handler = RichHandler(level=logging.WARNING, console=console, show_path=False, show_time=False)
    logger = logging.getLogger("thinktwice")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


@contextmanager
def watching(root: Path | None = None, title: str = "") -> Iterator[Callable[[Any], None]]:
    """Yield a listener for the pipeline's `Progress`: a live view on a terminal, now and then a line elsewhere.

    The view of a run is made from its directory `root`, exactly as another process sees it; what has no directory of
    its own is shown under `title`, from what the listener is told.
    """
    console = interactive(sys.stderr)
    with logging_to(console):
        yield from _live(console, root, title) if console.is_interactive else _lines(root)


def interactive(stream: TextIO) -> Console:
    """Return a console that is interactive where what is written can be written over, whatever FORCE_COLOR says."""
    console = Console(file=stream, highlight=False)
    console.is_interactive = stream.isatty() and not console.is_dumb_terminal
    return console


def live_view(console: Console, look: Callable[[], Status | None]) -> Live:
    """Return a view that draws what `look` returns four times a second."""

    def draw() -> RenderableType:
        status = look()
        return Text() if status is None else view(status, console.width, console.height)

    return Live(console=console, get_renderable=draw, refresh_per_second=4, vertical_overflow="crop")


def _live(console: Console, root: Path | None, title: str) -> Iterator[Callable[[Any], None]]:
    told = Told(title or (root.name if root else ""))
    watcher: list[Watcher] = []

    def look() -> Status | None:
        if not told.stages or root is None:
            return told.status() if told.stages else None
        with suppress(ThinkTwiceError):  # it was there when the listener was told something; whoever works says more
            watcher[:] = watcher or [Watcher(root)]
            return watcher[0].read()
        return None

    with live_view(console, look):
        yield told.listen


class Told:
    """A status made from what a listener is told, for work that has no run directory."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._began = time.monotonic()
        self.stages: dict[str, tuple[Any, float]] = {}
        """By name: what was told last, and when the stage began."""

    def listen(self, progress: Any) -> None:
        """Take note."""
        began = self.stages[progress.stage][1] if progress.stage in self.stages else time.monotonic()
        self.stages[progress.stage] = progress, began

    def status(self) -> Status:
        """Return the status now."""
        stages = list(self.stages.values())
        ends = [*(began for _, began in stages[1:]), time.monotonic()]
        shown = []
        for place, ((told, began), end) in enumerate(zip(stages, ends, strict=True)):
            state: StageState = "running" if place == len(stages) - 1 else "done"
            shown.append(StageStatus(told.stage, state, told.done, end - began, told.note, told.eta_s))
        now = stages[-1][0]
        return Status(self._name, "", "running", tuple(shown), now.tokens_per_second, now.eta_s)


def _lines(root: Path | None) -> Iterator[Callable[[Any], None]]:
    said: dict[str, float] = {}
    shown: list[Standing] = []
    watcher: list[Watcher] = []

    def due(what: str) -> bool:
        now = time.monotonic()
        if now - said.get(what, -EVERY) < EVERY:
            return False
        said[what] = now
        return True

    def listen(progress: Any) -> None:
        if due(progress.stage):
            print(line_of(progress), file=sys.stderr, flush=True)
        if root is None or not progress.stage.startswith("solve-"):
            return
        with suppress(ThinkTwiceError):
            watcher[:] = watcher or [Watcher(root)]
            standing = watcher[0].read().comparison
            if standing is not None and [standing] != shown and (standing.n == standing.of or due("comparison")):
                shown[:] = [standing]
                print(standing_sentence(standing), file=sys.stderr, flush=True)

    yield listen


def line_of(progress: Any) -> str:
    """Return what a listener is told, on one line."""
    parts = [progress.note] if progress.note else []
    if progress.tokens_per_second is not None:
        parts.append(f"{progress.tokens_per_second:,.0f} tokens/s")
    if progress.eta_s is not None:
        parts.append(f"{roughly(progress.eta_s)} left")
    return printable(f"{progress.stage} {progress.done:4.0%} {' · '.join(parts)}".rstrip())


@contextmanager
def training(title: str = "pretraining") -> Iterator[Callable[[Any], None]]:
    """Yield a listener for the trainer's step reports."""
    with watching(title=title) as listen:

        def on_step(step: Any) -> None:
            note = f"loss {step.loss:.3f}"
            stage = f"{step.steps} steps"
            listen(Progress(stage, step.step / step.steps, note, step.tokens_per_second, step.eta_s))

        yield on_step
