"""`thinktwice label` against a real server on loopback that fails in every way it can, killed in the middle."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from thinktwice import cli
from thinktwice.methods.planning.agent import directory
from thinktwice.methods.planning.agent.prompts import data_of

KEY = "sk-test-0123456789abcdef"
TASK = """
from thinktwice.scoring import choice
from thinktwice.types import Problem, Task

def toy(*, count=16):
    problems = [Problem(f"toy-{i}", f"Is {i} an even number?", str(i % 2 == 0)) for i in range(count)]
    return Task("toy", {"train": problems}, lambda p, reply: choice.score(reply, p.answer, choice.TRUE_FALSE))
"""


class Teacher(ThreadingHTTPServer):
    """A server of both roles. What it answers depends on the request alone, except for the first 429 of some."""

    daemon_threads = True
    block_on_close = False

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answered, self.refused, self.hang_at = Counter(), Counter(), None
        self.lock, self.hanging, self.released = threading.Lock(), threading.Event(), threading.Event()

    def handle_error(self, request, client_address):
        pass  # a client that was killed

    def say(self, body):
        """Return (status, text)."""
        data, chance = data_of(body["messages"][0]["content"]), _chance(body)
        identity = json.dumps(body, sort_keys=True)
        with self.lock:
            if chance % 9 == 0 and not self.refused[identity]:
                self.refused[identity] += 1
                return 429, ""
            if self.hang_at is not None and self.answered.total() >= self.hang_at:
                self.hanging.set()
            else:
                self.answered[identity] += 1
        if self.hanging.is_set():
            self.released.wait(60)
            return 503, ""
        if "steps" in data:
            return 200, json.dumps({"labels": ["rag", "reason"]})
        if chance % 5 == 0:
            return 200, ["", "Sorry, I cannot.", '{"steps": [{"requirement": "rag"', "[1, 2]"][chance // 5 % 4]
        if "queries" in data:
            return 200, json.dumps({query: f"{query[8:-1]} is a number." for query in data["queries"]})
        number = int(data["question"].split()[1])
        right = number % 2 == 0
        steps = [
            {"name": "recall", "requirement": "rag", "query": f"What is {number}?", "content": "unused"},
            {"name": "divide", "requirement": "reason", "query": "", "content": f"Half of {number}\nis {number / 2}."},
        ]
        return 200, json.dumps({"steps": steps, "answer": str(right if chance % 4 else not right)})


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *arguments):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status, text = self.server.say(body)
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
        data = json.dumps({"id": "1", "object": "x", "model": body["model"], "choices": [choice], "usage": usage})
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Retry-After", "0")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data.encode())


def _chance(body):
    return int(hashlib.sha256(f"{body['seed']}{body['messages'][0]['content']}".encode()).hexdigest()[:8], 16)


@pytest.fixture
def teacher(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = Teacher()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server
    server.released.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def words(teacher, tmp_path):
    """The words of the command that labels into a file."""
    (tmp_path / "toy.py").write_text(TASK)

    def make(name, *more):
        return [
            "label", f"{tmp_path / 'toy.py'}:toy", f"planner.base_url=http://127.0.0.1:{teacher.server_port}/v1",
            "planner.model=teacher", "planner.concurrency=1", "labelling.batch_size=4",
            "--answer", "hidden", "--samples", "3", "--out", str(tmp_path / name), *more,
        ]  # fmt: skip

    return make


@pytest.fixture
def call(monkeypatch, capsys):
    def run(words):
        monkeypatch.setattr(sys, "argv", ["thinktwice", *words])
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code or 0
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run


def test_killed_in_the_middle_it_goes_on_and_repeats_no_call(teacher, words, call, tmp_path):
    assert call(words("whole.json"))[0] == 0
    asked, teacher.answered = teacher.answered, Counter()
    assert set(asked.values()) == {1}

    teacher.hang_at, teacher.refused = asked.total() * 2 // 3, Counter()
    killed = subprocess.Popen(
        [sys.executable, "-m", "thinktwice", *words("killed.json")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    assert teacher.hanging.wait(60)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    work = directory(tmp_path / "killed.json")
    before = len((work / "ledger.jsonl").read_text().splitlines())
    assert 0 < before < 16
    assert not (tmp_path / "killed.json").exists()

    teacher.hang_at = None
    teacher.hanging.clear()
    code, _, err = call(words("killed.json"))
    assert code == 0
    assert teacher.answered == asked  # every call once, over both attempts
    assert (tmp_path / "killed.json").read_bytes() == (tmp_path / "whole.json").read_bytes()
    whole = directory(tmp_path / "whole.json")
    for name in ("ledger.jsonl", "summary.json"):
        assert (work / name).read_bytes() == (whole / name).read_bytes()
    assert "from the cache" in err


def test_the_file_holds_whole_steps_and_the_counts_add_up(teacher, words, call, tmp_path):
    code, out, err = call(words("steps.jsonl"))
    assert code == 0
    rows = [json.loads(line) for line in (tmp_path / "steps.jsonl").read_text().splitlines()]
    found = json.loads((directory(tmp_path / "steps.jsonl") / "summary.json").read_text())
    assert len(rows) == found["kept"] > 5
    assert found["kept"] + sum(found["dropped"].values()) == found["problems"] == 16
    assert found["unused"].keys() & {"an empty reply", "not one JSON object"}
    assert found["attempts"] == teacher.answered.total()
    assert teacher.refused.total() > 0
    for row in rows:
        number = int(row["question"].split()[1])
        assert row["cot_steps"] == [f"[rag]: {number} is a number.", f"[reason]: Half of {number} is {number / 2}."]
        assert row["answer"] == str(number % 2 == 0)
    assert f"16 problems = {found['kept']} kept" in out
    answered = teacher.answered.total()
    assert call(words("steps.jsonl"))[0] == 0
    assert teacher.answered.total() == answered
    kept = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(KEY.encode() in data for data in kept)
    assert KEY not in out + err


def test_each_role_has_its_server_and_they_share_one_cache(teacher, words, call, tmp_path):
    place = f"http://127.0.0.1:{teacher.server_port}/v1"
    roles = [f"{role}.{key}" for role in ("knowledge", "second") for key in (f"model={role}", f"base_url={place}")]
    assert call(words("a.json", "--limit", "4", *roles))[0] == 0
    asked = {(body["model"], *data_of(body["messages"][0]["content"])) for body in map(json.loads, teacher.answered)}
    assert asked == {("teacher", "question"), ("knowledge", "queries"), ("second", "question", "steps")}
    provenance = json.loads((tmp_path / "a.json").read_text())[0]["provenance"]
    assert (provenance["planner"], provenance["knowledge"]) == ("teacher", "knowledge")
    before = teacher.answered.total()
    assert call(words("a.json", "--limit", "4", *roles))[0] == 0
    assert teacher.answered.total() == before


def test_memory_first_and_shown_are_other_requests(teacher, words, call, tmp_path):
    assert (
        call([*words("a.json", "--limit", "4", "--order", "memory_first"), "--answer", "shown", "--samples", "1"])[0]
        == 0
    )
    plans = [body for body in map(json.loads, teacher.answered) if "Plan how" in body["messages"][0]["content"]]
    assert len({body["messages"][0]["content"] for body in plans}) == 4
    assert all(data_of(body["messages"][0]["content"])["answer"] in ("True", "False") for body in plans)
    assert all("All rag steps come first" in body["messages"][0]["content"] for body in plans)


@pytest.mark.parametrize(
    ("more", "code", "says"),
    [
        (["--split", "trian"], 2, "Did you mean 'train'?"),
        (["planner.modle=x"], 2, "Did you mean 'model'?"),
        (["--offline"], 2, "planner and offline would both plan"),
        (["planner=null", "--offline", "second=rules"], 2, "compare the offline rules with themselves"),
        (["second=labls"], 2, "second"),
        (["--samples", "0"], 2, "samples must be 1 or more"),
        (["--order", "memory"], 2, "memory_first"),
        (["--limit", "0"], 1, "no train problems"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(words, call, more, code, says):
    found, _, err = call(words("x.json", *more))
    assert (found, says in err) == (code, True), err


def test_offline_needs_solutions_and_nothing_else(words, call, tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    code, _, err = call(["label", f"{tmp_path / 'toy.py'}:toy", "--offline", "--out", str(tmp_path / "x.json")])
    assert (code, "none of these problems has a worked solution" in err) == (1, True)
    wiki = ["label", "wiki", "task.train=20", "task.per_level=1", "--offline", "second=labels"]
    code, out, _ = call([*wiki, "--out", str(tmp_path / "wiki.json"), "--limit", "10"])
    assert (code, "10 problems = 10 kept + 0 dropped" in out, "kappa 1.000" in out) == (0, True, True)
    made = os.listdir(directory(tmp_path / "wiki.json"))
    assert sorted(made) == ["ledger.jsonl", "lock", "summary.json"]  # and no replies: nothing was asked
    code, _, err = call(["label", "wiki", "--offline"])
    assert (code, "--out FILE" in err) == (2, True)
