"""Who says what of which answer. Law: every answer has one source, and what it may see of the gold is declared."""

import hashlib
import importlib.util
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinktwice.errors import ConfigError, DataError
from thinktwice.methods.evolve import critics
from thinktwice.methods.evolve.feedback import Feedback, read, write
from thinktwice.methods.evolve.human import Item, item, item_id, read_human
from thinktwice.methods.evolve.rows import Attempt, Critique, Ledger, blind
from thinktwice.render import Render
from thinktwice.types import Problem, Sampling, Task

if TYPE_CHECKING:
    from thinktwice.methods.evolve import Evolve
    from thinktwice.methods.evolve.outside import Outsider

Model = Callable[[str], "critics.Critic | Outsider"]
"""Loads the critic behind a source: "self", "frozen", "ema", "engine"."""
Judge = Callable[[Problem, str], Feedback | None]
"""`(problem, answer text) -> feedback`; None where there is none yet."""
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
    bad_rows: dict[str, int] = field(default_factory=dict)
    """Rows of people's file that cannot be read, by reason."""
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
    if source in ("human", "verifier", "oracle"):
        judges: dict[str, Callable[[], Judge]] = {
            "human": lambda: _human(method, heard),
            "verifier": lambda: _verifier(method),
            "oracle": lambda: critics.oracle(task),
        }
        _judged(method, source, problems, attempts, judges[source](), model("self").render, heard)
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
    if method.wording == "bare":  # where the verdict stands is the verdict; the line after it is left out
        feedback = Feedback(said.verdict, said.confidence, said.step, source="generic")
    else:
        bare = Feedback(said.verdict, said.confidence, source="generic")
        words = GENERIC.split()
        # Its own words and "Explanation:" take the places of the words of what it stands for.
        n = max(1, len((said.text or write(said)).split()) - len(write(bare).split()) - 1)
        feedback = replace(bare, explanation=" ".join((words * (n // len(words) + 1))[:n]))
    return replace(critics.spell(feedback, attempt, render, method.wording), sure=critique.sure)


def _judged(
    method: "Evolve", source: str, problems: Mapping[str, Problem], attempts: Sequence[Attempt], judge: Judge,
    render: Render, heard: Heard,
) -> None:  # fmt: skip
    waiting: list[Item] = []
    for attempt in attempts:
        problem = problems[attempt.problem_id]
        feedback = judge(problem if source == "oracle" else blind(problem), attempt.text)
        if feedback is None:
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


def _human(method: "Evolve", heard: Heard) -> Judge:
    path = Path(method.reviewed)
    reviews, heard.bad_rows = read_human(path) if path.exists() else ({}, {})
    return lambda problem, text: reviews.get(item_id(problem.id, text))


def code_of(method: "Evolve") -> str:
    """Return a hash of the verifier's file.

    Raises:
        ConfigError: there is no such file.
    """
    place = method.verifier.rpartition(":")[0]
    if not place.endswith(".py") or not Path(place).is_file():
        raise ConfigError(
            f"method.verifier={method.verifier!r}: there is no such file. Write path/to/file.py:function."
        )
    return hashlib.sha256(Path(place).read_bytes()).hexdigest()


def _verifier(method: "Evolve") -> Judge:
    place, _, name = method.verifier.rpartition(":")
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
