"""The `arith` world: word problems over a graph of named quantities, in GSM8K's `{question, answer}` format.

    Ann has 7 apples. Leo has as many as Ann plus 3. Jay has as many as Leo plus Ann. How many apples does Jay have?
    Leo: Ann + 3 where Ann 7 = Leo 10
    Jay: Leo + Ann where Leo 10, Ann 7 = Jay 17
    #### 17

Statements come in any order and some are irrelevant. A solution computes what can be computed, one quantity a line,
until the answer is known. Difficulty is the number of operations the answer needs. Whether a line is right can be
decided from the text alone: `check` is the step oracle. Splits are disjoint by construction: a question belongs to the
split that its own hash names.
"""

import hashlib
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from thinktwice.errors import DataError
from thinktwice.scoring import numeric
from thinktwice.types import LineVerdict, Problem, Task

# fmt: off
NAMES = ("Ann", "Ben", "Cal", "Dan", "Eve", "Fay", "Gus", "Hal", "Ida", "Jay",
         "Kim", "Leo", "Max", "Ned", "Ola", "Pam", "Ray", "Sue", "Tom", "Una")
# fmt: on
NOUNS = ("apples", "books", "coins", "eggs", "pens", "shells")
LARGEST = 20
"""No quantity exceeds this, so that every number is one token and the sums can be learned by heart."""
MOST_OPERATIONS = 12
COMMON = 12
"""Problems of up to this many quantities use the first names only; longer ones need the others too."""
FOLLOW = 0.75
"""How often a step goes on from the step before it, where one can."""

Split = Literal["train", "dev", "test"]
ErrorKind = Literal[
    "unknown_input", "copied_wrong", "wrong_operand", "wrong_arithmetic", "repeated", "early_answer", "malformed"
]


@dataclass(frozen=True, slots=True)
class Fact:
    """How one quantity is defined: `left sign right`, where `right` is a name or a number, or a given number."""

    left: str
    sign: str = ""
    right: str = ""

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names it is computed from; none when the number is given."""
        return tuple(x for x in (self.left, self.right) if x and not x.isdigit())

    def value(self, known: dict[str, int]) -> int:
        """Compute it from known values."""
        left, right = (known[x] if x in known else int(x or 0) for x in (self.left, self.right))
        return left - right if self.sign == "-" else left + right

    def sentence(self, name: str, noun: str) -> str:
        """State it in English."""
        if not self.sign:
            return f"{name} has {self.left} {noun}."
        return f"{name} has as many as {self.left} {'plus' if self.sign == '+' else 'minus'} {self.right}."

    def line(self, name: str, known: dict[str, int]) -> str:
        """Write the solution step that computes it: the definition, the numbers it needs, the result."""
        numbers = ", ".join(f"{x} {known[x]}" for x in self.inputs)
        return f"{name}: {self.left} {self.sign} {self.right} where {numbers} = {name} {self.value(known)}"


_SENTENCE = re.compile(r"(\w+) has (?:(\d+) \w+|as many as (\w+) (plus|minus) (\w+))\.")
_QUERY = re.compile(r"How many \w+ does (\w+) have\?")
_LINE = re.compile(
    r"([A-Z]\w*): ([A-Z]\w*) ([+-]) (?:([A-Z]\w*)|(\d+))"
    r" where ([A-Z]\w*) (\d+)(?:, ([A-Z]\w*) (\d+))? = ([A-Z]\w*) (\d+)"
)


@dataclass(frozen=True, slots=True)
class World:
    """What a question states: the definition of each quantity and which one is asked for."""

    facts: dict[str, Fact]
    query: str

    @classmethod
    def read(cls, question: str) -> "World":
        """Parse a question; DataError when it is not one of this world's."""
        query = _QUERY.search(question)
        facts = {}
        for found in _SENTENCE.finditer(question):
            name, given, left, sign, right = found.groups()
            facts[name] = Fact(given) if given else Fact(left, "+" if sign == "plus" else "-", right)
        if query is None or query[1] not in facts:
            raise DataError(f"not an arith question: {question[:80]!r}. Expected '<Name> has ...' and 'How many ...?'.")
        return cls(facts, query[1])

    def given(self) -> dict[str, int]:
        """The quantities whose number is stated."""
        return {name: int(fact.left) for name, fact in self.facts.items() if not fact.sign}

    def solve(self, known: dict[str, int]) -> dict[str, int]:
        """Compute every quantity."""
        values = dict(known)
        while len(values) < len(self.facts):
            ready = {
                n: f.value(values)
                for n, f in self.facts.items()
                if n not in values and all(x in values for x in f.inputs)
            }
            if not ready:
                raise DataError(f"an arith question in a circle: {sorted(self.facts.keys() - values.keys())}")
            values |= ready
        return values

    def next_lines(self, known: dict[str, int]) -> dict[str, str]:
        """Every right next line as {line: name it computes} ('' for the final answer), given what is known."""
        lines = {}
        for name, fact in self.facts.items():
            if name not in known and all(x in known for x in fact.inputs):
                lines[fact.line(name, known)] = name
                if fact.sign == "+" and not fact.right.isdigit():  # a sum may be written either way round
                    lines[Fact(fact.right, "+", fact.left).line(name, known)] = name
        if self.query in known:
            lines[f"#### {known[self.query]}"] = ""
        return lines

    def judge(self, line: str, known: dict[str, int]) -> ErrorKind | None:
        """Say what is wrong with one complete line, given what is known; None when it is right."""
        if line.startswith("####"):
            if self.query not in known:
                return "early_answer"
            return None if line == f"#### {known[self.query]}" else "copied_wrong"
        parts = _LINE.fullmatch(line)
        if parts is None:
            return "malformed"
        name, one, sign, two, number, first, first_value, second, second_value, again, result = parts.groups()
        fact = self.facts.get(name)
        if fact is None or again != name or (second is None) != (two is None):
            return "malformed"
        if name in known:
            return "repeated"
        named = [x for x in (one, two, first, second) if x]
        if not all(x in known for x in (*fact.inputs, *named)):
            return "unknown_input"
        if sorted((one, two or number)) != sorted((fact.left, fact.right)) or sign != fact.sign:
            return "wrong_operand"
        if (first, second) != (one, two):
            return "wrong_operand"
        if int(first_value) != known[one] or (two and int(second_value) != known[two]):
            return "copied_wrong"
        return None if int(result) == fact.value(known) else "wrong_arithmetic"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Where a solution first goes wrong."""

    step: int
    """Index of the first wrong line; -1 when none is."""
    kind: ErrorKind | None


def _read_lines(question: str, text: str) -> tuple[World, dict[str, int]]:
    """Return the world and what is known after right lines of solution text."""
    world = World.read(question)
    done = {line.partition(":")[0]: int(line.rpartition(" ")[2]) for line in text.splitlines() if ":" in line}
    return world, world.given() | done


def check(question: str, solution: str) -> Verdict:
    """Name the first wrong line of a solution and its kind. A solution that stops early is right as far as it goes."""
    world = World.read(question)
    known = world.given()
    for index, line in enumerate(solution.splitlines()):
        kind = world.judge(line, known)
        if kind:
            return Verdict(index, kind)
        if line.startswith("####"):
            break
        known[line.partition(":")[0]] = int(line.rpartition(" ")[2])
    return Verdict(-1, None)


def verdicts(question: str, solution: str) -> list[LineVerdict]:
    """Judge every line up to the answer; the number of a wrong line counts as said from there on."""
    world = World.read(question)
    known = world.given()
    found = []
    for line in solution.splitlines():
        kind = world.judge(line, known)
        parts = _LINE.fullmatch(line)
        answers = line.startswith("####")
        step = "answer" if answers else parts[3] if parts else ""
        found.append(LineVerdict(kind or "", step, kind == "repeated"))
        if answers:
            break
        if parts and parts[1] in world.facts and kind != "repeated":
            known[parts[1]] = int(parts[11])
    return found


def is_viable(question: str, text: str) -> bool:
    """Say whether `text`, which may stop in the middle of a line, can still be continued to a right solution."""
    done, _, last = text.rpartition("\n")
    if check(question, done).kind:
        return False
    if "####" in done:
        return not last
    world, known = _read_lines(question, done)
    return any(line.startswith(last) for line in world.next_lines(known))


class StepOracle:
    """`types.Oracle` for this world, decided from the text of the question alone."""

    def first_wrong(self, problem: Problem, solution: str) -> tuple[int, str] | None:
        """Return (index of the first wrong line, its kind), or None."""
        verdict = check(problem.prompt, solution)
        return (verdict.step, verdict.kind) if verdict.kind else None

    def verdicts(self, problem: Problem, solution: str) -> list[LineVerdict]:
        """Return what every line up to the answer is (its sign), and what is wrong with it (`types.LineOracle`)."""
        return verdicts(problem.prompt, solution)

    def is_viable(self, problem: Problem, text: str) -> bool:
        """Say whether text can still be continued to a right solution."""
        return is_viable(problem.prompt, text)

    def plausible_errors(self, problem: Problem, text: str) -> list[str]:
        """Return the lines of quantities whose inputs are not known yet, with the numbers they will have."""
        world, known = _read_lines(problem.prompt, text)
        values = world.solve(known)
        return [
            fact.line(name, values) + "\n"
            for name, fact in world.facts.items()
            if name not in known and not all(x in known for x in fact.inputs)
        ]

    def complete(self, problem: Problem, text: str) -> str | None:
        """Continue right lines with the lines that the answer still needs, in the order of the question's graph."""
        if check(problem.prompt, text).kind or "####" in text:
            return None
        world, known = _read_lines(problem.prompt, text)
        lines: list[str] = []

        def compute(name: str) -> None:
            if name not in known:
                for needed in world.facts[name].inputs:
                    compute(needed)
                lines.append(world.facts[name].line(name, known) + "\n")
                known[name] = world.facts[name].value(known)

        compute(world.query)
        return "".join(lines) + f"#### {known[world.query]}"


def generate(rng: random.Random, operations: int, irrelevant: int) -> tuple[str, str]:
    """Draw one (question, answer) whose answer needs `operations`, with `irrelevant` statements besides."""
    if not 1 <= operations <= MOST_OPERATIONS or operations + irrelevant > len(NAMES) - 3:
        raise DataError(
            f"arith has 1 to {MOST_OPERATIONS} operations and {len(NAMES)} names; got {operations} + {irrelevant}."
        )
    # Few names, each met often: a quantity more than `operations` + 3 given ones + `irrelevant` never occurs.
    most = operations + min(3, operations + 1) + irrelevant
    names = rng.sample(NAMES[: max(COMMON, most)], max(COMMON, most))
    noun = rng.choice(NOUNS)
    facts: dict[str, Fact] = {}
    values: dict[str, int] = {}

    leading: set[str] = set()

    def define(fact: Fact) -> str:
        name = names.pop()
        leading.add(name)
        facts[name], values[name] = fact, fact.value(values)
        return name

    def relate(one: str, others: Sequence[str]) -> Fact:
        """Start from `one`, and add one of `others` where a sum fits; values stay within 0..LARGEST.

        A quantity starts at most one statement: what follows its name there is then never in doubt, which is what lets
        a very small model copy a statement right and leaves only the plan to get wrong.
        """
        leading.discard(one)
        fits = [x for x in others if x != one and values[one] + values[x] <= LARGEST]
        if fits:
            return Fact(one, "+", rng.choice(fits))
        up = rng.randint(1, 9)
        sign = "+" if values[one] + up <= LARGEST and (values[one] < up or rng.random() < 0.5) else "-"
        return Fact(one, sign, str(up if sign == "+" else rng.randint(1, max(1, min(9, values[one])))))

    given = rng.randint(1, min(3, operations + 1))
    unused = [define(Fact(str(rng.randint(1, 9)))) for _ in range(given)]
    steps: list[str] = []
    for left in range(operations, 0, -1):
        # Every quantity must be needed: with as many loose ends as steps left, each step has to join two of them.
        one = unused.pop(rng.randrange(len(unused)))
        join = len(unused) >= left or rng.random() < 0.4
        fact = relate(one, (unused if len(unused) >= left else list(values)) if join else ())
        unused = [x for x in unused if x not in fact.inputs]
        steps.append(define(fact))
        unused.append(steps[-1])
    if len(unused) > 1 or any(not 0 <= v <= LARGEST for v in values.values()):
        return generate(rng, operations, irrelevant)  # a sum did not fit: draw again
    query = steps[-1]
    for _ in range(irrelevant):
        idle = sorted(leading - {query})
        if idle and rng.random() < 0.9:
            define(relate(rng.choice(idle), list(values) if rng.random() < 0.5 else ()))
        else:
            define(Fact(str(rng.randint(1, 9))))
    known = {name: values[name] for name, fact in facts.items() if not fact.sign}
    lines: list[str] = []
    last = ""
    while query not in known:
        # Whatever can be computed may be next, needed or not: the number of lines never tells that the answer is due.
        ready = [n for n, f in facts.items() if n not in known and all(x in known for x in f.inputs)]
        follows = [n for n in ready if last in facts[n].inputs]
        last = rng.choice(follows if follows and rng.random() < FOLLOW else ready)
        lines.append(facts[last].line(last, values) + "\n")
        known[last] = values[last]
    answer = f"{''.join(lines)}#### {values[query]}"
    sentences = [fact.sentence(name, noun) for name, fact in facts.items()]
    rng.shuffle(sentences)
    return f"{' '.join(sentences)} How many {noun} does {query} have?", answer


def split_of(question: str) -> Split:
    """Name the split a question belongs to: 80 % train, 10 % dev, 10 % test, by its own hash."""
    part = hashlib.sha256(question.encode()).digest()[0] % 10
    return "test" if part == 0 else "dev" if part == 1 else "train"


def problems(
    split: Split, seed: int, operations: tuple[int, int], irrelevant: tuple[int, int] = (0, 3)
) -> Iterator[Problem]:
    """Yield problems for ever; the same arguments give the same problems, and splits never share a question."""
    rng = random.Random(f"arith/{split}/{seed}/{operations}/{irrelevant}")
    while True:
        level = rng.randint(*operations)
        question, answer = generate(rng, level, rng.randint(*irrelevant))
        if split_of(question) == split:
            digest = hashlib.sha256(question.encode()).hexdigest()[:16]
            yield Problem(f"arith-{digest}", question, answer.rpartition(" ")[2], answer, level)


def task(
    *,
    operations: tuple[int, int] = (1, 6),
    irrelevant: tuple[int, int] = (0, 3),
    levels: Sequence[int] = (4, 6, 8),
    train: int = 20_000,
    per_level: int = 500,
    seed: int = 0,
) -> Task:
    """Make endless word problems over a graph of named quantities, with a step oracle; nothing is downloaded.

    Args:
        operations: difficulty of the training problems, from and to.
        irrelevant: statements the answer does not need, from and to.
        levels: difficulties of dev and test.
        train: how many training problems.
        per_level: how many dev and how many test problems at each level.
        seed: other seeds, other problems.
    """

    def at_levels(split: Split) -> list[Problem]:
        return [p for n in levels for p in take(problems(split, seed, (n, n), irrelevant), per_level)]

    splits: dict[str, Sequence[Problem]] = {"train": take(problems("train", seed, operations, irrelevant), train)}
    splits |= {"dev": at_levels("dev"), "test": at_levels("test")}
    return Task("arith", splits, lambda problem, reply: numeric.score(reply, problem.answer), StepOracle())


def take(source: Iterator[Problem], count: int) -> list[Problem]:
    """Take `count` problems with different questions."""
    seen: dict[str, Problem] = {}
    while len(seen) < count:
        problem = next(source)
        seen.setdefault(problem.id, problem)
    return list(seen.values())
