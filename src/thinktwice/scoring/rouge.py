"""ROUGE-1, -2, -L and -Lsum against several references, of which the closest counts (Lin 2004).

Law: as Natural Instructions is scored: by the package `rouge_score`, words stemmed, best over the references by F.
Without stemmer and with the first reference alone the same replies come out lower, by more than half where there are
many references.

The package's words are of a-z and 0-9 only: text in another script has none, and scores 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_args

from thinktwice.errors import ConfigError, nearest
from thinktwice.types import Score

Kind = Literal["rouge1", "rouge2", "rougeL", "rougeLsum"]
"""Shared words; shared pairs of words; the longest common subsequence of the whole; the same, line by line."""
KINDS: tuple[Kind, ...] = get_args(Kind)
NAMES = {"rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "rougeL": "ROUGE-L", "rougeLsum": "ROUGE-Lsum"}


@dataclass(frozen=True, slots=True)
class Marks:
    """How well a text fits one reference: all three in [0, 1]."""

    precision: float
    recall: float
    f1: float


def measure(prediction: str, references: Sequence[str], kind: Kind = "rougeL", *, stemmed: bool = True) -> Marks:
    """Compare a text with every reference and return the marks of the closest, by F; of equals the first.

    Args:
        prediction: the text.
        references: at least one.
        kind: which ROUGE.
        stemmed: whether "cats" and "cat" are the same word (Porter's stemmer).

    Raises:
        ConfigError: an unknown kind, no references, or `rouge_score` is not installed.

    Example:
        >>> measure("two cats", ["a dog", "the two cat"], "rouge1")
        Marks(precision=1.0, recall=0.6666666666666666, f1=0.8)
    """
    if not references:
        raise ConfigError("ROUGE needs at least one reference to compare with.")
    scorer = _scorer(kind, stemmed)
    found = (scorer.score(reference, prediction)[kind] for reference in references)
    closest = max(found, key=lambda marks: float(marks.fmeasure))
    return Marks(float(closest.precision), float(closest.recall), float(closest.fmeasure))


def score(reply: str, references: Sequence[str], kind: Kind = "rougeL") -> Score:
    """Judge a whole reply by the F of its closest reference. Law: pure; an empty reply is worth 0.

    Raises:
        ConfigError: as `measure`.
    """
    said = reply.strip()
    if not said:
        return Score(0.0, None, f"nothing was written; expected {references[0]!r}")
    marks = measure(said, references, kind)
    why = f"{NAMES[kind]} {marks.f1:.2f} (precision {marks.precision:.2f}, recall {marks.recall:.2f})"
    return Score(marks.f1, said, why if marks.f1 == 1.0 else f"{why}; expected {references[0]!r}")


@cache
def _scorer(kind: str, stemmed: bool) -> Any:
    if kind not in KINDS:
        raise ConfigError(f"no ROUGE is called {kind!r}.{nearest(kind, KINDS)}")
    try:
        from rouge_score.rouge_scorer import RougeScorer  # type: ignore[import-untyped]
    except ImportError:
        raise ConfigError("ROUGE needs the package rouge_score: pip install 'thinktwice[eval]'.") from None
    return RougeScorer([kind], use_stemmer=stemmed)
