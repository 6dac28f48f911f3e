"""The playground over HTTP: what is streamed is what was decoded; leaving stops it; errors are sentences."""

import http.client
import json
import shutil
import threading
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest

from thinktwice.answer import solve_question
from thinktwice.config import parse
from thinktwice.errors import ConfigError
from thinktwice.run import Run
from thinktwice.ui import serving, shelf
from thinktwice.ui.answers import Answers, Ask, Listener
from thinktwice.ui.problems import Problems
from thinktwice.ui.shelf import Shelf

BUDGET = 40


@pytest.fixture
def address(untouched):
    return untouched[1]


@pytest.fixture
def question(finished: Path) -> dict:
    """Give a test problem of the headline's level, as the run answered it."""
    return next(row for row in Run.load(finished).traces("backtrack").done.values() if row["level"] == 2)


def spelled(messages: list[dict]) -> str:
    """Fold messages to the text that stands, as the page does."""
    standing: list[str] = []
    for message in messages:
        if message["kind"] in ("written", "inserted"):
            standing.append(message["text"])
        elif message["kind"] == "deleted":
            assert message["n"] <= len(standing)
            del standing[len(standing) - message["n"] :]
    return "".join(standing)


@pytest.mark.parametrize("arm", ["backtrack", "control", "base"])
def test_an_answer_is_streamed_as_it_is_decoded(ask, finished, question, arm):
    reply = ask(
        "/playground/answer", {"model": f"small/{arm}", "question": question["question"], "max_new_tokens": BUDGET}
    )
    messages = reply.messages
    assert reply.headers["content-type"].startswith("text/event-stream")
    place = finished / ("stages/base" if arm == "base" else f"stages/train-{arm}/model")
    trace = solve_question(question["question"], str(place), options={"max_new_tokens": BUDGET})
    ended = next(m for m in messages if m["kind"] == "stopped")
    assert spelled(messages) == ended["reply"] == trace.reply
    assert ended["tokens"] == trace.sampled_tokens == sum(m["kind"] in ("written", "rejected") for m in messages)
    assert [m["kind"] for m in messages[:2]] == ["loading", "started"]
    assert messages[-1]["kind"] == "judged"
    assert messages[-1]["reference"] == question["reference"]
    assert messages[-1]["right"] is (question["reference"] == messages[-1]["answer"])


def test_retractions_are_told_with_what_was_banned(ask, question):
    asked = {"model": "small/backtrack", "question": question["question"], "max_new_tokens": BUDGET, "bias": 20.0}
    messages = ask("/playground/answer", asked).messages
    ended = next(m for m in messages if m["kind"] == "stopped")
    deletions = [i for i, m in enumerate(messages) if m["kind"] == "deleted"]
    assert deletions
    assert ended["retractions"] == len(deletions)
    assert ended["taken_back"] > 0
    assert all(messages[i + 1]["kind"] == "banned" and messages[i + 1]["texts"] for i in deletions)
    assert any(m.get("undo") for m in messages)
    assert all(m["logprob"] <= 0 for m in messages if m["kind"] in ("written", "rejected"))


def test_the_threshold_decides_how_much_is_taken_back(ask, question):
    def taken(bias: float | None, arm: str = "backtrack") -> int:
        asked = {"model": f"small/{arm}", "question": question["question"], "max_new_tokens": BUDGET, "bias": bias}
        return next(m for m in ask("/playground/answer", asked).messages if m["kind"] == "stopped")["retractions"]

    assert taken(-50.0) == 0
    assert taken(None) > 0  # 20, which dev chose: there was nothing else to choose
    assert taken(50.0, "backtrack_off") == 0  # the same weights, unable to


def test_what_stays_in_the_context_is_struck_all_the_same(ask, question):
    asked = {"model": "small/backtrack_keep", "question": question["question"], "max_new_tokens": BUDGET, "bias": 20.0}
    messages = ask("/playground/answer", asked).messages
    ended = next(m for m in messages if m["kind"] == "stopped")
    assert ended["retractions"] > 0
    assert spelled(messages) == ended["reply"]


def test_seed_and_temperature_reach_the_model(ask, question):
    def reply(**settings: float) -> str:
        asked = {"model": "small/control", "question": question["question"], "max_new_tokens": BUDGET, **settings}
        return str(next(m for m in ask("/playground/answer", asked).messages if m["kind"] == "stopped")["reply"])

    assert reply(temperature=3.0, seed=1) == reply(temperature=3.0, seed=1)
    assert len({reply(temperature=3.0, seed=seed) for seed in range(4)}) > 1


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"model": "small/backtrack", "question": " "}, "there is no question"),
        ({"model": "small/backtrack", "question": "x" * 30_000}, "at most 20,000"),
        ({"model": "small/backtrack", "question": "x", "max_new_tokens": 0}, "max_new_tokens"),
        ({"model": "small/backtrack", "question": "x", "temperature": -1.0}, "temperature"),
        ({"model": "small/backtrack", "question": "x", "temperture": 1.0}, "temperature"),
        ({"model": "small/backtrack"}, "question"),
        (["no"], "mapping"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_a_sentence(ask, asked, words):
    reply = ask("/playground/answer", asked)
    assert reply.status == 400
    assert words in json.loads(reply.text)["message"]


def test_a_request_that_is_too_long_is_not_read(ask):
    assert ask("/playground/answer", {"model": "x", "question": "x" * 300_000}).status == 413


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("small/bactrack", "Did you mean 'small/backtrack'?"),
        ("../secret/backtrack", "there is no saved model"),
        ("/etc", "there is no saved model"),
        ("small/control_majority", "there is no saved model"),  # a vote: nothing to watch
    ],
)
def test_a_model_is_named_by_the_listing_only(ask, model, words):
    messages = ask("/playground/answer", {"model": model, "question": "x"}).messages
    assert messages[-1]["kind"] == "failed"
    assert words in messages[-1]["message"]


def test_a_question_longer_than_the_context_is_a_sentence(ask):
    messages = ask("/playground/answer", {"model": "nano", "question": "Ann has 3 pens. " * 1000}).messages
    assert messages[-1]["kind"] == "failed"
    assert "more than the context" in messages[-1]["message"]


def test_a_damaged_model_is_a_sentence(runs, question):
    (runs / "small/stages/train-control/model/model.safetensors").write_bytes(b"broken")
    told: list[dict] = []
    answers = Answers(Shelf(runs), Problems())
    answers.answer(Ask("small/control", question["question"]), told.append, lambda: False)
    assert told[-1]["kind"] == "failed"
    assert told[-1]["message"]


def test_leaving_stops_the_decoding_and_frees_the_model(untouched, monkeypatch):
    """A model that would write for ever is stopped by closing the connection, and can be asked again."""
    model, ended = endless()
    monkeypatch.setattr(shelf, "open_model", lambda place: model)
    with serving(untouched[0], ["endless"]) as address:
        place = urlsplit(address)
        for _ in range(2):  # the second time shows that the first let go of the model
            connection = http.client.HTTPConnection(place.hostname, place.port, timeout=30)
            body = json.dumps({"model": "endless", "question": "x"})
            connection.request("POST", "/playground/answer", body, {"content-type": "application/json"})
            answer = connection.getresponse()
            while b"written" not in answer.readline():
                pass
            connection.sock.close()
            answer.close()
            assert ended.wait(20)
            ended.clear()


def test_a_second_question_to_the_same_weights_waits_for_the_first(untouched, monkeypatch):
    model, ended = endless()
    monkeypatch.setattr(shelf, "open_model", lambda place: model)
    answers = Answers(Shelf(untouched[0], ["endless"]), Problems())
    first, second, stop, waits = [], [], threading.Event(), threading.Event()
    threads = [threading.Thread(target=answers.answer, args=(Ask("endless", "x"), first.append, stop.is_set))]
    threads[0].start()
    while not any(message["kind"] == "written" for message in first):
        pass

    def tell(message: dict) -> None:
        second.append(message)
        if message["kind"] == "waiting":
            waits.set()

    threads.append(threading.Thread(target=answers.answer, args=(Ask("endless", "x"), tell, stop.is_set)))
    threads[1].start()
    assert waits.wait(20)
    stop.set()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    assert ended.is_set()
    assert not any(message["kind"] == "written" for message in second)


def test_few_models_stay_loaded(runs, monkeypatch):
    loaded: list[str] = []

    def load(place: str) -> SimpleNamespace:
        loaded.append(place)
        return SimpleNamespace()

    monkeypatch.setattr(shelf, "open_model", load)
    home = Shelf(runs, ["a", "b", "c", "d"])
    for name in ("a", "b", "c", "a", "d", "a", "b"):  # d takes the place of b, the least recently asked
        home.open(home.find(name))
    assert loaded == ["a", "b", "c", "d", "b"]


def test_arms_that_share_weights_share_the_loaded_model(runs):
    home = Shelf(runs)
    first, second = (home.open(home.find(f"small/{arm}")) for arm in ("backtrack", "backtrack_off"))
    assert first.model.engine is second.model.engine
    assert first.lock is second.lock
    assert first.model.retracts
    assert not second.model.retracts


def test_the_page_knows_the_models_without_their_places(ask, untouched):
    page = ask("/playground").text
    setup = json.loads(page.partition('id="setup">')[2].partition("</script>")[0])
    named = {choice["name"]: choice for choice in setup["choices"]}
    assert list(named)[-4:] == ["nano-annealed", "nano", "nano-wiki", "nano-critic"]
    assert named["small/backtrack"]["beside"] == "small/control"
    assert named["small/backtrack"]["bias"] == 20.0
    assert named["small/backtrack"]["budget"] == 60
    assert named["small/control"]["bias"] is None
    assert str(untouched[0]) not in page
    assert "stages/" not in page


def test_questions_to_try_are_the_runs_own(ask, finished):
    samples = json.loads(ask("/playground/samples/small").text)
    rows = Run.load(finished).traces("backtrack").done
    assert samples
    assert all(rows[sample["key"]]["question"] == sample["question"] for sample in samples)
    assert all(sample["level"] == 2 for sample in samples)
    assert ask("/playground/samples/nix").status == 404


def test_code_in_files_runs_only_with_leave(runs, tmp_path):
    marker = tmp_path / "it-ran"
    code = tmp_path / "evil.py"
    code.write_text(f"open({str(marker)!r}, 'w').close()\nfrom thinktwice.methods.backtrack import Backtrack as M\n")
    shutil.copytree(runs / "small", runs / "evil")
    config = json.loads((runs / "evil/config.json").read_text())
    config["method"]["name"] = f"{code}:M"
    (runs / "evil/config.json").write_text(json.dumps(config))
    home = Shelf(runs)
    assert "evil/backtrack" in home.choices()
    with pytest.raises(ConfigError, match="--allow-code"):
        home.find("evil/backtrack")
    assert not marker.exists()
    Shelf(runs, allow_code=True).find("evil/backtrack")
    assert marker.exists()


def test_a_tasks_code_in_a_file_judges_only_with_leave(runs, question, tmp_path):
    marker = tmp_path / "it-ran"
    code = tmp_path / "evil.py"
    code.write_text(f"open({str(marker)!r}, 'w').close()\n")
    config = json.loads((runs / "small/config.json").read_text())
    config["task"] = {"name": f"{code}:task"}
    (runs / "small/config.json").write_text(json.dumps(config))
    problems = Problems()
    known = problems.find(runs / "small", question["question"])
    assert problems.judge(runs / "small", known, "#### 1").right is None
    assert not marker.exists()


def test_a_graded_answer_is_partly_right(runs, question, tmp_path):
    code = tmp_path / "graded.py"
    code.write_text(
        "from dataclasses import replace\n"
        "from thinktwice.tasks import load_task\n"
        "from thinktwice.types import Score\n"
        "def task(**options):\n"
        "    return replace(load_task('arith', **options), score=lambda problem, reply: Score(0.5, reply))\n"
    )
    config = json.loads((runs / "small/config.json").read_text())
    config["task"]["name"] = f"{code}:task"
    (runs / "small/config.json").write_text(json.dumps(config))
    problems = Problems(allow_code=True)
    verdict = problems.judge(runs / "small", problems.find(runs / "small", question["question"]), "half")
    assert (verdict.right, verdict.value, verdict.answer) == (False, 0.5, "half")


def test_characters_of_several_tokens_stay_whole():
    snow = "☃".encode()
    words = {1: b"a", 2: snow[:1], 3: snow[1:2], 4: snow[2:], 5: b"b"}
    render = SimpleNamespace(
        text=lambda ids: b"".join(words[i] for i in ids).decode(errors="replace"),
        tokenizer=SimpleNamespace(get_vocab=dict),
    )
    told: list[dict] = []
    listener = Listener(object(), render, told.append, lambda: False)
    for token_id in (1, 2, 3, 4, 5):
        listener.on(SimpleNamespace(kind="written", token_ids=(token_id,), logprob=-0.1), None)
    assert [message["text"] for message in told] == ["a", "", "", "☃", "b"]


def test_a_request_is_strict():
    with pytest.raises(ConfigError, match="temperature"):
        parse(Ask, {"model": "m", "question": "q", "temperature": "hot"}, "the request")


def endless() -> tuple[SimpleNamespace, threading.Event]:
    """Make a model that writes "x" until its listener has enough, and an event that is set when it ends."""
    ended = threading.Event()
    render = SimpleNamespace(text=lambda ids: "x" * len(ids), tokenizer=SimpleNamespace(get_vocab=dict))

    def answer(question, sampling, *, on_event, bias=None):
        pause = threading.Event()
        try:
            while True:
                on_event(SimpleNamespace(kind="written", token_ids=(1,), logprob=-0.5), render.text)
                pause.wait(0.002)
        finally:
            ended.set()

    return SimpleNamespace(method=object(), render=render, retracts=False, answer=answer), ended
