"""The command that serves the local web page: ui."""

import threading
from pathlib import Path
from typing import Annotated

import typer

from thinktwice.errors import ConfigError


def ui(
    runs: Annotated[Path, typer.Option(help="Directory under which every run has its own.")] = Path("runs"),
    port: Annotated[int, typer.Option(help="0 takes a free one.")] = 8421,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    show: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in the browser.")] = False,
    model: Annotated[
        list[str] | None,
        typer.Option(help="One more model for the playground: a directory or a hub id. Repeat for several."),
    ] = None,
    expose: Annotated[
        bool, typer.Option("--expose", help="Allow a --host that other machines can reach; there is no password.")
    ] = False,
    allow_code: Annotated[
        bool, typer.Option("--allow-code", help="Run task and method files (file.py:Name) that a run names.")
    ] = False,
) -> None:
    """Serve a local web page over the runs: list, open, compare, watch one work, and ask its models.

    It answers this machine only. Ctrl-C ends it; it owns nothing that could be lost.
    """
    try:
        from thinktwice.ui import serve
    except ModuleNotFoundError as error:
        raise ConfigError(f"{error.name} is not installed; pip install 'thinktwice[ui]'") from None

    from thinktwice.cli.progress import quiet_loading

    def ready(address: str) -> None:
        typer.echo(f"{address}  (runs: {runs}/; Ctrl-C ends it)")
        if expose:
            typer.echo("thinktwice: anyone who can reach this address can use it; there is no password", err=True)
        if show:
            import webbrowser

            webbrowser.open(address)
        threading.Thread(target=quiet_loading, daemon=True).start()  # the page answers meanwhile

    serve(runs, model or (), host=host, port=port, expose=expose, allow_code=allow_code, ready=ready)
