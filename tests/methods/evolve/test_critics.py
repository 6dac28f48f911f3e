"""Critics: what they are shown is what their training shows, and never a reference answer."""

from dataclasses import replace
from functools import partial

import pytest

from thinktwice.decode.walk import CORRECT, CRITIQUE, INCORRECT, split_steps
from thinktwice.engines.scripted import ScriptedEngine
from thinktwice.errors import DataError
from thinktwice.methods.evolve import Evolve, critics, learning
from thinktwice.methods.evolve.critics import Critic, oracle, shuffled, spell
from thinktwice.methods.evolve.feedback import Feedback, write
from thinktwice.methods.evolve.learning import Objectives
from thinktwice.methods.evolve.prompts import Shot, feedback_text
from thinktwice.methods.evolve.rows import Attempt, Critique, blind
from thinktwice.types import Problem, Sampling

GREEDY = Sampling(max_new_tokens=200)
RIGHT = Feedback("correct", 1.0, explanation="all is well")


def learned(problem, attempt, critique, render, wording, **options):
    trace = learning.critique_trace(attempt, critique, render, wording)
    return learning.to_example(
        trace, problem, render, wording, Objectives(), options.get("instruction", ""), options.get("content", True),
        options.get("silent", ()),
    )  # fmt: skip


# -- bare --------------------------------------------------------------------------------------------------------------


def test_what_a_bare_critic_saw_when_it_judged_is_what_is_learned(engine, render, task, answered, wrong):
    problems = {p.id: p for p in task.splits["train"]}
    attempts = [
        answered(p, text, render) for p in list(problems.values())[:20] for text in (p.solution, wrong(p)) if text
    ]
    found = Critic(engine, render, "bare").criticise(problems, attempts, 1, GREEDY, "self")
    right, bad = (render.control_id(token.token) for token in (CORRECT, INCORRECT))
    verdicts = set()
    for attempt, (critique,) in zip(attempts, found, strict=True):
        problem = problems[attempt.problem_id]
        example = learned(problem, attempt, critique, render, "bare")
        opening = (*render.prompt(problem), render.control_id(CRITIQUE.token))
        assert example.token_ids == (*opening, *critique.token_ids)
        # Learned is what the critic drew, and nothing of the answer, which stands there as it was sampled.
        drawn = [t for t, by_critic in zip(critique.token_ids, critique.written, strict=True) if by_critic]
        assert [t for t, w in zip(example.targets, example.weights, strict=True) if w] == drawn
        shown = [t for t, by_critic in zip(critique.token_ids, critique.written, strict=True) if not by_critic]
        assert attempt.token_ids[: len(shown)] == tuple(shown)
        steps = split_steps(attempt.token_ids, render.step_ends)
        said = critique.feedback
        verdicts.add(said.verdict)
        assert critique.token_ids.count(right) == (said.step - 1 if said.verdict == "incorrect" else len(steps))
        assert critique.token_ids.count(bad) == (said.verdict == "incorrect")
        assert 0 <= critique.sure <= 1
        assert said.confidence == pytest.approx(critique.sure if said.says_right else 1 - critique.sure)
    assert verdicts == {"correct", "incorrect"}


def test_a_walk_s_verdicts_are_those_of_the_same_ids_read_at_once(engine, render, task, answered):
    """What was decoded step by step is what the model says of the training's ids in one forward pass."""
    problem = task.splits["train"][3]
    attempt = answered(problem, problem.solution, render)
    ((critique,),) = Critic(engine, render, "bare").criticise({problem.id: problem}, [attempt], 1, GREEDY, "self")
    example = learned(problem, attempt, critique, render, "bare")
    wrong = render.control_id(INCORRECT.token)
    odds = [
        a - b
        for a, b in zip(
            engine.token_margins([example.token_ids], render.control_id(CORRECT.token))[0],
            engine.token_margins([example.token_ids], wrong)[0],
            strict=True,
        )
    ]
    for place, (target, weight) in enumerate(zip(example.targets, example.weights, strict=True)):
        if weight and target in (wrong, render.control_id(CORRECT.token)):
            assert (odds[place] > 0) == (target != wrong)


def test_answers_that_begin_alike_are_each_judged_to_their_own_end(engine, render, task, answered, wrong):
    """A walk knows its text by the prompt: these share it, and are the very same, and are judged in turn."""
    problem = next(p for p in task.splits["train"] if wrong(p))
    texts = [problem.solution, wrong(problem), problem.solution, problem.solution.splitlines()[0]]
    attempts = [answered(problem, text, render, n) for n, text in enumerate(texts)]
    together = Critic(engine, render, "bare").criticise({problem.id: problem}, attempts, 2, GREEDY, "self")
    assert [len(own) for own in together] == [2] * 4
    for attempt, own in zip(attempts, together, strict=True):
        ((alone,),) = Critic(engine, render, "bare").criticise({problem.id: problem}, [attempt], 1, GREEDY, "self")
        for each in own:  # beside others a model's sums differ in their last digits
            assert (each.token_ids, each.written) == (alone.token_ids, alone.written)
            assert (each.feedback.verdict, each.feedback.step) == (alone.feedback.verdict, alone.feedback.step)
            assert each.sure == pytest.approx(alone.sure, abs=1e-5)
    assert len(split_steps(attempts[3].token_ids, render.step_ends)) == 1
    assert together[3][0].token_ids[: len(attempts[3].token_ids)] == attempts[3].token_ids


def test_what_is_written_for_a_teacher_is_what_a_critic_would_have_drawn(render, task, answered, wrong):
    """spell -> ids -> a critic that draws exactly those -> the same feedback."""
    problem = next(p for p in task.splits["train"] if wrong(p))
    for text, feedback in (
        (problem.solution, Feedback("correct", 1.0)),
        (wrong(problem), Feedback("incorrect", 1.0, 2, problem.solution.splitlines()[1])),
        (wrong(problem), Feedback("incorrect", 1.0, 1, "")),
    ):
        attempt = answered(problem, text, render)
        written = spell(feedback, attempt, render, "bare")
        drawn = [t for t, by_critic in zip(written.token_ids, written.written, strict=True) if by_critic]
        scripted = Critic(ScriptedEngine([drawn], eos_ids=[render.end_id]), render, "bare")
        ((said,),) = scripted.criticise({problem.id: problem}, [attempt], 1, GREEDY, "teacher")
        assert (said.token_ids, said.written) == (written.token_ids, written.written)
        found = said.feedback
        assert (found.verdict, found.step, found.explanation) == (feedback.verdict, feedback.step, feedback.explanation)


def test_bare_feedback_must_fit_the_answer(render, task, answered):
    problem = task.splits["train"][0]
    attempt = answered(problem, problem.solution, render)
    for feedback in (Feedback("unsure"), Feedback("unparsed"), Feedback("incorrect", step=99)):
        with pytest.raises(DataError, match="bare feedback needs a verdict"):
            spell(feedback, attempt, render, "bare")
    # A wrong answer of which no line is named is wrong at its last one.
    lines = len(split_steps(attempt.token_ids, render.step_ends))
    found = spell(Feedback("incorrect"), attempt, render, "bare")
    assert found.token_ids.count(render.control_id(CORRECT.token)) == lines - 1


def test_a_critique_that_ran_out_of_tokens_is_no_verdict(engine, render, task, answered):
    problem = next(p for p in task.splits["train"] if p.level == 4)
    attempt = answered(problem, problem.solution, render)
    cut = Sampling(max_new_tokens=1)
    ((found,),) = Critic(engine, render, "bare").criticise({problem.id: problem}, [attempt], 1, cut, "self")
    assert found.feedback.verdict in ("unparsed", "incorrect")
    right = render.control_id(CORRECT.token)
    scripted = Critic(ScriptedEngine(lambda _: [right] * 9), render, "bare")
    ((found,),) = scripted.criticise({problem.id: problem}, [attempt], 1, cut, "self")
    assert found.feedback.verdict == "unparsed"


def test_tokens_that_another_arm_added_are_not_drawn(engine, render):
    critic = Evolve(wording="bare", silenced=(CORRECT.token,)).critic_of(engine, render)
    assert {*critic.never} == {render.control_id(CRITIQUE.token), render.control_id(CORRECT.token)}
    assert Evolve().critic_of(engine, render).never == ()


# -- plain -------------------------------------------------------------------------------------------------------------

HALF = Problem("p", "Half of 48?", "24", answers=("24", "twenty-four"))
SAID = Feedback("incorrect", 0.9, 1, "3 and 4 are 7.", "7")
SHOTS = (Shot("3 and 4?", "8", write(SAID)),)


def attempt_of(render, text, problem=HALF, sample=0):
    return Attempt(problem.id, sample, render.encode(text), text, text, "done")


def test_a_plain_critic_reads_what_its_training_shows_and_the_answer_s_own_ids(spelling):
    reply = (*spelling.encode(write(SAID)), spelling.end_id)
    engine = ScriptedEngine([reply, reply], eos_ids=[spelling.end_id])
    attempt = attempt_of(spelling, "2\n23")
    critic = Critic(engine, spelling, instruction="Halve.")
    ((critique,),) = critic.criticise({"p": HALF}, [attempt], 1, GREEDY, "self")
    example = learned(HALF, attempt, critique, spelling, "plain", instruction="Halve.")
    assert example.token_ids == (*engine.prompts[0], *reply)
    assert [t for t, w in zip(example.targets, example.weights, strict=True) if w] == [*reply]
    assert replace(critique.feedback, text="", source="") == SAID
    assert critique.sure == pytest.approx(0.1)
    asked = spelling.text(engine.prompts[0])
    assert asked == feedback_text("Half of 48?", "2\n23", instruction="Halve.") + "\n"
    # Examples stand in the question, and not in what is learned.
    with_shots = replace(critic, shots=SHOTS)
    ((again,),) = with_shots.criticise({"p": HALF}, [attempt], 1, GREEDY, "self")
    assert SHOTS[0].feedback in spelling.text(engine.prompts[1])
    assert learned(HALF, attempt, again, spelling, "plain", instruction="Halve.") == example


def test_no_question_to_a_critic_shows_the_gold_answer(spelling, monkeypatch):
    reply = (*spelling.encode("Verdict: correct"), spelling.end_id)
    engine = ScriptedEngine(lambda _: reply, eos_ids=[spelling.end_id])
    critic = Critic(engine, spelling, shots=SHOTS)
    for text in ("23", "24", "twenty-four", "twenty-three"):  # a right answer shows it, as it may
        critic.criticise({"p": HALF}, [attempt_of(spelling, text)], 1, GREEDY, "self")
        assert ("24" in spelling.text(engine.prompts[-1])) == (text == "24")
    n = len(engine.prompts)
    for leaked in ("24", "twenty-four"):  # what the public code did for a month
        monkeypatch.setattr(critics, "feedback_text", partial(feedback_text, reference=leaked))
        with pytest.raises(DataError, match="shows the gold answer"):
            critic.criticise({"p": HALF}, [attempt_of(spelling, "23")], 1, GREEDY, "self")
    assert len(engine.prompts) == n  # nobody was asked


def test_headings_are_no_leak(spelling):
    engine = ScriptedEngine(lambda _: (spelling.end_id,), eos_ids=[spelling.end_id])
    for gold in ("task", "Answer", "context", "feedback", "instruction", "examples", "correct"):
        problem = Problem("p", "What is it?", gold)
        critic = Critic(engine, spelling, instruction="Say it.", shots=SHOTS)
        ((found,),) = critic.criticise({"p": problem}, [attempt_of(spelling, "x", problem)], 1, GREEDY, "self")
        assert found.feedback.verdict == "unparsed"


def test_what_a_critic_may_see_of_a_problem():
    problem = Problem(
        "p", "q", "24", "48 / 2 = 24\n#### 24", labels=("reason",), support=("Half",), answers=("24", "twenty-four")
    )
    seen = blind(problem)
    assert (seen.answer, seen.answers, seen.solution, seen.labels, seen.support) == ("", (), None, (), ())
    assert seen.references == ("",)
    assert (seen.id, seen.prompt) == ("p", "q")


# -- who is no model ---------------------------------------------------------------------------------------------------


def test_the_oracle_names_the_first_wrong_line_and_what_should_stand_there(task, wrong):
    problem = next(p for p in task.splits["train"] if wrong(p))
    judge = oracle(task)
    assert judge(problem, problem.solution) == Feedback("correct", 1.0)
    found = judge(problem, wrong(problem))
    assert (found.verdict, found.step) == ("incorrect", 2)
    mended = problem.solution.splitlines(keepends=True)[0] + found.explanation
    assert task.oracle.is_viable(problem, mended)
    assert judge(problem, "").verdict == "incorrect"
    # Without a step oracle it knows the answer alone.
    blunt = oracle(replace(task, oracle=None))(problem, "#### 0")
    assert (blunt.verdict, blunt.step, blunt.answer) == ("incorrect", None, problem.answer)


@pytest.mark.parametrize("n", [1, 2, 3, 10])
@pytest.mark.parametrize("seed", range(3))
def test_nobody_keeps_his_own_feedback(n, seed):
    said = [[Critique(str(i), Feedback("correct", text=str(i)), (), ())] for i in range(n)]
    found = shuffled(said, seed)
    assert len(found) == n
    for index, own in enumerate(found):
        assert all(feedback.text != str(index) for feedback in own)
    if n > 1:
        assert sorted(feedback.text for own in found for feedback in own) == sorted(str(i) for i in range(n))
    assert shuffled(said, seed) == found
