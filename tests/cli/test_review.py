"""The command as a person drives it: on a terminal, and through a pipe."""

import codecs
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from thinktwice.methods.evolve.feedback import Feedback
from thinktwice.methods.evolve.human import Review, add_review, item, read_reviews, write_queue

DRAFT = Feedback("incorrect", 0.8, 2, "3 and 4 are 7.", "7")
ITEMS = [
    item("p1", 0, "3 and 4?\n\x1b[2J[bold]", "I add.\n\n3 and 4 are 8\u202e", DRAFT),
    item("p2", 1, "1 and 1?", "2", Feedback("correct")),
    item("p3", 0, "2 and 2?", "5"),
]
WAIT = 60
"""Seconds after which a terminal that says nothing is taken for stuck."""


@pytest.fixture
def queue(tmp_path: Path) -> Path:
    path = tmp_path / "queue.jsonl"
    write_queue(path, ITEMS)
    return path


def words(queue: Path) -> list[str]:
    return [sys.executable, "-m", "thinktwice", "review", str(queue), "--out", str(queue.with_name("human.jsonl"))]


def piped(queue: Path, typed: bytes | str) -> subprocess.CompletedProcess[str]:
    """Run the command with a pipe for a keyboard."""
    said = typed.encode() if isinstance(typed, str) else typed
    done = subprocess.run(words(queue), input=said, capture_output=True, check=False)
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def said(queue: Path) -> list[Review]:
    found, bad = read_reviews(queue.with_name("human.jsonl"))
    assert bad == {}
    return list(found.values())


class Terminal:
    """The command on a terminal of its own."""

    def __init__(self, queue: Path) -> None:
        environment = {**os.environ, "TERM": "dumb", "INPUTRC": "/dev/null", "COLUMNS": "80"}
        self.process, self._fd = pty.fork()
        if not self.process:
            os.execve(sys.executable, words(queue), environment)
        self.shown = ""
        self._read = 0
        self._decode = codecs.getincrementaldecoder("utf-8")().decode  # a read may end inside a character

    def until(self, pattern: str) -> "Terminal":
        """Wait for text that was not waited for before."""
        while not (found := re.compile(pattern).search(self.shown, self._read)):
            ready, _, _ = select.select([self._fd], [], [], WAIT)
            data = os.read(self._fd, 65536) if ready else b""
            assert data, f"{pattern!r} never came; shown: {self.shown[self._read :]!r}"
            self.shown += self._decode(data)
        self._read = found.end()
        return self

    def type(self, line: str) -> "Terminal":
        os.write(self._fd, f"{line}\n".encode())
        return self

    def end(self, press: bytes = b"") -> int:
        """Return the exit code. `press` is typed, and again while nothing comes of it.

        A Ctrl-C that arrives in the moment before readline waits is noticed with the next key only.
        """
        until = time.monotonic() + WAIT
        with suppress(OSError):  # Linux says so when the other side is closed
            data = b"-"
            while data and time.monotonic() < until:
                os.write(self._fd, press)
                while data and select.select([self._fd], [], [], 2.0)[0]:
                    data = os.read(self._fd, 65536)
                    self.shown += self._decode(data)
        self.close()
        return self.code

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self.code = os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])


@pytest.fixture
def terminal(queue: Path) -> Iterator[Callable[[], Terminal]]:
    opened: list[Terminal] = []

    def start() -> Terminal:
        opened.append(Terminal(queue))
        return opened[-1]

    yield start
    for each in opened:
        each.close()


def test_on_a_terminal(queue: Path, terminal: Callable[[], Terminal]) -> None:
    t = terminal()
    t.until("1 of 3").until(r"quit \[incorrect\]: ").type("")  # as drafted
    t.until(r"first wrong line, 1 to 2 \[2\]: ").type("9").until("a number from 1 to 2").until(r"\[2\]: ").type("1")
    t.until(r"explanation \[3 and 4 are 7.\]: ").type("")
    t.until(r"what the answer should be \[7\]: ").type("seven")
    t.until("2 of 3").until(r"quit \[correct\]: ").type("x").until("type one of c, i, u, s, b, q").type("c")
    t.until("explanation: ").type("-")
    t.until("3 of 3").until("quit: ").type("i")
    t.until("first wrong line, 1 to 1: ").type("").until("explanation: ").type("é").until("should be: ").type("")
    t.until("3 of 3 answers reviewed, 3 of them now, 0 left")
    assert t.end() == 0
    assert said(queue) == [
        Review(ITEMS[0].id, "incorrect", step=1, explanation="3 and 4 are 7.", answer="seven"),
        Review(ITEMS[1].id, "correct"),
        Review(ITEMS[2].id, "incorrect", explanation="é"),
    ]
    assert "\x1b[2J" not in t.shown
    assert "\u202e" not in t.shown
    assert r"\x1b[2J[bold]" in t.shown  # neither a command to the terminal nor markup
    assert re.search(r"1  I add\.\r\n +2  3 and 4", t.shown)  # blank lines are not counted


def test_a_kill_loses_nothing_and_the_same_command_goes_on(queue: Path, terminal: Callable[[], Terminal]) -> None:
    t = terminal()
    t.until("1 of 3").until("quit").type("c").until("explanation").type("").until("2 of 3").until("quit").type("i")
    t.until("first wrong line").until(": ")
    os.kill(t.process, signal.SIGKILL)
    t.end()
    assert said(queue) == [Review(ITEMS[0].id, "correct")]
    again = terminal()
    again.until("2 of 3").until("quit").type("q")
    assert again.end() == 0
    assert "1 of 3 answers reviewed, 0 of them now, 2 left" in again.shown
    assert len(said(queue)) == 1


def test_ctrl_c_says_how_to_go_on(queue: Path, terminal: Callable[[], Terminal]) -> None:
    t = terminal()
    t.until("1 of 3").until("quit").type("c").until("explanation").type("").until("2 of 3").until("quit.*: ")
    assert t.end(press=b"\x03") == 130
    assert "the same command goes on where it stopped" in t.shown
    assert len(said(queue)) == 1


def test_back_offers_what_was_said_and_the_later_word_counts(queue: Path) -> None:
    done = piped(queue, "b\ni\n1\nbecause\n\nb\ni\n-\n\n-\nq\n")
    assert done.returncode == 0
    assert "this is the first one" in done.stdout
    assert "you said:\n  Verdict: incorrect\n  First wrong step: 1\n  Explanation: because" in done.stdout
    assert said(queue) == [Review(ITEMS[0].id, "incorrect", explanation="because")]
    assert len(queue.with_name("human.jsonl").read_text().splitlines()) == 2
    assert "1 of 3 answers reviewed, 1 of them now, 2 left" in done.stdout


def test_defaults_of_another_verdict_are_not_offered(queue: Path) -> None:
    piped(queue, "u\n\nq\n")
    assert said(queue) == [Review(ITEMS[0].id, "unsure")]


def test_what_is_skipped_is_asked_again(queue: Path) -> None:
    done = piped(queue, "s\nc\n\ns\n")
    assert "1 of 3 answers reviewed, 1 of them now, 2 left (2 skipped)" in done.stdout
    again = piped(queue, "c\n\nc\n\n")
    assert re.findall(r"\d of 3 ·", again.stdout) == ["1 of 3 ·", "3 of 3 ·"]
    assert "3 of 3 answers reviewed, 2 of them now, 0 left" in again.stdout
    assert "·" not in piped(queue, "").stdout  # nothing is left to ask


def test_a_pipe_that_ends_in_an_answer_leaves_that_one_open(queue: Path) -> None:
    done = piped(queue, b"c\nfine \xff\ni\n1\nbecause")
    assert done.returncode == 0
    assert said(queue) == [Review(ITEMS[0].id, "correct", explanation="fine ?")]
    assert "1 of 3 answers reviewed" in done.stdout


def test_rows_that_cannot_be_read_are_told(queue: Path) -> None:
    with queue.open("a") as stream:
        stream.write("nonsense\n")
    human = queue.with_name("human.jsonl")
    human.write_text('{"id": 1}\n')
    add_review(human, Review("elsewhere", "correct"))
    done = piped(queue, "q\n")
    assert "queue.jsonl: rows left out, 1: not a line of JSON" in done.stderr
    assert "human.jsonl: rows left out, 1: " in done.stderr
    assert "0 of 3 answers reviewed, 0 of them now, 3 left" in done.stdout


def test_an_empty_queue_is_an_error(queue: Path) -> None:
    queue.write_text("nonsense\n")
    done = piped(queue, "")
    assert done.returncode == 1
    assert "has no answer to look at" in done.stderr
    queue.unlink()
    assert "Check the path" in piped(queue, "").stderr
