"""The `wiki_hops` task: questions about the invented encyclopedia whose answer is read off several pages, one by one.

    When was the teacher of the friend of Ida Marshby born?
    Ida Marshby befriended Otto Elmson.                          page: Ida Marshby
    Otto Elmson was taught by Hugo Oakham.                       page: Otto Elmson
    Hugo Oakham was born in 1843.                                page: Hugo Oakham
    The answer is: 1843

It is HotpotQA in small, and `row` writes its file format. *Bridge* questions follow a path; *comparisons* ask which of
two was first (the answer is a name) or whether two values are the same (yes or no). Difficulty is the number of hops:
of pages that must be read, none of them twice; the file format calls 1 easy, 2 medium, more hard. A question belongs to
the split that its own hash names. The pages are those that `wiki` asks about from memory.
"""

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache, partial

from thinktwice.errors import DataError
from thinktwice.tasks import hotpotqa
from thinktwice.tasks.worlds.wiki import Split, split_of
from thinktwice.tasks.worlds.wiki.drawing import NEAR, paths
from thinktwice.tasks.worlds.wiki.encyclopedia import RELATIONS, Encyclopedia, Fact
from thinktwice.tasks.worlds.wiki.hop_questions import FIRST, Form, HopQuestion
from thinktwice.tasks.worlds.wiki.oracle import ANSWER, MEMORY, REASON, Label
from thinktwice.tasks.worlds.wiki.questions import AGE, Term
from thinktwice.types import Problem, Task

MOST_HOPS = 4
COMPARISONS = 0.2
"""Share of comparisons among questions of two hops and more; about HotpotQA's."""
PARAGRAPHS = 10
_LONGEST = 3
"""Most hops on one side of a comparison."""
_STARTS = (*("person",) * 8, "town", "country")
_TRIES = 60


# -- drawing -----------------------------------------------------------------------------------------------------------


def draw(rng: random.Random, encyclopedia: Encyclopedia, hops: int, people: Sequence[str] | None = None) -> HopQuestion:
    """Draw a question of so many hops, starting from some of `people` (default: everyone alike).

    Laws: no page is read twice; the answer of a path is no page on it; of every shape of comparison as many have the
    one answer as the other.

    Raises:
        DataError: no such number of hops.
    """
    if not 1 <= hops <= MOST_HOPS:
        raise DataError(f"wiki_hops has questions of 1 to {MOST_HOPS} hops; got {hops}.")
    starts = {"person": people or encyclopedia.persons, **encyclopedia.places}
    draw_one = _draw_comparison if hops > 1 and rng.random() < COMPARISONS else _draw_path
    while (found := draw_one(rng, encyclopedia, hops, starts)) is None:
        pass
    return found


def _draw_path(
    rng: random.Random, encyclopedia: Encyclopedia, hops: int, starts: dict[str, Sequence[str]]
) -> HopQuestion | None:
    source = rng.choice(_STARTS)
    options = _paths(source, hops)
    if not options:
        return None
    question = HopQuestion("span", Term(rng.choice(starts[source]), rng.choice(options[rng.choice(sorted(options))])))
    chain = question.chain(encyclopedia.facts)
    pages = {fact.subject for fact in chain}
    return question if len(pages) == hops == len(chain) and chain[-1].value not in pages else None


def _draw_comparison(
    rng: random.Random, encyclopedia: Encyclopedia, hops: int, starts: dict[str, Sequence[str]]
) -> HopQuestion | None:
    """Draw a shape, and for it a question of either answer; None where there is not both."""
    form: Form = rng.choice(("order", "same"))
    left = rng.choice([n for n in range(1, _LONGEST + 1) if 1 <= hops - n <= _LONGEST])
    sides = []
    end = rng.choice(tuple(FIRST) if form == "order" else ("person", "town", "country", "field"))
    for size in (left, hops - left):
        source = rng.choice(_STARTS)
        fit = [path for path in (p for ps in _paths(source, size).values() for p in ps) if end in _ends(form, path)]
        if not fit:
            return None
        sides.append((source, rng.choice(fit)))
    pair = [_find(rng, encyclopedia, form, sides, starts, turn) for turn in (True, False)]
    return rng.choice(pair) if None not in pair else None


def _find(
    rng: random.Random,
    encyclopedia: Encyclopedia,
    form: Form,
    sides: Sequence[tuple[str, tuple[str, ...]]],
    starts: dict[str, Sequence[str]],
    turn: bool,
) -> HopQuestion | None:
    """Draw whom a comparison is about, so that the first is first, or both are the same, just where `turn` says so."""
    facts = encyclopedia.facts
    (source, path), (other, its) = sides
    for _ in range(_TRIES):
        left = Term(rng.choice(starts[source]), path)
        value = left.value(facts)
        options: Sequence[str] = starts[other]
        if form == "same" and turn and value is not None:
            options = sorted(_leading_to(encyclopedia, value, its).intersection(options)) or options
        right = Term(rng.choice(options), its)
        against = right.value(facts)
        if value is None or against is None:
            continue
        if form == "order":
            fits = 0 < abs(int(value) - int(against)) <= NEAR["order"] and (int(value) < int(against)) == turn
        else:
            fits = (value == against) == turn
        question = HopQuestion(form, left, right)
        if fits and len({fact.subject for fact in question.chain(facts)}) == question.hops:
            return question
    return None


def _leading_to(encyclopedia: Encyclopedia, value: str, path: Sequence[str]) -> set[str]:
    """Return every start from which a path ends at a value."""
    same = {value}
    for relation in reversed(path):
        same = {subject for one in same for subject in encyclopedia.subjects.get((relation, one), ())}
    return same


@cache
def _paths(source: str, size: int) -> dict[str, list[tuple[str, ...]]]:
    """Return the paths of so many pages by the kind of value they end at; ages stand on no page."""
    kinds = {kind: [path for path in found if AGE not in path] for kind, found in paths(source, size).items()}
    return {kind: found for kind, found in kinds.items() if found}


def _ends(form: Form, path: Sequence[str]) -> tuple[str, ...]:
    """Return what a path can be compared by: its last relation, or the kind of its value."""
    return (path[-1],) if form == "order" else (RELATIONS[path[-1]].value,)


# -- problems ----------------------------------------------------------------------------------------------------------


def problem(question: HopQuestion, encyclopedia: Encyclopedia, *, contexts: bool = False) -> Problem:
    """Make a problem of a question: `level` its hops, `support` the pages to read in their order."""
    chain = question.chain(encyclopedia.facts)
    answer, compared = question.comparison(encyclopedia.facts)
    lines = [(fact.statement, MEMORY) for fact in chain]
    labelled: list[tuple[str, Label]] = [*lines, *([(compared, REASON)] if compared else [])]
    digest = hashlib.sha256(f"{encyclopedia}/{question.text}".encode()).hexdigest()[:16]
    made = Problem(
        f"hops-{digest}",
        question.text,
        answer,
        "".join(f"{line}\n" for line, _ in labelled) + ANSWER + answer,
        question.hops,
        labels=tuple(label for _, label in labelled),
        kind="bridge" if question.right is None else "comparison",
        support=tuple(fact.subject for fact in chain),
    )
    if not contexts:
        return made
    return replace(made, context=tuple(f"{title}\n{encyclopedia.page(title)}" for title in titles(made, encyclopedia)))


def chain(problem: Problem) -> tuple[Fact, ...]:
    """Return what must be read to answer a problem of this task: the facts in order; `fact.subject` is the page.

    Raises:
        DataError: it is no problem of this task, so that its solution does not say.
    """
    lines = (problem.solution or "").splitlines()[:-1]
    facts = [Fact.read(line) for line, label in zip(lines, problem.labels, strict=False) if label == MEMORY]
    found = tuple(fact for fact in facts if fact is not None)
    if not found or tuple(fact.subject for fact in found) != problem.support:
        raise DataError(f"problem {problem.id} has no chain of facts. Take one of the task wiki_hops.")
    return found


def titles(problem: Problem, encyclopedia: Encyclopedia) -> list[str]:
    """Return the titles of a problem's ten paragraphs in a chance order: its pages, and others easily taken for them.

    First namesakes, then pages that tell of somebody or something of the question, then any.
    """
    rng = random.Random(f"hops/{problem.id}/context")
    names = {part for title in problem.support for part in title.split()[1:]}
    alike = [person for person in encyclopedia.persons if person.split()[1] in names]
    telling = [s for t in problem.support for r in RELATIONS for s in encyclopedia.subjects.get((r, t), ())]
    every = list(encyclopedia.pages)
    found = dict.fromkeys(problem.support)
    for group, most in ((alike, 4), (telling, 4), (every, PARAGRAPHS)):
        others = sorted(set(group) - found.keys())
        wanted = max(0, min(most, PARAGRAPHS - len(found), len(others)))
        found |= dict.fromkeys(rng.sample(others, wanted))
    shown = list(found)
    rng.shuffle(shown)
    return shown


def problems(
    encyclopedia: Encyclopedia,
    seed: int | str,
    hops: tuple[int, int],
    split: Split | None = None,
    *,
    contexts: bool = False,
) -> Iterator[Problem]:
    """Yield problems of from..to hops, of one split or of all, for ever; the same arguments give the same ones."""
    rng = random.Random(f"hops/{split}/{seed}/{hops}")
    people = encyclopedia.persons_as_met if split == "train" else encyclopedia.persons
    while True:
        question = draw(rng, encyclopedia, rng.randint(*hops), people)
        if split is None or split_of(question.text) == split:
            yield problem(question, encyclopedia, contexts=contexts)


def task(
    *,
    hops: tuple[int, int] = (1, 4),
    levels: Sequence[int] = (1, 2, 3, 4),
    train: int = 5_000,
    per_level: int = 300,
    seed: int = 0,
    encyclopedia: int = 0,
    people: int = 1008,
    contexts: bool = False,
) -> Task:
    """Make multi-hop questions with spans for answers; nothing is downloaded.

    Args:
        hops: how many pages the training questions need, from and to.
        levels: how many pages the questions of dev and test need.
        train: how many training questions.
        per_level: how many dev and how many test questions at each level.
        seed: other seeds, other questions.
        encyclopedia: other numbers, other encyclopedias (which no shipped model has read).
        people: how many people the encyclopedia tells of.
        contexts: whether each question comes with ten paragraphs, its own pages among them.

    Raises:
        DataError: there are not so many different questions.
    """
    world = Encyclopedia(encyclopedia, people)
    source = partial(problems, world, seed, contexts=contexts)

    def take(split: Split, hops: tuple[int, int], count: int) -> list[Problem]:
        drawn = source(hops, split)
        seen: dict[str, Problem] = {}
        for _ in range(20 * count + 100):
            if len(seen) == count:
                break
            one = next(drawn)
            seen.setdefault(one.id, one)
        if len(seen) < count:
            raise DataError(
                f"wiki_hops has fewer than {count} different {split} questions of {hops[0]} to {hops[1]} hops about "
                f"{people} people. Ask for fewer, or set task.people higher."
            )
        return list(seen.values())

    splits: dict[str, Sequence[Problem]] = {"train": take("train", hops, train)}
    splits |= {split: [p for n in levels for p in take(split, (n, n), per_level)] for split in ("dev", "test")}
    return Task("wiki_hops", splits, hotpotqa.score, measure="F1")


def row(problem: Problem, encyclopedia: Encyclopedia) -> dict[str, object]:
    """Write a problem as a row of HotpotQA's files, with ten paragraphs; `tasks.hotpotqa` reads it back."""
    pages = {title: encyclopedia.pages[title] for title in titles(problem, encyclopedia)}
    return {
        "_id": problem.id,
        "question": problem.prompt,
        "answer": problem.answer,
        "type": problem.kind,
        "level": ("easy", "medium", "hard")[min(problem.level, 3) - 1],
        "supporting_facts": [[fact.subject, pages[fact.subject].index(fact)] for fact in chain(problem)],
        "context": [
            [title, [("\n" if place else "") + fact.statement for place, fact in enumerate(page)]]
            for title, page in pages.items()
        ],
    }
