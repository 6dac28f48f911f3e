"""The command that looks at a run from another terminal: watch."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thinktwice.cli.work import Runs

if TYPE_CHECKING:
    from thinktwice.status import Status

PATIENCE = 10
"""Half seconds for which the page of a run that has just finished is waited for."""


def watch(
    run: Annotated[
        Path | None, typer.Argument(help="A run directory; default: the newest.", show_default=False)
    ] = None,
    runs: Runs = Path("runs"),
    once: Annotated[bool, typer.Option("--once", help="Print how the run stands, once.")] = False,
) -> None:
    """Watch a run that another process works on: what is done, what is left, how it stands.

    Only files are read: at any time, from any machine that sees the directory.
    Ctrl-C ends the watching, not the run. In a pipe: as with --once.

    It ends when the run does, with 0 when it finished and 1 when it stopped.
    """
    import sys
    import time

    from rich.console import Console

    from thinktwice.cli.progress import interactive, live_view
    from thinktwice.cli.tables import outcome
    from thinktwice.cli.view import view
    from thinktwice.status import Watcher

    root = run or newest(runs)
    watcher = Watcher(root)
    console: Console = interactive(sys.stdout)
    status = watcher.read()
    if once or not console.is_interactive:
        console.print(view(status, console.width))
        _go_on(status)
        return
    watched = status.state == "running"
    try:
        with live_view(console, watcher.read):
            while status.state == "running":
                time.sleep(0.5)
                status = watcher.read()
    except KeyboardInterrupt:
        typer.echo(f"{status.name} goes on; thinktwice watch {root} looks again", err=True)
        return
    if status.state != "finished":
        _go_on(status)
        raise typer.Exit(1)
    console.print()
    outcome(root)
    page = root / "report.html"
    for _ in range(PATIENCE if watched else 0):
        if page.exists():
            break
        time.sleep(0.5)
    typer.echo(f"report: {page}" if page.exists() else f"report: thinktwice report {root}")


def _go_on(status: "Status") -> None:
    if status.resume:
        typer.echo(f"go on with: {status.resume}")  # on one line, however long, to be copied


def newest(runs: Path) -> Path:
    """Return the directory of the run that said something last.

    Raises:
        RunError: there is none.
    """
    from thinktwice.errors import RunError
    from thinktwice.status import list_runs

    found = list_runs(runs)
    if not found:
        raise RunError(
            f"there is no run under {runs}/ to watch; name its directory, or where the runs are with --runs. "
            "One that was just started shows after a few seconds"
        )
    return Path(found[0].root)
