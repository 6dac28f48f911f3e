"""lm-evaluation-harness, the evaluation of record: our models and tasks in it, its results as ours.

Two ways in, one number: `evaluate` from Python (and `thinktwice eval`), and the harness's own command line,

    lm-eval run --model thinktwice --model_args pretrained=DIR --tasks TASKS_DIR/thinktwice_arith.yaml

`TASKS_DIR` is `thinktwice.evals.TASKS_DIR`. The stock command learns about `--model thinktwice` from the path of one of
our task files; with bare task names (`--include_path TASKS_DIR --tasks thinktwice_arith`) start it as
`python -m thinktwice.evals run ...`, since the harness has no plugin mechanism of its own.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinktwice.errors import ConfigError, nearest
from thinktwice.scoring import stats
from thinktwice.types import Task, Trace

if TYPE_CHECKING:
    from thinktwice.evals.harness import ThinkTwiceLM

TASKS_DIR = Path(__file__).parent / "tasks"
"""Our task files, for the harness's `--include_path`."""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """A share of right replies with its 95 % Wilson interval; fractions."""

    n: int
    value: float
    ci: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Sample:
    """One judged reply."""

    id: str
    level: int
    value: float
    """1.0 when the stated answer is right."""
    reply: str
    trace: Trace | None


@dataclass(frozen=True)
class Evaluation:
    """What the harness found on one task."""

    task: str
    n: int
    metrics: dict[str, float]
    """The harness's own numbers by metric: accuracy, flexible_accuracy, undo_replies, deleted_token_share, ..."""
    accuracy: Accuracy | None = None
    """Strict accuracy; None for a task that is not ours."""
    levels: dict[int, Accuracy] = field(default_factory=dict)
    samples: tuple[Sample, ...] = ()


def export(task: Task, path: Path | str, split: str = "test") -> Path:
    """Write one split of a task as the rows that `thinktwice_arith` and `thinktwice_gsm8k` read; return the path.

    Raises:
        ConfigError: the task has no such split.
    """
    from thinktwice.evals import documents

    if split not in task.splits:
        raise ConfigError(f"task {task.name!r} has no split {split!r}.{nearest(split, task.splits)}")
    documents.export(task.splits[split], Path(path))
    return Path(path).resolve()


def evaluate(
    model: "ThinkTwiceLM",
    tasks: Sequence[str] = ("thinktwice_arith",),
    *,
    options: Mapping[str, Any] | None = None,
    limit: int | None = None,
    num_fewshot: int | None = None,
    chat: bool = False,
    generation: Mapping[str, Any] | None = None,
    seed: int = 1234,
) -> dict[str, Evaluation]:
    """Evaluate a model with the harness and return what it found, by task. Law: same replies, same scorer, same number.

    Args:
        model: `ThinkTwiceLM(engine, tokenizer, method)`, or `ThinkTwiceLM.create_from_arg_obj({"pretrained": ...})`.
        tasks: names of our tasks or of the harness's, or paths of task files.
        options: metadata for the tasks: `{"data": FILE}` names exported rows or a GSM8K directory.
        limit: evaluate only the first problems; for a quick look.
        num_fewshot: examples in the prompt, where a task does not fix it at 0.
        chat: put prompts through the tokenizer's chat template.
        generation: replaces a task's generation options (`{"max_gen_toks": 128}`).
        seed: chooses few-shot examples.

    Raises:
        ConfigError: an unknown task.

    Example:
        >>> found = evaluate(lm, ["thinktwice_arith"], options={"data": "test.jsonl"})  # doctest: +SKIP
        >>> found["thinktwice_arith"].accuracy.ci  # doctest: +SKIP
        (0.71, 0.78)
    """
    from lm_eval import evaluator  # type: ignore[import-untyped]
    from lm_eval.tasks import TaskManager  # type: ignore[import-untyped]

    ours = {path.stem for path in TASKS_DIR.glob("thinktwice_*.yaml")}
    foreign = [name for name in tasks if name not in ours and not name.endswith((".yaml", ".yml"))]
    for name in foreign:
        if name.startswith("thinktwice"):
            raise ConfigError(f"no evaluation task is called {name!r}.{nearest(name, ours)}")
    manager = TaskManager(include_path=str(TASKS_DIR), include_defaults=bool(foreign), metadata=dict(options or {}))
    for name in foreign:
        if not manager.match_tasks([name]):
            raise ConfigError(f"the harness has no task {name!r}.{nearest(name, [*ours, *manager.all_tasks])}")
    found = evaluator.simple_evaluate(
        model=model,
        tasks=list(tasks),
        task_manager=manager,
        limit=limit,
        num_fewshot=num_fewshot,
        apply_chat_template=chat,
        gen_kwargs=dict(generation) if generation else None,
        fewshot_random_seed=seed,
        random_seed=None,  # the harness would seed the whole process
        numpy_random_seed=None,
        torch_random_seed=None,
        bootstrap_iters=0,
        log_samples=True,
    )
    return {name: _evaluation(name, found["results"][name], rows) for name, rows in found["samples"].items()}


def _evaluation(name: str, results: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Evaluation:
    metrics = {
        key.removesuffix(",none"): float(value)
        for key, value in results.items()
        if "," in key and "_stderr," not in key and isinstance(value, int | float)
    }
    if not rows or "accuracy" not in rows[0]["metrics"]:
        return Evaluation(name, len(rows), metrics)
    samples = tuple(
        Sample(
            str(row["doc"]["id"]),
            int(row["doc"]["level"]),
            row["accuracy"],
            str(row["filtered_resps"][0]),
            getattr(row["filtered_resps"][0], "trace", None),
        )
        for row in rows
    )
    by_level: dict[int, list[float]] = defaultdict(list)
    for sample in samples:
        by_level[sample.level].append(sample.value)
    levels = {level: _accuracy(values) for level, values in sorted(by_level.items())}
    return Evaluation(name, len(rows), metrics, _accuracy([s.value for s in samples]), levels, samples)


def _accuracy(values: Sequence[float]) -> Accuracy:
    right = round(sum(values))
    return Accuracy(len(values), right / len(values), stats.wilson(right, len(values)))
