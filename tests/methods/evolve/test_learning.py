"""What is learned: the loss sees the feedback, each row by its objective's weight; and every row is accounted for."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import DataCollatorForLanguageModeling

from thinktwice.decode.walk import CORRECT, INCORRECT
from thinktwice.errors import ConfigError, DataError
from thinktwice.methods.evolve import Evolve, learning
from thinktwice.methods.evolve.critics import spell
from thinktwice.methods.evolve.feedback import Feedback, write
from thinktwice.methods.evolve.learning import Objectives
from thinktwice.methods.evolve.prompts import feedback_text, refine_text
from thinktwice.methods.evolve.rows import Attempt, Critique, Ledger, Voted
from thinktwice.nano import resolve
from thinktwice.run import read_json
from thinktwice.train import Training, fit
from thinktwice.types import Problem

HALF = Problem("p", "Half of 48?", "24", "48 / 2 = 24\n#### 24")
SAID = Feedback("incorrect", 0.9, 1, "48 / 2 is 24.", "24")


def attempt_of(render, text, sample=0, problem_id="p", answer=None, stop="done", mended=False):
    return Attempt(problem_id, sample, render.encode(text), text, answer, stop, mended=mended)


def supervised(example):
    return [t for t, w in zip(example.targets, example.weights, strict=True) if w]


def weights(example):
    return {w for w in example.weights if w}


# -- the loss audit ----------------------------------------------------------------------------------------------------


def test_feedback_is_what_the_loss_sees_and_the_public_code_s_route_never_does(spelling):
    """The regression test for the defect that decides the public code's results.

    Its trainer is handed the question with the answer as `input_ids` and the feedback as `labels`, and its collator
    makes labels of the inputs: not one feedback token is learned.
    """
    feedback = [replace(SAID, explanation=text) for text in ("Half of 48 is 24.", "It is 24.", "Count again.")]
    attempts = [attempt_of(spelling, text) for text in ("23", "48 / 2 = 20\n#### 20", "46")]
    critiques = [spell(f, a, spelling, "plain") for f, a in zip(feedback, attempts, strict=True)]
    traces = [learning.critique_trace(a, c, spelling, "plain") for a, c in zip(attempts, critiques, strict=True)]
    examples = Evolve().learned([HALF], traces, spelling)
    for example, said in zip(examples, feedback, strict=True):
        assert supervised(example) == [*spelling.encode(write(said)), spelling.end_id]

    naive = [
        {
            "input_ids": list(spelling.encode(feedback_text(HALF.prompt, a.text))),
            "labels": list(spelling.encode(write(f))),
        }
        for a, f in zip(attempts, feedback, strict=True)
    ]
    collate = DataCollatorForLanguageModeling(spelling.tokenizer, mlm=False)
    # As a torch dataset in TRL hands them over: inputs, and labels that are a text of their own.
    batch = collate([{"input_ids": row["input_ids"]} | {"labels": row["labels"]} for row in _even(naive)])
    padding = spelling.tokenizer.pad_token_id
    seen = batch["input_ids"] != padding
    assert (batch["labels"][seen] == batch["input_ids"][seen]).all()
    for row, labels in zip(_even(naive), batch["labels"].tolist(), strict=True):
        feedback_alone = row["labels"]
        assert feedback_alone[:20] not in [labels[i : i + 20] for i in range(len(labels))]
        assert [t for t in labels if t != -100] == [t for t in row["input_ids"] if t != padding]


def _even(rows):
    """The public code pads both to one length beforehand; here the shortest decides, so that no id is invented."""
    few = min(len(row["labels"]) for row in rows)
    return [{**row, "labels": row["labels"][:few]} for row in rows]


def test_a_training_s_audit_says_how_much_feedback_is_learned(render, task, answered, wrong, tmp_path):
    method = Evolve(wording="bare", objectives=Objectives(answer=0.0))
    problems = [p for p in task.splits["train"] if wrong(p)][:4]
    attempts = [answered(p, wrong(p), render) for p in problems]
    said = [Feedback("incorrect", 1.0, 2, p.solution.splitlines()[1]) for p in problems]
    critiques = [spell(f, a, render, "bare") for f, a in zip(said, attempts, strict=True)]
    traces = [learning.critique_trace(a, c, render, "bare") for a, c in zip(attempts, critiques, strict=True)]
    examples = method.learned(problems, traces, render)
    written = sum(sum(c.written) for c in critiques)
    fit(examples, Path(resolve("nano-critic")), tmp_path / "fit", Training(steps=1, batch_size=4))
    audit = read_json(tmp_path / "fit/audit.json")
    assert (audit["n"], audit["supervised"]) == (4, written)
    assert audit["tokens"] == sum(len(e.token_ids) for e in examples) > 2 * written
    right, bad = (render.control_id(token.token) for token in (CORRECT, INCORRECT))
    for example, p in zip(examples, problems, strict=True):
        line = render.encode(p.solution.splitlines()[1])
        assert supervised(example) == [right, bad, *line, render.end_id]


def test_nothing_is_cut_and_a_target_least_of_all(render, task, answered, tmp_path):
    method = Evolve(wording="bare")
    problem = task.splits["train"][0]
    attempt = answered(problem, problem.solution, render)
    trace = learning.critique_trace(attempt, spell(Feedback("correct"), attempt, render, "bare"), render, "bare")
    (long,) = method.learned([problem], [trace], render)
    short = replace(long, token_ids=long.token_ids[-9:], targets=long.targets[-9:], weights=long.weights[-9:])
    short = replace(short, targets=(*short.targets[:-1], 0))
    base, ended = Path(resolve("nano-critic")), method.learned(
        [problem], [learning.solution_trace(problem, render)], render
    )  # fmt: skip
    limit = len(long.token_ids) - 1
    with pytest.raises(DataError, match="Nothing is cut"):
        fit([long], base, tmp_path / "a", Training(steps=1, max_length=limit))
    kept = [e for e in (short, *ended) if len(e.token_ids) <= limit]
    fit([long, *kept], base, tmp_path / "b", Training(steps=1, max_length=limit, overflow="drop"))
    audit = read_json(tmp_path / "b/audit.json")
    assert audit["n"] == len(kept)
    assert [row["reason"] for row in audit["dropped"]] == [f"longer than {limit} tokens"]
    assert audit["supervised"] == sum(sum(w > 0 for w in e.weights) for e in kept)


# -- objectives --------------------------------------------------------------------------------------------------------


def test_every_objective_reaches_the_loss_by_its_weight(spelling):
    objectives = Objectives(feedback=0.1, answer=0.2, refine=0.3, distill=0.4, prompt=0.5)
    method = Evolve(objectives=objectives, mend="rewrite", instruction="Halve.")
    before, after = attempt_of(spelling, "23"), attempt_of(spelling, "24", mended=True)
    end = spelling.end_id
    critique = spell(SAID, before, spelling, "plain")
    feedback, answer, refine, distill = method.learned(
        [HALF],
        [
            learning.critique_trace(before, critique, spelling, "plain"),
            learning.answer_trace(after, end),
            learning.refine_trace(before, SAID, after, end),
            learning.distil_trace(after, end),
        ],
        spelling,
    )
    ids = spelling.encode("24")
    assert supervised(feedback) == [*spelling.encode(write(SAID)), end]
    assert weights(feedback) == {0.1}
    # The question is learned by `prompt` alone, the answer by both.
    question = answer.token_ids[: -len(ids) - 1]
    assert answer.weights == (*(0.5,) * (len(question) - 1), *(0.7,) * (len(ids) + 1), 0.0)
    assert supervised(refine) == supervised(distill) == [*ids, end]
    assert (weights(refine), weights(distill)) == ({0.3}, {0.4})
    asked = refine_text(HALF.prompt, "23", write(SAID), instruction="Halve.")
    assert spelling.text(refine.token_ids) == asked + "\n24"
    assert spelling.text(distill.token_ids) == spelling.text(answer.token_ids)
    assert "Verdict" not in spelling.text(distill.token_ids)  # the feedback that led to it is not in sight


def test_an_answer_is_learned_as_it_was_sampled(spelling):
    method = Evolve(objectives=Objectives(feedback=0.0))
    odd = (*spelling.encode("2"), *spelling.encode("4"))
    trace = learning.answer_trace(Attempt("p", 0, odd, "24", "24", "done"), spelling.end_id)
    (example,) = method.learned([HALF], [trace], spelling)
    assert example.token_ids == (*spelling.question(HALF.prompt), *odd, spelling.end_id)
    (solution,) = method.learned([HALF], [learning.solution_trace(HALF, spelling)], spelling)
    assert supervised(solution) == [*spelling.encode(HALF.solution), spelling.end_id]


def test_nothing_to_learn_is_refused():
    with pytest.raises(ConfigError, match="are all 0"):
        Objectives(feedback=0.0, answer=0.0)
    with pytest.raises(ConfigError, match=r"objectives\.refine is -1"):
        Objectives(refine=-1.0)


def test_verdicts_alone_are_all_that_is_left_without_content(spelling, render, task, answered, wrong):
    method = Evolve(content=False, objectives=Objectives(answer=0.0))
    before = attempt_of(spelling, "23")
    critique = method.without_content(spell(replace(SAID, text=""), before, spelling, "plain"), spelling)
    trace = learning.critique_trace(before, critique, spelling, "plain")
    (example,) = method.learned([HALF], [trace], spelling)
    assert supervised(example) == [*spelling.encode("Verdict: incorrect"), spelling.end_id]
    assert critique.feedback == Feedback("incorrect", text="Verdict: incorrect")

    bare = Evolve(content=False, wording="bare", objectives=Objectives(answer=0.0))
    problem = next(p for p in task.splits["train"] if wrong(p))
    attempt = answered(problem, wrong(problem), render)
    said = spell(Feedback("incorrect", 1.0, 2, problem.solution.splitlines()[1]), attempt, render, "bare")
    left = bare.without_content(said, render)
    right, bad = (render.control_id(token.token) for token in (CORRECT, INCORRECT))
    assert left.token_ids[-1] == bad
    assert (left.feedback.explanation, left.feedback.step) == ("", None)
    (example,) = bare.learned([problem], [learning.critique_trace(attempt, left, render, "bare")], render)
    assert supervised(example) == [right, bad]
    # A row that still has content teaches its verdicts alone.
    (example,) = bare.learned([problem], [learning.critique_trace(attempt, said, render, "bare")], render)
    assert supervised(example) == [right, bad]


# -- which rows --------------------------------------------------------------------------------------------------------


def voted(attempt, verdict):
    critique = Critique(attempt.key, Feedback(verdict), (1,), (True,)) if verdict in ("correct", "incorrect") else None
    return Voted(attempt.key, verdict, critique, 1.0, 0.5)


@pytest.fixture
def answers():
    """Problem a: 4 says most; b: no majority; c: one answer twice, and an unfinished one; and one mended."""

    def row(problem, sample, answer, ids, **more):
        return Attempt(problem, sample, ids, f"{answer}", answer, **{"stop": "done", **more})

    return [
        row("a", 0, "4", (1,)), row("a", 1, "4", (2,)), row("a", 2, "5", (3,)), row("a", 3, "4", (4,)),
        row("b", 0, "1", (1,)), row("b", 1, "2", (2,)), row("b", 2, None, (3,)),
        row("c", 0, "9", (1, 1)), row("c", 1, "9", (1, 1)), row("c", 2, "9", (2, 2), stop="budget"),
        row("a", 2, "4", (5,), mended=True),
    ]  # fmt: skip


RULES = {
    "all": ({"a/0", "a/1", "a/2", "a/3", "a/2/mended", "b/0", "b/1", "b/2", "c/0"}, {"the same answer again": 1}),
    "majority": (
        {"a/0", "a/1", "a/3", "a/2/mended", "c/0"},
        {"not the majority's answer": 1, "no majority": 3, "the same answer again": 1},
    ),
    "gold": ({"a/2", "b/1"}, {"wrong": 8}),
    "verdict": (
        {"a/0", "c/0"},
        {"found incorrect": 3, "found abstained": 1, "no feedback": 3, "the same answer again": 1},
    ),
}


@pytest.mark.parametrize("rule", RULES)
def test_which_answers_are_learned(rule, answers):
    truth = {a.key: a.key in ("a/2", "b/1") for a in answers}
    silent = ("b/0", "b/1", "b/2")
    verdicts = {"a/0": "correct", "c/0": "correct", "c/1": "correct", "c/2": "correct", "a/3": "abstained"}
    said = {a.key: voted(a, verdicts.get(a.key, "incorrect")) for a in answers if a.key not in silent}
    expected, dropped = RULES[rule]
    kept, ledger = learning.accepted(rule, {}, answers, said, truth, 99, seed=0)
    assert {a.key for a in kept} == expected
    assert dict(ledger.dropped) == {**dropped, "unfinished (budget)": 1}
    assert ledger.to_dict()["in"] == len(answers)


def test_no_more_than_so_many_answers_of_a_problem(answers):
    first, ledger = learning.accepted("all", {}, answers, {}, {}, 2, seed=1)
    assert max(Counter(a.problem_id for a in first).values()) == 2
    assert ledger.dropped["more than 2 of a problem"] == 4
    ledger.to_dict()
    again, _ = learning.accepted("all", {}, answers, {}, {}, 2, seed=1)
    assert again == first
    others = [learning.accepted("all", {}, answers, {}, {}, 2, seed=seed)[0] for seed in range(6)]
    assert any(other != first for other in others)


@given(
    st.lists(st.sampled_from(["correct", "incorrect", "unsure", "unparsed"]), max_size=20),
    st.none() | st.integers(0, 12),
    st.integers(0, 3),
)
def test_as_much_feedback_says_right_as_wrong(verdicts, most, abstained):
    rows = [Critique(str(i), Feedback(v), (1,), (True,)) for i, v in enumerate(verdicts)]
    ledger = Ledger(came=len(rows) + abstained)
    ledger.drop("abstained", abstained)  # counted before: what it has dropped so far is no concern of this
    kept = learning.balanced(rows, 0, ledger, most)
    said = Counter(c.feedback.verdict for c in kept)
    assert said["correct"] == said["incorrect"] == len(kept) / 2
    assert {*said} <= {"correct", "incorrect"}
    few = min(verdicts.count("correct"), verdicts.count("incorrect"))
    assert len(kept) == (2 * few if most is None else 2 * min(few, most // 2))
    assert ledger.to_dict()["in"] == len(rows) + abstained
    assert all(count > 0 for count in ledger.dropped.values())


def test_counts_that_do_not_add_up_are_a_programmer_s_error():
    ledger = Ledger(came=3, kept=1)
    ledger.drop("lost")
    with pytest.raises(AssertionError):
        ledger.to_dict()
