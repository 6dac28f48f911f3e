"""Who says what of which answer: every source, what it may see, and what becomes of an answer that nobody judged."""

import json
from dataclasses import replace

import pytest

from thinktwice.errors import ConfigError
from thinktwice.methods.evolve import SOURCES, Evolve, share_of
from thinktwice.methods.evolve.feedback import Feedback, read, write
from thinktwice.methods.evolve.human import item_id
from thinktwice.methods.evolve.rows import Critique
from thinktwice.methods.evolve.sources import GENERIC, code_of, hear
from thinktwice.types import Sampling

BARE = Evolve(wording="bare", gold_visible="critic")
SAMPLING = Sampling(max_new_tokens=60)


class Scripted:
    """A critic that says of every answer what it is told, and remembers what it was shown."""

    def __init__(self, render, said):
        self.render, self.said, self.asked = render, said, []

    def criticise(self, problems, attempts, n, sampling, source):
        self.asked.append((source, [a.key for a in attempts], n, sampling))
        ids = (*self.render.encode("x"), self.render.end_id)
        found = []
        for index, attempt in enumerate(attempts):
            text = self.said[index % len(self.said)]
            own = replace(read(text, source=source), explanation=f"{attempt.key}: {read(text).explanation}")
            own = own if own.says_right is not None else read(text, source=source)
            found.append([Critique(attempt.key, own, ids, (True,) * len(ids), 0.7)] * n)
        return found


@pytest.fixture
def judged(task, answered, wrong):
    """Problems, their right and their wrong answers, and a call of `hear`."""
    problems = {p.id: p for p in task.splits["train"] if wrong(p)}

    def ask(method, render, model=None, extra=()):
        attempts = [
            answered(p, text, render, n)
            for p in list(problems.values())[:6]
            for n, text in enumerate((p.solution, wrong(p)))
        ]
        attempts += extra
        return attempts, hear(method, problems, attempts, model or (lambda _: Scripted(render, [])), task, SAMPLING, 3)

    return ask


def adds_up(heard):
    counts = heard.ledger.to_dict()
    return counts["in"] == counts["kept"] + sum(counts["dropped"].values()) and counts["kept"] == len(heard.critiques)


def test_the_oracle_is_right_of_every_answer(judged, render, task):
    attempts, heard = judged(replace(BARE, source="oracle"), render)
    assert adds_up(heard)
    assert len(heard.critiques) == len(attempts)
    for attempt in attempts:
        (critique,) = heard.critiques[attempt.key]
        assert (critique.feedback.says_right, critique.sure) == (attempt.sample == 0, 1.0 - attempt.sample)
        assert critique.feedback.source == "oracle"


def test_unfinished_and_empty_answers_are_nobody_s_to_judge(judged, render, task, answered):
    problem = task.splits["train"][0]
    extra = [
        answered(problem, "#### 1", render, 7, "budget"),
        answered(problem, "", render, 8),
        answered(problem, "#### 1", render, 9, "error"),
    ]
    attempts, heard = judged(replace(BARE, source="oracle"), render, extra=extra)
    assert dict(heard.ledger.dropped) == {"unfinished (budget)": 1, "empty": 1, "unfinished (error)": 1}
    assert adds_up(heard)
    assert heard.ledger.came == len(attempts)


def test_each_source_asks_its_own_model(judged, render):
    for source, asked in (
        ("self", "self"), ("frozen", "frozen"), ("ema", "ema"), ("engine", "engine"), ("shuffled", "self"),
        ("generic", "self"),
    ):  # fmt: skip
        method = replace(BARE, source=source, critic="x", critiques=2)
        models = []

        def model(name, models=models):
            models.append(name)
            return Scripted(render, ["Verdict: correct", "Verdict: incorrect\nFirst wrong step: 1"])

        attempts, heard = judged(method, render, model)
        assert models == [asked]
        assert adds_up(heard)
        assert {len(own) for own in heard.critiques.values()} <= {1, 2}
        assert {c.feedback.source for own in heard.critiques.values() for c in own} == {source}
        assert heard.written > 0
    nobody = replace(BARE, source="none", accept="all")
    attempts, heard = judged(nobody, render)
    assert dict(heard.ledger.dropped) == {"nobody was asked": len(attempts)}


def test_several_critiques_are_drawn_warm_and_one_is_greedy(judged, render):
    for critiques, temperature in ((1, 0.0), (3, 0.7)):
        critic = Scripted(render, ["Verdict: correct"])
        judged(replace(BARE, critiques=critiques), render, lambda _, critic=critic: critic)
        ((_, _, n, sampling),) = critic.asked
        assert (n, sampling.temperature, sampling.max_new_tokens) == (critiques, temperature, 200)


def test_shuffled_feedback_is_never_an_answer_s_own(judged, spelling):
    method = Evolve(source="shuffled")
    critic = Scripted(spelling, ["Verdict: correct\nExplanation: fine", "Verdict: incorrect\nExplanation: bad"])
    attempts, heard = judged(method, spelling, lambda _: critic)
    assert len(heard.critiques) == len(attempts)
    said = {key: own[0].feedback.explanation.split(":")[0] for key, own in heard.critiques.items()}
    assert all(key != of for key, of in said.items())
    assert {*said.values()} == {a.key for a in attempts}
    for (critique,) in heard.critiques.values():  # what is learned is spelt out behind this answer
        assert spelling.text(critique.token_ids) == write(critique.feedback)


def test_feedback_of_a_line_that_another_answer_does_not_have_is_counted(judged, render, task, answered):
    method = replace(BARE, source="shuffled")
    critic = Scripted(render, ["Verdict: incorrect\nFirst wrong step: 99"])
    attempts, heard = judged(method, render, lambda _: critic)
    assert dict(heard.ledger.dropped) == {"another answer's feedback does not fit": len(attempts)}
    assert adds_up(heard)


def test_generic_feedback_has_the_verdict_and_the_length_and_not_a_word_of_its_own(judged, spelling, render):
    long = "Verdict: incorrect\nConfidence: 0.9\nFirst wrong step: 2\nExplanation: a b c d e f g h\nCorrected answer: 7"
    critic = Scripted(spelling, ["Verdict: correct\nExplanation: one two", long, "What?"])
    attempts, heard = judged(Evolve(source="generic"), spelling, lambda _: critic)
    assert len(heard.critiques) == len(attempts)
    for index, attempt in enumerate(attempts):
        (critique,) = heard.critiques[attempt.key]
        said = critique.feedback
        if index % 3 == 2:
            assert said.verdict == "unparsed"  # never taken for a verdict
            continue
        own = read(critic.said[index % 3])
        assert (said.verdict, said.confidence) == (own.verdict, own.confidence)
        assert (said.step, said.answer) == (None, None)
        assert {*said.explanation.split()} <= {*GENERIC.split()}
        assert len(write(said).split()) == len(own.text.split())
        assert critique.sure == 0.7
    bare = Scripted(render, ["Verdict: incorrect\nFirst wrong step: 2\nExplanation: 3"])
    _, heard = judged(replace(BARE, source="generic"), render, lambda _: bare)
    for (critique,) in heard.critiques.values():  # the verdict stands where it stood, and no line follows
        assert critique.feedback.step == 2
        assert [t for t, by in zip(critique.token_ids, critique.written, strict=True) if by][2:] == [render.end_id]


# -- people ------------------------------------------------------------------------------------------------------------


def test_what_people_said_goes_to_the_answers_they_said_it_of(judged, render, tmp_path):
    path = tmp_path / "reviewed.jsonl"
    method = replace(BARE, source="human", reviewed=str(path))
    attempts, heard = judged(method, render)
    assert dict(heard.ledger.dropped) == {"no person has looked at it yet": len(attempts)}
    assert [item.answer for item in heard.waiting] == [a.text for a in attempts]
    assert heard.bad_rows == {}
    looked = attempts[:4]
    rows = [
        {"id": item_id(a.problem_id, a.text), "verdict": "incorrect" if a.sample else "correct"}
        | ({"step": 2, "explanation": "it says"} if a.sample else {})
        for a in looked
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{half\n{"id": "x"}\n')
    _, heard = judged(method, render)
    assert {*heard.critiques} == {a.key for a in looked}
    assert len(heard.waiting) == len(attempts) - 4
    assert sum(heard.bad_rows.values()) == 2
    assert heard.bad_rows["not a line of JSON"] == 1
    assert adds_up(heard)
    for attempt in looked:
        (critique,) = heard.critiques[attempt.key]
        assert critique.feedback.says_right == (attempt.sample == 0)
        assert critique.feedback.source == "human"


# -- a tool ------------------------------------------------------------------------------------------------------------

VERIFIER = """
from thinktwice.methods.evolve.feedback import Feedback
seen = []

def judge(problem, text):
    seen.append(problem)
    assert problem.answer == "" and problem.solution is None and problem.answers == ()
    return Feedback("correct") if len(text.splitlines()) % 2 else "Verdict: incorrect\\nFirst wrong step: 1"

def broken(problem, text):
    return {}["a verifier's own mistake"]

def silent(problem, text):
    return "hm"

constant = 3
"""


def test_a_verifier_sees_no_answer_and_its_text_is_read(judged, render, spelling, tmp_path):
    path = tmp_path / "verify.py"
    path.write_text(VERIFIER)
    method = replace(BARE, source="verifier", verifier=f"{path}:judge", gold_visible="none")
    attempts, heard = judged(method, render)
    assert adds_up(heard)
    for attempt in attempts:
        (critique,) = heard.critiques[attempt.key]
        assert critique.feedback.says_right == bool(len(attempt.text.splitlines()) % 2)
        assert critique.feedback.source == "verifier"
    _, heard = judged(replace(method, verifier=f"{path}:silent"), render)
    assert dict(heard.ledger.dropped) == {"feedback that cannot be written in this wording (unparsed)": len(attempts)}
    _, heard = judged(replace(method, verifier=f"{path}:silent", wording="plain"), spelling)
    assert {c.feedback.verdict for own in heard.critiques.values() for c in own} == {"unparsed"}


def test_a_verifier_s_own_mistake_is_nobody_s_feedback(judged, render, tmp_path):
    path = tmp_path / "verify.py"
    path.write_text(VERIFIER)
    method = replace(BARE, source="verifier", verifier=f"{path}:broken")
    with pytest.raises(KeyError, match="a verifier's own mistake"):
        judged(method, render)
    for name in ("nothing", "constant"):
        with pytest.raises(ConfigError, match=f"has no function '{name}'"):
            judged(replace(method, verifier=f"{path}:{name}"), render)
    first = code_of(method)
    path.write_text(VERIFIER + "\n")
    assert code_of(method) != first
    for place in (f"{tmp_path}/other.py:judge", "verify", f"{tmp_path}:judge"):
        with pytest.raises(ConfigError, match="there is no such file"):
            code_of(replace(method, verifier=place))


# -- mixtures ----------------------------------------------------------------------------------------------------------


def test_a_mixture_gives_every_answer_one_source_in_the_shares_asked_for(judged, render, tmp_path):
    method = replace(BARE, mix={"human": 0.3, "oracle": 0.7}, reviewed=str(tmp_path / "none.jsonl"))
    attempts, heard = judged(method, render)
    assert adds_up(heard)
    waiting = heard.ledger.dropped["no person has looked at it yet"]
    assert 0 < waiting < len(attempts)
    assert len(heard.critiques) == len(attempts) - waiting
    again = judged(method, render)[1]
    assert again.critiques == heard.critiques
    draws = [share_of({"human": 0.3, "self": 0.5, "oracle": 0.2}, i / 1000) for i in range(1000)]
    assert [draws.count(name) for name in ("human", "self", "oracle")] == [300, 500, 200]
    assert share_of({"a": 0.5, "b": 0.5 - 1e-9}, 1 - 1e-12) == "b"


def test_every_source_has_a_test_of_its_own():
    assert {*SOURCES} == {
        "self", "frozen", "ema", "engine", "human", "verifier", "oracle", "shuffled", "generic", "none"
    }  # fmt: skip


def test_without_content_nothing_but_verdicts_comes_of_any_source(judged, render, spelling):
    _, heard = judged(replace(BARE, source="oracle", content=False), render)
    assert {c.feedback.explanation for own in heard.critiques.values() for c in own} == {""}
    critic = Scripted(spelling, ["Verdict: incorrect\nExplanation: long\nCorrected answer: 7"])
    _, heard = judged(Evolve(content=False), spelling, lambda _: critic)
    for (critique,) in heard.critiques.values():
        assert spelling.text(critique.token_ids) == "Verdict: incorrect"
        assert critique.feedback == Feedback("incorrect", source="self", text="Verdict: incorrect")
