"""Paid for once: the reply cache, single flight, and what a killed run leaves behind."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading

import pytest

from thinktwice.engines.http import Client, Endpoint, Failure, Request, Usage
from thinktwice.errors import ConfigError, DataError, RunError
from thinktwice.types import Sampling


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-0123456789abcdef")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "kept" / "replies.sqlite"


@pytest.fixture
def client(server, path):
    made = []

    def make(cache=path, **settings):
        settings = {"model": "small", "base_url": server.url, "timeout_s": 20.0, **settings}
        made.append(Client(Endpoint(**settings), cache))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_a_second_run_pays_nothing_and_says_so(server, client, new_server):
    server.script = lambda body, number: f"answer {number}"
    requests = [Request(f"question {i}") for i in range(5)]
    first = client()
    replies = first.chat(requests)
    elsewhere = new_server()  # where the model is served is no part of the question
    second = client(base_url=elsewhere.url, timeout_s=5.0, concurrency=1)
    again = second.chat([*requests, Request("new")])
    assert [reply.text for reply in again[:5]] == [reply.text for reply in replies]
    assert [reply.cached for reply in again] == [True] * 5 + [False]
    assert (len(server.asked), len(elsewhere.asked)) == (5, 1)
    spent = second.spending
    assert (spent.requests, spent.attempts, spent.replies, spent.cached) == (6, 1, 1, 5)
    assert spent.usage == Usage(7, 1)
    assert spent.cached_usage == first.spending.usage == Usage(35, 10)


def test_whatever_decides_a_reply_is_part_of_its_key(server, client):
    base = Request("Hi", Sampling(temperature=1.0))
    client().chat([base])
    others = [
        Request("Hi!", base.sampling),
        Request(({"role": "system", "content": "Hi"},), base.sampling),
        Request("Hi", Sampling(temperature=0.9)),
        Request("Hi", Sampling(temperature=1.0, top_p=0.5)),
        Request("Hi", Sampling(temperature=1.0, top_k=5)),
        Request("Hi", Sampling(temperature=1.0, max_new_tokens=9)),
        Request("Hi", Sampling(temperature=1.0, stop=("x",))),
        Request("Hi", Sampling(temperature=1.0, seed=1)),
        Request("Hi", base.sampling, sample=1),
        Request("Hi", base.sampling, extra={"min_p": 0.1}),
    ]
    assert not any(reply.cached for reply in client().chat(others))
    for settings in ({"model": "large"}, {"revision": "2"}, {"extra": {"min_p": 0.2}}):
        assert not client(**settings).chat([base])[0].cached
    assert not client().complete([base])[0].cached
    assert client().chat([Request("Hi", Sampling(temperature=1))])[0].cached
    assert len(server.asked) == 15


def test_failures_are_recorded_but_never_an_answer(server, client, path, answer):
    server.script = lambda body, number: answer({"error": {"message": "too long"}}, 400) if number == 0 else "yes"
    (failure,) = client().chat([Request("Hi")])
    assert isinstance(failure, Failure)
    (reply,) = client().chat([Request("Hi")])
    assert (reply.text, reply.cached) == ("yes", False)
    with sqlite3.connect(path) as connection:
        ((kept,),) = connection.execute("SELECT failure FROM failures").fetchall()
    connection.close()
    assert json.loads(kept)["reason"] == failure.reason


def test_the_same_question_in_one_call_is_sent_once(server, client):
    asker = client()
    replies = asker.chat([Request("Hi"), Request("Ho"), Request("Hi"), Request("Hi")])
    assert len(server.asked) == 2
    assert [reply.cached for reply in replies] == [False, False, True, True]
    assert asker.spending.usage == Usage(14, 2)
    assert asker.spending.cached_usage == Usage(14, 2)


@pytest.mark.parametrize("clients", ["one", "two", "one without a file"])
def test_the_same_question_from_two_threads_is_sent_once(server, client, clients):
    arrived, go = threading.Event(), threading.Event()

    def script(body, number):
        arrived.set()
        go.wait(20)
        return f"answer {number}"

    server.script = script
    first = client(**({"cache": None} if "without" in clients else {}))
    second = client() if clients == "two" else first
    replies = []
    threads = [threading.Thread(target=lambda c=c: replies.extend(c.chat([Request("Hi")]))) for c in (first, second)]
    threads[0].start()
    arrived.wait(20)
    threads[1].start()
    threads[1].join(0.3)  # time to ask, if it were to ask
    go.set()
    for thread in threads:
        thread.join(20)
    assert len(server.asked) == 1
    assert {reply.text for reply in replies} == {"answer 0"}
    assert sorted(reply.cached for reply in replies) == [False, True]


def test_when_the_asker_is_called_off_the_other_asks(server, client):
    arrived, go = threading.Event(), threading.Event()

    def script(body, number):
        if "Hi" in str(body) and number < 2:
            arrived.set()
            go.wait(20)
        return "yes"

    server.script = script
    asker = client()
    replies = []

    def doomed():
        def listener(index, result):
            arrived.wait(20)
            joined.wait(20)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            asker.chat([Request("Ho"), Request("Hi")], listener=listener)

    joined = threading.Event()
    first = threading.Thread(target=doomed)
    first.start()
    arrived.wait(20)
    second = threading.Thread(target=lambda: replies.extend(asker.chat([Request("Hi")])))
    second.start()
    second.join(0.2)
    joined.set()
    first.join(20)
    go.set()
    second.join(20)
    assert [reply.text for reply in replies] == ["yes"]


CHILD = """
import sys
from pathlib import Path
from thinktwice.engines.http import Client, Endpoint, Request
url, path, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
with Client(Endpoint("small", url, concurrency=4, timeout_s=30.0), path) as client:
    client.chat([Request(f"question {i}") for i in range(count)], listener=lambda i, r: print(i, r.text, flush=True))
"""


def child(server, path, count):
    command = [sys.executable, "-c", CHILD, server.url, str(path), str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "NO_PROXY": "127.0.0.1"})


def question(body):
    return body["messages"][0]["content"]


def test_a_killed_run_pays_for_nothing_twice(server, client, path):
    def script(body, number):
        if number >= 7:
            server.hang()
        return f"answer to {question(body)}"

    server.script = script
    process = child(server, path, 20)
    received = [process.stdout.readline() for _ in range(7)]
    os.kill(process.pid, signal.SIGKILL)
    process.wait(20)
    process.stdout.close()
    held = {f"question {line.split()[0]}" for line in received}
    assert len(held) == 7
    server.asked.clear()
    server.released.set()
    server.script = lambda body, number: f"answer to {question(body)}"
    asker = client()
    replies = asker.chat([Request(f"question {i}") for i in range(20)])
    assert [reply.text for reply in replies] == [f"answer to question {i}" for i in range(20)]
    assert len(server.asked) == 13
    assert not held & set(map(question, server.asked))
    assert (asker.spending.cached, asker.spending.replies) == (7, 13)


def test_two_processes_on_one_file_send_each_question_once(server, path):
    def script(body, number):
        if number == 0:
            arrived.wait(20)
        return "yes"

    arrived = threading.Event()
    server.script = script
    processes = [child(server, path, 12) for _ in range(2)]
    first = [process.stdout.readline() for process in processes]  # both are at work
    arrived.set()
    outputs = [one + process.stdout.read() for one, process in zip(first, processes, strict=True)]
    assert [process.wait(30) for process in processes] == [0, 0]
    for process in processes:
        process.stdout.close()
    assert [sorted(map(int, output.replace("yes", "").split())) for output in outputs] == [list(range(12))] * 2
    assert sorted(map(question, server.asked)) == sorted(f"question {i}" for i in range(12))


# Damage


@pytest.fixture
def filled(client, path):
    made = client()
    made.chat([Request(f"question {i}" + "x" * 500) for i in range(40)])
    made.close()
    return path


@pytest.mark.parametrize("length", [0, 50, 4096, 20_000])
def test_a_file_cut_short_is_refused_and_left_alone(filled, client, length):
    os.truncate(filled, length)
    before = filled.read_bytes()
    with pytest.raises(DataError, match=r"is damaged .*paid for again"):
        client()
    assert filled.read_bytes() == before


def test_garbage_inside_the_file_is_refused(filled, client):
    data = bytearray(filled.read_bytes())
    data[4096 * 3 : 4096 * 5] = b"\xff" * 8192
    filled.write_bytes(data)
    with pytest.raises(DataError, match="is damaged"):
        client()


def test_another_kind_of_file_is_refused(path, client):
    path.parent.mkdir()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE replies (a)")
    connection.close()
    with pytest.raises(DataError, match="no reply cache"):
        client()
    path.write_text("not a database, but long enough to look like a file of some kind" * 10)
    with pytest.raises(DataError, match="damaged"):
        client()


def test_a_changed_reply_is_never_handed_out(filled, server, client, caplog):
    connection = sqlite3.connect(filled)
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        connection.execute("UPDATE replies SET reply = '{}'")
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        connection.execute("DELETE FROM replies")
    connection.execute("DROP TRIGGER replies_UPDATE")
    connection.execute("UPDATE replies SET reply = replace(reply, 'yes', 'no') WHERE id = 1")
    connection.commit()
    connection.close()
    server.asked.clear()
    replies = client().chat([Request(f"question {i}" + "x" * 500) for i in range(40)])
    assert {reply.text for reply in replies} == {"yes"}
    assert len(server.asked) == 1
    assert "1 damaged replies are not used" in caplog.text
    assert client().chat([Request(question(server.asked[0]))])[0].cached  # the new one counts from now on


def test_a_reply_that_cannot_be_written_is_not_handed_out(filled, client):
    asker = client()
    connection = sqlite3.connect(filled)
    connection.execute("DROP TABLE replies")
    connection.commit()
    connection.close()
    with pytest.raises((RunError, DataError), match=r"replies"):
        asker.chat([Request("new")])


def test_a_copy_of_the_file_is_as_good(filled, client, server, tmp_path):
    copied = shutil.copy(filled, tmp_path / "copy.sqlite")
    server.asked.clear()
    assert client(cache=tmp_path / "copy.sqlite").chat([Request("question 3" + "x" * 500)])[0].cached
    assert server.asked == []
    assert copied


def test_an_empty_prompt_is_refused():
    with pytest.raises(ConfigError, match="empty"):
        Request("")
