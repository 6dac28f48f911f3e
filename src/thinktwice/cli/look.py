"""The commands that only look: show, report, tasks, methods, doctor."""

from pathlib import Path
from typing import Annotated

import typer


def show(
    path: Annotated[Path, typer.Argument(help="A run directory, or a JSONL file of traces, examples or problems.")],
    limit: Annotated[int, typer.Option(help="How many rows.")] = 5,
    arm: Annotated[str | None, typer.Option(help="Of a run: only this arm.")] = None,
    level: Annotated[int | None, typer.Option(help="Only this difficulty level.")] = None,
    retracted: Annotated[
        bool, typer.Option("--retracted", help="Only traces in which something was taken back.")
    ] = False,
    wrong: Annotated[bool, typer.Option("--wrong", help="Only traces with a wrong answer.")] = False,
    tokenizer: Annotated[
        Path | None, typer.Option(help="Directory with tokenizer.json, for files of token ids.")
    ] = None,
) -> None:
    """Print traces and datasets: green = learned or written, grey = seen, red struck through = retracted.

    Without colour: {+learned+} and [-retracted-].
    """
    from thinktwice.cli.rows import Filter, print_rows

    print_rows(path, Filter(limit, arm, level, retracted, wrong), tokenizer)


def report(run: Annotated[Path, typer.Argument(help="A run directory.")]) -> None:
    """Write a run's page, report.html: one file, nothing loaded from anywhere."""
    from thinktwice.report import report as write

    typer.echo(f"report: {write(run)}")


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

    for name, home in homes.items():
        module, _, attribute = home.partition(":")
        named = getattr(import_module(module), attribute)
        lines = (inspect.getdoc(getattr(named, "func", named)) or "").splitlines()  # partial(...) shows what it calls
        typer.echo(f"{name:<14}{lines[0] if lines else ''}")


def doctor() -> None:
    """Print what matters about this machine, and what to do about what is wrong with it."""
    from thinktwice.cli.doctor import examine

    for line in examine():
        typer.echo(line)
