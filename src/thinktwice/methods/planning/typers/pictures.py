"""How types fell on some solutions, as plain data to draw: counts, what follows what, examples, points on a plane."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from thinktwice.config import parse, to_dict
from thinktwice.methods.planning.tokens import ANSWER, ASSIGNMENT
from thinktwice.run import read_json, write_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from thinktwice.methods.planning.typers import Embed, Solution, StepTyper

FILE = "picture.json"
START = "start"
"""What stands before the first step."""
POINTS = 1500
"""Steps that are drawn; more would hide each other."""
EXAMPLES = 4


@dataclass(frozen=True, slots=True)
class Picture:
    """How types fell. `assignment` stands for a step without one, as it does among the tokens."""

    problems: int
    steps: int
    types: tuple[str, ...]
    """Every type that can be given, and assignment where some step has none."""
    counts: dict[str, int]
    """Type -> blocks of tokens; a step with several types has several."""
    transitions: tuple[tuple[int, ...], ...]
    """How often a block follows a block: rows are start and the types, columns the types and the answer."""
    labels: dict[str, dict[str, int]] = field(default_factory=dict)
    """Type -> the dataset's own label -> steps; empty where the dataset has none."""
    examples: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Type -> some different steps; those nearest to the mean of their type where steps are embedded."""
    words: dict[str, str] = field(default_factory=dict)
    """Type -> the word that it stands for (tf-idf)."""
    points: tuple[tuple[float, float, str], ...] = ()
    """Some steps on the plane of largest variance (PCA), with their first type; empty where nothing embeds."""
    explained: tuple[float, float] = (0.0, 0.0)
    """Share of the variance along each axis."""

    def save(self, directory: Path) -> None:
        """Write it beside the typer."""
        write_json(directory / FILE, to_dict(self))

    @classmethod
    def load(cls, directory: Path) -> "Picture":
        """Read it back; RunError when there is none."""
        return parse(cls, read_json(directory / FILE), str(directory / FILE))


def picture(typer: "StepTyper", solutions: "Sequence[Solution]", embed: "Embed | None", *, seed: int = 0) -> Picture:
    """Let a fitted typer read solutions, and return how its types fall. The same arguments give the same picture."""
    found = [[types or (ASSIGNMENT,) for types in steps] for steps in typer.predict(solutions, embed)]
    counts = Counter(name for steps in found for types in steps for name in types)
    names = typer.types if ASSIGNMENT in typer.types or not counts[ASSIGNMENT] else (*typer.types, ASSIGNMENT)
    labels: dict[str, Counter[str]] = {}
    for solution, steps in zip(solutions, found, strict=True):
        for label, types in zip(solution.labels, steps, strict=bool(solution.labels)):
            for name in types:
                labels.setdefault(name, Counter())[label] += 1
    drawn = _drawn(solutions, seed)
    points, explained, order = _plane([solutions[i] for i in drawn], embed)
    shown = [(step, types[0]) for i in drawn for step, types in zip(solutions[i].steps, found[i], strict=True)]
    return Picture(
        problems=len(solutions),
        steps=sum(len(s.steps) for s in solutions),
        types=names,
        counts={name: counts[name] for name in names},
        transitions=_transitions(found, names),
        labels={name: dict(sorted(labels[name].items())) for name in names if name in labels},
        examples=_examples(shown, order),
        words=dict(zip(typer.types, getattr(typer, "words", ()), strict=False)),
        points=tuple((x, y, name) for (x, y), (_, name) in zip(points, shown, strict=bool(points))),
        explained=explained,
    )


def _drawn(solutions: "Sequence[Solution]", seed: int) -> list[int]:
    """Return which solutions to show: about POINTS steps, by chance."""
    order = list(range(len(solutions)))
    random.Random(f"{seed}/picture").shuffle(order)
    chosen, steps = [], 0
    for index in order:
        if steps >= POINTS:
            break
        chosen.append(index)
        steps += len(solutions[index].steps)
    return chosen


def _transitions(found: Sequence[Sequence[tuple[str, ...]]], names: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    counted: Counter[tuple[str, str]] = Counter()
    for steps in found:
        counted.update(pairwise([START, *(name for types in steps for name in types), ANSWER]))
    return tuple(tuple(counted[row, column] for column in (*names, ANSWER)) for row in (START, *names))


def _plane(
    solutions: "Sequence[Solution]", embed: "Embed | None"
) -> "tuple[list[tuple[float, float]], tuple[float, float], NDArray[np.float64] | None]":
    """Return each step's place on the plane, the shares of the variance, and the centred vectors (N, H)."""
    vectors = embed(solutions).astype(np.float64) if embed is not None else np.zeros((0, 0))
    if len(vectors) < 3 or vectors.shape[1] < 2:
        return [], (0.0, 0.0), None
    centred = vectors - vectors.mean(axis=0)
    _, spread, axes = np.linalg.svd(centred, full_matrices=False)
    axes = axes[:2] * np.sign(axes[:2, np.abs(axes[:2]).argmax(axis=1)].diagonal())[:, None]  # a side has no meaning
    places = centred @ axes.T
    places = places / (np.abs(places).max() or 1.0)
    share = np.square(spread) / (np.square(spread).sum() or 1.0)
    points = [(round(float(x), 4), round(float(y), 4)) for x, y in places]
    return points, (round(float(share[0]), 4), round(float(share[1]), 4)), centred


def _examples(shown: Sequence[tuple[str, str]], vectors: "NDArray[np.float64] | None") -> dict[str, tuple[str, ...]]:
    members: dict[str, list[int]] = {}
    for index, (_, name) in enumerate(shown):
        members.setdefault(name, []).append(index)
    chosen: dict[str, tuple[str, ...]] = {}
    for name, indices in sorted(members.items()):
        if vectors is not None:
            own = vectors[indices]
            far = np.square(own - own.mean(axis=0)).sum(axis=1)
            indices = [indices[i] for i in np.argsort(far, kind="stable")]
        chosen[name] = tuple(dict.fromkeys(shown[i][0] for i in indices))[:EXAMPLES]
    return chosen
