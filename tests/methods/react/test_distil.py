import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from thinktwice.errors import ConfigError, DataError, EngineError
from thinktwice.methods.react import distil as module
from thinktwice.methods.react.distil import Work, distil
from thinktwice.methods.react.episode import ANSWER, SEARCH, Episode, Turn
from thinktwice.methods.react.filters import LONGER, Filters
from thinktwice.methods.react.store import Key, Store
from thinktwice.types import Problem, Step, Trace

DISTILLING = Path(__file__).parent / "distilling.py"
PROBLEMS = [Problem(f"p{i}", f"What is {i}?", str(i)) for i in range(10)]


class Fake:
    """Answers right, but every third question wrong; a trace's one step says what it answered."""

    def __init__(self, *, failing=(), answers=None):
        self.asked, self.failing, self.answers = [], set(failing), answers or {}

    def key(self, problem, sample):
        return Key(problem.id, "policy", "corpus", "prompt", "decoding", sample)

    def prompt(self, problem):
        return (int(problem.answer),)

    def play(self, problems, sample):
        self.asked += [(p.id, sample) for p in problems]
        made = []
        for problem in problems:
            number = int(problem.answer)
            said = self.answers.get((problem.id, sample), "wrong" if number % 3 == 0 else problem.answer)
            failed = problem.id in self.failing
            step = Step("answer", said, (1,))
            made.append(Trace(problem.id, (step,), "error" if failed else "done", "no server." if failed else None))
        return made

    def read(self, trace):
        said = trace.steps[0].text
        return Episode(
            trace.problem_id, (Turn("", SEARCH, "x", f"It is {said}.", ("x",)), Turn("", ANSWER, said)), said
        )


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "episodes.sqlite") as store:
        yield store


def counted(found):
    summary = found.summary
    assert summary.episodes == summary.kept + sum(summary.dropped.values())
    assert len(found.kept) == summary.kept
    return summary


def test_everything_is_counted_and_failed_episodes_are_stored(store):
    found = distil(PROBLEMS, Fake(), store, Filters())
    summary = counted(found)
    assert (summary.kept, summary.dropped, summary.stop) == (6, {"wrong answer": 4}, 10)
    assert [one.problem.id for one in found.kept] == ["p1", "p2", "p4", "p5", "p7", "p8"]
    assert len(store) == 10
    assert "10 episodes = 6 kept + 4 dropped" in str(summary)
    assert found.told[4].attempt.prompt_ids == (4,)


def test_the_same_work_is_not_done_again(store):
    distil(PROBLEMS, Fake(), store, Filters(), Work(stop=4))
    again = Fake()
    found = distil(PROBLEMS, again, store, Filters(f1_threshold=0.5), Work(start=2, stop=6))
    assert again.asked == [("p4", 0), ("p5", 0)]
    assert (found.summary.fresh, found.summary.episodes, found.summary.kept) == (2, 4, 3)


def test_it_ends_when_enough_are_kept(store, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 4)
    player = Fake()
    found = distil(PROBLEMS, player, store, Filters(), Work(start=1, quantity=3))
    assert [one.problem.id for one in found.kept] == ["p1", "p2", "p4"]
    assert (found.summary.stop, found.summary.kept, found.summary.dropped) == (5, 3, {"wrong answer": 1})
    assert [name for name, _ in player.asked] == ["p1", "p2", "p3", "p4"]
    counted(found)


def test_several_samples_of_a_question(store):
    answers = {("p0", 0): "wrong", ("p0", 1): "0"}
    found = distil(PROBLEMS[:2], Fake(answers=answers), store, Filters(), Work(samples=2))
    assert [(one.problem.id, one.attempt.sample) for one in found.kept] == [("p0", 1), ("p1", 0)]
    assert sum(counted(found).dropped.values()) == 2
    assert LONGER not in found.summary.dropped  # the second sample of p1 says the same


def test_what_a_server_failed_on_is_asked_again(store):
    found = distil(PROBLEMS, Fake(failing=["p1"]), store, Filters())
    assert counted(found).open == {"no server.": 1}
    assert "open 1: no server;" in str(found.summary)
    again = Fake()
    assert distil(PROBLEMS, again, store, Filters()).summary.kept == 6
    assert again.asked == [("p1", 0)]


def test_a_server_that_fails_on_everything_stops_the_work(store):
    many = [replace(PROBLEMS[1], id=f"q{i}") for i in range(40)]
    with pytest.raises(EngineError, match=r"40 of 40 .* most often \(40 times\): no server\. "):
        distil(many, Fake(failing=[p.id for p in many]), store, Filters())
    assert len(store) == 0


def test_questions_that_cannot_be_asked(store):
    with pytest.raises(DataError, match="no questions from 20"):
        distil(PROBLEMS, Fake(), store, Filters(), Work(start=20))
    with pytest.raises(DataError, match="p1 stands twice"):
        distil([PROBLEMS[1], PROBLEMS[1]], Fake(), store, Filters())
    for wrong in ({"start": -1}, {"start": 3, "stop": 2}, {"samples": 0}, {"quantity": 0}):
        with pytest.raises(ConfigError):
            Work(**wrong)


def test_killed_and_given_again_it_loses_and_repeats_nothing(tmp_path):
    """Each process dies in the middle of an episode; what was written is never asked for again."""
    log, path = tmp_path / "asked", tmp_path / "episodes.sqlite"
    for chunks in (1, 2, 3):
        process = subprocess.Popen([sys.executable, DISTILLING, path, log], stdout=subprocess.PIPE, text=True)
        for _ in range(chunks):
            assert process.stdout.readline().startswith("chunk")
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    done = subprocess.run([sys.executable, DISTILLING, path, log], capture_output=True, text=True, check=True)
    assert "40 episodes = 26 kept + 14 dropped" in done.stdout
    with Store(path) as store:
        assert len(store) == 40
    asked = log.read_text().split()
    assert set(asked) == {f"p{i}" for i in range(40)}
    assert len(asked) <= 40 + 3 * 2  # at most the chunk that each death cost
