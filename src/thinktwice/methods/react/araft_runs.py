"""What araft's generator and evaluator write about their work: logs, summary, trajectories, report.

Source: FDeRubeis/araft at 5133a21, `traj_generator.py` and `evaluator_hotpot.py`.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from thinktwice.errors import ConfigError, DataError
from thinktwice.run import files


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one question. Law: `error` where the agent failed; no prediction and no error: out of steps."""

    ordinal: int
    """Its row in the dataset."""
    id: str
    question: str
    label: str
    prediction: str | None = None
    f1: float = 0.0
    trajectory: str = ""
    level: str = ""
    """easy, medium or hard."""
    error: str = ""

    def line(self, now: datetime) -> str:
        """Return its line of `logs.txt`."""
        if self.error:
            said = f"error answering: {self.error}"
        elif self.prediction is None:
            said = "max iterations exceeded"
        else:
            said = f"Agent answer: {self.prediction}. Label: {self.label}. f1_score: {self.f1:.2f}"
        return f"[{now:%Y-%m-%d %H:%M}][id: {self.id}][ordinal: {self.ordinal}]: {said}\n"


Ask = Callable[[int, Any], Outcome]
"""`(ordinal, row) -> outcome`: asks the agent about one row."""


def check_threshold(f1_threshold: float) -> None:
    """Refuse a threshold that is no F1 above 0."""
    if not 0 < f1_threshold <= 1:
        raise ConfigError(f"f1_threshold={f1_threshold} must be above 0 and at most 1.")


def generate(
    rows: Sequence[Any],
    ask: Ask,
    out: Path,
    *,
    start: int = 0,
    stop: int | None = None,
    quantity: int | None = None,
    f1_threshold: float = 1.0,
    clock: Callable[[], datetime] = datetime.now,
) -> str:
    """Ask about rows in order and write logs.txt, trajectories.json and summary.txt as araft's generator does.

    It ends before row `stop` (default: the last), or when `quantity` trajectories are kept: those whose F1 reaches the
    threshold.  Returns the summary.

    Raises:
        ConfigError: a threshold that is no F1 above 0.
    """
    check_threshold(f1_threshold)
    stop = len(rows) if stop is None else min(stop, len(rows))
    wanted = len(rows) if quantity is None else quantity
    asked: list[tuple[Outcome, bool]] = []
    lines = ""
    while start + len(asked) < stop and sum(kept for _, kept in asked) < wanted:
        outcome = ask(at := start + len(asked), rows[at])
        lines += outcome.line(clock())
        asked.append((outcome, bool(outcome.f1) and outcome.f1 >= f1_threshold))
    return write_generation(asked, out, start, start + len(asked), logs=lines)


def write_generation(
    asked: Sequence[tuple[Outcome, bool]], out: Path, start: int, stop: int, *, logs: str | None = None
) -> str:
    """Write the generator's three files about outcomes (and whether each is kept); return the summary."""
    kept = [outcome for outcome, good in asked if good]
    if logs is None:
        logs = "".join(outcome.line(datetime.now()) for outcome, _ in asked)
    summary = (
        f"Start index (inclusive): {start}. Stop index (exclusive): {stop}. Successful trajectories count: {len(kept)}."
    )
    with files.writing(out):
        out.mkdir(parents=True, exist_ok=True)
    files.write_text(out / "logs.txt", logs)
    files.write_text(out / "trajectories.json", "".join(map(as_row, kept)))
    files.write_text(out / "summary.txt", summary + "\n")
    return summary


def as_row(outcome: Outcome) -> str:
    """Return a line of `trajectories.json`."""
    row = {
        "index": outcome.ordinal,
        "id": outcome.id,
        "question": outcome.question,
        "label": outcome.label,
        "prediction": outcome.prediction,
        "f1_score": outcome.f1,
        "trajectory": outcome.trajectory,
    }
    return json.dumps(row) + "\n"


LEVELS = ("easy", "medium", "hard")


def choose_levels(levels: Sequence[str], samples: tuple[int, int, int]) -> list[int]:
    """Return the indices of the first so many easy, medium and hard rows, as araft's evaluator takes them.

    Raises:
        DataError: there are fewer.
    """
    chosen: list[int] = []
    for level, wanted in zip(LEVELS, samples, strict=True):
        found = [index for index, name in enumerate(levels) if name == level]
        if len(found) < wanted:
            raise DataError(f"{wanted} {level} questions were asked for, and there are {len(found)}.")
        chosen += found[:wanted]
    return chosen


def evaluation(outcomes: Sequence[Outcome], *, clock: Callable[[], datetime] = datetime.now) -> tuple[str, str]:
    """Return the texts of araft's evaluator, (logs.txt, report.txt). Its f1_score is a sum, not a mean."""
    blocks = {level.upper(): [o for o in outcomes if o.level == level] for level in LEVELS} | {"ALL": list(outcomes)}
    report = "".join(
        f"{name}\nf1_score: {sum(o.f1 for o in group):.2f}, total: {len(group)}\n" for name, group in blocks.items()
    )
    return "".join(outcome.line(clock()) for outcome in outcomes), report + "\n"
