"""Our problems as the harness's documents, and our scores as its metrics: the functions its task files name.

Importing this module also makes `--model thinktwice` known to the harness: naming one of our task *files* on its
command line is enough.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lm_eval.api.registry import model_registry  # type: ignore[import-untyped]

from thinktwice.errors import ConfigError, DataError
from thinktwice.evals.reply import Reply
from thinktwice.run.files import write_text
from thinktwice.scoring import numeric
from thinktwice.tasks import load_task, reading
from thinktwice.types import Problem

if "thinktwice" not in model_registry:
    model_registry.register("thinktwice", target="thinktwice.evals.harness:ThinkTwiceLM")


def document(problem: Problem) -> dict[str, Any]:
    """Return a problem as a row in GSM8K's `{question, answer}` form, with its id, level and plain reference."""
    return {
        "id": problem.id,
        "question": problem.prompt,
        "answer": problem.solution or f"#### {problem.answer}",
        "reference": problem.answer,
        "level": problem.level,
    }


def problem(row: Mapping[str, Any]) -> Problem:
    """Return the problem of an exported row; a plain GSM8K row will do, too.

    Raises:
        DataError: a field is missing or has the wrong type.
    """
    question, solution = reading.text_of(row, "question"), reading.text_of(row, "answer")
    reference, level = row.get("reference", solution.rpartition("####")[2].strip()), row.get("level", 0)
    if not isinstance(reference, str) or not isinstance(level, int):
        raise DataError("'reference' must be text and 'level' a whole number")
    numeric.references(reference)
    return Problem(str(row.get("id") or reading.content_id("row", question)), question, reference, solution, level)


def export(problems: Iterable[Problem], path: Path) -> None:
    """Write problems as the rows that our harness tasks read with `--metadata data=PATH`."""
    write_text(path, "".join(json.dumps(document(p), ensure_ascii=False) + "\n" for p in problems))


def arith(data: str | None = None, levels: Sequence[int] | int | None = None, **others: Any) -> dict[str, Any]:
    """Build the splits of `thinktwice_arith`: exported rows, or fresh problems of the world at `levels`."""
    options: dict[str, Any] = (
        {} if levels is None else {"levels": [levels] if isinstance(levels, int) else list(levels)}
    )
    return _splits("arith", data, {"train": 64, **options})


def gsm8k(data: str | None = None, **others: Any) -> dict[str, Any]:
    """Build the splits of `thinktwice_gsm8k`: exported rows, a directory with GSM8K's files, or the hub's copy."""
    return _splits("gsm8k", data, {"path": data} if data is not None and Path(data).is_dir() else {})


def gsm8k_with_train(data: str | None = None, **others: Any) -> dict[str, Any]:
    """Build the splits of `thinktwice_gsm8k_8shot`, whose examples come from train.

    Raises:
        ConfigError: the data has no train split.
    """
    splits = gsm8k(data, **others)
    if "train" not in splits:
        raise ConfigError(
            f"data={data!r} has no training problems for the examples. Name a directory with train.jsonl."
        )
    return splits


def _splits(name: str, data: str | None, options: dict[str, Any]) -> dict[str, Any]:
    """Return the harness's datasets by split. The harness hands in all its metadata, so unknown keys are not ours."""
    import datasets  # type: ignore[import-untyped]

    if data is not None and Path(data).is_file():
        splits: dict[str, Sequence[Problem]] = {"test": reading.read(data, problem).problems}
    elif data is not None and not Path(data).exists():
        raise ConfigError(f"data={data!r}: there is no such file. Write one with thinktwice.evals.export(task, path).")
    else:
        splits = {split: found for split, found in load_task(name, **options).splits.items() if split != "dev"}
    return {split: datasets.Dataset.from_list([document(p) for p in rows]) for split, rows in splits.items()}


def scores(row: Mapping[str, Any], replies: Sequence[str]) -> dict[str, Any]:
    """Judge one reply with our own scorer, and count what its trace retracted (`process_results`).

    A reply without a trace, from another model, has accuracies alone: that nothing was retracted is not known.
    """
    reply, reference = replies[0], row["reference"]
    return {
        "accuracy": numeric.score(reply, reference).value,
        "flexible_accuracy": numeric.score(reply, reference, strict=False).value,
    } | retractions(reply)


def retractions(reply: str) -> dict[str, Any]:
    """Count what the trace of a reply retracted; nothing, where it has none."""
    trace = reply.trace if isinstance(reply, Reply) else None
    if trace is None:
        return {}
    undos = sum(step.kind == "error" for step in trace.steps)
    deleted = sum(len(step.token_ids) for step in trace.steps if not step.kept)
    return {
        "undo_replies": float(undos > 0),
        "undos": float(undos),
        "deleted_token_share": (deleted, trace.sampled_tokens),
        "sampled_tokens": float(trace.sampled_tokens),
        "unfinished": float(trace.stop in ("length", "budget")),
        "unscored": float(trace.stop == "error"),
    }


def share(pairs: Sequence[tuple[int, int]]) -> float:
    """Return the ratio of two sums (`aggregation`): tokens over all replies, not a mean of each reply's share."""
    whole = sum(total for _, total in pairs)
    return sum(part for part, _ in pairs) / whole if whole else 0.0
