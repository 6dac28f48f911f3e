"""A reply while it is written, on the terminal: what the model takes back is struck through where it stands."""

import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from thinktwice.show import Transcript, to_plain, to_rich
from thinktwice.types import Trace

FRAME = 1 / 15
"""Seconds between two drawings at least."""
STOPPED = {
    "done": "the model ended it",
    "budget": "out of tokens (--max-new-tokens)",
    "length": "out of context",
    "error": "it failed",
}
"""Why a reply ended, in words."""


class Page:
    """Shows a reply as it is written. Law: a line that has left the screen is printed once, and is right in the end.

    Only what fits the terminal is drawn again and again; lines above it are printed for good. When text is taken back
    that had already scrolled away, the whole transcript is printed once more at the end.
    """

    def __init__(self, console: Console, *, pace: float | None = None) -> None:
        """Draw on an interactive console, elsewhere on nothing; `pace` slows the writing down to tokens a second."""
        self.control_ids: frozenset[int] = frozenset()
        """Ids that are shown as an undo sign when they take something back."""
        self.waited = 0.0
        """Seconds that `pace` cost."""
        self._console, self._pace = console, pace
        self._width, self._room = console.width, max(1, console.height - 1)
        self._transcript = Transcript()
        self._spell: Callable[[Sequence[int]], str] | None = None
        self._printed: list[Text] = []
        self._due = 0.0
        self._live: Live | None = None

    def __enter__(self) -> Self:
        """Say that something is going on."""
        if self._console.is_interactive:
            waiting = Text("loading the model …", style="bright_black")
            self._live = Live(waiting, console=self._console, auto_refresh=False, vertical_overflow="crop")
            self._live.start(refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave what was written on the screen, as far as it came."""
        if self._live is None:
            return
        rows = self._rows()
        if rows:
            self._draw(rows)
        else:
            self._live.transient = True
        self._live.stop()
        if rows[: len(self._printed)] != self._printed:
            self._console.print(Text("\nwith everything that was taken back:\n", style="bright_black"))
            self._print(rows)

    def on_event(self, event: Any, spell: Callable[[Sequence[int]], str]) -> None:
        """Take in one event of the decoder."""
        self._spell = spell
        self._transcript.on(event.kind, event.token_ids, control_ids=self.control_ids)
        if self._live is None:
            return
        paced = self._pace is not None and event.kind in ("written", "deleted")
        begun = time.monotonic()
        if paced or begun >= self._due:
            self._draw(self._rows())
            took = time.monotonic() - begun
            self._due = time.monotonic() + max(FRAME, 4 * took)  # a reply of pages is not slowed down by being shown
        if self._pace is not None and paced:
            time.sleep(1 / self._pace)
            self.waited += 1 / self._pace

    def _rows(self) -> list[Text]:
        """Return the transcript as lines no wider than the terminal was at first."""
        if self._spell is None:
            return []
        pieces = self._transcript.pieces(self._spell)
        coloured = self._console.color_system is not None and not self._console.no_color
        text = to_rich(pieces) if coloured else Text(to_plain(pieces))
        return list(text.wrap(self._console, self._width)) if text else []

    def _draw(self, rows: list[Text]) -> None:
        assert self._live is not None
        surplus = rows[len(self._printed) : max(len(self._printed), len(rows) - self._room)]
        if surplus:  # printed above what is drawn again and again
            self._print(surplus)
            self._printed += surplus
        self._live.update(Group(*rows[len(self._printed) :]), refresh=True)

    def _print(self, rows: Sequence[Text]) -> None:
        for row in rows:
            self._console.print(row, no_wrap=True, overflow="ignore", crop=False)


def summary(trace: Trace, seconds: float) -> list[str]:
    """Say what a reply came to: its answer, what it cost, what was taken back, and why it ended."""
    from thinktwice.scoring import numeric

    taken = sum(len(step.token_ids) for step in trace.steps if step.kind == "error" and not step.kept)
    times = sum(step.kind == "undo" for step in trace.steps)
    sampled = trace.sampled_tokens
    back = f"{taken} of them taken back in {_count(times, 'retraction')}" if times else "none taken back"
    parts = [
        f"{_count(sampled, 'token')} sampled, {back}",
        f"{seconds:.1f} s, {sampled / max(seconds, 1e-9):,.0f} tokens/s",
        STOPPED[trace.stop],
    ]
    stated = numeric.stated(trace.reply)
    found = stated or numeric.last(trace.reply)
    if found:
        numbers = "; ".join(numeric.write(value) for value in found)
        parts.insert(0, f"answer {numbers}" if stated else f"no answer stated, last number {numbers}")
    return parts


def laid_out(parts: Sequence[str], width: int) -> Text:
    """Return the parts on as few lines as they need, none of them broken, the first one in bold."""
    text, used = Text(style="bright_black"), 0
    for place, part in enumerate(parts):
        joint = "" if not place else " · " if used + 3 + len(part) <= width else " ·\n"
        used = len(part) + (0 if joint.endswith("\n") else used + len(joint))
        text.append(joint).append(part, style="" if place else "not dim bold default")
    return text


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
