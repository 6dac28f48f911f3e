import itertools
import json
import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thinktwice.errors import ConfigError, DataError
from thinktwice.tasks import check_disjoint
from thinktwice.tasks.worlds import wiki
from thinktwice.tasks.worlds.wiki.drawing import MOST_FACTS, draw
from thinktwice.tasks.worlds.wiki.encyclopedia import BORN, EXPOSURES, LIFE, NEAR_LIVES, RELATIONS
from thinktwice.tasks.worlds.wiki.names import FAMILIES, NAMESAKES
from thinktwice.tasks.worlds.wiki.oracle import ANSWER, Kind
from thinktwice.tasks.worlds.wiki.questions import SAID, Term
from thinktwice.types import Problem

WORLD = wiki.Encyclopedia()
ORACLE = wiki.StepOracle(WORLD)
levels = st.integers(1, MOST_FACTS)
seeds = st.integers(0, 10**9)


def one(seed: int, level: int) -> Problem:
    return wiki.problem(draw(random.Random(seed), WORLD, level), WORLD)


# --- the encyclopedia


def test_the_same_seed_writes_the_same_encyclopedia_and_another_seed_another() -> None:
    assert wiki.Encyclopedia(3).facts == wiki.Encyclopedia(3).facts
    assert wiki.Encyclopedia(3).facts != wiki.Encyclopedia(4).facts


@pytest.mark.parametrize("people", [12, 240, 1008])
def test_every_page_is_whole_and_every_statement_can_be_read_back(people: int) -> None:
    world = wiki.Encyclopedia(people=people)
    assert len(set(world.persons)) == people
    assert sorted(world.pages) == sorted({*world.persons, *world.places["town"], *world.places["country"]})
    for subject, facts in world.pages.items():
        kinds = {RELATIONS[fact.relation].subject for fact in facts}
        assert len(kinds) == 1
        assert [f.relation for f in facts] == [n for n, r in RELATIONS.items() if {r.subject} == kinds]
        assert world.page(subject).splitlines() == [fact.statement for fact in facts]
        for fact in facts:
            assert wiki.Fact.read(fact.statement) == fact
            assert fact.statement == f"{fact.head}{fact.value}."
            assert world.states(fact)
            assert not world.states(replace(fact, value="nobody"))


def test_lives_are_possible() -> None:
    for person in WORLD.persons:
        born, died = (int(WORLD.facts[person, r]) for r in ("born", "died"))
        assert BORN[0] <= born <= BORN[1]
        assert LIFE[0] <= died - born <= LIFE[1]
        known = [WORLD.facts[person, r] for r in ("teacher", "friend")]
        assert len({person, *known}) == 3
        assert all(abs(int(WORLD.facts[p, "born"]) - born) <= NEAR_LIVES for p in known)
    for country in WORLD.places["country"]:
        assert WORLD.facts[WORLD.facts[country, "capital"], "country"] == country
    assert all(WORLD.facts[s, r] == v for (r, v), subjects in WORLD.subjects.items() for s in subjects)


def test_there_are_as_many_people_of_every_exposure_and_namesakes_differ() -> None:
    grade = {person: WORLD.exposures(WORLD.pages[person][0]) for person in WORLD.persons}
    assert Counter(grade.values()) == dict.fromkeys(EXPOSURES, len(grade) // len(EXPOSURES))
    families: dict[str, list[int]] = defaultdict(list)
    for person, exposures in grade.items():
        families[person.split()[1]].append(exposures)
    assert set(map(len, families.values())) == {2, 3}
    assert all(len(set(grades)) == len(grades) for grades in families.values())
    assert all(WORLD.exposures(WORLD.pages[town][0]) == EXPOSURES[0] for town in WORLD.places["town"])
    assert Counter(WORLD.persons_as_met) == grade


def test_training_asks_as_pretraining_read_and_the_other_splits_ask_about_all_alike() -> None:
    for split, weights in (("train", EXPOSURES), ("dev", (1, 1, 1, 1)), ("test", (1, 1, 1, 1))):
        asked: Counter[int] = Counter()
        for problem in itertools.islice(wiki.problems(WORLD, "who", (1, 2), split), 1500):  # type: ignore[arg-type]
            person = wiki.Question.read(problem.prompt).left.start
            asked[WORLD.exposures(WORLD.pages[person][0])] += 1
        for grade, weight in zip(EXPOSURES, weights, strict=True):
            expected = 1500 * weight / sum(weights)
            assert abs(asked[grade] - expected) < 4.5 * expected**0.5, (split, grade, asked)


def test_strangers_live_in_the_same_places_and_are_never_met_in_the_encyclopedia() -> None:
    everyone = wiki.Encyclopedia(people=len(FAMILIES) * NAMESAKES)  # the largest there can be
    crowds = [everyone.strangers(crowd) for crowd in (0, 1)]
    assert {p.split()[1] for crowd in range(150) for p in everyone.strangers(crowd).persons} == set(FAMILIES)
    for crowd in crowds:
        assert not set(crowd.persons) & set(everyone.persons)
        assert all(crowd.facts[t, "country"] == WORLD.facts[t, "country"] for t in WORLD.places["town"])
    assert crowds[0].facts != crowds[1].facts


@pytest.mark.parametrize(
    ("options", "words"), [({"people": 5}, "12 to"), ({"countries": 40}, "2 to"), ({"towns": 3}, "at least one")]
)
def test_a_world_that_cannot_be_is_refused(options: dict[str, int], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        wiki.Encyclopedia(**options)


# --- questions


@given(seed=seeds, level=levels)
@settings(max_examples=150, deadline=None)
def test_a_question_survives_its_spelling_and_needs_as_many_facts_as_its_level(seed: int, level: int) -> None:
    question = draw(random.Random(seed), WORLD, level)
    assert wiki.Question.read(question.text) == question
    problem = wiki.problem(question, WORLD)
    lines = (problem.solution or "").splitlines()
    memory = [line for line, label in zip(lines, problem.labels, strict=False) if label == "memory"]
    assert len(memory) == len(set(memory)) == problem.level == level
    assert len(problem.labels) == len(lines) - 1
    assert lines[-1] == ANSWER + problem.answer
    for line, label in zip(lines, problem.labels, strict=False):
        fact = wiki.Fact.read(line)
        assert label == ("memory" if fact and WORLD.states(fact) else "reason")
    assert ORACLE.judge(problem, problem.solution or "") == [None] * len(lines)


def truth(question: wiki.Question) -> bool:
    """Answer a question again, by hand: nothing of the package but its facts."""

    def follow(term: Term) -> str:
        at = term.start
        for relation in term.path:
            lived = relation == "age"
            at = (
                str(int(WORLD.facts[at, "died"]) - int(WORLD.facts[at, "born"])) if lived else WORLD.facts[at, relation]
            )
        return at

    left, right = follow(question.left), follow(question.right)
    if question.form == "same":
        return left == right
    return int(left) < int(right) if question.form == "order" else int(left) > int(right)


@given(seed=seeds, level=levels)
@settings(max_examples=100, deadline=None)
def test_the_answer_is_what_the_facts_say(seed: int, level: int) -> None:
    problem = one(seed, level)
    assert problem.answer == str(truth(wiki.Question.read(problem.prompt)))


@pytest.mark.parametrize(
    "text",
    [
        "Why?",
        "Was Ida Marshby born?",
        "Was the teacher of Ida Marshby born before ?",
        "Was Ida Marshby died before 1850?",
        "Did Ida Marshby live longer than 62?",
        "Is Ida Marshby?",
        "Is Ida Marshby the same as Otto Elmson?",
        "Was Ida Marshby born before Otto Elmson?",
    ],
)
def test_what_is_no_question_of_this_world_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="not a wiki question"):
        wiki.Question.read(text)


# --- what a question gives away


def sample(split: wiki.Split, level: int, count: int) -> list[Problem]:
    return list(itertools.islice(wiki.problems(WORLD, "leak", (level, level), split), count))


def bag_accuracy(train: list[Problem], held_out: list[Problem]) -> float:
    """Naive Bayes over the words and pairs of words of the question."""

    def features(problem: Problem) -> set[str]:
        words = problem.prompt.replace("?", "").split()
        return {*words, *(f"{a} {b}" for a, b in itertools.pairwise(words))}

    counts = {
        answer: Counter(f for p in train if p.answer == answer for f in features(p)) for answer in ("True", "False")
    }
    totals = Counter(p.answer for p in train)
    right = 0
    for problem in held_out:
        odds = sum(
            math.log((counts["True"][f] + 1) / (totals["True"] + 2))
            - math.log((counts["False"][f] + 1) / (totals["False"] + 2))
            for f in features(problem)
        )
        right += (odds > 0) == (problem.answer == "True")
    return right / len(held_out)


@pytest.mark.parametrize("level", [2, 5])
def test_neither_the_majority_nor_the_words_of_a_question_tell_its_answer(level: int) -> None:
    train, dev = sample("train", level, 1500), sample("dev", level, 1000)
    for problems in (train, dev):
        assert abs(sum(p.answer == "True" for p in problems) / len(problems) - 0.5) < 0.04
    assert bag_accuracy(train, dev) < 0.56
    assert bag_accuracy(train, train) > 0.56  # it does learn: the words of train fit train's own answers


def test_one_side_alone_does_not_tell_the_answer() -> None:
    """The best guess from the exact value of either side, learned from as many questions, stays near chance."""
    problems = sample("test", 2, 3000)
    for side in ("left", "right"):
        seen: dict[tuple[str, ...], Counter[bool]] = defaultdict(Counter)
        right = 0.0
        total = 0
        for index, problem in enumerate(problems):
            question = wiki.Question.read(problem.prompt)
            value = getattr(question, side).value(WORLD.facts)
            decade = value[:3] if value.isdigit() and len(value) == 4 else value
            key = (question.form, decade)
            if index >= 2000:
                total += 1
                right += seen[key].most_common(1)[0][0] == (problem.answer == "True") if seen[key] else 0.5
            seen[key][problem.answer == "True"] += 1
        assert right / total < 0.6, (side, right / total)


# --- the oracle


def wrong_fact(rng: random.Random, line: str) -> str:
    fact = wiki.Fact.read(line)
    assert fact is not None
    others = sorted({v for (_, r), v in WORLD.facts.items() if r == fact.relation and v != fact.value})
    return replace(fact, value=rng.choice(others)).statement


def wrong_step(line: str) -> str:
    """Turn a right reasoning line round."""
    swaps = [("the first", "the second"), ("the same.", "different."), ("True", "False")]
    for one_way, other in (*swaps, *((b, a) for a, b in swaps)):
        if one_way in line and not line.startswith("So "):
            return line.replace(one_way, other)
    start, relation = next((line.partition(r.phrase)[0], r) for r in SAID.values() if r.phrase in line)
    return f"{start}{relation.phrase}{'17' if relation.value in ('year', 'age') else 'Nowhere'}{relation.unit}."


@given(seed=seeds, level=levels, data=st.data())
@settings(max_examples=150, deadline=None)
def test_one_wrong_line_is_named_with_its_kind_and_what_follows_from_it_is_no_second_mistake(
    seed: int, level: int, data: st.DataObject
) -> None:
    problem = one(seed, level)
    right = (problem.solution or "").splitlines()
    index = data.draw(st.integers(0, len(right) - 1))
    memory = index < len(problem.labels) and problem.labels[index] == "memory"
    wrong = wrong_fact(random.Random(seed), right[index]) if memory else wrong_step(right[index])
    kind: Kind = "wrong fact" if memory else "wrong step"
    before = "".join(f"{line}\n" for line in right[:index])
    assert ORACLE.first_wrong(problem, before + wrong) == (index, kind)
    assert not ORACLE.is_viable(problem, before + wrong + "\n")
    assert ORACLE.complete(problem, before + wrong + "\n") is None
    # Go on from the wrong line by what it says: every later recall is true, every later step follows.
    question = wiki.Question.read(problem.prompt)
    reading = wiki.oracle.read(question, [*right[:index], wrong], WORLD)[0]
    rest = [line for line, _ in wiki.oracle.finish(reading, WORLD)]
    if reading.outcome is not None and not reading.answered:
        rest.append(reading.answer_line() or "")
    verdicts = ORACLE.judge(problem, "\n".join([*right[:index], wrong, *rest]))
    assert verdicts == [*[None] * index, kind, *[None] * len(rest)]


@given(seed=seeds, level=levels, data=st.data())
@settings(max_examples=100, deadline=None)
def test_leaving_out_a_line_makes_what_uses_it_unfounded_or_out_of_turn(
    seed: int, level: int, data: st.DataObject
) -> None:
    problem = one(seed, level)
    right = (problem.solution or "").splitlines()
    index = data.draw(st.integers(0, len(right) - 2))
    found = ORACLE.first_wrong(problem, "\n".join(right[:index] + right[index + 1 :]))
    assert found is not None
    assert found[1] == (
        "unfounded"
        if found[0] >= len(problem.labels) - 1
        or right[found[0] + 1].startswith(("So ", "Of "))
        or " are " in right[found[0] + 1]
        else "not needed"
    )


@given(seed=seeds, level=levels)
@settings(max_examples=60, deadline=None)
def test_a_right_line_again_is_not_needed_and_any_founded_order_is_right(seed: int, level: int) -> None:
    problem = one(seed, level)
    right = (problem.solution or "").splitlines()
    for index in range(len(right) - 1):
        again = [*right[: index + 1], right[index]]
        assert ORACLE.first_wrong(problem, "\n".join(again)) == (index + 1, "not needed")
    memory_first = sorted(range(len(problem.labels)), key=lambda i: problem.labels[i] != "memory")
    reordered = [right[i] for i in memory_first] + right[-1:]
    assert ORACLE.first_wrong(problem, "\n".join(reordered)) is None


@given(text=st.text(max_size=80), seed=seeds)
@settings(max_examples=100, deadline=None)
def test_any_text_gets_a_verdict(text: str, seed: int) -> None:
    problem = one(seed, 3)
    ORACLE.first_wrong(problem, text)
    ORACLE.is_viable(problem, text)
    ORACLE.complete(problem, text)
    ORACLE.plausible_errors(problem, text)


@pytest.fixture(scope="module")
def known() -> tuple[Problem, list[str]]:
    """A question with a teacher on one side, and its solution."""
    source = (one(seed, 3) for seed in itertools.count())
    problem = next(
        p
        for p in source
        if p.prompt.startswith("Was the teacher") and p.solution and "So " in p.solution.splitlines()[2]
    )
    return problem, (problem.solution or "").splitlines()


def test_each_kind_of_mistake_has_its_name(known: tuple[Problem, list[str]]) -> None:
    problem, lines = known
    first, second, so, third, compared, answer = lines
    person = first.partition(" was taught by ")[0]

    def verdict(*written: str) -> tuple[int, str] | None:
        return ORACLE.first_wrong(problem, "\n".join(written))

    assert verdict(*lines) is None
    assert verdict(first) is None  # stops early: right as far as it goes
    assert verdict(*lines, "anything at all") is None  # what stands after the answer is not read
    assert verdict("", first) == (0, "unreadable")
    assert verdict("I do not know.") == (0, "unreadable")
    assert verdict(second) == (0, "not needed")  # its turn has not come
    assert verdict(WORLD.page(WORLD.places["country"][0])) == (0, "not needed")  # true, but asked by nobody
    assert verdict(f"{person} was taught by {person}.") == (0, "wrong fact")
    assert verdict("Nobody Atall was born in 1800.") == (0, "wrong fact")
    assert verdict(first, so) == (1, "unfounded")
    assert verdict(first, second, so, third, answer) == (4, "unfounded")
    assert verdict(first, second, third, compared) == (3, "unfounded")  # the derived side has not been derived
    assert verdict(first, second, so, third, "Of 1800 and 1801 the first is longer.") == (4, "wrong step")
    assert verdict(*lines[:-1], ANSWER + "Maybe") == (5, "unreadable")


def test_a_false_recall_makes_the_next_fact_that_of_the_wrong_person(known: tuple[Problem, list[str]]) -> None:
    problem, lines = known
    person, _, teacher = lines[0][:-1].partition(" was taught by ")
    other = next(p for p in WORLD.persons if p not in (person, teacher))
    year = wiki.Fact.read(lines[1]).relation  # type: ignore[union-attr]
    swapped = [f"{person} was taught by {other}.", wiki.Fact(other, year, WORLD.facts[other, year]).statement]
    assert ORACLE.judge(problem, "\n".join(swapped)) == ["wrong fact", None]
    assert ORACLE.judge(problem, "\n".join([swapped[0], lines[1]])) == ["wrong fact", "not needed"]


def prefixes(text: str) -> Iterator[str]:
    return (text[:stop] for stop in range(len(text) + 1))


def test_viable_is_having_a_right_continuation(known: tuple[Problem, list[str]]) -> None:
    problem, lines = known
    text = "\n".join(lines)
    assert all(ORACLE.is_viable(problem, prefix) for prefix in prefixes(text))
    for dead in ("I", lines[0][:-1] + "?", text + "\nmore", text + "x", lines[0] + "\n" + lines[2][:4], "The"):
        assert not ORACLE.is_viable(problem, dead), dead


@given(seed=seeds, level=levels)
@settings(max_examples=40, deadline=None)
def test_a_plausible_error_is_wrong_and_a_completion_is_right(seed: int, level: int) -> None:
    problem = one(seed, level)
    lines = (problem.solution or "").splitlines(keepends=True)
    for index in range(len(lines)):
        before = "".join(lines[:index])
        ending = ORACLE.complete(problem, before)
        assert before + str(ending) == problem.solution
        for wrong in ORACLE.plausible_errors(problem, before):
            found = ORACLE.first_wrong(problem, before + wrong)
            assert found is not None
            assert found[0] == index
    assert ORACLE.complete(problem, problem.solution or "") is None


# --- the task


@pytest.fixture(scope="module")
def task() -> wiki.Task:
    return wiki.task(levels=(2, 5), train=300, per_level=60)


def test_the_splits_share_no_question(task: wiki.Task) -> None:
    check_disjoint(task)
    assert [p.level for p in task.splits["test"]] == [2] * 60 + [5] * 60
    assert {p.level for p in task.splits["train"]} == {1, 2, 3, 4}
    drawn = {
        s: {p.id for p in itertools.islice(wiki.problems(WORLD, 0, (1, 1), s), 400)} for s in ("train", "dev", "test")
    }
    assert not drawn["train"] & drawn["test"] | drawn["train"] & drawn["dev"] | drawn["dev"] & drawn["test"]


def test_the_task_is_the_same_again_and_scores_the_last_answer(task: wiki.Task) -> None:
    again = wiki.task(levels=(2, 5), train=300, per_level=60)
    assert again.splits == task.splits
    assert wiki.task(levels=(2, 5), train=300, per_level=60, seed=1).splits["test"] != task.splits["test"]
    problem = task.splits["dev"][0]
    other = {"True": "False", "False": "True"}[problem.answer]
    assert task.score(problem, problem.solution or "").value == 1
    assert task.score(problem, f"{ANSWER}{other}\n{ANSWER}{problem.answer}").value == 1
    assert task.score(problem, f"{ANSWER}{other}").value == 0
    assert task.score(problem, problem.answer).answer is None
    assert task.score(problem, f"{ANSWER}{problem.answer} or {other}").value == 0


def test_more_questions_than_there_are_is_said_in_a_sentence() -> None:
    with pytest.raises(DataError, match="fewer than 1000 different dev questions"):
        wiki.task(levels=(1,), train=10, per_level=1000, people=12)
    with pytest.raises(DataError, match="1 to 6 facts"):
        wiki.task(levels=(7,), train=10)


def test_a_row_has_the_shape_of_strategyqa_agent_data(task: wiki.Task) -> None:
    problem = task.splits["train"][0]
    row = json.loads(json.dumps(wiki.row(problem)))
    assert set(row) == {"question", "answer", "cot_steps"}
    assert row["answer"] in ("True", "False")
    assert [step.partition("]: ")[2] for step in row["cot_steps"]] == (problem.solution or "").splitlines()[:-1]
    tags = {"[rag": "memory", "[reason": "reason"}
    assert tuple(tags[step.partition("]: ")[0]] for step in row["cot_steps"]) == problem.labels
