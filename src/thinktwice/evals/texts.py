"""BoolQ, SQuAD and Natural Instructions as the harness's documents, and our scores of them as its metrics.

Accuracy is always of replies that are wholly right (for SQuAD the official EM); F1 and ROUGE stand beside it.
`unparsed` is the share of replies that state no answer at all, which are wrong.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from thinktwice.evals.documents import retractions
from thinktwice.scoring import exact, rouge
from thinktwice.scoring import squad as squad_score
from thinktwice.tasks import boolq as boolq_task
from thinktwice.tasks import load_task
from thinktwice.types import Problem

Scores = Callable[[Mapping[str, Any], Sequence[str]], dict[str, Any]]


def document(problem: Problem) -> dict[str, Any]:
    """Return a problem as a row: its prompt, a right reply, and every reference."""
    return {
        "id": problem.id,
        "question": problem.prompt,
        "answer": problem.solution or problem.answer,
        "references": list(problem.references),
        "level": problem.level,
    }


def boolq(data: str | None = None, **others: Any) -> dict[str, Any]:
    """Build the splits of `thinktwice_boolq`: a file, a directory with BoolQ's files, or the hub's copy."""
    return _splits("boolq", path=data, dev=None)


def squad(data: str | None = None, **others: Any) -> dict[str, Any]:
    """Build the splits of `thinktwice_squad`: a file, a directory with SQuAD's files, or the hub's copy (v2.0)."""
    return _splits("squad", path=data, dev=None)


def natural_instructions(data: str | None = None, per_task: int | None = None, **others: Any) -> dict[str, Any]:
    """Build the splits of `thinktwice_natural_instructions`: a task file, or a directory of them.

    Raises:
        ConfigError: no data are named.
    """
    return _splits("natural_instructions", per_task=per_task, **({} if data is None else {"path": data}))


def _splits(name: str, **options: Any) -> dict[str, Any]:
    """Return the harness's dataset of the test problems. It hands in all its metadata: unknown keys are not ours."""
    import datasets  # type: ignore[import-untyped]

    return {"test": datasets.Dataset.from_list([document(p) for p in load_task(name, **options).splits["test"]])}


def boolq_scores(row: Mapping[str, Any], replies: Sequence[str]) -> dict[str, Any]:
    """Judge one reply by its verdict (`process_results`)."""
    found = boolq_task.score(Problem(row["id"], row["question"], row["references"][0]), replies[0])
    return {"accuracy": found.value, "unparsed": float(found.answer is None)} | retractions(replies[0])


def squad_scores(row: Mapping[str, Any], replies: Sequence[str]) -> dict[str, Any]:
    """Judge one reply by the official EM and F1 (`process_results`)."""
    em, f1 = (squad_score.score(replies[0], row["references"], measure) for measure in ("em", "f1"))
    return {"accuracy": em.value, "f1": f1.value, "unparsed": float(em.answer is None)} | retractions(replies[0])


def natural_instructions_scores(row: Mapping[str, Any], replies: Sequence[str]) -> dict[str, Any]:
    """Judge one reply by its closest reference (`process_results`); accuracy: it is one of them."""
    reply, references = replies[0], row["references"]
    marks: dict[str, float] = {kind: rouge.score(reply, references, kind).value for kind in ("rouge1", "rougeL")}
    same = max(exact.score(reply, reference).value for reference in references) if reply.strip() else 0.0
    return {"accuracy": same, **marks, "unparsed": float(not reply.strip())} | retractions(reply)
