"""Where the planning tokens' rows lie, before training and after: did the types separate at all?"""

import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from thinktwice.methods.planning.tokens import PREFIX
from thinktwice.records import Finding
from thinktwice.render import Render

if TYPE_CHECKING:
    from thinktwice.methods.planning import Planning

Rows = NDArray[np.float64]
PAIRS = 200
"""Pairs of ordinary tokens that say what cosine is usual."""


def geometry(method: "Planning", render: Render, weights: Path) -> Iterator[Finding]:
    """Yield the tables of an arm's rows; nothing where it adds no tokens, or the weights are not of a known form.

    A type's row is the mean of the rows of its tokens. Input rows, and the output rows where the head has its own.
    """
    from thinktwice.train.rows import token_rows

    groups = {key: method.inventory.own(key) for key in method.inventory.keys}
    groups |= {PREFIX: method.inventory.prefix} if method.inventory.prefix else {}
    if not groups:
        return
    base = base_of(weights)
    own = [render.control_id(name) for names in groups.values() for name in names]
    size = len(next(iter(groups.values())))
    others = _ordinary(render, 2 * PAIRS * size)
    after = token_rows(weights, [*own, *others], base)
    trained = base is not None and base.resolve() != weights.resolve()
    before = token_rows(base, own) if trained and base is not None else {}
    places = _places(groups)
    for matrix, rows in after.items():
        now = {key: rows[at].astype(np.float64) for key, at in places.items()}
        past = {key: before[matrix][at].astype(np.float64) for key, at in places.items()} if matrix in before else {}
        usual = _usual(rows[len(own) :].astype(np.float64), size)
        head = "" if len(after) == 1 else f", {matrix} rows"
        yield from _tables(now, past, usual, head)


def base_of(weights: Path) -> Path | None:
    """Return the prepared base of the run that weights lie in; None where they lie in none."""
    found = (parent / "base" for parent in weights.parents if parent.name == "stages")
    return next((path for path in found if path.is_dir()), None)


def _places(groups: Mapping[str, Sequence[str]]) -> dict[str, slice]:
    places, start = {}, 0
    for key, names in groups.items():
        places[key] = slice(start, start + len(names))
        start += len(names)
    return places


def _ordinary(render: Render, wanted: int) -> list[int]:
    known = sorted(set(range(len(render.tokenizer))) - render.special_ids)
    return random.Random(0).choices(known, k=wanted) if known else []


def _usual(rows: Rows, size: int) -> float | None:
    """Return the mean cosine between means of as many random rows as a type has."""
    means = rows[: len(rows) // size * size].reshape(-1, size, rows.shape[-1]).mean(axis=1)
    found = [cosine(a, b) for a, b in zip(means[::2], means[1::2], strict=False)]
    return float(np.mean(found)) if found else None


def _tables(now: Mapping[str, Rows], past: Mapping[str, Rows], usual: float | None, head: str) -> Iterator[Finding]:
    mean = {key: rows.mean(axis=0) for key, rows in now.items()}
    old = {key: rows.mean(axis=0) for key, rows in past.items()}
    rows = []
    for key in mean:
        moved = (
            (number(norm(old[key])), number(cosine(mean[key], old[key])), number(norm(mean[key] - old[key])))
            if old
            else ("–", "–", "–")
        )
        rows.append((key, str(len(now[key])), moved[0], number(norm(mean[key])), *moved[1:]))
    yield Finding(
        f"How far the tokens moved{head}",
        ("type", "tokens", "norm before", "norm after", "cosine to its start", "distance moved"),
        tuple(rows),
        "Of the mean of a type's rows. The picture: every token's row on the plane of largest variance"
        + ("; hollow: before training." if old else ". These weights are not trained: the rows are as they began."),
        _plane(now, past),
    )
    if len(mean) < 2:
        return
    names = list(mean)
    alike = []
    for place, one in enumerate(names[1:], 1):
        cells = [_pair(one, other, old, mean) for other in names[:place]]
        alike.append((one, *cells, *[""] * (len(names) - 1 - place)))
    yield Finding(
        f"How alike the types are{head}",
        ("type", *names[:-1]),
        tuple(alike),
        f"Cosine between the mean rows of two types{', before training → after' if old else ''}; 1 is the same "
        "direction. Types that mean different things to the model are less alike after training than before."
        f"{_said(usual)}",
    )


def _pair(one: str, other: str, old: Mapping[str, Rows], mean: Mapping[str, Rows]) -> str:
    now = number(cosine(mean[one], mean[other]))
    return f"{number(cosine(old[one], old[other]))} → {now}" if old else now


def _said(usual: float | None) -> str:
    return "" if usual is None else f" Means of as many ordinary tokens' rows have {number(usual)} on average."


def _plane(now: Mapping[str, Rows], past: Mapping[str, Rows]) -> tuple[tuple[float, float, str], ...]:
    """Return every token's row on the plane of largest variance (PCA), "(before)" told apart; empty below three."""
    labels = [key for key, rows in now.items() for _ in rows]
    labels += [f"{key} (before)" for key, rows in past.items() for _ in rows]
    table = np.concatenate([*now.values(), *past.values()])
    if len(table) < 3 or table.shape[1] < 2:
        return ()
    centred = table - table.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    axes = axes[:2] * np.sign(axes[:2, np.abs(axes[:2]).argmax(axis=1)].diagonal())[:, None]  # a side has no meaning
    places = centred @ axes.T
    places = places / (np.abs(places).max() or 1.0)
    return tuple((round(float(x), 4), round(float(y), 4), name) for (x, y), name in zip(places, labels, strict=True))


def cosine(a: Rows, b: Rows) -> float:
    """Return the cosine between two vectors; 0 where one has no length."""
    both = norm(a) * norm(b)
    return float(a @ b) / both if both else 0.0


def norm(a: Rows) -> float:
    """Return a vector's length."""
    return float(np.linalg.norm(a))


def number(value: float) -> str:
    """Return a number with three decimals and a real minus."""
    return f"{value:.3f}".replace("-", "−") if round(value, 3) else "0.000"
