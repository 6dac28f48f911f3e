"""Who says what of which answer. Law: every answer has one source, and what it may see of the gold is declared."""

import importlib.util
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinktwice.errors import ConfigError, DataError
from thinktwice.methods.evolve import critics
from thinktwice.methods.evolve.feedback import Feedback, read
from thinktwice.methods.evolve.human import Item, item, read_human
from thinktwice.methods.evolve.rows import Attempt, Critique, Ledger, blind
from thinktwice.render import Render
from thinktwice.types import Problem, Sampling, Task

if TYPE_CHECKING:
    from thinktwice.methods.evolve import Evolve
    from thinktwice.methods.evolve.outside import Outsider

Model = Callable[[str], "critics.Critic | Outsider"]
"""Loads the critic behind a source: "self", "frozen", "ema", "engine"."""
GENERIC = "Every step was checked against the question."
"""What generic feedback says of any answer, as long as the feedback in whose place it stands."""


@dataclass
class Heard:
    """What was said of the answers of a round."""

    critiques: dict[str, list[Critique]]
    """By the attempt's key; an answer of which nobody said anything is not there."""
    ledger: Ledger
    """Answers in, answers with feedback, and why the others have none."""
    waiting: tuple[Item, ...] = ()
    """Answers that wait for a person."""
    written: int = 0
    """Tokens that critics wrote."""


def hear(
    method: "Evolve",
    problems: Mapping[str, Problem],
    attempts: Sequence[Attempt],
    model: Model,
    task: Task,
    sampling: Sampling,
    seed: int,
) -> Heard:
    """Have every finished answer judged by its source.

    Args:
        method: says who judges, and how often.
        problems: by id.
        attempts: the answers.
        model: loads the critic of a source; asked once for each.
        task: scores and oracle, for `oracle` alone.
        sampling: budget and seed of what is drawn.
        seed: assigns the sources of a mixture, and shuffles.

    Raises:
        ConfigError: a verifier that cannot be loaded.
    """
    ledger = Ledger(came=len(attempts))
    heard = Heard({}, ledger)
    assigned: dict[str, list[Attempt]] = {name: [] for name in method.sources}
    for attempt in attempts:
        if attempt.stop != "done" or not attempt.token_ids:
            ledger.drop(f"unfinished ({attempt.stop})" if attempt.stop != "done" else "empty")
            continue
        assigned[_source(method, attempt, seed)].append(attempt)
    for source, own in assigned.items():
        if own:
            _hear_one(method, source, problems, own, model, task, sampling, seed, heard)
    ledger.kept = len(heard.critiques)
    return heard


def _source(method: "Evolve", attempt: Attempt, seed: int) -> str:
    from thinktwice.methods.evolve import share_of

    if not method.mix:
        return method.source
    return share_of(method.mix, random.Random(f"{seed}/{attempt.key}").random())


def _hear_one(
    method: "Evolve", source: str, problems: Mapping[str, Problem], attempts: Sequence[Attempt], model: Model,
    task: Task, sampling: Sampling, seed: int, heard: Heard,
) -> None:  # fmt: skip
    from thinktwice.methods.evolve import MODELS

    if source == "none":
        heard.ledger.drop("nobody was asked", len(attempts))
        return
    judges = {"human": _human, "verifier": _verifier, "oracle": _oracle}
    if source in judges:
        render = model("self").render
        judge = judges[source](method, task)
        _judged(method, source, problems, attempts, judge, render, heard)
        return
    assert source in MODELS
    critic = model(source if source in ("frozen", "ema", "engine") else "self")
    drawn = replace(
        sampling,
        temperature=method.temperature if method.critiques > 1 else 0.0,
        max_new_tokens=critics.FEEDBACK_TOKENS,
        stop=(),
    )
    render = critic.render
    found = critic.criticise(problems, attempts, method.critiques, drawn, source)
    heard.written += sum(sum(critique.written) for own in found for critique in own)
    if source == "shuffled":
        said = critics.shuffled(found, seed)
        found = [
            _spelled(method, attempt, feedback, render, heard) for attempt, feedback in zip(attempts, said, strict=True)
        ]
    if source == "generic":
        found = [
            [_generic(method, attempt, c, render) for c in own] for attempt, own in zip(attempts, found, strict=True)
        ]
    for attempt, own in zip(attempts, found, strict=True):
        if own:
            heard.critiques[attempt.key] = [method.without_content(critique, render) for critique in own]


def _spelled(
    method: "Evolve", attempt: Attempt, feedback: Sequence[Feedback], render: Render, heard: Heard
) -> list[Critique]:
    """Put feedback on another answer behind this one; what does not fit it (a line that it does not have) goes."""
    found = []
    for each in feedback:
        try:
            found.append(critics.spell(replace(each, text=""), attempt, render, method.wording))
        except DataError:
            continue
    if not found:
        heard.ledger.drop("another answer's feedback does not fit")
    return found


def _generic(method: "Evolve", attempt: Attempt, critique: Critique, render: Render) -> Critique:
    said = critique.feedback
    if said.says_right is None:
        return critique
    words = GENERIC.split()
    n = len(said.explanation.split())
    filler = " ".join((words * (n // len(words) + 1))[:n]) if method.wording == "plain" else ""
    feedback = Feedback(said.verdict, said.confidence, said.step, filler, source="generic")
    return replace(critics.spell(feedback, attempt, render, method.wording), sure=critique.sure)


def _judged(
    method: "Evolve", source: str, problems: Mapping[str, Problem], attempts: Sequence[Attempt], judge: critics.Judge,
    render: Render, heard: Heard,
) -> None:  # fmt: skip
    waiting: list[Item] = []
    for attempt in attempts:
        problem = problems[attempt.problem_id]
        seen = problem if source in ("oracle", "human") else blind(problem)
        try:
            feedback = judge(seen, attempt.text)
        except LookupError:
            heard.ledger.drop("no person has looked at it yet")
            waiting.append(item(attempt.problem_id, attempt.sample, problem.prompt, attempt.text))
            continue
        try:
            critique = critics.spell(replace(feedback, source=source), attempt, render, method.wording)
        except DataError:
            heard.ledger.drop(f"feedback that cannot be written in this wording ({feedback.verdict})")
            continue
        heard.critiques[attempt.key] = [method.without_content(critique, render)]
    heard.waiting = (*heard.waiting, *waiting)


def _oracle(method: "Evolve", task: Task) -> critics.Judge:
    return critics.oracle(task)


def _human(method: "Evolve", task: Task) -> critics.Judge:
    path = Path(method.reviewed)
    reviews, _ = read_human(path) if path.exists() else ({}, {})

    def judge(problem: Problem, text: str) -> Feedback:
        return reviews[item(problem.id, 0, problem.prompt, text).id]

    return judge


def _verifier(method: "Evolve", task: Task) -> critics.Judge:
    place, _, name = method.verifier.rpartition(":")
    if not place.endswith(".py") or not Path(place).is_file():
        raise ConfigError(
            f"method.verifier={method.verifier!r}: there is no such file. Write path/to/file.py:function."
        )
    spec = importlib.util.spec_from_file_location(f"thinktwice_verifier_{Path(place).stem}", place)
    assert spec is not None  # a .py file always has one
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    function: Any = getattr(module, name, None)
    if not callable(function):
        raise ConfigError(f"method.verifier: {place} has no function {name!r}.")

    def judge(problem: Problem, text: str) -> Feedback:
        said = function(problem, text)
        return said if isinstance(said, Feedback) else read(str(said), source="verifier")

    return judge
