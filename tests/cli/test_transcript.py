import io
import re
import time
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from thinktwice.cli import transcript
from thinktwice.cli.transcript import Page, laid_out, summary
from thinktwice.types import Rewind, Step, Trace

MARKS = re.compile(r"\x1b\[(?P<count>\d*)(?P<order>[A-Za-z])|\x1b\[\?\d+[hl]|\x1b\[[\d;]*m")


class Screen(io.StringIO):
    """A terminal of so many lines: what scrolls off its top is in `gone`, for good."""

    def __init__(self, lines: int) -> None:
        super().__init__()
        self.height, self.gone, self.rows, self.at = lines, list[str](), [""], 0

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        for part in re.split(r"(\x1b\[\??[\d;]*[A-Za-z]|\n|\r)", text):
            if part == "\n":
                self.at += 1
                if self.at == len(self.rows):
                    self.rows.append("")
                if len(self.rows) > self.height:
                    self.gone.append(self.rows.pop(0))
                    self.at -= 1
            elif part == "\x1b[2K":
                self.rows[self.at] = ""
            elif part.endswith("A") and part.startswith("\x1b["):
                assert int(part[2:-1]) <= self.at, "the view reaches above the screen"
                self.at -= int(part[2:-1])
            elif part and part != "\r" and not part.startswith("\x1b"):
                self.rows[self.at] += part
        return len(text)

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in (*self.gone, *self.rows)]


def spell(ids: Sequence[int]) -> str:
    return "".join(map(chr, ids))


def event(kind: str, text: str) -> Any:
    return SimpleNamespace(kind=kind, token_ids=[ord(c) for c in text])


def console(screen: io.StringIO, height: int = 10, **options: Any) -> Console:
    made = Console(file=screen, width=40, height=height, force_terminal=True, **{"color_system": "standard", **options})
    made.is_interactive = screen.isatty()
    return made


@pytest.fixture(autouse=True)
def every_event_is_drawn(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    moments = iter(range(10**6))
    monkeypatch.setattr(transcript, "time", SimpleNamespace(monotonic=lambda: 10.0 * next(moments), sleep=time.sleep))
    return


def test_a_reply_longer_than_the_screen_is_shown_once_with_its_retractions() -> None:
    screen = Screen(10)
    with Page(console(screen)) as page:
        for n in range(30):
            for c in f"line {n}: 漢字 [bold]\x1b[2J\u202e\n":
                page.on_event(event("written", c), spell)
            page.on_event(event("written", "wrong"), spell)
            page.on_event(event("deleted", "wrong"), spell)
        page.on_event(event("stopped", ""), spell)
    text = "\n".join(screen.lines)
    numbers = [int(n) for n in re.findall(r"line (\d+):", text)]
    assert numbers == list(range(30))
    assert text.count("wrong") == 30
    assert text.count("漢字 [bold]\\x1b[2J\\u202e") == 30
    assert "loading" not in text


def test_what_is_taken_back_is_struck_through_where_it_stands() -> None:
    screen = io.StringIO()
    screen.isatty = lambda: True  # type: ignore[method-assign]
    with Page(console(screen)) as page:
        page.control_ids = frozenset([ord("u")])
        for c in "axyuu":
            page.on_event(event("written", c), spell)
        page.on_event(event("deleted", "xyuu"), spell)
        page.on_event(event("rejected", "r"), spell)
        page.on_event(event("written", "b"), spell)
    last = screen.getvalue().rsplit("\x1b[2K", 1)[1]
    assert "\x1b[32ma\x1b[0m\x1b[9;31mxy\x1b[0m\x1b[31m↶\x1b[0m\x1b[32mb" in last


def test_what_had_scrolled_away_when_it_was_taken_back_is_shown_right_in_the_end() -> None:
    screen = Screen(6)
    with Page(console(screen, 6)) as page:
        for n in range(20):
            for c in f"line {n}\n":
                page.on_event(event("written", c), spell)
        page.on_event(event("deleted", "x" * 100), spell)
    text = "\n".join(screen.lines)
    assert "with everything that was taken back:" in text
    first, second = text.split("with everything that was taken back:")
    for part in (first, second):
        assert [int(n) for n in re.findall(r"line (\d+)", part)] == list(range(20))


def test_without_colour_retractions_stand_between_brackets() -> None:
    screen = Screen(10)
    with Page(console(screen, color_system=None, no_color=True)) as page:
        for kind, text in (("written", "a"), ("written", "xy"), ("deleted", "xy"), ("written", "b")):
            page.on_event(event(kind, text), spell)
    assert screen.lines[0] == "a[-xy-]b"


def test_a_model_that_cannot_be_loaded_leaves_nothing_behind() -> None:
    screen = Screen(10)

    def load() -> None:
        with Page(console(screen)):
            raise ValueError("no such model")

    with pytest.raises(ValueError, match="no such model"):
        load()
    assert not "".join(screen.lines)


def test_nothing_is_drawn_in_a_pipe() -> None:
    out = io.StringIO()
    with Page(console(out)) as page:
        page.on_event(event("written", "a"), spell)
    assert out.getvalue() == ""


def test_the_pace_is_kept_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(transcript, "time", SimpleNamespace(monotonic=time.monotonic, sleep=slept.append))
    with Page(console(Screen(10)), pace=20) as page:
        for c in "abc":
            page.on_event(event("written", c), spell)
        page.on_event(event("banned", "x"), spell)
    assert slept == [0.05] * 3
    assert page.waited == pytest.approx(0.15)


def test_the_summary_counts_what_was_taken_back_and_not_what_was_never_in_the_text() -> None:
    trace = Trace(
        "p",
        (
            Step("text", "Ann has 3.\n", (1, 2)),
            Step("error", "Ben has", (3, 4), kept=False),
            Step("undo", "", (9, 9), kept=False),
            Step("text", "Cal", (5,), kept=False, rewind=Rewind(4, (3,))),
            Step("text", "Ben has 7.\n#### 7", (6, 7, 8)),
        ),
    )
    assert summary(trace, 0.5) == [
        "answer 7",
        "10 tokens sampled, 2 of them taken back in 1 retraction",
        "0.5 s, 20 tokens/s",
        "the model ended it",
    ]
    plain = Trace("p", (Step("text", "It has 5 and 6.", (1, 2)),), "budget")
    assert summary(plain, 0.0)[0] == "no answer stated, last number 6"
    assert summary(plain, 0.0)[1] == "2 tokens sampled, none taken back"
    assert summary(plain, 0.0)[3] == "out of tokens (--max-new-tokens)"
    assert summary(Trace("p", (Step("text", "Yes.", (1,)),)), 1.0)[0] == "1 token sampled, none taken back"


def test_the_summary_is_broken_between_its_parts_only() -> None:
    parts = ["answer 19", "94 tokens sampled, 4 of them taken back", "2.2 s, 43 tokens/s", "the model ended it"]
    assert laid_out(parts, 200).plain == " · ".join(parts)
    assert laid_out(parts, 72).plain == " · ".join(parts[:3]) + " ·\n" + parts[3]
    assert laid_out(parts, 30).plain == " ·\n".join(parts)
