"""The examples in a round's prompts: chosen from what was said, adopted only where dev is better with them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from thinktwice.config import to_dict
from thinktwice.engines.base import Engine
from thinktwice.methods.evolve.examples import (
    Candidate,
    Chosen,
    adopt,
    choose_examples,
    human_examples,
    mismatched_examples,
    random_examples,
)
from thinktwice.methods.evolve.feedback import Feedback, write
from thinktwice.methods.evolve.prompts import Shot
from thinktwice.methods.evolve.rows import Attempt, Voted
from thinktwice.methods.evolve.vectors import HashedWords
from thinktwice.render import Render
from thinktwice.types import Problem, Sampling, Task

if TYPE_CHECKING:
    from thinktwice.methods.evolve import Evolve


@dataclass(frozen=True)
class Prompted:
    """The examples of the next round."""

    shots: tuple[Shot, ...]
    record: dict[str, Any]
    """The decision: scores of both prompts on the gate problems, and what was chosen from what."""
    counts: dict[str, Any]


def first_shots(method: "Evolve", task: Task) -> tuple[Shot, ...]:
    """Return the first round's examples: solved training problems, each with feedback that it is right.

    They are the last ones of the training split, which no round answers before all others.
    """
    solved = [p for p in reversed(task.splits["train"]) if p.solution or p.answer]
    k = method.shots if isinstance(method.shots, int) else 2
    return tuple(_to_shot(_human(p)) for p in solved[:k])


def choose_shots(
    method: "Evolve", problems: Mapping[str, Problem], attempts: Sequence[Attempt], voted: Sequence[Voted],
    current: Sequence[Shot], task: Task, engine: Engine, render: Render, sampling: Sampling, *,
    gate: Sequence[Problem], never: Sequence[Problem], seed: int,
) -> Prompted:  # fmt: skip
    """Choose examples from a round's feedback, try them on the gate problems, and adopt them only if they are better.

    Args:
        method: says how examples are chosen.
        problems: the round's, by id.
        attempts: its answers.
        voted: what feedback says of them.
        current: the examples that are in use.
        task: its score decides.
        engine: the model that will be prompted.
        render: of that model.
        sampling: greedy here.
        gate: dev problems that both prompts are tried on.
        never: evaluated problems, none of which may be an example.
        seed: of the choice.
    """
    by_key = {a.key: a for a in attempts}
    rows = [
        Candidate(a.problem_id, problems[a.problem_id].prompt, a.text, v.chosen.feedback, v.agreement)
        for v in voted
        if v.chosen is not None and (a := by_key.get(v.key)) is not None
    ]
    chosen = _chosen(method, rows, task, {p.id for p in never}, [p.prompt for p in never], seed)
    shots = tuple(_to_shot(row) for row in chosen.rows)
    counts = {"in": chosen.considered, "kept": len(chosen.rows), "dropped": dict(chosen.dropped)}
    record: dict[str, Any] = {
        "source": chosen.source,
        "notes": list(chosen.notes),
        "chosen": [to_dict(s) for s in shots],
    }
    if not shots or shots == tuple(current):
        return Prompted(tuple(current), {**record, "adopted": False, "why": "nothing new was found."}, counts)
    scores = []
    for prompt in (shots, tuple(current)):
        tried = method.attempt(gate, engine, render, sampling, task, prompt, n=1)
        scores.append({p.id: task.score(p, a.text).value for p, a in zip(gate, tried, strict=True)})
    decided = adopt(scores[0], scores[1], seed=seed)
    record |= {"adopted": decided.adopted, "why": decided.why, "with": _mean(scores[0]), "without": _mean(scores[1])}
    return Prompted(shots if decided.adopted else tuple(current), record, counts)


def _chosen(
    method: "Evolve", rows: Sequence[Candidate], task: Task, ids: set[str], texts: Sequence[str], seed: int
) -> Chosen:
    k = method.shots
    few = k if isinstance(k, int) else 2
    forbidden: dict[str, Any] = {"forbidden_ids": ids, "forbidden_texts": texts}
    if method.exemplars == "human":
        return human_examples([_human(p) for p in task.splits["train"] if p.solution or p.answer], k=few, **forbidden)
    if method.exemplars == "random":
        return random_examples(rows, k=few, seed=seed, **forbidden)
    found = choose_examples(rows, vectors=HashedWords(), k=k, seed=seed, **forbidden)
    return mismatched_examples(found) if method.exemplars == "mismatched" else found


def _human(problem: Problem) -> Candidate:
    text = problem.solution or problem.answer
    return Candidate(problem.id, problem.prompt, text, Feedback("correct", 1.0, source="human"))


def _to_shot(row: Candidate) -> Shot:
    return Shot(row.question, row.answer, row.feedback.text or write(row.feedback))


def _mean(scores: Mapping[str, float]) -> float:
    return sum(scores.values()) / max(1, len(scores))
