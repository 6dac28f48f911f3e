"""The command that has a teacher write episodes: distil. Law: everything heavy is imported inside it."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from thinktwice.errors import ConfigError, DataError, nearest

if TYPE_CHECKING:
    from thinktwice.methods.react.distil import Summary
    from thinktwice.methods.react.job import Job


def distil(
    task: Annotated[str, typer.Argument(help="hotpotqa, wiki_hops ...", show_default=False)],
    settings: Annotated[
        list[str] | None,
        typer.Argument(
            help="key=value: task.path=DIR, method.k=1, method.filters.grounded=false ...", show_default=False
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The directory that gets everything.", show_default=False)] = None,
    corpus: Annotated[str | None, typer.Option(help="What is searched: a corpus file, wiki, or a URL.")] = None,
    model: Annotated[str | None, typer.Option(help="The teacher; without one, the scripted one.")] = None,
    endpoint: Annotated[str | None, typer.Option(help="The server that runs it (OpenAI's API, token ids).")] = None,
    start: Annotated[int | None, typer.Option(help="The first question.", show_default="0")] = None,
    stop: Annotated[int | None, typer.Option(help="The question before which it ends.", show_default="all")] = None,
    quantity: Annotated[int | None, typer.Option(help="Episodes that are wanted.", show_default="all")] = None,
    samples: Annotated[int | None, typer.Option(help="Episodes of each question.", show_default="1")] = None,
    f1_threshold: Annotated[float | None, typer.Option(help="F1 an answer must reach.", show_default="1.0")] = None,
    max_turns: Annotated[
        int | None, typer.Option(help="Actions before the answer is asked for.", show_default="8")
    ] = None,
    split: Annotated[str, typer.Option(help="Which questions: train, dev or test.")] = "train",
    config: Annotated[Path | None, typer.Option(help="A YAML file with the same keys.", show_default=False)] = None,
) -> None:
    """Have a teacher answer questions by searching, and keep the episodes that are worth learning from.

    DIR/trajectories.json holds what was kept, in araft's format; logs.txt a line
    for every episode; episodes.sqlite all of them, failed ones too. Interrupted or
    killed, the same command goes on: no episode is lost, none is played twice.
    """
    from thinktwice.config import load

    if out is None:
        raise ConfigError("say where the episodes go: --out DIR")
    from thinktwice.methods.react.job import Job
    from thinktwice.tasks import load_task

    flags = {
        "model": model,
        "endpoint": endpoint,
        "method.corpus": corpus,
        "method.work.start": start,
        "method.work.stop": stop,
        "method.work.quantity": quantity,
        "method.work.samples": samples,
        "method.filters.f1_threshold": f1_threshold,
        "method.max_turns": max_turns,
    }
    words = [*(settings or ()), *(f"{name}={value}" for name, value in flags.items() if value is not None)]
    job = load(Job, config, words)
    loaded = load_task(task, **job.task)
    if split not in loaded.splits:
        raise ConfigError(f"task {task!r} has no split {split!r}.{nearest(split, loaded.splits)}")
    _write(job, list(loaded.splits[split]), out)


def _write(job: "Job", problems: list[Any], out: Path) -> None:
    from thinktwice.config import to_dict
    from thinktwice.methods.react import araft, araft_runs
    from thinktwice.methods.react.collecting import teacher_episodes
    from thinktwice.methods.react.store import Store
    from thinktwice.run import write_json

    engine, render = _teacher(job)
    if not problems:
        raise DataError("there are no such questions; try another --split.")
    with ExitStack() as until:
        store = until.enter_context(Store(out / "episodes.sqlite"))
        found = teacher_episodes(job.react, problems, engine, render, job.seed, store, until, listener=_tell)
    outcomes = [
        araft_runs.Outcome(
            one.ordinal,
            one.problem.id,
            one.problem.prompt,
            one.problem.answer,
            one.attempt.answer,
            one.attempt.f1,
            araft.spell(one.episode),
        )
        for one in found.told
    ]
    kept = [not one.reason for one in found.told]
    araft_runs.write_generation(list(zip(outcomes, kept, strict=True)), out, found.summary.start, found.summary.stop)
    write_json(out / "summary.json", {**to_dict(found.summary), "settings": to_dict(job)})
    typer.echo(found.summary)
    typer.echo(f"trajectories: {out / 'trajectories.json'}")


def _teacher(job: "Job") -> "tuple[Any, Any]":
    """Return the engine of a teacher on this machine (None: script or server) and the renderer of its tokens."""
    from thinktwice.cli.progress import quiet_loading
    from thinktwice.nano import resolve
    from thinktwice.render import Render

    quiet_loading()
    if job.model is not None and job.react.teacher == "model":
        from thinktwice.answer import load_engine
        from thinktwice.cli.work import model_directory

        engine = load_engine(Path(resolve(model_directory(job.model, Path("runs")))), dtype=job.dtype)
        return engine, Render(cast(Any, engine.tokenizer))
    from transformers import AutoTokenizer

    name = resolve(job.tokenizer or job.model or "nano-wiki")
    return None, Render(cast(Any, AutoTokenizer.from_pretrained(name)))


def _tell(found: "Summary") -> None:
    typer.echo(f"question {found.stop}: {found.kept} of {found.episodes} episodes kept", err=True)
