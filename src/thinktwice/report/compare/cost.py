"""What runs cost, side by side. Law: only what was measured; what wasn't is "–"."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from thinktwice.report.compare.sides import Side

KINDS = {"collect": "collecting", "train": "training", "calibrate": "calibrating", "solve": "solving"}
"""The first word of a stage's name -> what is done there."""


@dataclass(frozen=True)
class CostRow:
    """One quantity in every run; None where it was not measured."""

    name: str
    values: tuple[float | None, ...]


@dataclass(frozen=True)
class Cost:
    """Seconds and tokens of every run."""

    seconds: tuple[CostRow, ...]
    """By kind of work; the first row is the whole run."""
    stages: tuple[CostRow, ...]
    memory: tuple[CostRow, ...]
    """The most a stage held, in MiB, by kind of work; empty where nobody measured it."""
    level: int | None
    """The level of `sampled`."""
    sampled: tuple[CostRow, ...]
    """Tokens sampled a problem, by arm."""
    trained: tuple[CostRow, ...]
    """Tokens trained on, by arm."""


def cost(sides: Sequence[Side]) -> Cost:
    """Read what every run spent."""
    spent = [(side.summary.seconds if side.summary else {}) or side.run.seconds() for side in sides]
    stages = list(dict.fromkeys(name for seconds in spent for name in seconds))
    by_kind = [_kinds(seconds) for seconds in spent]
    order = ["together", *KINDS.values(), "the rest"]
    arms = list(dict.fromkeys(arm for side in sides for arm in side.recipe.arms))
    plan = next((side.recipe.headline for side in sides if side.recipe.headline), None)
    levels = sorted({level for side in sides for cells in side.cells.values() for level in cells})
    level = plan.level if plan and plan.level in levels else next(iter(levels[-1:]), None)
    return Cost(
        _rows(order, by_kind),
        _rows(stages, spent),
        _rows([*KINDS.values(), *(f"{kind}, GPU" for kind in KINDS.values())], [_memory(side) for side in sides]),
        level,
        _rows(arms, [_sampled(side, level) for side in sides]),
        _rows(arms, [{arm: n for arm in arms if (n := _trained(side, arm)) is not None} for side in sides]),
    )


def _rows(names: Sequence[str], columns: Sequence[Mapping[str, float]]) -> tuple[CostRow, ...]:
    rows = [CostRow(name, tuple(column.get(name) for column in columns)) for name in names]
    return tuple(row for row in rows if any(value is not None for value in row.values))


def _kinds(seconds: Mapping[str, float]) -> dict[str, float]:
    found: dict[str, float] = {}
    for stage, value in seconds.items():
        kind = KINDS.get(stage.partition("-")[0], "the rest")
        found[kind] = found.get(kind, 0.0) + value
    return {**found, "together": sum(seconds.values())} if seconds else {}


def _memory(side: Side) -> dict[str, float]:
    """Return the most memory a kind of work held, in MiB."""
    most: dict[str, float] = {}
    for stage, held in side.run.memory().items():
        kind = KINDS.get(stage.partition("-")[0])
        for name, size in ((kind, held.host), (f"{kind}, GPU", held.device)):
            if kind and name and size:
                most[name] = max(most.get(name, 0.0), size / 2**20)
    return most


def _sampled(side: Side, level: int | None) -> dict[str, float]:
    cells = [(arm, cell) for arm, found in side.cells.items() for at, cell in found.items() if at == level]
    return {arm: cell.sampled_tokens for arm, cell in cells if cell.sampled_tokens is not None}


def _trained(side: Side, arm: str) -> float | None:
    path = side.run.artefact(f"train-{arm}", "metrics.jsonl")
    return None if path is None else _last_tokens(path)


def _last_tokens(path: Path) -> float | None:
    for line in reversed(path.read_text(encoding="utf-8").splitlines()):
        try:
            row = json.loads(line)
        except ValueError:
            continue  # half a line of a process that was killed
        if isinstance(row, dict) and "tokens" in row:
            return float(row["tokens"])
    return None
