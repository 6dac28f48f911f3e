"""A task's problems as prompts, with worked examples. Law: each has one fate, and no example is among them.

A row is made by rules and a seed alone, without a model: the same task and seed give the same rows.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from thinktwice.errors import DataError
from thinktwice.methods.evolve.prompts import Shot, answer_text
from thinktwice.render import PLAIN
from thinktwice.tasks import passages, reading, squad
from thinktwice.types import Problem, Task

Useless = Callable[[Problem], str]
"""Says why a problem is of no use; "" where it is."""


@dataclass(frozen=True)
class Form:
    """How a task's prompts are written."""

    instruction: str = ""
    """What holds for all of its problems; none: the question is asked as it stands."""
    shots: int = 0
    """Worked examples before a question that is tested, as in the public code."""
    told: bool = False
    """Several tasks in one, each named by `Problem.kind`; a problem's context is its task's instruction."""

    def group(self, problem: Problem) -> str:
        """Return which of the tasks in it a problem belongs to."""
        return problem.kind if self.told else ""

    def asked(self, problem: Problem) -> str:
        """Return the question without the instruction."""
        return passages.question(problem) if self.told else problem.prompt


_STATE = "End with a line: The answer is: "
FORMS: dict[str, Form] = {
    "boolq": Form(f"Read the passage and answer the question below it. {_STATE}True, or: The answer is: False", 2),
    "squad": Form(
        "Read the passage and answer the question below it, in words of the passage. If it does not say, the answer is "
        f"unanswerable. {_STATE}...",
        2,
    ),
    "gsm8k": Form("Solve the problem step by step. End with a line: #### and the number.", 4),
    "natural_instructions": Form(told=True),
    "instructions": Form(told=True),
}
"""Task, without "wiki_" -> its form; any other is asked as it stands."""


@dataclass(frozen=True)
class Composed:
    """What became of a split. Law: `problems` are those of `prompts` and those that were dropped."""

    prompts: tuple[tuple[Problem, str], ...]
    """Each problem that is kept, in the split's order, and its prompt with the line break after it."""
    problems: int
    dropped: Mapping[str, int]
    """How many, by reason."""
    shots: tuple[str, ...]
    """Ids of the problems that are shown as examples."""


def compose(
    task: Task,
    split: str,
    *,
    shots: int | None = None,
    instruction: str | None = None,
    per_task: int | None = None,
    seed: int = 0,
    useless: Useless = lambda problem: "",
) -> Composed:
    """Write the prompts of a split.

    Args:
        task: whose splits share nothing (`tasks.check_disjoint`).
        split: which.
        shots: examples before each question, drawn from train (of train: from dev), one of each class in turn; None:
            as many as the task's form says.
        instruction: in place of the form's; "" for none.
        per_task: at most so many problems, of each task in the task; None: all.
        seed: draws examples and rows.
        useless: why a problem is to be dropped.

    Raises:
        DataError: there are too few problems for examples, or no problem is left.
    """
    form = FORMS.get(task.name.removeprefix("wiki_"), Form())
    problems = task.splits[split]
    count = form.shots if shots is None else shots
    groups: defaultdict[str, list[Problem]] = defaultdict(list)
    for problem in problems:
        groups[form.group(problem)].append(problem)
    source = "train" if split != "train" else "dev"
    pool = task.splits.get(source, ())
    shown = {name: _draw(pool, source, some, count, form, name, seed) for name, some in groups.items()}
    kept, dropped = _choose(problems, shown, per_task, form, seed, useless)
    if not kept:
        raise DataError(f"of {len(problems)} {split} problems none is left: {dict(dropped)}.")
    prompts = []
    for problem in kept:
        told = "\n".join(problem.context) if form.told else form.instruction
        examples = [Shot(form.asked(each), _gold(each)) for each in shown[form.group(problem)]]
        text = answer_text(
            form.asked(problem), instruction=told if instruction is None else instruction, shots=examples
        )
        prompts.append((problem, PLAIN.replace("{question}", text)))
    ids = sorted(problem.id for some in shown.values() for problem in some)
    return Composed(tuple(prompts), len(problems), dropped, tuple(ids))


def text_id(problem: Problem) -> str:
    """Return a hash of what a problem says, as splits are compared by it."""
    return reading.content_id("text", reading.plain("\0".join((problem.prompt, *problem.context, *problem.choices))))


def _gold(problem: Problem) -> str:
    return problem.solution or problem.answer


def _class(problem: Problem) -> str:
    """Return what examples should show one of: true or false, with an answer or without; "" elsewhere."""
    if problem.kind in (squad.ANSWERABLE, squad.UNANSWERABLE):
        return problem.kind
    return problem.answer if problem.answer in ("True", "False") else ""


def _draw(
    pool: Sequence[Problem], source: str, asked: Sequence[Problem], count: int, form: Form, name: str, seed: int
) -> list[Problem]:
    """Draw examples for problems of one group: of every class that is asked about, in turn."""
    if not count:
        return []
    classes: defaultdict[str, list[Problem]] = defaultdict(list)
    for problem in pool:
        if form.group(problem) == name and _gold(problem):
            classes[_class(problem)].append(problem)
    missing = sorted({_class(problem) for problem in asked} - classes.keys())
    if missing or sum(map(len, classes.values())) < count:
        kind = f" that are {missing[0]}" if missing and missing[0] else ""
        raise DataError(
            f"{count} examples are asked for, and there are too few {source} problems{f' of {name}' if name else ''}"
            f"{kind}; set task.train=N so that there are some, or say --shots 0."
        )
    draw = random.Random(f"{seed} shots {name}")
    orders = [draw.sample(classes[key], len(classes[key])) for key in sorted(classes)]
    turns = [some[rank] for rank in range(count) for some in orders if rank < len(some)]
    return draw.sample(turns[:count], count)


def _choose(
    problems: Sequence[Problem],
    shown: Mapping[str, Sequence[Problem]],
    per_task: int | None,
    form: Form,
    seed: int,
    useless: Useless,
) -> tuple[list[Problem], dict[str, int]]:
    """Return the problems that are kept, in order, and how many were dropped, by reason."""
    fates = {text_id(problem): "is one of the examples" for some in shown.values() for problem in some}
    dropped: Counter[str] = Counter()
    usable: defaultdict[str, list[Problem]] = defaultdict(list)
    for problem in problems:
        reason = useless(problem) or fates.get(text_id(problem), "")
        if reason:
            dropped[reason] += 1
        else:
            fates[text_id(problem)] = "says what an earlier one says"
            usable[form.group(problem)].append(problem)
    kept: set[str] = set()
    for name, some in usable.items():
        count = len(some) if per_task is None else min(per_task, len(some))
        kept |= {problem.id for problem in random.Random(f"{seed} rows {name}").sample(some, count)}
        if count < len(some):
            dropped["more than --rows-per-task"] += len(some) - count
    return [problem for problem in problems if problem.id in kept], dict(dropped)
