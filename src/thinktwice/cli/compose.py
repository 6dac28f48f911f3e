"""The commands that write a task down for other programs: compose-eval, compose-sft. Law: no example is tested."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from thinktwice.errors import ConfigError, DataError, nearest

if TYPE_CHECKING:
    from thinktwice.methods.evolve.compose import Composed
    from thinktwice.types import Problem, Task

TaskName = Annotated[
    str, typer.Argument(help="boolq, squad, natural_instructions, gsm8k, wiki_boolq ...", show_default=False)
]
Keys = Annotated[list[str] | None, typer.Argument(help="key=value: task.path=DIR ...", show_default=False)]
Split = Annotated[str, typer.Option(help="Which problems: train, dev or test.")]
Asked = Annotated[str | None, typer.Option(help="What to do, in words; '' for none.", show_default="the task's")]
RowsPerTask = Annotated[int | None, typer.Option(help="At most so many, of each Natural Instructions task.", min=1)]
Seed = Annotated[int, typer.Option(help="Draws examples and rows.")]


@dataclass(frozen=True)
class Source:
    """What is composed from."""

    task: dict[str, Any] = field(default_factory=dict)
    """The task's options."""


def compose_eval(
    task: TaskName,
    settings: Keys = None,
    out: Annotated[Path, typer.Option(help="Where the rows go.")] = Path("eval.jsonl"),
    split: Split = "test",
    shots: Annotated[
        int | None, typer.Option(help="Worked examples before each question.", show_default="the task's", min=0)
    ] = None,
    instruction: Asked = None,
    rows_per_task: RowsPerTask = None,
    seed: Seed = 0,
) -> None:
    """Write the prompts that a task is tested with: {id, kind, prompt, references, text}.

    Examples come from train, one of each class in turn (BoolQ: true and false;
    SQuAD: with and without an answer). They are never tested. `text` is a hash of
    the question, by which compose-sft knows it. Counts are in FILE.counts.json.
    """
    from thinktwice.methods.evolve.compose import compose, text_id

    loaded = _load(task, settings, split)
    found = compose(loaded, split, shots=shots, instruction=instruction, per_task=rows_per_task, seed=seed)
    rows = [
        {
            "id": problem.id,
            "kind": problem.kind,
            "prompt": prompt,
            "references": list(problem.references),
            "text": text_id(problem),
        }
        for problem, prompt in found.prompts
    ]
    _write(out, rows, found, {"task": task, "split": split, "seed": seed, "quarantined": loaded.quarantined})


def compose_sft(
    task: TaskName,
    settings: Keys = None,
    out: Annotated[Path, typer.Option(help="Where the rows go.")] = Path("sft.jsonl"),
    split: Split = "train",
    against: Annotated[
        list[Path] | None, typer.Option(help="Rows of compose-eval that must not be learned.", show_default=False)
    ] = None,
    shots: Annotated[int, typer.Option(help="Worked examples before each question.", min=0)] = 0,
    instruction: Asked = None,
    rows_per_task: RowsPerTask = 50,
    seed: Seed = 0,
) -> None:
    """Write gold answers to fine-tune on: {prompt, completion}.

    A completion is the worked solution where there is one. What is tested (another
    split, or --against FILE) is never among them, by id or by text. Counts are in
    FILE.counts.json.
    """
    from thinktwice.methods.evolve.compose import compose, text_id

    loaded, tested = _load(task, settings, split), _tested(against or ())

    def useless(problem: "Problem") -> str:
        if problem.id in tested or text_id(problem) in tested:
            return "is tested (--against)"
        return "" if problem.solution or problem.answer else "has no gold answer"

    found = compose(
        loaded,
        split,
        shots=shots,
        instruction=instruction,
        per_task=rows_per_task,
        seed=seed,
        useless=useless,
    )
    rows = [{"prompt": prompt, "completion": problem.solution or problem.answer} for problem, prompt in found.prompts]
    _write(out, rows, found, {"task": task, "split": split, "seed": seed, "quarantined": loaded.quarantined})


def _load(name: str, settings: Sequence[str] | None, split: str) -> "Task":
    from thinktwice.config import load
    from thinktwice.tasks import check_disjoint, load_task

    loaded = load_task(name, **load(Source, None, settings or ()).task)
    if split not in loaded.splits:
        raise ConfigError(f"task {name!r} has no split {split!r}.{nearest(split, loaded.splits)}")
    check_disjoint(loaded)
    if not loaded.splits[split]:
        raise DataError(f"task {name!r} has no {split} problems; choose another --split, or set task.train=N.")
    return loaded


def _tested(paths: Sequence[Path]) -> set[str]:
    """Return ids and hashes of texts of rows that compose-eval wrote. Law: a file that is none stops the command."""
    tested: set[str] = set()
    for path in paths:
        try:
            lines = path.read_text(encoding="utf-8").split("\n")
            tested |= {row[key] for row in map(json.loads, filter(str.strip, lines)) for key in ("id", "text")}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"--against {path}: this is not what compose-eval writes ({error}).") from None
    return tested


def _write(out: Path, rows: Sequence[Mapping[str, Any]], found: "Composed", made: Mapping[str, Any]) -> None:
    from thinktwice.run import write_json, write_text

    beside = out.with_name(f"{out.name}.counts.json")
    for path in (out, beside):
        if path.exists():
            raise ConfigError(f"{path} exists already; choose another --out.")
    out.parent.mkdir(parents=True, exist_ok=True)
    counts = {"in": found.problems, "kept": len(rows), "dropped": dict(found.dropped), "shots": list(found.shots)}
    write_text(out, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    write_json(beside, {**made, **counts})
    typer.echo(f"{found.problems} problems = {len(rows)} kept + {sum(found.dropped.values())} dropped")
    for reason, count in sorted(found.dropped.items()):
        typer.echo(f"  {count} dropped: {reason}")
    if made["quarantined"]:
        typer.echo(f"{made['quarantined']} rows of the source could not be read")
    typer.echo(f"rows: {out}")
