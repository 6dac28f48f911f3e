from collections import Counter
from dataclasses import replace
from itertools import islice, pairwise

import pytest

from thinktwice.errors import ConfigError, DataError
from thinktwice.methods.react.episode import ANSWER, SEARCH
from thinktwice.methods.react.teacher import Teacher, next_turn
from thinktwice.scoring import f1
from thinktwice.tasks.worlds.wiki import Encyclopedia, hops
from thinktwice.tools.corpus import open_corpus
from thinktwice.types import Problem

REAL = Problem("5a", "Who wrote it?", "Ann Lee", support=("It (novel)", "Ann Lee"))


@pytest.fixture(scope="module")
def corpus():
    return open_corpus("wiki")


@pytest.fixture(scope="module")
def problems():
    return list(islice(hops.problems(Encyclopedia(), 0, (1, 4), "train"), 200))


def test_it_reads_the_pages_in_order_and_says_what_they_say(problems, corpus):
    for problem in problems:
        turns = Teacher().plan(problem, corpus, 0)
        assert [turn.argument for turn in turns] == [*problem.support, problem.answer]
        assert [turn.tool for turn in turns] == [SEARCH] * len(problem.support) + [ANSWER]
        said = "\n".join(filter(None, (turn.thought for turn in turns)))
        assert said == problem.solution.rpartition("\n")[0]
        assert turns[0].thought == ""


def test_its_searches_find_what_it_then_says(problems, corpus):
    for problem in problems[:50]:
        turns = Teacher().plan(problem, corpus, 0)
        for turn, after in pairwise(turns):
            found = corpus.search(turn.argument, 1)[0]
            assert found.title == turn.argument
            assert after.thought.splitlines()[0] in found.text


def test_a_state_decides_the_next_turn(problems, corpus):
    for problem in problems[:50]:
        turns, seen = Teacher().plan(problem, corpus, 0), []
        for turn in turns:
            assert next_turn(problem, seen) == turn
            seen += [turn.argument]


def test_imperfections_come_at_their_rates(problems, corpus):
    counts = Counter()
    sloppy = Teacher(detours=0.2, useless=0.3, repeats=0.1)
    for problem in problems:
        turns = sloppy.plan(problem, corpus, 0)
        assert turns[-1].argument == problem.answer
        queries = [turn.argument for turn in turns[:-1]]
        counts["useless"] += queries.count(problem.prompt)
        counts["repeats"] += sum(a == b for a, b in pairwise(queries))
        aside = [q for q in queries if q not in (problem.prompt, *problem.support)]
        counts["detours"] += len(aside)
        assert problem.answer not in aside
        counts["pages"] += len(problem.support)
        counts["later"] += len(problem.support) - 1
    assert counts["useless"] / counts["pages"] == pytest.approx(0.3, abs=0.06)
    assert counts["repeats"] / counts["pages"] == pytest.approx(0.1, abs=0.04)
    assert counts["detours"] / counts["later"] == pytest.approx(0.2, abs=0.06)


def test_answering_early_is_mostly_wrong(problems, corpus):
    long = [p for p in problems if len(p.support) > 1]
    wrong = [f1.match(Teacher(early=1.0).plan(p, corpus, 0)[-1].argument, p.answer).f1 < 1 for p in long]
    assert sum(wrong) > 0.9 * len(long)


def test_a_plan_depends_on_seed_and_sample_alone(problems, corpus):
    sloppy = Teacher(detours=0.3, useless=0.3, repeats=0.3)
    plans = [[sloppy.plan(p, corpus, seed, sample) for p in problems[:20]] for seed, sample in ((0, 0), (1, 0), (0, 1))]
    assert plans[0] == [sloppy.plan(p, corpus, 0, 0) for p in problems[:20]]
    assert plans[0] != plans[1]
    assert plans[0] != plans[2]


def test_a_question_of_the_real_world(corpus):
    turns = Teacher(detours=1.0).plan(REAL, corpus, 0)
    assert [turn.argument for turn in turns] == ["It (novel)", "Ann Lee", "Ann Lee"]
    assert next_turn(REAL, ("Ann Lee",)).argument == "It (novel)"
    with pytest.raises(DataError, match="which pages support its answer"):
        next_turn(replace(REAL, support=()), ())


def test_a_rate_is_a_probability():
    with pytest.raises(ConfigError, match=r"method\.teacher\.detours=2"):
        Teacher(detours=2)
