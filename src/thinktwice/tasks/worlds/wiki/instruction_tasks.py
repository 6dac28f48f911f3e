"""Tasks told in words about pages of the encyclopedia, as documents of Natural Instructions, v1 or v2.

Four tasks: answer a question from a page, write a question that a sentence answers, say whether a page states a
sentence, and mend a false sentence. Each has good and bad examples with a reason, and the bad ones a suggestion.
Law: examples are about people whom no instance is about; an instance is about somebody of its own split.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from thinktwice.errors import DataError
from thinktwice.tasks.instructions import NONE
from thinktwice.tasks.worlds.wiki import Split
from thinktwice.tasks.worlds.wiki.encyclopedia import RELATIONS, Encyclopedia, Fact
from thinktwice.tasks.worlds.wiki.hop_questions import HopQuestion
from thinktwice.tasks.worlds.wiki.passage_questions import A_PERSONS, people_of
from thinktwice.tasks.worlds.wiki.questions import Term

Document = dict[str, Any]
Version = Literal[1, 2]
SHOWN = 2
"""Good examples of a task, and bad ones."""
_OTHERWISE = {
    "born": "In which year was {} born?",
    "died": "In which year did {} die?",
    "town": "Where did {} come from?",
    "field": "What did {} work in?",
    "teacher": "Who taught {}?",
    "friend": "Whom did {} befriend?",
}
"""Another question that the same sentence answers."""


@dataclass(frozen=True, slots=True)
class Made:
    """One input with what may be written, and a bad output with what is to be said of it."""

    input: str
    outputs: tuple[str, ...]
    reason: str
    """Why the outputs are good."""
    wrong: str
    criticism: str
    """What is wrong with the wrong one."""
    suggestion: str


@dataclass(frozen=True, slots=True)
class Kind:
    """A task, and how an instance of it is made of a true fact and a false value for it."""

    name: str
    prompt: str
    definition: str
    caution: str
    avoid: str
    make: Callable[[Encyclopedia, Fact, str, bool], Made]
    """(encyclopedia, a fact, a false value, a coin) -> an instance."""


def _question(fact: Fact) -> str:
    return HopQuestion("span", Term(fact.subject, (fact.relation,))).text


def _with(fact: Fact, value: str) -> str:
    return Fact(fact.subject, fact.relation, value).statement


def _answer(encyclopedia: Encyclopedia, fact: Fact, false: str, coin: bool) -> Made:
    return Made(
        f"Page: {encyclopedia.page(fact.subject)}\nQuestion: {_question(fact)}",
        (fact.value, fact.statement),
        f"The page says: {fact.statement}",
        false,
        f"The page does not say {false}; it says: {fact.statement}",
        f"Write {fact.value}.",
    )


def _ask(encyclopedia: Encyclopedia, fact: Fact, false: str, coin: bool) -> Made:
    good = (_question(fact), _OTHERWISE[fact.relation].format(fact.subject))
    other = next(name for name in A_PERSONS if name != fact.relation)
    return Made(
        f"Sentence: {fact.statement}",
        good,
        f"The sentence answers it: {fact.value}.",
        _question(Fact(fact.subject, other, "")),
        "The sentence does not answer this question.",
        f"Ask for what the sentence says: {good[0]}",
    )


def _check(encyclopedia: Encyclopedia, fact: Fact, false: str, coin: bool) -> Made:
    said, verdict, wrong = (fact.statement, "Yes", "No") if coin else (_with(fact, false), "No", "Yes")
    return Made(
        f"Page: {encyclopedia.page(fact.subject)}\nSentence: {said}",
        (verdict,),
        f"The page says: {fact.statement}",
        wrong,
        f"The page says: {fact.statement}",
        f"Write {verdict}.",
    )


def _mend(encyclopedia: Encyclopedia, fact: Fact, false: str, coin: bool) -> Made:
    return Made(
        f"Page: {encyclopedia.page(fact.subject)}\nSentence: {_with(fact, false)}",
        (fact.statement,),
        f"The page says {fact.value}, not {false}.",
        _with(fact, false),
        f"It still says {false}; the page says {fact.value}.",
        f"Write: {fact.statement}",
    )


KINDS = (
    Kind(
        "901_wiki_answer_generation",
        "Answer the question from the page.",
        "You are given a page of an encyclopedia and a question. Write the answer that the page gives.",
        "Write a name, a place, a year or a field, as the page spells it.",
        "Do not answer from memory.",
        _answer,
    ),
    Kind(
        "902_wiki_question_generation",
        "Write a question that the sentence answers.",
        "You are given a sentence of an encyclopedia. Write a question whose answer are its last words.",
        "Name whom the sentence is about.",
        "Do not put the answer into the question.",
        _ask,
    ),
    Kind(
        "903_wiki_statement_check",
        "Does the page state the sentence?",
        'You are given a page of an encyclopedia and a sentence. Write "Yes" if the page states the sentence, and "No" '
        "if it does not.",
        "Write one word.",
        NONE,
        _check,
    ),
    Kind(
        "904_wiki_statement_correction",
        "Mend the sentence.",
        "You are given a page of an encyclopedia and a false sentence. Write the sentence as the page states it.",
        "Change nothing but what is false.",
        NONE,
        _mend,
    ),
)


def documents(
    encyclopedia: Encyclopedia, split: Split, count: int, version: Version = 1, seed: int | str = 0
) -> dict[str, Document]:
    """Return the four tasks as documents by file name, each with `count` instances of a split.

    Raises:
        DataError: there are not so many different instances.
    """
    shown = encyclopedia.persons[: 2 * SHOWN]
    people = [person for person in people_of(encyclopedia, split) if person not in shown]
    found = {}
    for kind in KINDS:
        rng = random.Random(f"wiki-instructions/{kind.name}/{split}/{seed}")
        facts = [Fact(one, name, encyclopedia.facts[one, name]) for one in people for name in A_PERSONS]
        if len(facts) < count:
            raise DataError(
                f"wiki_instructions has {len(facts)} different {split} instances of a task about {encyclopedia.people} "
                f"people; {count} are asked for. Ask for fewer, or set task.people higher."
            )
        made = [_made(rng, encyclopedia, kind, fact) for fact in rng.sample(facts, count)]
        of = random.Random(f"wiki-instructions/{kind.name}")  # the same examples in every split
        examples = [
            _made(of, encyclopedia, kind, Fact(one, name, encyclopedia.facts[one, name]))
            for one, name in zip(shown, of.sample(A_PERSONS, len(shown)), strict=True)
        ]
        found[f"{'subtask' if version == 1 else 'task'}{kind.name}"] = _document(kind, made, examples, version)
    return found


def _made(rng: random.Random, encyclopedia: Encyclopedia, kind: Kind, fact: Fact) -> Made:
    value = RELATIONS[fact.relation].value
    if value == "year":
        false = str(int(fact.value) + rng.choice((-1, 1)) * rng.randint(1, 30))
    else:
        others = {known for (_, relation), known in encyclopedia.facts.items() if relation == fact.relation}
        false = rng.choice(sorted(others - {fact.value, fact.subject}))
    return kind.make(encyclopedia, fact, false, rng.random() < 0.5)


def _document(kind: Kind, made: Sequence[Made], examples: Sequence[Made], version: Version) -> Document:
    good: list[Mapping[str, str]] = [{"input": e.input, "output": e.outputs[0]} for e in examples[:SHOWN]]
    bad: list[Mapping[str, str]] = [{"input": e.input, "output": e.wrong} for e in examples[SHOWN:]]
    instances = [{"input": one.input, "output": list(one.outputs)} for one in made]
    if version == 1:
        nothing = {"suggestion": NONE}
        return {
            "Title": kind.prompt,
            "Prompt": kind.prompt,
            "Definition": kind.definition,
            "Things to Avoid": kind.avoid,
            "Emphasis & Caution": kind.caution,
            "Examples": {
                "Positive Examples": [
                    {**row, "reason": e.reason, **nothing} for row, e in zip(good, examples[:SHOWN], strict=True)
                ],
                "Negative Examples": [
                    {**row, "reason": e.criticism, "suggestion": e.suggestion}
                    for row, e in zip(bad, examples[SHOWN:], strict=True)
                ],
            },
            "Instances": instances,
        }
    return {
        "Contributors": ["thinktwice"],
        "Source": ["the wiki world"],
        "Categories": [kind.prompt],
        "Definition": [kind.definition],
        "Positive Examples": [{**row, "explanation": e.reason} for row, e in zip(good, examples[:SHOWN], strict=True)],
        "Negative Examples": [
            {**row, "explanation": e.criticism} for row, e in zip(bad, examples[SHOWN:], strict=True)
        ],
        "Instances": instances,
    }
