"""Small real runs, and a real server on loopback."""

import json
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from thinktwice import pipeline
from thinktwice.config import Recipe, load
from thinktwice.ui import serving

RECIPE = Path(__file__).parents[2] / "recipes/backtrack.yaml"
SMALL = {
    "name": "small",
    "model.path": "nano",
    "task.operations": [1, 2],
    "task.levels": [1, 2],
    "task.train": 40,
    "task.per_level": 6,
    "method.biases": [20.0],  # after so little training it must be pushed to undo anything
    "train.steps": 4,
    "train.tokens_per_step": 500,
    "decode.max_new_tokens": 60,
    "evaluation.problems": 6,
    "evaluation.dev_problems": 2,
    "evaluation.levels": [1, 2],
    "evaluation.in_distribution": 1,
    "headline.level": 2,
}


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a finished run of the demo's recipe, made small. Read it, never write into it."""
    recipe = load(Recipe, RECIPE, [f"{key}={value}" for key, value in SMALL.items()])
    return pipeline.run_recipe(recipe, tmp_path_factory.mktemp("made") / "small")


@pytest.fixture
def runs(finished: Path, tmp_path: Path) -> Path:
    """Give a runs directory of this test's own: a finished run, a stopped and a damaged one."""
    return fill(finished, tmp_path / "runs")


@pytest.fixture(scope="session")
def untouched(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """Give such a directory and a server over it, for tests that only read."""
    place = fill(finished, tmp_path_factory.mktemp("shared") / "runs")
    with serving(place) as found:
        yield place, found


def fill(finished: Path, place: Path) -> Path:
    shutil.copytree(finished, place / "small")
    shutil.copytree(finished, place / "stopped")
    (place / "stopped" / "summary.json").unlink()
    (place / "damaged").mkdir()
    (place / "damaged" / "config.json").write_text('{"name": "damaged", "nonsense": 1}')
    (place.parent / "secret").mkdir()
    (place.parent / "secret" / "config.json").write_text((finished / "config.json").read_text())
    return place


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    text: str

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The server-sent events."""
        return [json.loads(part.removeprefix("data: ")) for part in self.text.split("\n\n") if part]


@pytest.fixture
def address(runs: Path) -> Iterator[str]:
    with serving(runs) as found:
        yield found


@pytest.fixture
def ask(address: str) -> Callable[..., Reply]:
    """Ask the server: `ask("/")`, `ask("/playground/answer", {...})`."""

    def go(path: str, value: Any = None, **headers: str) -> Reply:
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        data = None if value is None else json.dumps(value).encode()
        if data is not None:
            named.setdefault("content-type", "application/json")
        request = urllib.request.Request(address + path, data, named)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return Reply(answer.status, dict(answer.headers), answer.read().decode())
        except urllib.error.HTTPError as error:
            with error:
                return Reply(error.code, dict(error.headers), error.read().decode())

    return go
