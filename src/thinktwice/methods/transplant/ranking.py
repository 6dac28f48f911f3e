"""A trained verifier at work: candidates of a question in, the likeliest right one out. No label is needed."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thinktwice.engines.base import Engine
from thinktwice.errors import ConfigError, DataError
from thinktwice.methods.transplant import Transplant, posed
from thinktwice.methods.transplant.data import Candidate, Item
from thinktwice.methods.transplant.seed_data import read_source
from thinktwice.render import Render
from thinktwice.types import Sampling

CHUNK = 64
"""Questions that are read together; their verdicts come out before the next ones are read."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """What a verifier says of the candidates of one question."""

    id: str
    question: str
    scores: tuple[float, ...]
    """Of each candidate, higher is better: the mean log-probability that it is right (pointwise), or that it is the
    right one of those it was shown with, each standing in each slot equally often."""
    best: int
    """Index of the first candidate with the highest score, from 0."""
    agree: bool | None = None
    """Of a pair: whether the same candidate is chosen in both orders; None: there are no two orders."""
    right: bool | None = None
    """Whether the best one is right, where the file says so."""


@dataclass(frozen=True)
class Candidates:
    """Questions with candidates, and whether anybody has said which are right."""

    items: tuple[Item, ...]
    labelled: bool


def read_candidates(path: Path) -> Candidates:
    """Read questions with candidates: JSON lines {"question", "candidates": [text, ...]}, or labelled items.

    Raises:
        DataError: neither, naming the line; or every file that `read_source` refuses.
    """
    rows = list(_plain_rows(path)) if path.is_file() and path.suffix != ".csv" else []
    if not rows:
        return Candidates(tuple(read_source(path).items), True)
    items, seen = [], set()
    for number, row in rows:
        texts, question = row["candidates"], row.get("question")
        if (
            not texts
            or not isinstance(question, str)
            or not all(isinstance(text, str) and text.strip() for text in texts)
        ):
            raise DataError(
                f'{path}:{number}: a question with candidates is {{"question": text, "candidates": [text, ...]}}, '
                "with one candidate or more, none of them empty."
            )
        name = str(row.get("id", f"line {number}"))
        if name in seen:
            raise DataError(f"{path}:{number}: id {name!r} stands twice; ids must be unique.")
        seen.add(name)
        items.append(Item(name, question, "", tuple(Candidate(text, "", False) for text in texts)))
    return Candidates(tuple(items), False)


def _plain_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield the lines of a file whose candidates are texts; none where its first line says that it is another kind."""
    with path.open(encoding="utf-8") as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise DataError(f"{path}:{number}: not JSON ({error}); one question with candidates a line.") from None
            texts = row.get("candidates") if isinstance(row, dict) else None
            if not isinstance(texts, list) or (texts and not isinstance(texts[0], str)):
                if number == 1:
                    return
                raise DataError(f"{path}:{number}: no list of candidates, as the lines before have.")
            yield number, row


def rank(
    candidates: Candidates, method: Transplant, engine: Engine, render: Render, *, seed: int = 0
) -> Iterator[Ranked]:
    """Yield what a verifier says, a question at a time, in the order of the file.

    Args:
        candidates: two or more a question, one where the verifier judges them by themselves.
        method: what the verifier was trained as.
        engine: has its weights.
        render: of its base.
        seed: of `states="shuffled"`.

    Raises:
        ConfigError: a question with a single candidate, and a verifier that compares.
    """
    least = 1 if method.mode == "pointwise" else posed.PAIR
    for item in candidates.items:
        if len(item.candidates) < least:
            raise ConfigError(
                f"{item.id!r} has one candidate, and this verifier compares (mode={method.mode}): give it two or more, "
                "or ask a pointwise one (--arm genrm)."
            )
    for start in range(0, len(candidates.items), CHUNK):
        chunk = candidates.items[start : start + CHUNK]
        problems = [posed.to_problem(item) for item in chunk]
        traces = method.solve(problems, engine, render, Sampling(seed=seed))
        for item, problem, trace in zip(chunk, problems, traces, strict=True):
            found = posed.read(problem, trace)
            chosen = {None if verdict.slot is None else verdict.order[verdict.slot] for verdict in found.verdicts}
            best = found.best[0]
            yield Ranked(
                item.id,
                item.question,
                tuple(round(score, 6) for score in found.scores),
                best,
                len(chosen - {None}) == len(chosen) == 1 if found.verdicts else None,
                item.candidates[best].right if candidates.labelled else None,
            )
