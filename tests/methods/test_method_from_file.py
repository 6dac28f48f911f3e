"""A method in a file of its own, however its annotations are written."""

from pathlib import Path

import pytest

from thinktwice.errors import ConfigError
from thinktwice.methods import build_method

SOURCE = """
from __future__ import annotations
from dataclasses import dataclass

@dataclass(frozen=True)
class Echo:
    times: int = 1
    words: tuple[str, ...] = ()

    def solve(self, problems, engine, render, sampling):
        return []
"""


def test_annotations_may_be_strings(tmp_path: Path) -> None:
    path = tmp_path / "echo.py"
    path.write_text(SOURCE)
    method = build_method(f"{path}:Echo", {"times": 3, "words": ["a"]})
    assert (method.times, method.words) == (3, ("a",))  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="times"):
        build_method(f"{path}:Echo", {"tmes": 3})
