"""Examples in prompts: chosen from what was said, tried on dev, and in every prompt once they are adopted."""

from dataclasses import replace

import pytest

from thinktwice.engines.scripted import ScriptedEngine
from thinktwice.methods.evolve import Evolve, learning
from thinktwice.methods.evolve.critics import spell
from thinktwice.methods.evolve.feedback import Feedback
from thinktwice.methods.evolve.prompting import choose_shots, first_shots
from thinktwice.methods.evolve.prompts import Shot
from thinktwice.methods.evolve.rows import Voted
from thinktwice.types import Sampling

CLUSTERED = Evolve(exemplars="clustered")


@pytest.fixture
def ask(task, spelling, answered, wrong):
    """Choose examples from a round in which half of the answers are wrong; the engine is right where `able` says so."""

    def go(method, able, current=(), never=()):
        problems = {p.id: p for p in task.splits["train"] if wrong(p)}
        gate = task.splits["dev"][:6]

        def script(prompt):
            text = spelling.text(prompt)
            (problem,) = [p for p in gate if p.prompt in text]
            reply = problem.solution if able(text) else "#### nothing"
            return (*spelling.encode(reply), spelling.end_id)

        attempts, voted = [], []
        for n, problem in enumerate(list(problems.values())[:8]):
            attempt = answered(problem, wrong(problem) if n % 2 else problem.solution, spelling)
            said = Feedback("incorrect" if n % 2 else "correct", 0.9, 2 if n % 2 else None, f"because {n}")
            attempts.append(attempt)
            voted.append(Voted(attempt.key, said.verdict, spell(said, attempt, spelling, "plain"), 1.0, 0.5))
        engine = ScriptedEngine(script, eos_ids=[spelling.end_id])
        found = choose_shots(
            method, problems, attempts, voted, current, task, engine, spelling, Sampling(), gate=gate,
            never=[*gate, *never], seed=0,
        )  # fmt: skip
        return found, engine, attempts

    return go


def test_examples_that_are_better_on_dev_are_in_every_prompt_and_in_no_row(ask, task, spelling):
    found, engine, attempts = ask(CLUSTERED, lambda text: "### Examples" in text)
    assert found.record["adopted"]
    assert (found.record["with"], found.record["without"]) == (1.0, 0.0)
    assert len(found.shots) == 2
    assert any("Verdict: incorrect" in shot.feedback for shot in found.shots)  # at least one of a wrong answer
    assert found.counts["in"] == found.counts["kept"] + sum(found.counts["dropped"].values()) == 8
    problem = task.splits["train"][-1]
    asked = spelling.text(CLUSTERED.answer_prompt(problem, spelling, found.shots))
    engine = ScriptedEngine(lambda _: (spelling.end_id,), eos_ids=[spelling.end_id])
    critic = CLUSTERED.critic_of(engine, spelling, found.shots)
    by_id = {p.id: p for p in task.splits["train"]}
    critic.criticise(by_id, attempts[:1], 1, Sampling(), "self")
    judged = spelling.text(engine.prompts[0])
    for shot in found.shots:
        assert shot.question in asked
        assert shot.answer in asked
        assert shot.question in judged
        assert shot.feedback in judged
    said = spell(Feedback("correct"), attempts[0], spelling, "plain")
    rows = [learning.critique_trace(attempts[0], said, spelling, "plain"), learning.answer_trace(attempts[0], 0)]
    others = [shot for shot in found.shots if shot.question != by_id[attempts[0].problem_id].prompt]
    assert others
    for example in CLUSTERED.learned(list(by_id.values()), rows, spelling):
        assert not [shot for shot in others if shot.question in spelling.text(example.token_ids)]


def test_examples_that_are_not_better_are_not_adopted(ask):
    current = (Shot("old question", "old answer", "Verdict: correct"),)
    for able in (lambda text: True, lambda text: False, lambda text: "old question" in text):
        found, _, _ = ask(CLUSTERED, able, current)
        assert not found.record["adopted"]
        assert found.shots == current
        assert found.record["chosen"]  # what was tried is written down


def test_an_evaluated_question_is_no_example(ask, task, wrong):
    asked = [p for p in task.splits["train"] if wrong(p)][:8]
    found, engine, _ = ask(CLUSTERED, lambda text: "### Examples" in text, never=asked[:7])
    assert [shot.question for shot in found.shots] == [asked[7].prompt]
    assert found.counts["dropped"]["evaluated, by id"] == 7
    by_text = [replace(p, id=f"other {p.id}") for p in asked]
    found, engine, _ = ask(CLUSTERED, lambda text: True, never=by_text)
    assert (found.shots, found.record["adopted"], engine.prompts) == ((), False, [])
    assert found.record["why"] == "nothing new was found."


def test_where_examples_come_from(ask, task):
    able = lambda text: "### Examples" in text  # noqa: E731
    human, _, _ = ask(replace(CLUSTERED, exemplars="human"), able)
    first = task.splits["train"][:2]
    assert [(s.question, s.answer) for s in human.shots] == [(p.prompt, p.solution) for p in first]
    random, _, _ = ask(replace(CLUSTERED, exemplars="random"), able)
    assert random.record["source"] == "random"
    clustered, _, _ = ask(CLUSTERED, able)
    mismatched, _, _ = ask(replace(CLUSTERED, exemplars="mismatched"), able)
    assert [s.question for s in mismatched.shots] == [s.question for s in reversed(clustered.shots)]
    assert [s.answer for s in mismatched.shots] == [s.answer for s in clustered.shots]


def test_the_first_round_s_examples_are_solved_training_problems(task):
    shots = first_shots(CLUSTERED, task)
    last = [*reversed(task.splits["train"])][:2]
    assert [(s.question, s.answer) for s in shots] == [(p.prompt, p.solution) for p in last]
    assert all("Verdict: correct" in s.feedback for s in shots)
