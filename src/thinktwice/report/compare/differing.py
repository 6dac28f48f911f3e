"""What differs between runs: recipe, code, machine. Law: key by key, and what is the same everywhere is left out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from thinktwice.report.compare.sides import Side
from thinktwice.report.compare.text import clip
from thinktwice.run.files import canonical

ABSENT = "–"
KEY, VALUE = 120, 2000
"""Characters that are shown of a key and of a value."""
SEEDS = frozenset({"seed", "train.seed"})
"""Keys of a recipe that only choose another draw of the same experiment."""
NAMES = frozenset({"name"})
PROBLEMS = ("task", "evaluation")
"""Sections of a recipe that decide which problems are answered."""


@dataclass(frozen=True)
class Row:
    """One key and its value in every run, as text."""

    key: str
    values: tuple[str, ...]

    @property
    def differs(self) -> bool:
        """True when the runs disagree."""
        return len(set(self.values)) > 1


@dataclass(frozen=True)
class Family:
    """Runs of one recipe that differ in nothing but their seed."""

    sides: tuple[Side, ...]
    seeds: tuple[str, ...]
    """The seed of each."""

    @property
    def repeats(self) -> bool:
        """True when two of them have the same seed too."""
        return len(set(self.seeds)) < len(self.seeds)


def flat(value: Any, key: str = "") -> dict[str, Any]:
    """Return a nested mapping as `{"train.lr": 0.004, ...}`; lists stay whole."""
    if not isinstance(value, Mapping) or (not value and key):
        return {key: value}
    found: dict[str, Any] = {}
    for name, inner in value.items():
        found |= flat(inner, f"{key}.{name}" if key else str(name))
    return found


def rows(mappings: Sequence[Mapping[str, Any]], *, differing: bool = True) -> list[Row]:
    """Return each key's values side by side: only those that differ, or all. A key that isn't there is "–"."""
    flattened = [flat(mapping) for mapping in mappings]
    keys = dict.fromkeys(key for mapping in flattened for key in mapping)
    table = [Row(key, tuple(_text(m[key]) if key in m else ABSENT for m in flattened)) for key in keys]
    return [
        Row(clip(row.key, KEY), tuple(clip(value, VALUE) for value in row.values))
        for row in table
        if row.differs or not differing
    ]


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value or "(empty)"
    if isinstance(value, list) and all(isinstance(item, str | int | float) for item in value):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else canonical(value)


def recipe_rows(sides: Sequence[Side]) -> list[Row]:
    """Return the recipe's keys that differ, without the name of the run."""
    return [row for row in rows([side.run.config for side in sides]) if row.key not in NAMES]


def problem_keys(first: Side, second: Side) -> list[str]:
    """Return the keys that differ and decide which problems are answered, as "evaluation.problems: 600 and 200"."""
    found = rows([first.run.config, second.run.config])
    decisive = [row for row in found if row.key.split(".")[0] in PROBLEMS]
    return [f"{row.key}: {clip(row.values[0], 60)} and {clip(row.values[1], 60)}" for row in decisive]


def families(sides: Sequence[Side]) -> list[Family]:
    """Return the groups of two or more runs that differ in nothing but their seed."""
    groups: dict[str, list[Side]] = {}
    for side in sides:
        recipe = {key: value for key, value in flat(side.run.config).items() if key not in SEEDS | NAMES}
        groups.setdefault(canonical(recipe), []).append(side)
    return [Family(tuple(group), tuple(_seed(side) for side in group)) for group in groups.values() if len(group) > 1]


def _seed(side: Side) -> str:
    config = flat(side.run.config)
    return _text(config.get("train.seed", config.get("seed", 0)))


@dataclass(frozen=True)
class Code:
    """The code of one run."""

    version: str
    commit: str
    changed: bool
    """True when it had changes that were in no commit (the run's code.patch)."""
    files: tuple[str, ...]
    """Files that can change a result and are not those of the first run."""
    known: bool = True


def code(sides: Sequence[Side]) -> list[Code]:
    """Return the code of every run, its files against the first run's."""
    states = [side.run.code for side in sides]
    first: Mapping[str, str] = states[0].get("files", {})
    found = []
    for state in states:
        files: Mapping[str, str] = state.get("files", {})
        changed = sorted(name for name in files.keys() | first.keys() if files.get(name) != first.get(name))
        commit = state.get("commit") or ""
        found.append(
            Code(
                state.get("version") or "unknown",
                commit[:12] or ABSENT,
                bool(state.get("changed")),
                tuple(changed) if files and first else (),
                bool(files),
            )
        )
    return found


def machine_rows(sides: Sequence[Side]) -> list[Row]:
    """Return what a reader asks about the machines first, then every other key that differs (the command excepted)."""
    places = [side.run.environment for side in sides]
    facts = [
        {
            "python": place.get("python", ABSENT),
            "torch": place.get("packages", {}).get("torch", ABSENT),
            "processor": place.get("cpu", ABSENT),
            "cores": place.get("cores", ABSENT),
            "GPU": "; ".join(place.get("gpu", [])) or "none",
            "threads": place.get("variables", {}).get("OMP_NUM_THREADS", "not set"),
        }
        if place
        else {}
        for place in places
    ]
    told = {"command", "python", "cpu", "cores", "gpu", "packages.torch", "variables.OMP_NUM_THREADS", "variables"}
    others = [Row(row.key.rpartition(".")[2], row.values) for row in rows(places) if row.key not in told]
    return [*rows(facts, differing=False), *others]
