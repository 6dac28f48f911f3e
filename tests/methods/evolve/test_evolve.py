"""The method as a value: what contradicts itself is refused with what to set instead."""

import pytest

from thinktwice.engines.scripted import ScriptedEngine
from thinktwice.errors import ConfigError
from thinktwice.methods import build_method
from thinktwice.methods.evolve import SOURCES, Evolve, Warm, options_of
from thinktwice.methods.evolve.learning import Objectives
from thinktwice.types import Sampling


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"rounds": -1}, r"method\.rounds is -1"),
        ({"samples": 0}, r"method\.samples is 0"),
        ({"per_problem": 0}, r"method\.per_problem is 0"),
        ({"replay": 1.0}, r"method\.replay is 1\.0"),
        ({"source": "engine"}, r"needs method\.critic or method\.server"),
        ({"source": "human"}, r"needs method\.reviewed"),
        ({"source": "verifier"}, r"needs method\.verifier"),
        ({"source": "oracle"}, r"declare it: method\.gold_visible=critic"),
        ({"accept": "gold"}, r"declare it: method\.gold_visible=critic\+train"),
        ({"accept": "reference"}, r"declare it: method\.gold_visible=critic\+train"),
        ({"accept": "gold", "gold_visible": "critic"}, r"learns from gold: set method\.gold_visible=critic\+train"),
        ({"source": "none"}, r"needs feedback; set method\.source"),
        ({"mix": {"self": 0.5, "oracle": 0.5}}, r"declare it"),
        ({"mix": {"self": 0.5, "human": 0.5}}, r"needs method\.reviewed"),
        ({"mix": {"self": 0.5}}, r"add up to 1"),
        ({"mix": {"self": 1.5, "frozen": -0.5}}, r"above 0"),
        ({"mix": {"somebody": 1.0}}, r"'somebody' is no source\. Known: self"),
        ({"mend": "rewrite", "wording": "bare"}, r"reads English; use resume"),
        ({"mend": "resume", "content": False}, r"mend uses the content"),
        ({"mend": "resume", "wording": "bare", "objectives": Objectives(refine=1.0)}, r"refine asks in English"),
        ({"objectives": Objectives(refine=1.0)}, r"learn mended answers; set method\.mend"),
        ({"objectives": Objectives(distill=1.0)}, r"learn mended answers; set method\.mend"),
        ({"exemplars": "clustered", "wording": "bare"}, r"stand in English prompts"),
    ],
)
def test_what_contradicts_itself_is_refused(options, says):
    with pytest.raises(ConfigError, match=says):
        Evolve(**options)


def test_an_arm_without_rounds_needs_no_feedback():
    assert Evolve(rounds=0, source="none").rounds == 0
    assert build_method("evolve", {"rounds": 2, "mix": {"self": 0.7, "frozen": 0.3}}).sources == ("self", "frozen")
    assert {*SOURCES} >= {*Evolve().sources}


def test_arms_agree_on_what_decides_the_warm_start():
    one = Evolve(warm=Warm(solutions=3), rounds=0)
    assert options_of(one) == options_of(Evolve(warm=Warm(solutions=3), source="shuffled", rounds=4))
    for other in (Evolve(warm=Warm(solutions=4)), Evolve(warm=Warm(solutions=3), instruction="Add.")):
        assert options_of(one) != options_of(other)


def test_answers_have_no_verdicts_in_them_and_samples_their_own_streams(engine, render, task):
    method = Evolve(wording="bare", samples=3, silenced=("<correct>",))
    assert {rule.undo_id for rule in method.rules(render)} == {
        render.control_id(t) for t in ("<critique>", "<correct>", "<incorrect>")
    }
    problems = task.splits["dev"][:4]
    found = method.attempt(problems, engine, render, Sampling(max_new_tokens=60, seed=1), task)
    assert [(a.problem_id, a.sample) for a in found] == [(p.id, n) for p in problems for n in range(3)]
    alone = method.attempt(problems[2:3], engine, render, Sampling(max_new_tokens=60, seed=1), task)
    assert [a.token_ids for a in alone] == [a.token_ids for a in found[6:9]]  # whatever stands beside it
    assert len({a.token_ids for a in found}) > len(problems)
    marks = {render.control_id(token.token) for token in method.control_tokens}
    assert not marks & {t for a in found for t in a.token_ids}
    greedy = method.attempt(problems, engine, render, Sampling(max_new_tokens=60), task, n=1)
    solved = method.solve(problems, engine, render, Sampling(max_new_tokens=60))
    assert [a.text for a in greedy] == [t.reply for t in solved]


def test_solving_shows_no_examples_and_the_instruction(spelling, task):
    method = Evolve(instruction="Add.")
    engine = ScriptedEngine(lambda _: (spelling.end_id,), eos_ids=[spelling.end_id])
    method.solve(task.splits["dev"][:1], engine, spelling, Sampling())
    text = spelling.text(engine.prompts[0])
    assert "Add." in text
    assert "### Examples" not in text
