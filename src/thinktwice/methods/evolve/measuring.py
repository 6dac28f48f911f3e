"""What a round's model can do, on dev: answers, votes, its critic, how far it has drifted. Law: test is not touched.

Gate problems decide whether the round stands. The watched ones are drawn for the curves alone and decide nothing.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinktwice.config import parse, to_dict
from thinktwice.engines.base import Engine
from thinktwice.methods.evolve.critics import FEEDBACK_TOKENS
from thinktwice.methods.evolve.drift import mean_kl
from thinktwice.methods.evolve.guards import Reading
from thinktwice.methods.evolve.rows import Attempt, Voted
from thinktwice.methods.evolve.tally import tally
from thinktwice.render import Render
from thinktwice.run import write_json
from thinktwice.scoring.sampled import Drawn, measure_samples
from thinktwice.scoring.verdicts import Judgement, above_chance, measure_critic
from thinktwice.types import Problem, Sampling, Task

if TYPE_CHECKING:
    from thinktwice.methods.evolve import Evolve

SAMPLED = 100
"""Watched problems that are answered k times, and whose answers are judged; the rest are answered once, greedily."""


@dataclass(frozen=True)
class Point:
    """One round on the curves; shares are fractions, of the watched problems unless said."""

    gate: float
    """Greedy accuracy on the gate problems."""
    watched: float
    """Greedy accuracy."""
    before: float | None
    """Greedy accuracy on the forgetting set; None where there is none."""
    one: float
    """A sample's accuracy (pass@1 at the method's temperature)."""
    majority: float
    """Majority of the k samples."""
    passed: float
    """At least one of the k samples is right (pass@k)."""
    k: int
    distinct: float
    """Distinct answers among the k samples of a problem."""
    entropy: float
    """Of the answers among the k samples of a problem, in bits."""
    unique: float
    """Share of different texts among the k samples of a problem."""
    length: float
    """Tokens an answer."""
    gained: float
    """Share of watched problems that became right since the start."""
    lost: float
    """Share that became wrong since the start."""
    balanced: float | None = None
    """The critic's balanced accuracy on the samples; None where it is not defined."""
    balanced_low: float | None = None
    balanced_high: float | None = None
    sensitivity: float | None = None
    specificity: float | None = None
    mcc: float | None = None
    auroc: float | None = None
    ece: float | None = None
    unparsed: float | None = None
    kl: float | None = None
    """Divergence from the start at the method's temperature, in nats a token, on the model's own samples; 0 there."""


@dataclass(frozen=True)
class Measured:
    """A model on dev."""

    curve: Point
    reading: Reading
    critic_above_chance: bool
    critic_said: str
    greedy: tuple[tuple[str, bool], ...]
    """(watched problem, whether its greedy answer is right)."""

    def save(self, path: Path) -> None:
        """Write it to `measures.json` in a directory."""
        write_json(path / "measures.json", to_dict(self))

    @classmethod
    def load(cls, path: Path) -> "Measured":
        """Read it back."""
        return parse(cls, json.loads((path / "measures.json").read_text(encoding="utf-8")), "measures.json")


def reading(path: Path) -> Reading:
    """Return what the guards look at, of a finished measurement."""
    return Measured.load(path).reading


def measure(
    method: "Evolve", engine: Engine, render: Render, task: Task, sampling: Sampling, gate: Sequence[Problem],
    watched: Sequence[Problem], before: Sequence[Problem], *, start: Path | None, start_engine: Any = None, seed: int,
) -> Measured:  # fmt: skip
    """Measure a model.

    Args:
        method: how it answers and criticises.
        engine: the model.
        render: of the model.
        task: scores.
        sampling: budget and seed.
        gate: problems that decide.
        watched: problems of the curves.
        before: the forgetting set.
        start: where the start's measurement lies; None: this is the start.
        start_engine: returns the start's model, for the divergence from it; None: it is not measured.
        seed: of the intervals.
    """
    decided = method.attempt(gate, engine, render, sampling, task, n=1)
    greedy = method.attempt(watched, engine, render, sampling, task, n=1)
    easy = method.attempt(before, engine, render, sampling, task, n=1) if before else []
    samples = method.attempt(watched[:SAMPLED], engine, render, sampling, task)
    by_id = {p.id: p for p in (*gate, *watched, *before)}

    def right(attempt: Attempt) -> bool:
        return task.score(by_id[attempt.problem_id], attempt.text).value == 1

    k = method.samples
    groups = [samples[i : i + k] for i in range(0, len(samples), k)]
    asked = [
        Drawn(
            own[0].problem_id,
            tuple(a.answer or "" for a in own),
            tuple(right(a) for a in own),
            tuple(a.text for a in own),
            tuple(len(a.token_ids) for a in own),
        )
        for own in groups
    ]
    found = measure_samples(asked, seed=seed)
    first = dict(Measured.load(start).greedy) if start is not None else {}
    now = {a.problem_id: right(a) for a in greedy}
    changed = [(first.get(key, ok), ok) for key, ok in now.items()]
    point = Point(
        gate=_mean([right(a) for a in decided]),
        watched=_mean([*now.values()]),
        before=_mean([right(a) for a in easy]) if easy else None,
        one=found.one.value,
        majority=found.majority.value,
        passed=found.passed[-1][1].value,
        k=k,
        distinct=found.distinct.value,
        entropy=found.entropy.value,
        unique=found.unique_texts.value,
        length=found.length.value,
        gained=_mean([not was and is_ for was, is_ in changed]),
        lost=_mean([was and not is_ for was, is_ in changed]),
        kl=_divergence([own[0] for own in groups], by_id, method, engine, render, start_engine),
    )
    if not method.listens:
        numbers: dict[str, Any] = {}
        passed, said = True, "nobody is asked."
    else:
        numbers, passed, said = _critic(method, engine, render, sampling, task, by_id, samples, right, seed)
    point = replace(point, **numbers)
    read = Reading(tuple(float(right(a)) for a in decided), point.distinct, point.length, point.before)
    return Measured(point, read, passed, said, tuple(now.items()))


def _critic(
    method: "Evolve", engine: Engine, render: Render, sampling: Sampling, task: Task, problems: dict[str, Problem],
    samples: Sequence[Attempt], right: Any, seed: int,
) -> tuple[dict[str, Any], bool, str]:  # fmt: skip
    """Measure the model as a critic of its own samples, as the rounds ask it; unfinished ones are nobody's to judge."""
    judged = [a for a in samples if a.stop == "done" and a.token_ids]
    if not judged:
        return {}, False, "there are no finished answers to judge."
    drawn = replace(
        sampling, temperature=method.temperature if method.critiques > 1 else 0.0, max_new_tokens=FEEDBACK_TOKENS
    )
    critiques = method.critic_of(engine, render).criticise(problems, judged, method.critiques, drawn, "self")
    voted = {v.key: v for v in tally(method, [c for own in critiques for c in own], task, sampling.seed)}
    rows = [_judgement(a, voted[a.key], right(a)) for a in judged]
    critic = measure_critic(rows, seed=seed)
    gate = above_chance(critic)
    balanced = critic.balanced_accuracy
    numbers = {
        "balanced": None if balanced is None else balanced.value,
        "balanced_low": None if balanced is None else balanced.ci[0],
        "balanced_high": None if balanced is None else balanced.ci[1],
        "sensitivity": _value(critic.sensitivity),
        "specificity": _value(critic.specificity),
        "mcc": _value(critic.mcc),
        "auroc": _value(critic.auroc),
        "ece": _value(critic.calibration_error),
        "unparsed": critic.unparsed.value,
    }
    return numbers, gate.passed, gate.why


def _judgement(attempt: Attempt, voted: Voted, right: bool) -> Judgement:
    says: Any = voted.verdict if voted.verdict in ("correct", "incorrect", "unparsed") else "unsure"
    return Judgement(attempt.problem_id, right, says, voted.sure)


def _divergence(
    samples: Sequence[Attempt], problems: dict[str, Problem], method: "Evolve", engine: Any, render: Render, start: Any
) -> float | None:
    """Return how much likelier the model finds its own samples than the start does; None of a model we cannot read."""
    if start is None or not hasattr(engine, "token_logprobs"):
        return 0.0 if start is None else None
    rows = [(method.answer_prompt(problems[a.problem_id], render, ()), a.token_ids) for a in samples if a.token_ids]

    def logprobs(model: Any) -> list[list[float]]:
        found = model.token_logprobs([(*prompt, *ids) for prompt, ids in rows], method.temperature or 1.0)
        return [row[len(prompt) - 1 :] for row, (prompt, _) in zip(found, rows, strict=True)]

    own = logprobs(engine)
    return mean_kl(own, logprobs(start()), estimator="k1").value


def _value(rate: Any) -> float | None:
    return None if rate is None else float(rate.value)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / max(1, len(values))
