"""The command that has candidate solutions written: argue. Law: everything heavy is imported inside it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thinktwice.errors import ConfigError

if TYPE_CHECKING:
    from contextlib import ExitStack

    from thinktwice.engines.writers import Author
    from thinktwice.methods.transplant.argue import Written
    from thinktwice.methods.transplant.job import Job

Keys = Annotated[
    list[str] | None,
    typer.Argument(
        help="key=value: task.path=DIR, writer.model=NAME, writer.base_url=URL, local=DIRECTORY, arguing.samples=8, "
        "sampling.temperature=0.8 ...",
        show_default=False,
    ),
]


def argue(
    task: Annotated[
        str,
        typer.Argument(help="A task, or several with commas; lila: all eight subsets of the seed.", show_default=False),
    ],
    settings: Keys = None,
    out: Annotated[Path | None, typer.Option(help="Where the items go: .jsonl.", show_default=False)] = None,
    config: Annotated[Path | None, typer.Option(help="A YAML file with the same keys.", show_default=False)] = None,
    split: Annotated[str, typer.Option(help="Which problems: train, dev or test.")] = "train",
    limit: Annotated[int | None, typer.Option(help="Only the first problems of each task.", show_default=False)] = None,
) -> None:
    """Have a model write right and wrong solutions of a task's problems, for a verifier to tell apart.

    By default several solutions are drawn from one prompt, so that the prompt
    says nothing of the label. arguing.mode=roles asks as the seed did: argument
    first for a right one, answer first for a wrong one. arguing.choice=true has
    an argument for one of the two written.

    What became of every problem is in FILE.arguing/. Interrupted or killed, the
    same command goes on where it stopped; no reply is paid for twice.

    Then: thinktwice audit FILE
    """
    from contextlib import ExitStack

    from thinktwice.config import load
    from thinktwice.methods.transplant.argue import Arguer
    from thinktwice.methods.transplant.job import Job, problems_of, tasks_of

    if out is None:
        raise ConfigError("say where the solutions go: --out FILE.jsonl")
    job = load(Job, config, settings or ())
    loaded = tasks_of(task, job)
    problems = problems_of(loaded, split, limit)
    with ExitStack() as open_until_done:
        author = _author(job, out, open_until_done)
        judges = {problem.id: each.score for each, some in problems for problem in some}
        arguer = Arguer(author, lambda problem, reply: judges[problem.id](problem, reply), job.arguing, task)
        found = arguer.write([p for _, some in problems for p in some], out, listener=_tell)
        spent = getattr(author.writer, "spending", None)
        if spent is not None:
            typer.echo(
                f"{author.model}: {spent.replies} replies paid for ({spent.usage.prompt_tokens} + "
                f"{spent.usage.completion_tokens} tokens), {spent.cached} from the cache, {spent.failures} failed",
                err=True,
            )
    typer.echo(found)
    typer.echo(f"solutions: {out}\nwhat a verifier must beat: thinktwice audit {out}")


def _author(job: "Job", out: Path, until: "ExitStack") -> "Author":
    """Return who writes; a server is hung up on when `until` closes."""
    from thinktwice.config import to_dict
    from thinktwice.engines.writers import Author, LocalWriter

    if job.writer is not None:
        from thinktwice.engines.http import Client
        from thinktwice.methods.transplant.argue import directory

        decides = {name: to_dict(job.writer)[name] for name in ("revision", "extra")}
        client = until.enter_context(Client(job.writer, directory(out) / "replies.sqlite"))
        return Author(client, job.writer.model, job.sampling, decides)
    from thinktwice.cli.progress import quiet_loading
    from thinktwice.cli.work import model_directory

    assert job.local is not None  # Job sees to it
    chosen = model_directory(job.local, Path("runs"))
    quiet_loading()
    from thinktwice.answer import open_model

    saved = open_model(chosen)
    return Author(LocalWriter(saved.engine, saved.render), job.local, job.sampling, {"engine": saved.engine.name})


def _tell(found: "Written") -> None:
    typer.echo(f"{found.problems} questions, {found.written} kept", err=True)
