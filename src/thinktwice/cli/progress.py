"""What moves on the terminal while something is computed; in a pipe or a log, plain lines."""

import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.logging import RichHandler
from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from thinktwice.show import Transcript, to_plain, to_rich

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
def watching() -> Iterator[Callable[[Any], None]]:
    """Yield a listener for the pipeline's `Progress`: one bar a stage on a terminal, now and then a line elsewhere."""
    console = Console(stderr=True)
    with logging_to(console):
        yield from _bars(console) if console.is_terminal else _lines()


def _bars(console: Console) -> Iterator[Callable[[Any], None]]:
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=28), TextColumn("{task.percentage:>3.0f}%"),
               TimeElapsedColumn(), TextColumn("[bright_black]{task.fields[note]}"))  # fmt: skip
    with Bars(*columns, console=console) as bars:
        tasks: dict[str, TaskID] = {}

        def listen(progress: Any) -> None:
            for stage, task in tasks.items():
                if stage != progress.stage:
                    bars.update(task, completed=1.0, note="")
                    bars.stop_task(task)
            if progress.stage not in tasks:
                tasks[progress.stage] = bars.add_task(progress.stage, total=1.0, note="")
            bars.update(tasks[progress.stage], completed=progress.done, note=progress.note.replace("[", "\\["))

        yield listen


def _lines() -> Iterator[Callable[[Any], None]]:
    said: dict[str, float] = {}

    def listen(progress: Any) -> None:
        now = time.monotonic()
        if now - said.get(progress.stage, -EVERY) >= EVERY:
            said[progress.stage] = now
            line = f"{progress.stage} {progress.done:4.0%} {progress.note}".rstrip()
            print(line, file=sys.stderr, flush=True)

    yield listen


@contextmanager
def training() -> Iterator[Callable[[Any], None]]:
    """Yield a listener for the trainer's step reports."""
    from types import SimpleNamespace

    with watching() as listen:

        def on_step(step: Any) -> None:
            note = f"loss {step.loss:.3f} · {step.tokens_per_second:,.0f} tokens/s · {step.eta_s:.0f} s left"
            listen(SimpleNamespace(stage=f"{step.steps} steps", done=step.step / step.steps, note=note))

        yield on_step


@contextmanager
def live_transcript() -> Iterator[Callable[[Any, Callable[[Sequence[int]], str]], None]]:
    """Yield a listener for decoding events that keeps the transcript on the terminal up to date.

    In a pipe, or where colour is not wanted, the whole transcript is printed once at the end, retractions in `[-...-]`.
    """
    console = Console(highlight=False)
    transcript = Transcript()
    spell: list[Callable[[Sequence[int]], str]] = []
    coloured = console.is_terminal and console.color_system is not None and not console.no_color

    with logging_to(Console(stderr=True)):
        if coloured:
            with Live(console=console, refresh_per_second=20, vertical_overflow="visible") as live:

                def show(event: Any, decode: Callable[[Sequence[int]], str]) -> None:
                    transcript.on(event.kind, event.token_ids)
                    live.update(to_rich(transcript.pieces(decode)))

                yield show
            return

        def keep(event: Any, decode: Callable[[Sequence[int]], str]) -> None:
            spell[:] = [decode]
            transcript.on(event.kind, event.token_ids)

        yield keep
    if spell:
        print(to_plain(transcript.pieces(spell[0])))
