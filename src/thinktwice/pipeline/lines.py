"""Rows on disk: one JSON value a line."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from thinktwice.config import parse, to_dict

Row = TypeVar("Row")


def write_rows(path: Path, rows: Sequence[Any]) -> None:
    """Write rows, one JSON line each."""
    with path.open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(to_dict(row), ensure_ascii=False) + "\n" for row in rows)


def read_rows(path: Path, kind: type[Row]) -> list[Row]:
    """Read rows back. A line ends with a line feed and nothing else, whatever a text holds."""
    return [parse(kind, json.loads(line), path.name) for line in path.read_text(encoding="utf-8").split("\n") if line]
