"""The commands that only look: show, report, tasks, methods, doctor."""

from pathlib import Path
from typing import Annotated

import typer

from thinktwice.errors import ConfigError


def show(
    path: Annotated[Path, typer.Argument(help="A run directory, or a JSONL file of traces, examples or problems.")],
    limit: Annotated[int, typer.Option(help="How many rows.")] = 5,
    arm: Annotated[str | None, typer.Option(help="Of a run: only this arm.")] = None,
    level: Annotated[int | None, typer.Option(help="Only this difficulty level.")] = None,
    retracted: Annotated[
        bool, typer.Option("--retracted", help="Only traces in which something was taken back.")
    ] = False,
    wrong: Annotated[bool, typer.Option("--wrong", help="Only traces with a wrong answer.")] = False,
    key: Annotated[
        str | None,
        typer.Option(help="Of a run: only this problem, whole, as every arm answered it (or the one of --arm)."),
    ] = None,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="With --key: every token with the probability it was drawn with.")
    ] = False,
    tokenizer: Annotated[
        Path | None, typer.Option(help="Directory with tokenizer.json, for files of token ids.")
    ] = None,
) -> None:
    """Print traces and datasets: green = learned or written, grey = seen, red struck through = retracted.

    Without colour: {+learned+} and [-retracted-].
    """
    from thinktwice.cli.rows import Filter, print_rows

    if key is not None:
        from thinktwice.cli.trace import print_trace

        print_trace(path, key, arm, tokenizer, probabilities=probabilities)
        return
    if probabilities:
        raise ConfigError("--probabilities needs one problem; name it with --key KEY")
    print_rows(path, Filter(limit, arm, level, retracted, wrong), tokenizer)


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...", help="Run directories, or a directory of runs: every run in it, in the order of names."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="Where the page goes. One run: RUN/report.html. Several: compare.html beside them."),
    ] = None,
    show: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in the browser.")] = False,
) -> None:
    """Write a run's page, report.html, or one page that compares several runs: one file, nothing loaded from anywhere.

    The comparison shows what differs in recipe, code and machine, the results, and each run's difference from the
    first one, paired on the same problems.
    """
    from thinktwice.cli.pages import write_page

    page = write_page(runs, out)
    typer.echo(f"{'compare' if page.runs > 1 else 'report'}: {page.path}")
    if show:
        import webbrowser

        webbrowser.open(page.path.resolve().as_uri())


def tasks() -> None:
    """List the tasks a recipe can name."""
    from thinktwice.tasks import TASKS

    _list(TASKS)


def methods() -> None:
    """List the methods a recipe can name."""
    from thinktwice.methods import METHODS

    _list(METHODS)


def _list(homes: dict[str, str]) -> None:
    """Print names with the first line of the docstring of what they name."""
    import inspect
    from importlib import import_module

    width = max(14, *(len(name) + 2 for name in homes))
    for name, home in homes.items():
        module, _, attribute = home.partition(":")
        named = getattr(import_module(module), attribute)
        lines = (inspect.getdoc(getattr(named, "func", named)) or "").splitlines()  # partial(...) shows what it calls
        typer.echo(f"{name:<{width}}{lines[0] if lines else ''}")


def doctor(
    model: Annotated[
        str | None, typer.Argument(help="A model to look into: a directory, a bundled name, a hub id.")
    ] = None,
    transplant: Annotated[
        bool, typer.Option("--transplant", help="Try on it whether keys and values can be moved between texts.")
    ] = False,
) -> None:
    """Print what matters about this machine, and what to do about what is wrong with it.

    With a model and --transplant: whether a verifier can be trained on it, one line a finding.
    """
    from thinktwice.cli.doctor import examine, examine_transplant

    if model is None and transplant:
        raise ConfigError("--transplant is tried on a model: thinktwice doctor MODEL --transplant.")
    if model is not None and not transplant:
        raise ConfigError(f"What should be looked at in {model!r}? thinktwice doctor {model} --transplant.")
    if model is None:
        for line in examine():
            typer.echo(line)
        return
    passed = True
    for found, line in examine_transplant(model):
        passed = passed and found
        typer.echo(line)
    if not passed:
        raise typer.Exit(1)
