"""A critic that is another model: behind a real server on loopback, or in this process."""

import importlib.util
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from thinktwice.engines.http.endpoint import Endpoint
from thinktwice.engines.scripted import ScriptedEngine
from thinktwice.engines.writers import Author, LocalWriter
from thinktwice.errors import ConfigError, DataError
from thinktwice.methods.evolve import Evolve, critics
from thinktwice.methods.evolve.outside import Outsider, outside
from thinktwice.methods.evolve.prompts import Shot, feedback_text
from thinktwice.methods.evolve.rows import Attempt
from thinktwice.nano import resolve
from thinktwice.types import Problem, Sampling

_spec = importlib.util.spec_from_file_location("serving", Path(__file__).parents[2] / "engines/conftest.py")
assert _spec is not None
_serving = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_serving)
new_server, server = _serving.new_server, _serving.server

HALF = Problem("p", "Half of 48?", "24")
SAMPLING = Sampling(max_new_tokens=200)
WRONG = "Verdict: incorrect\nFirst wrong step: 1\nExplanation: Half of 48 is 24.\nCorrected answer: 24"


def attempt_of(render, text, sample=0):
    return Attempt("p", sample, render.encode(text), text, text, "done")


def method_of(server, **options):
    endpoint = Endpoint("small", server.url, deadline_s=2, max_failures=1.0)
    return Evolve(source="engine", server=endpoint, instruction="Halve.", **options)


def test_a_server_s_feedback_is_read_encoded_and_paid_for_once(server, spelling, tmp_path):
    server.script = lambda body, number: WRONG if "23" in body["messages"][-1]["content"] else "Verdict: correct"
    shots = (Shot("3 and 4?", "8", "Verdict: incorrect"),)
    attempts = [attempt_of(spelling, "23"), attempt_of(spelling, "24", 1)]
    for _ in range(2):
        critic = outside(method_of(server), spelling, tmp_path / "critic", shots)
        found = critic.criticise({"p": HALF}, attempts, 2, SAMPLING, "engine")
        assert [len(own) for own in found] == [2, 2]
        assert {c.feedback.verdict for c in found[0]} == {"incorrect"}
        assert {c.feedback.verdict for c in found[1]} == {"correct"}
        assert {c.feedback.source for own in found for c in own} == {"engine"}
        assert found[0][0].token_ids == (*spelling.encode(WRONG), spelling.end_id)
        assert all(found[0][0].written)
        critic.close()
        assert len(server.asked) == 4  # the second time nothing goes over the wire
    asked = [body["messages"][-1]["content"] for body in server.asked]
    assert {*asked} == {feedback_text("Half of 48?", a.text, instruction="Halve.", shots=shots) for a in attempts}
    # Of a wrong answer nothing that is asked shows the right one.
    assert not [text for text in asked if "23" in text and "24" in text]


def test_what_a_server_says_that_fits_nothing_is_counted_and_no_crash(server, render, task, answered, tmp_path):
    problem = task.splits["train"][0]
    attempt = answered(problem, problem.solution, render)
    replies = ["Verdict: incorrect\nFirst wrong step: 99", "I like turtles.", WRONG, "", None]
    server.script = lambda body, number: replies[number] if number < len(replies) else None
    endpoint = replace(method_of(server).server, concurrency=1)
    critic = outside(replace(method_of(server, wording="bare"), server=endpoint), render, tmp_path / "critic")
    (found,) = critic.criticise({problem.id: problem}, [attempt], len(replies), SAMPLING, "engine")
    critic.close()
    said = sorted(c.feedback.verdict for c in found)
    assert said == ["incorrect", "unparsed", "unparsed", "unparsed", "unparsed"]
    assert all(c.token_ids == () for c in found if c.feedback.verdict == "unparsed")
    (right,) = [c for c in found if c.feedback.verdict == "incorrect"]
    assert (right.feedback.step, right.feedback.explanation) == (1, "")  # a nano base reads no English


def test_a_model_in_this_process_writes_as_well(spelling, render, task, answered):
    reply = (*spelling.encode("Verdict: correct"), spelling.end_id)
    author = Author(LocalWriter(ScriptedEngine(lambda _: reply, eos_ids=[spelling.end_id]), spelling), "scripted")
    problem = task.splits["train"][0]
    attempt = answered(problem, problem.solution, render)
    ((found,),) = Outsider(author, render, "bare").criticise({problem.id: problem}, [attempt], 1, SAMPLING, "engine")
    assert (found.feedback.verdict, found.feedback.source) == ("correct", "engine")
    assert render.text(found.token_ids).count("<correct>") == len(attempt.text.splitlines())


def test_a_local_critic_is_loaded_from_its_directory(render, task, answered, tmp_path):
    method = Evolve(source="engine", critic=resolve("nano-annealed"), wording="bare")
    critic = outside(method, render, tmp_path)
    problem = replace(task.splits["train"][0], prompt="Ann has 3.")
    attempt = answered(problem, "#### 3", render)
    ((found,),) = critic.criticise({problem.id: problem}, [attempt], 1, replace(SAMPLING, max_new_tokens=5), "engine")
    assert found.feedback.verdict in ("unparsed", "correct", "incorrect")
    with pytest.raises(ConfigError, match=r"method\.critic .a model. or method\.server"):
        outside(Evolve(), render, tmp_path)


def test_nothing_that_a_server_is_asked_shows_the_gold_answer(server, spelling, tmp_path, monkeypatch):
    monkeypatch.setattr(critics, "feedback_text", partial(feedback_text, reference="24"))
    critic = outside(method_of(server), spelling, tmp_path / "critic")
    with pytest.raises(DataError, match="shows the gold answer"):
        critic.criticise({"p": HALF}, [attempt_of(spelling, "23")], 1, SAMPLING, "engine")
    critic.close()
    assert server.asked == []
