"""The step oracle of `wiki`: which line of a reply is wrong, and how.

Every line is judged alone, against the encyclopedia where it recalls and against *the lines above it* where it reasons,
even where those are false: a step that follows from a wrong fact is no second mistake.

| kind | what it says of the line |
|---|---|
| wrong fact | it recalls something that the encyclopedia does not state |
| wrong step | it reasons, or answers, and does not follow from the lines above |
| unfounded  | it reasons, or answers, from something that no line above it says |
| not needed | it is right, but stood there before or has no place in this question |
| unreadable | it is no line of this world |
"""

import random
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from thinktwice.tasks.worlds.wiki.encyclopedia import Encyclopedia, Fact
from thinktwice.tasks.worlds.wiki.questions import SAID, Question, Term, read_description
from thinktwice.types import LineVerdict, Problem

Kind = Literal["wrong fact", "wrong step", "unfounded", "not needed", "unreadable"]
Label = Literal["memory", "reason"]
MEMORY: Label = "memory"
REASON: Label = "reason"

ANSWER = "The answer is: "
_SAME = re.compile(r"(.+) and (.+) are (the same|different)\.")
_WHICH = re.compile(r"Of (\d+) and (\d+) (neither|the first|the second) is (earlier|longer)\.")


@dataclass
class Reading:
    """A solution as far as it has been read: what its lines say, true or not. A later line overrides an earlier one."""

    question: Question
    recalled: dict[tuple[str, str], str] = field(default_factory=dict)
    derived: dict[Term, str] = field(default_factory=dict)
    outcome: str | None = None
    """What the comparison said."""
    answered: bool = False

    def value(self, term: Term) -> str | None:
        """Return the value that a term may be compared with: a constant, a recalled fact, or what a step derived."""
        return self.derived.get(term) if term.derived else term.value(self.recalled)

    def missing(self) -> Iterator[tuple[str, str]]:
        """Yield the facts to recall next as (subject, relation), the left side's first."""
        for term in self.question.terms:
            yield from ((subject, relation) for subject, relation, value in term.walk(self.recalled) if value is None)

    def judge(self, line: str, encyclopedia: Encyclopedia) -> Kind | None:
        """Say what is wrong with one complete line, None when nothing is, and take it as said."""
        if line.startswith(ANSWER):
            return self._judge_answer(line.removeprefix(ANSWER))
        if line.startswith("So "):
            return self._judge_claim(line.removeprefix("So "))
        if (found := _WHICH.fullmatch(line)) or (found := _SAME.fullmatch(line)):
            return self._judge_comparison(line, found)
        fact = Fact.read(line)
        return "unreadable" if fact is None else self._judge_fact(fact, encyclopedia)

    def _judge_fact(self, fact: Fact, encyclopedia: Encyclopedia) -> Kind | None:
        key = fact.subject, fact.relation
        missing = key in self.missing()
        self.recalled[key] = fact.value
        if not encyclopedia.states(fact):
            return "wrong fact"
        return None if missing else "not needed"

    def _judge_claim(self, text: str) -> Kind | None:
        read = _read_claim(text)
        if read is None:
            return "unreadable"
        term, said = read
        follows = term.value(self.recalled)
        again = term in self.derived or not term.derived or term not in self.question.terms
        self.derived[term] = said
        if follows is None:
            return "unfounded"
        if follows != said:
            return "wrong step"
        return "not needed" if again else None

    def _judge_comparison(self, line: str, found: re.Match[str]) -> Kind | None:
        left, right = (self.value(term) for term in self.question.terms)
        again = self.outcome is not None
        which = found[3].removeprefix("the ")
        self.outcome = which
        if left is None or right is None:
            return "unfounded"
        outcome = self.question.outcome(left, right)
        if outcome is None or line != self.question.comparison(left, right, outcome):
            return "wrong step"
        return "not needed" if again else None

    def _judge_answer(self, said: str) -> Kind | None:
        self.answered = True
        if said not in ("True", "False"):
            return "unreadable"
        if self.outcome is None:
            return "unfounded"
        return None if said == str(self.question.holds(self.outcome)) else "wrong step"

    def next_lines(self, encyclopedia: Encyclopedia) -> list[tuple[str, Label]]:
        """Return every right next line but the answer, with its label, in the order of a model solution."""
        facts, lines = encyclopedia.facts, []
        for term in self.question.terms:
            for subject, relation, known in term.walk(self.recalled):
                if known is None and (subject, relation) in facts:
                    lines.append((Fact(subject, relation, facts[subject, relation]).statement, MEMORY))
            value = term.value(self.recalled)
            if term.derived and term not in self.derived and value is not None:
                lines.append((term.claim(value), REASON))
        left, right = (self.value(term) for term in self.question.terms)
        if left is not None and right is not None and self.outcome is None:
            outcome = self.question.outcome(left, right)
            if outcome is not None:
                lines.append((self.question.comparison(left, right, outcome), REASON))
        return lines

    def answer_line(self) -> str | None:
        """Return the last line, where the comparison has been made."""
        return None if self.outcome is None else f"{ANSWER}{self.question.holds(self.outcome)}"


def read(question: Question, lines: Iterable[str], encyclopedia: Encyclopedia) -> tuple[Reading, list[Kind | None]]:
    """Judge every line up to the answer; return what they say together, and each one's verdict."""
    reading, verdicts = Reading(question), list[Kind | None]()
    for line in lines:
        if reading.answered:
            break
        verdicts.append(reading.judge(line, encyclopedia))
    return reading, verdicts


def finish(reading: Reading, encyclopedia: Encyclopedia) -> list[tuple[str, Label]]:
    """Return the lines that a right solution still needs, without the answer. Law: `reading` can still come right."""
    lines = []
    while following := reading.next_lines(encyclopedia):
        lines.append(following[0])
        reading.judge(following[0][0], encyclopedia)
    return lines


@dataclass(frozen=True)
class StepOracle:
    """`types.Oracle` for questions about one encyclopedia. Law: what it says is so by construction of the world."""

    encyclopedia: Encyclopedia

    def judge(self, problem: Problem, solution: str) -> list[Kind | None]:
        """Return the verdict on every line up to the answer; None where a line is right."""
        return read(Question.read(problem.prompt), solution.splitlines(), self.encyclopedia)[1]

    def verdicts(self, problem: Problem, solution: str) -> list[LineVerdict]:
        """Return what every line up to the answer is, and what is wrong with it (`types.LineOracle`)."""
        pairs = zip(self.judge(problem, solution), solution.splitlines(), strict=False)
        return [LineVerdict(kind or "", step_of(line), kind == "not needed") for kind, line in pairs]

    def first_wrong(self, problem: Problem, solution: str) -> tuple[int, str] | None:
        """Return (index of the first wrong line, its kind), or None. A solution that stops early is right so far."""
        return next(((i, kind) for i, kind in enumerate(self.judge(problem, solution)) if kind), None)

    def _right(self, problem: Problem, text: str) -> Reading | None:
        """Read whole right lines; None when one is wrong."""
        reading, verdicts = read(Question.read(problem.prompt), text.splitlines(), self.encyclopedia)
        return None if any(verdicts) else reading

    def is_viable(self, problem: Problem, text: str) -> bool:
        """Say whether text can still be continued to a right solution."""
        done, _, last = text.rpartition("\n")
        reading = self._right(problem, done)
        if reading is None or reading.answered:
            return reading is not None and not last
        following = [line for line, _ in reading.next_lines(self.encyclopedia)] + [reading.answer_line() or ""]
        return any(line.startswith(last) for line in following)

    def plausible_errors(self, problem: Problem, text: str) -> list[str]:
        """Return lines whose turn has not come, and recalls of the next fact with the value that it has of another."""
        reading = self._right(problem, text)
        if reading is None or reading.answered:
            return []
        facts = self.encyclopedia.facts
        following = dict(reading.next_lines(self.encyclopedia))
        wrong = []
        for subject, relation in list(reading.missing())[:1]:
            values = sorted({v for (_, r), v in facts.items() if r == relation} - {facts[subject, relation]})
            others = random.Random(f"{problem.id}/{text}").sample(values, min(2, len(values)))
            wrong += [Fact(subject, relation, value).statement for value in others]
        rest = [line for line, _ in finish(reading, self.encyclopedia)]
        wrong += [line for line in rest if line not in following]
        if (answer := reading.answer_line()) and rest:
            wrong.append(answer)
        return [f"{line}\n" for line in wrong]

    def complete(self, problem: Problem, text: str) -> str | None:
        """Continue right lines with those that the answer still needs."""
        reading = self._right(problem, text)
        if reading is None or reading.answered:
            return None
        rest = finish(reading, self.encyclopedia)
        return "".join(f"{line}\n" for line, _ in rest) + str(reading.answer_line())


def step_of(line: str) -> str:
    """Return what kind of step a line is, by its form alone: answer, reason, memory; empty when it is unreadable."""
    if line.startswith(ANSWER):
        return "answer"
    if line.startswith("So ") or _WHICH.fullmatch(line) or _SAME.fullmatch(line):
        return REASON
    return MEMORY if Fact.read(line) else ""


def _read_claim(text: str) -> tuple[Term, str] | None:
    """Parse a derived statement, without its "So "."""
    for name, relation in SAID.items():
        about, found, value = text.partition(relation.phrase)
        ending = f"{relation.unit}."
        if found and about and value.endswith(ending) and value != ending:
            term = read_description(about)
            return Term(term.start, (*term.path, name)), value.removesuffix(ending)
    return None
