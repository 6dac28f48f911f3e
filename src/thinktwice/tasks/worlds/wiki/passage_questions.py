"""Questions about passages of the encyclopedia, as rows of BoolQ and as a file of SQuAD v2.0.

    Ida Marshby was born in 1843.
    Ida Marshby came from Kelmar.                     (one line of her page is left out: who taught her)
    When was Ida Marshby born?                        1843
    Who is the teacher of Ida Marshby?                unanswerable

Laws: a passage is pages as they stand, so each answer can be read off it; as many questions are true as false, and as
many have an answer as not, in every shape, so that a question alone does not tell; a question starts from somebody of
its own split.
"""

import random
from collections.abc import Sequence
from typing import Any

from thinktwice.errors import DataError
from thinktwice.tasks import reading
from thinktwice.tasks.worlds.wiki import Split, split_of
from thinktwice.tasks.worlds.wiki.drawing import draw
from thinktwice.tasks.worlds.wiki.encyclopedia import RELATIONS, Encyclopedia, Fact
from thinktwice.tasks.worlds.wiki.hop_questions import HopQuestion
from thinktwice.tasks.worlds.wiki.questions import Term

Row = dict[str, Any]
RELATED = ("teacher", "friend")
"""Whose page may stand beside a person's, so that a question can lead from the one to the other."""
A_PERSONS = tuple(name for name, relation in RELATIONS.items() if relation.subject == "person")
_PATIENCE = 50
"""Draws for each row that is wanted, before it is said that there are no more."""


def people_of(encyclopedia: Encyclopedia, split: Split) -> tuple[str, ...]:
    """Return the people that the questions of a split start from: nobody is in two."""
    return tuple(person for person in encyclopedia.persons if split_of(person) == split)


def boolq_rows(
    encyclopedia: Encyclopedia, split: Split, count: int, facts: tuple[int, int] = (1, 3), seed: int | str = 0
) -> list[Row]:
    """Return `count` rows of BoolQ: a question of from..to facts, and the pages that state them, in a chance order.

    Raises:
        DataError: there are not so many different questions, or no such numbers of facts.
    """
    rng = random.Random(f"wiki-boolq/{split}/{seed}/{facts}")
    people = people_of(encyclopedia, split)
    rows: dict[str, Row] = {}
    for _ in range(_PATIENCE * count if people else 0):
        if len(rows) == count:
            break
        question = draw(rng, encyclopedia, rng.randint(*facts), people)
        read = (step for term in question.terms for step in term.walk(encyclopedia.facts))
        pages = list(dict.fromkeys(subject for subject, _, _ in read))
        rng.shuffle(pages)
        row = {
            "question": question.text,
            "title": question.left.start,
            "answer": question.answer(encyclopedia.facts),
            "passage": "\n".join(map(encyclopedia.page, pages)),
        }
        rows.setdefault(question.text, row)
    return _enough([*rows.values()], count, "wiki_boolq", split, encyclopedia)


def squad_document(encyclopedia: Encyclopedia, split: Split, count: int, seed: int | str = 0) -> Row:
    """Return a file of SQuAD v2.0 with `count` questions, one article a person, half of them without an answer.

    A paragraph is two pages with a line left out of each. It is asked four things: two that it states, one that was
    left out, and one that either was left out of the other page or is of somebody whose page is not there.

    Raises:
        DataError: there are not so many different questions.
    """
    rng = random.Random(f"wiki-squad/{split}/{seed}")
    people = people_of(encyclopedia, split)
    articles: dict[str, list[Row]] = {}
    asked: list[Row] = []
    met: set[str] = set()
    for _ in range(_PATIENCE * count if len(people) > 2 else 0):
        if len(asked) >= count:
            break
        person = rng.choice(people)
        context, questions = _paragraph(rng, encyclopedia, person, people)
        new = [qa for qa in questions if qa["id"] not in met][: count - len(asked)]
        if new:
            met.update(qa["id"] for qa in new)
            asked += new
            articles.setdefault(person, []).append({"context": context, "qas": new})
    _enough(asked, count, "wiki_squad", split, encyclopedia)
    return {"version": "v2.0", "data": [{"title": title, "paragraphs": found} for title, found in articles.items()]}


def _paragraph(
    rng: random.Random, encyclopedia: Encyclopedia, person: str, people: Sequence[str]
) -> tuple[str, list[Row]]:
    """Draw a paragraph about a person, and what it is asked."""
    link = rng.choice((None, *RELATED))
    other = encyclopedia.facts[person, link] if link else _stranger(rng, encyclopedia, person)
    left_out = {
        person: rng.choice([name for name in A_PERSONS if name != link]),
        other: rng.choice(A_PERSONS),
    }
    shown = [person, other]
    rng.shuffle(shown)
    lines = [fact for subject in shown for fact in encyclopedia.pages[subject] if fact.relation != left_out[subject]]
    stated = [name for name in A_PERSONS if name != left_out[person]]
    terms = [Term(person, (rng.choice(stated),)), Term(person, (left_out[person],))]
    if link:
        told = rng.choice([name for name in A_PERSONS if name != left_out[other]])
        terms += [Term(person, (link, told)), Term(person, (link, left_out[other]))]
    else:
        again = rng.choice([name for name in stated if name != terms[0].path[0]])
        absent = rng.choice([one for one in people if one not in shown])
        terms += [Term(person, (again,)), Term(absent, (rng.choice(A_PERSONS),))]
    context = "\n".join(fact.statement for fact in lines)
    return context, [_asked(HopQuestion("span", term), context, lines) for term in terms]


def _stranger(rng: random.Random, encyclopedia: Encyclopedia, person: str) -> str:
    """Draw somebody easily taken for a person: a namesake, where there is one."""
    alike = [one for one in encyclopedia.persons if one != person and one.split()[1] == person.split()[1]]
    return rng.choice(alike or [one for one in encyclopedia.persons if one != person])


def _asked(question: HopQuestion, context: str, lines: Sequence[Fact]) -> Row:
    """Answer a question from the lines of a passage alone."""
    facts = {(fact.subject, fact.relation): fact for fact in lines}
    known = {key: fact.value for key, fact in facts.items()}
    value = question.left.value(known)
    answers = []
    if value is not None:
        subject, relation, _ = [*question.left.walk(known)][-1]
        last = facts[subject, relation]
        answers = [{"text": value, "answer_start": context.index(last.statement) + len(last.head)}]
    return {
        "id": reading.content_id("wiki-squad", context, question.text),
        "question": question.text,
        "answers": answers,
        "is_impossible": not answers,
    }


def _enough(rows: list[Row], count: int, name: str, split: Split, encyclopedia: Encyclopedia) -> list[Row]:
    if len(rows) < count:
        raise DataError(
            f"{name} has fewer than {count} different {split} questions about {encyclopedia.people} people. "
            "Ask for fewer, or set task.people higher."
        )
    return rows
