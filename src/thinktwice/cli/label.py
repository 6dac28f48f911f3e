"""The command that has steps labelled: label. Law: everything heavy is imported inside it."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from thinktwice.errors import ConfigError, DataError, nearest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import ExitStack

    from thinktwice.methods.planning.agent import Author, Job, Summary
    from thinktwice.types import Problem

Keys = Annotated[
    list[str] | None,
    typer.Argument(
        help="key=value: task.path=DIR, planner.model=NAME, planner.base_url=URL, knowledge.model=NAME, "
        "labelling.attempts=5 ...",
        show_default=False,
    ),
]


def label(
    task: Annotated[str, typer.Argument(help="strategyqa, commonsenseqa, truthfulqa, wiki ...", show_default=False)],
    settings: Keys = None,
    out: Annotated[
        Path | None, typer.Option(help="Where the rows go: .json, or .jsonl for a row a line.", show_default=False)
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A YAML file with the same keys.", show_default=False)] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Label the worked solutions by rules; no model, no network.")
    ] = False,
    split: Annotated[str, typer.Option(help="Which problems: train, dev or test.")] = "train",
    limit: Annotated[int | None, typer.Option(help="Only the first problems.", show_default=False)] = None,
    order: Annotated[
        str | None, typer.Option(help="interleaved, or memory_first: all facts first.", show_default="interleaved")
    ] = None,
    answer: Annotated[
        str | None, typer.Option(help="shown, or hidden: only plans that find it are kept.", show_default="shown")
    ] = None,
    samples: Annotated[
        int | None, typer.Option(help="Plans drawn until one is right; with hidden.", show_default="1")
    ] = None,
) -> None:
    """Have a planner and a knowledge model write labelled steps for a task's problems.

    The planner lays out the steps, the knowledge model states the facts that the
    plan asks for. Both are servers that speak OpenAI's API (planner.model=...,
    planner.base_url=..., knowledge.model=...), or one model on this machine
    (local=DIRECTORY). Keys come from the environment (OPENAI_API_KEY).

    What became of every problem is in FILE.labelling/. Interrupted or killed, the
    same command goes on where it stopped; no reply is paid for twice.
    """
    from contextlib import ExitStack

    from thinktwice.config import load

    if out is None:
        raise ConfigError("say where the labelled steps go: --out FILE")
    from thinktwice.methods.planning.agent import Agent, Job
    from thinktwice.tasks import load_task

    flags = {"labelling.order": order, "labelling.answer": answer, "labelling.samples": samples}
    words = [*(settings or ()), *(f"{name}={value}" for name, value in flags.items() if value is not None)]
    job = load(Job, config, [*words, *(["offline=true"] if offline else [])])
    loaded = load_task(task, **job.task)
    if split not in loaded.splits:
        raise ConfigError(f"task {task!r} has no split {split!r}.{nearest(split, loaded.splits)}")
    problems = loaded.splits[split][:limit]
    if not problems:
        raise DataError(f"there are no {split} problems of {task!r} to label; try --split test, or another task.path.")
    with ExitStack() as open_until_done:
        planner, knowledge, second = _authors(job, problems, out, open_until_done)
        labelling = (
            replace(job.labelling, attempts=1) if job.offline else job.labelling
        )  # rules never change their mind
        agent = Agent(planner, knowledge, loaded.score, labelling, second)
        found = agent.label(problems, out, listener=_tell)
        for who in {id(a.writer): a.writer for a in (planner, knowledge, second) if a is not None}.values():
            _bill(who)
    typer.echo(found)
    typer.echo(f"labelled steps: {out}")


def _authors(
    job: "Job", problems: "Sequence[Problem]", out: Path, until: "ExitStack"
) -> "tuple[Author, Author, Author | None]":
    """Return planner, knowledge model and second labeller; servers are hung up on when `until` closes."""
    from thinktwice.config import to_dict
    from thinktwice.engines.http import Client, Endpoint
    from thinktwice.methods.planning.agent import Author, LabelWriter, RuleWriter, directory
    from thinktwice.methods.planning.agent.rules import VERSION

    cache = directory(out) / "replies.sqlite"

    def server(endpoint: Endpoint) -> Author:
        decides = {name: to_dict(endpoint)[name] for name in ("revision", "extra")}
        return Author(until.enter_context(Client(endpoint, cache)), endpoint.model, job.sampling, decides)

    rules = Author(RuleWriter(problems, job.labelling.order), "rules", settings={"version": VERSION})
    if job.offline:
        if not any(problem.solution for problem in problems):
            raise DataError("none of these problems has a worked solution to label; let a model write them.")
        planner = rules
    elif job.local is not None:
        planner = _local(job.local, job)
    else:
        assert job.planner is not None  # Job sees to it that one of the three is set
        planner = server(job.planner)
    knowledge = planner if job.knowledge is None or job.knowledge == job.planner else server(job.knowledge)
    if job.second is None or isinstance(job.second, Endpoint):
        return planner, knowledge, None if job.second is None else server(job.second)
    labels = Author(LabelWriter(problems), "the dataset's labels")
    return planner, knowledge, rules if job.second == "rules" else labels


def _local(model: str, job: "Job") -> "Author":
    from thinktwice.cli.progress import quiet_loading
    from thinktwice.cli.work import model_directory

    chosen = model_directory(model, Path("runs"))
    quiet_loading()
    from thinktwice.answer import open_model
    from thinktwice.methods.planning.agent import Author, LocalWriter

    saved = open_model(chosen)
    return Author(LocalWriter(saved.engine, saved.render), saved.engine.name, job.sampling)


def _tell(found: "Summary") -> None:
    typer.echo(f"{found.problems} problems, {found.kept} kept", err=True)


def _bill(writer: Any) -> None:
    spent = getattr(writer, "spending", None)
    if spent is not None:
        typer.echo(
            f"{writer.endpoint.model}: {spent.replies} replies paid for ({spent.usage.prompt_tokens} + "
            f"{spent.usage.completion_tokens} tokens), {spent.cached} from the cache, {spent.failures} failed",
            err=True,
        )
