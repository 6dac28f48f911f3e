import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOCK = (ROOT / "requirements.lock").read_text().splitlines()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LEFT_OUT = ("qlora", "trackers")
"""Extras that no test needs: one wants a GPU, the other is heavy and off by default."""


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_lock_has_exact_versions_and_no_address() -> None:
    for line in LOCK:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!]+", line), line
    assert "torch==2.13.0" in LOCK
    assert not [line for line in LOCK if line.startswith(("nvidia", "thinktwice"))]
    assert len({normal(line.split("==")[0]) for line in LOCK}) == len(LOCK)


def test_the_lock_has_everything_the_project_asks_for() -> None:
    locked = {normal(line.split("==")[0]) for line in LOCK}
    extras = PROJECT["project"]["optional-dependencies"]
    groups = [PROJECT["project"]["dependencies"], *(extras[name] for name in extras if name not in LEFT_OUT)]
    asked = {normal(re.split(r"[<>=~!\[; ]", need)[0]) for group in groups for need in group}
    assert asked <= locked
    assert "setuptools" in locked  # `make` installs the package without build isolation


def test_every_module_has_its_place_in_the_layers() -> None:
    layers = PROJECT["tool"]["importlinter"]["contracts"][0]
    assert layers["exhaustive"] is True
    placed = set(re.findall(r"\w+", " ".join(layers["layers"])))
    package = ROOT / "src/thinktwice"
    modules = {p.stem for p in package.glob("*.py")} | {p.parent.name for p in package.glob("*/__init__.py")}
    assert modules - {"__init__"} <= placed


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize(
    ("python", "says"),
    [
        ("/bin/false", "thinktwice needs Python 3.11 or newer; /bin/false is older or missing"),
        ("", "needs Python 3.11"),
    ],
)
def test_make_without_a_new_enough_python_says_so(tmp_path: Path, python: str, says: str) -> None:
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    done = subprocess.run(
        ["make", "demo", f"PYTHON={python}"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert says in done.stderr
    assert not (tmp_path / ".venv").exists()


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_test_checks_everything_and_ci_runs_it(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("requirements.lock", "pyproject.toml"):
        (tmp_path / name).touch()
    plan = subprocess.run(["make", "-n", "test"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    for part in ("requirements.lock", "ruff check", "ruff format --check", "mypy", "lint-imports", "pytest"):
        assert part in plan
    assert os.access(ROOT / ".ci/run", os.X_OK)
    assert "make test" in (ROOT / ".ci/run").read_text()
