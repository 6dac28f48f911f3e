"""Answers as a text file that a person reads: question, solution, reference. Law: the text parses back.

The layout is that of the public planning-token code: the question, an empty line, what the model wrote, an empty line,
the reference solution. An empty line inside a part is written with one space, so that it separates nothing.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from thinktwice.errors import DataError

Generation = tuple[str, str, str]
"""Question, what the model wrote (retracted text left out), reference solution."""


def write_generations(path: Path, generations: Iterable[Generation]) -> None:
    """Write answers, two empty lines between them.

    Example:
        >>> write_generations(Path("answers.txt"), [("How many?", "#### 1", "#### 1")])  # doctest: +SKIP
    """
    blocks = ("\n\n".join(_shielded(part) for part in generation) for generation in generations)
    path.write_text("\n\n\n".join(blocks) + "\n", encoding="utf-8")


def read_generations(path: Path) -> list[Generation]:
    """Read answers back; trailing white space of a part is lost, nothing else.

    Raises:
        DataError: an answer that does not have three parts.
    """
    text = path.read_text(encoding="utf-8").removesuffix("\n")
    read: list[Generation] = []
    for block in text.split("\n\n\n") if text else []:
        parts = [_unshielded(part) for part in block.split("\n\n")]
        if len(parts) != 3:
            raise DataError(f"{path}: answer {len(read) + 1} has {len(parts)} parts; question, solution, reference.")
        read.append((parts[0], parts[1], parts[2]))
    return read


def _shielded(part: str) -> str:
    lines: Sequence[str] = part.rstrip().split("\n")
    return "\n".join(line if line.strip() else " " for line in lines)


def _unshielded(part: str) -> str:
    return "\n".join("" if line == " " else line for line in part.split("\n"))
