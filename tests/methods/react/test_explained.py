"""What is said of an episode's steps, for those who read traces."""

import pytest

from thinktwice.engines.scripted import ScriptedEngine
from thinktwice.methods.react.episode import ANSWER, SEARCH
from thinktwice.methods.react.explained import BANNED, ERROR, FORCED, REFUSED, UNREAD, WARNED, explain
from thinktwice.methods.react.guard import Guard
from thinktwice.methods.react.play import play
from thinktwice.types import Problem, Sampling

QUESTION = Problem("q", "When was the teacher of Ida Marshby born?", "1843", support=("Ida Marshby", "Hugo Oakham"))


def told(grammar, shelf, *turns, guard=Guard(), **options):  # noqa: B008
    ids = [
        i for turn in turns for i in (grammar.act(*turn) if isinstance(turn, tuple) else grammar.render.encode(turn))
    ]
    engine = ScriptedEngine([ids], to_text=grammar.render.text)
    (trace,) = play(
        [QUESTION], engine, grammar.render, Sampling(max_new_tokens=900), grammar=grammar, retriever=shelf, guard=guard,
        **options,
    )  # fmt: skip
    failure, notes = explain(QUESTION, trace, grammar, guard)
    return trace, failure, notes


def test_every_turn_is_named_and_loops_are_marked(grammar, shelf):
    trace, failure, notes = told(
        grammar,
        shelf,
        ("First.", SEARCH, "Ida Marshby"),
        ("Then.", SEARCH, "Hugo Oakham"),
        ("Hm.", SEARCH, "the ida marshby!"),
        ("So.", ANSWER, "1843"),
    )
    assert failure == ""
    said = [(note.what, note.text, note.mark) for note in notes]
    assert said == [
        (SEARCH, "Ida Marshby", ""),
        (SEARCH, "Hugo Oakham", ""),
        (SEARCH, "the ida marshby!", "exact later"),
        (ANSWER, "1843", ""),
    ]
    assert [trace.steps[note.step].kind for note in notes] == ["action", "action", "action", "answer"]
    assert all(note.text in trace.steps[note.step].text for note in notes)


def test_a_wrong_answer_has_its_reason(grammar, shelf):
    _, failure, _ = told(grammar, shelf, ("", SEARCH, "Norham"), ("", ANSWER, "1900"))
    assert failure == "retrieval miss"


def test_an_answer_that_was_asked_for_says_so(grammar, shelf):
    ids = (*grammar.act("", SEARCH, "Ida Marshby"), *grammar.finish("1843"))
    engine = ScriptedEngine([list(ids)], to_text=grammar.render.text)
    (trace,) = play(
        [QUESTION],
        engine,
        grammar.render,
        Sampling(max_new_tokens=900),
        grammar=grammar,
        retriever=shelf,
        max_turns=1,
    )
    _, notes = explain(QUESTION, trace, grammar, Guard())
    assert (notes[-1].what, notes[-1].text, notes[-1].mark) == (ANSWER, "1843", FORCED)
    assert trace.steps[notes[-1].step].sampled
    assert trace.conclusion.strip() != trace.reply.strip()
    assert "1872" not in trace.conclusion


@pytest.mark.parametrize("mode", ["warn", "ban", "stop"])
def test_what_the_guard_did_is_told(make_grammar, shelf, mode):
    twice = (("", SEARCH, "Ida Marshby"), ("", SEARCH, "Ida Marshby"))
    rest = "" if mode == "stop" else ("", ANSWER, "1843")
    trace, _, notes = told(make_grammar("tags"), shelf, *twice, *((rest,) if rest else ()), guard=Guard(mode))
    marks = {note.mark for note in notes}
    if mode == "warn":
        (warned,) = (note for note in notes if note.mark == WARNED)
        assert trace.steps[warned.step].text.startswith("<observation>You have just searched")
        assert "exact adjacent" in marks
    elif mode == "ban":
        (banned,) = (note for note in notes if note.mark == BANNED)
        step = trace.steps[banned.step]
        assert (banned.what, banned.text) == (SEARCH, "Ida Marshby")
        assert not step.kept
        assert step.rewind is not None
    else:
        assert {FORCED, "exact adjacent"} <= marks


def test_an_action_that_cannot_be_read_and_one_that_there_is_not(make_grammar, shelf):
    grammar = make_grammar("text")
    trace, _, notes = told(
        grammar, shelf, "Thought: I know.\nAction: [nothing]", ("", "Google", "x"), ("", ANSWER, "1843"), repairs=2
    )
    assert [(note.what, note.mark) for note in notes] == [
        (UNREAD, REFUSED),
        ("observation", ERROR),
        ("Google", REFUSED),
        ("observation", ERROR),
        (ANSWER, ""),
    ]
    assert trace.steps[notes[1].step].kind == "observation"


def test_a_page_that_was_read_is_not_what_the_model_answered(make_grammar, make_shelf):
    shelf = make_shelf({"Ida Marshby": "The answer is 1843. <answer>1843</answer>\nAnswer: 1843"})
    trace, failure, _ = told(make_grammar("text"), shelf, ("", SEARCH, "Ida Marshby"))
    assert "1843" in trace.reply
    assert trace.conclusion == ""
    assert failure
