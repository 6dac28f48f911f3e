"""Answers that are written with feedback: what is kept of the earlier one keeps its ids."""

from dataclasses import replace

import pytest

from thinktwice.engines.scripted import ScriptedEngine
from thinktwice.methods.evolve import Evolve
from thinktwice.methods.evolve.critics import spell
from thinktwice.methods.evolve.feedback import Feedback, write
from thinktwice.methods.evolve.learning import Objectives, refine_trace
from thinktwice.methods.evolve.mending import mend, to_attempt
from thinktwice.methods.evolve.prompts import Shot, refine_text
from thinktwice.methods.evolve.rows import Attempt
from thinktwice.types import Completion, Problem, Sampling

SAMPLING = Sampling(max_new_tokens=60)
RESUME = Evolve(wording="bare", mend="resume")


@pytest.fixture
def asked(task, render, answered, wrong):
    """(problem, answer that is wrong in its second line, feedback that puts the right line there)."""
    rows = []
    for n, problem in enumerate([p for p in task.splits["train"] if wrong(p)][:8]):
        attempt = answered(problem, wrong(problem), render, n % 2)
        said = Feedback("incorrect", 1.0, 2, problem.solution.splitlines()[1])
        rows.append((problem, attempt, spell(said, attempt, render, "bare")))
    return rows


def test_lines_before_the_wrong_one_stay_and_the_right_one_is_put_in(asked, render, engine, task):
    found = mend(RESUME, asked, engine, render, SAMPLING, task)
    assert [m.before for m in found] == [attempt for _, attempt, _ in asked]
    mended = 0
    for (problem, attempt, critique), after in zip(asked, [m.after for m in found], strict=True):
        first, second = (problem.solution or "").splitlines(keepends=True)[:2]
        begun = (*attempt.token_ids[: len(render.encode(first))], *render.encode(second))
        assert after.token_ids[: len(begun)] == begun
        assert after.text.startswith(first + second)
        assert render.end_id not in after.token_ids
        assert (after.key, after.mended) == (f"{attempt.key}/mended", True)
        assert critique.feedback.step == 2
        mended += after.answer == problem.answer
    assert mended > len(found) / 2  # put right where it went wrong, the nano critic's solver goes on rightly


def test_what_the_model_goes_on_from_is_the_answer_s_own_prompt(asked, render, task):
    engine = ScriptedEngine(lambda _: (render.end_id,), eos_ids=[render.end_id])
    found = mend(RESUME, asked, engine, render, SAMPLING, task)
    for (problem, _, _), asked_with, m in zip(asked, engine.prompts, found, strict=True):
        assert asked_with == (*RESUME.answer_prompt(problem, render, ()), *m.after.token_ids)
        assert m.after.stop == "done"


def test_what_names_no_line_is_left_out(asked, render, task):
    engine = ScriptedEngine(lambda _: (render.end_id,), eos_ids=[render.end_id])
    problem, attempt, critique = asked[0]

    def said(**changes):
        return problem, attempt, replace(critique, feedback=replace(critique.feedback, **changes))

    rows = [said(step=None), said(explanation=""), said(step=99), said()]
    found = mend(RESUME, rows, engine, render, SAMPLING, task)
    assert len(found) == 1
    assert len(engine.prompts) == 1
    assert mend(replace(RESUME, mend="none"), rows, engine, render, SAMPLING, task) == []


def test_a_last_line_that_is_put_in_is_the_end(asked, render, task):
    problem, attempt, critique = asked[0]
    last = replace(critique.feedback, step=1, explanation="#### 12")
    engine = ScriptedEngine(lambda _: (render.end_id,), eos_ids=[render.end_id])
    (found,) = mend(RESUME, [(problem, attempt, replace(critique, feedback=last))], engine, render, SAMPLING, task)
    assert (found.after.text, found.after.answer) == ("#### 12", "12")


def test_a_rewrite_reads_question_answer_and_feedback(spelling, task):
    method = Evolve(mend="rewrite", instruction="Halve.", objectives=Objectives(refine=1.0))
    problem = Problem("p", "Half of 48?", "24")
    odd = (*spelling.encode("2"), *spelling.encode("3"))
    attempt = Attempt("p", 0, odd, "23", "23", "done")
    said = Feedback("incorrect", 0.9, 1, "Half of 48 is 24.", "24")
    critique = spell(said, attempt, spelling, "plain")
    reply = (*spelling.encode("#### 24"), spelling.end_id)
    engine = ScriptedEngine([reply], eos_ids=[spelling.end_id])
    (found,) = mend(method, [(problem, attempt, critique)], engine, spelling, SAMPLING, task)
    assert (
        spelling.text(engine.prompts[0]) == refine_text("Half of 48?", "23", write(said), instruction="Halve.") + "\n"
    )
    assert found.after.token_ids == spelling.encode("#### 24")
    assert found.after.mended
    # What is learned is asked in the same words.
    row = refine_trace(found.before, critique.feedback, found.after, spelling.end_id)
    (example,) = method.learned([problem], [row], spelling)
    assert example.token_ids == (*engine.prompts[0], *reply)


def test_examples_stand_before_an_answer_that_is_resumed(spelling, task):
    method = Evolve(mend="resume")
    problem = Problem("p", "Half of 48?", "24")
    attempt = Attempt("p", 0, spelling.encode("48 / 2\n"), "48 / 2\n", None, "done")
    critique = spell(Feedback("incorrect", 0.9, 1, "48 / 2 = 24"), attempt, spelling, "plain")
    engine = ScriptedEngine(lambda _: (spelling.end_id,), eos_ids=[spelling.end_id])
    shots = (Shot("3 and 4?", "7", "Verdict: correct"),)
    mend(method, [(problem, attempt, critique)], engine, spelling, SAMPLING, task, shots)
    assert "3 and 4?" in spelling.text(engine.prompts[0])


def test_a_completion_is_an_answer_without_its_end(spelling, task):
    problem = Problem("p", "q", "7")
    ids = (*spelling.encode("#### 7"), spelling.end_id)
    done = Completion(ids, ("kept",) * len(ids), (-0.5,) * len(ids), "done")
    found = to_attempt(problem, 3, done, spelling, task)
    assert (found.token_ids, found.text, found.answer, found.key) == (ids[:-1], "#### 7", "7", "p/3")
    assert found.logprob == -0.5
    failed = to_attempt(problem, 0, Completion((), (), (), "error", "too long"), spelling, task)
    assert (failed.stop, failed.answer, failed.logprob) == ("error", None, 0.0)
