"""Fitted typers on disk: json and safetensors, no pickle, and damage is refused in one sentence."""

import json
import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from thinktwice.errors import ConfigError, DataError
from thinktwice.methods.planning.typers import Solution, build_typer, load_typer

SOLUTIONS = [Solution(str(i), "q", ("a", "b", "c")) for i in range(10)]


class Chance:
    identity = "chance 1x4 0123456789abcdef"

    def __call__(self, solutions: Any) -> Any:
        return np.random.default_rng(0).normal(size=(sum(len(s.steps) for s in solutions), 4)).astype(np.float32)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    build_typer("k-means", 2, ()).fit(SOLUTIONS, Chance(), 0).save(tmp_path / "typer")
    return tmp_path / "typer"


def test_it_says_what_it_was_fitted_on(place: Path) -> None:
    saved = json.loads((place / "typer.json").read_text())
    assert saved["kind"] == "k-means"
    assert saved["fit"]["embedder"] == Chance.identity
    assert (saved["fit"]["problems"], saved["fit"]["steps"], saved["fit"]["seed"]) == (10, 30, 0)
    assert sum(saved["fit"]["counts"].values()) == 30


def test_no_file_is_a_pickle(place: Path) -> None:
    for path in place.iterdir():
        with pytest.raises(ValueError):  # noqa: PT011 (any complaint will do)
            list(pickletools.genops(path.read_bytes()))


def change(**fields: Any) -> Callable[[Path], None]:
    def work(place: Path) -> None:
        path = place / "typer.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | fields))

    return work


def cut(place: Path) -> None:
    path = place / "typer.json"
    path.write_text(path.read_text()[:40])


def flip(place: Path) -> None:
    path = place / "typer.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda place: (place / "typer.json").unlink(), "is not a fitted typer"),
        (cut, "is not a fitted typer"),
        (lambda place: (place / "typer.json").write_text("[]"), "is not a fitted typer"),
        (change(format=2), "has format 2; this version reads 1"),
        (change(fields={"types": ["one"]}), r"has 1 types and centres of shape \(2, 4\)"),
        (change(fields={}), "holds no fitted typer that can be read"),
        (change(fit={"problems": "many"}), "holds no fitted typer that can be read"),
        (flip, "has other bytes than were written with typer.json"),
        (lambda place: (place / "typer.safetensors").unlink(), "typer.safetensors is missing"),
    ],
)
def test_damage_is_refused(place: Path, damage: Callable[[Path], None], says: str) -> None:
    damage(place)
    with pytest.raises(DataError, match=says):
        load_typer(place)


def test_an_unknown_kind_names_the_nearest(place: Path) -> None:
    change(kind="k-meens")(place)
    with pytest.raises((ConfigError, DataError), match="k-means"):
        load_typer(place)


def test_tensors_of_another_fit_are_refused(place: Path, tmp_path: Path) -> None:
    build_typer("k-means", 3, ()).fit(SOLUTIONS, Chance(), 0).save(tmp_path / "other")
    (place / "typer.safetensors").write_bytes((tmp_path / "other" / "typer.safetensors").read_bytes())
    with pytest.raises(DataError, match="has other bytes"):
        load_typer(place)
