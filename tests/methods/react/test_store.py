import os
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from thinktwice.errors import DataError
from thinktwice.methods.react.store import Attempt, Key, Store
from thinktwice.types import Step, Trace

WRITER = Path(__file__).parent / "storing.py"
KEY = Key("p1", "policy", "corpus", "prompt", "decoding")
STEPS = (Step("text", "a\n", (1, 2), logprobs=(-0.5, 0.0)), Step("observation", "b", (3,), False, sources=("Pisa",)))
ATTEMPT = Attempt(Trace("p1", STEPS, corpus="abc"), 0.5, "b", (7, 8), 2)


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "deep/episodes.sqlite") as store:
        yield store


def test_what_goes_in_comes_out(store):
    assert store.add([(KEY, ATTEMPT)]) == 1
    assert store.find([KEY]) == {KEY: ATTEMPT}
    assert list(store) == [(KEY, ATTEMPT)]


@pytest.mark.parametrize("part", ["problem", "policy", "corpus", "prompt", "decoding", "sample"])
def test_every_part_of_the_key_makes_another_episode(store, part):
    other = replace(KEY, **{part: 1 if part == "sample" else "other"})
    store.add([(KEY, ATTEMPT)])
    assert store.missing([KEY, other]) == [other]
    assert store.find([other]) == {}
    assert store.add([(other, ATTEMPT), (KEY, ATTEMPT)]) == 1
    assert len(store) == 2


def test_the_first_of_two_stays(store):
    store.add([(KEY, ATTEMPT)])
    assert store.add([(KEY, replace(ATTEMPT, f1=0.0))]) == 0
    assert store.find([KEY])[KEY].f1 == 0.5


def test_nothing_can_be_changed(store):
    store.add([(KEY, ATTEMPT)])
    with sqlite3.connect(store.path) as connection:
        for change in ("UPDATE attempts SET sample = 3", "DELETE FROM attempts"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                connection.execute(change)


def test_a_damaged_row_is_named(store):
    store.add([(KEY, ATTEMPT)])
    with sqlite3.connect(store.path) as connection:
        connection.execute("DROP TRIGGER attempts_update")
        connection.execute("UPDATE attempts SET attempt = replace(attempt, '0.5', '1.0')")
    with pytest.raises(DataError, match="episode of problem p1 is damaged"):
        store.find([KEY])
    with pytest.raises(DataError, match="p1 is damaged"):
        list(store)


def test_a_file_that_is_something_else(tmp_path):
    (tmp_path / "text").write_text("no database, but long enough to be taken for one" * 40)
    with pytest.raises(DataError, match="name another file"):
        Store(tmp_path / "text")
    with sqlite3.connect(tmp_path / "other") as connection:
        connection.execute("CREATE TABLE t (x)")
    with pytest.raises(DataError, match="no store of episodes"):
        Store(tmp_path / "other")


def write(path, count, **options):
    return subprocess.Popen([sys.executable, WRITER, path, str(count)], stdout=subprocess.PIPE, text=True, **options)


def test_killed_at_any_moment_nothing_is_lost_or_repeated(tmp_path):
    path = tmp_path / "episodes.sqlite"
    confirmed = 0
    for said in (1, 2, 5):
        writer = write(path, 60)
        for _ in range(said):
            confirmed += int(writer.stdout.readline().split()[1])
        os.kill(writer.pid, signal.SIGKILL)
        confirmed += sum(int(line.split()[1]) for line in writer.communicate()[0].splitlines())
        with Store(path) as store:
            # What was said to be written is there; one write may have reached the disk and not been told of.
            assert confirmed <= len(store) <= confirmed + 3
            confirmed = len(store)
    last = write(path, 60)
    assert sum(int(line.split()[1]) for line in last.communicate()[0].splitlines()) == 60 - confirmed
    with Store(path) as store:
        assert sorted(attempt.prompt_ids[0] for _, attempt in store) == list(range(60))


def test_writers_side_by_side(tmp_path):
    writers = [write(tmp_path / "episodes.sqlite", 30) for _ in range(3)]
    said = [writer.communicate()[0] for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert sum(int(line.split()[1]) for text in said for line in text.splitlines()) == 30
    with Store(tmp_path / "episodes.sqlite") as store:
        assert len(store) == 30
