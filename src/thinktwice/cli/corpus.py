"""The commands about what is searched: corpus build, search, open, info, serve."""

from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from thinktwice.tools import Passage
    from thinktwice.tools.build import Tell

app = typer.Typer(
    help="Build and search a corpus: the pages that a model may look things up in.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

Where = Annotated[
    str,
    typer.Argument(
        metavar="CORPUS",
        help="A corpus file; wiki or wiki:SEED:PEOPLE; bm25:FILE to rank it by bm25s; http://HOST:PORT of a server.",
    ),
]


@app.command(epilog="Example:  thinktwice corpus build hotpot_dev_distractor_v1.json --out hotpot.sqlite")
def build(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="HotpotQA files with contexts, dumps of abstracts (JSON lines; .gz and .bz2, too), directories of "
            "either; or wiki, wiki:SEED, wiki:SEED:PEOPLE: the encyclopedia of a wiki world.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Where the corpus goes: one SQLite file.")],
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
) -> None:
    """Make a corpus of documents. The same documents, in any order, give the same hash and the same results.

    A row of a dump has title and text (or abstract); redirects (or aliases), choices and redirect are optional.
    """
    from thinktwice.errors import ConfigError
    from thinktwice.tools import build as making
    from thinktwice.tools.corpus import world_of
    from thinktwice.tools.documents import read_documents, world_documents

    worlds = [world for world in map(world_of, sources) if world is not None]
    if worlds:
        if len(sources) > 1:
            raise ConfigError(f"a wiki world is a corpus of its own; leave out the other {len(sources) - 1} sources.")
        documents, told = world_documents(worlds[0]), making.world_source(worlds[0])
    else:
        documents = read_documents([Path(source) for source in sources])
        told = ", ".join(Path(source).name for source in sources)
    with _progress() as tell:
        built = making.build(documents, out, told, force=force, tell=tell)
    typer.echo(f"{out}: {built}\ncorpus {built.corpus}")


@app.command(epilog='Example:  thinktwice corpus search wiki "teacher of Ida Marshby" -k 5')
def search(
    corpus: Where,
    query: Annotated[str, typer.Argument(help="Words to search for; nothing in it is syntax.")],
    k: Annotated[int, typer.Option("-k", min=1, help="How many results.")] = 5,
    full: Annotated[bool, typer.Option("--full", help="Whole texts in place of a table.")] = False,
) -> None:
    """Print what a model would find."""
    from thinktwice.tools.corpus import open_corpus

    found = open_corpus(corpus).search(query, k)
    if not found:
        typer.echo("nothing found")
    elif full:
        typer.echo("\n\n".join(_whole(passage) for passage in found))
    else:
        _table(found)


@app.command("open", epilog='Example:  thinktwice corpus open wiki "Ida Marshby"')
def open_page(
    corpus: Where,
    title: Annotated[str, typer.Argument(help="A title or a redirect to it, in any case.")],
) -> None:
    """Print one page, or what an ambiguous title may mean."""
    from thinktwice.errors import DataError
    from thinktwice.show import printable
    from thinktwice.tools.corpus import open_corpus

    retriever = open_corpus(corpus)
    found = retriever.open(title)
    if found is None:
        near = ", ".join(repr(passage.title) for passage in retriever.search(title, 3))
        raise DataError(printable(f"no page is called {title!r}." + (f" Near: {near}." if near else "")))
    typer.echo(_whole(found))


@app.command(epilog="Example:  thinktwice corpus info hotpot.sqlite --check")
def info(
    corpus: Where,
    check: Annotated[bool, typer.Option("--check", help="Read every page and compare the hash.")] = False,
) -> None:
    """Print what a corpus holds, and the hash that traces name it by."""
    from rich.console import Console
    from rich.markup import escape

    from thinktwice.cli.tables import plain_table
    from thinktwice.errors import DataError
    from thinktwice.show import printable
    from thinktwice.tools.corpus import Corpus, open_corpus

    opened = open_corpus(corpus)
    typer.echo(f"corpus {printable(opened.corpus)}")
    if isinstance(opened, Corpus):
        told, table = opened.info, plain_table("", "")
        table.show_header = False
        table.add_row("made of", escape(printable(told.source)))
        table.add_row("pages", f"{told.documents:,}")
        table.add_row("of them disambiguation", f"{told.disambiguations:,}")
        table.add_row("redirects", f"{told.redirects:,}")
        table.add_row("characters", f"{told.characters:,} ({told.characters / told.documents:,.0f} a page)")
        table.add_row("size", f"{opened.size / 1e6:,.1f} MB")
        Console(highlight=False).print(table)
    if check:
        if not isinstance(opened, Corpus):
            raise DataError(f"only a corpus file can be checked; {corpus} is a server.")
        opened.check()
        typer.echo("checked: every page is as it was built")


@app.command(epilog="Example:  thinktwice corpus serve hotpot.sqlite --port 8000")
def serve(
    corpus: Where,
    port: Annotated[int, typer.Option(help="0 takes a free one.")] = 8000,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    expose: Annotated[
        bool, typer.Option("--expose", help="Allow a --host that other machines can reach; there is no password.")
    ] = False,
) -> None:
    """Serve a corpus over HTTP, in the format of Search-R1's retrieval server: POST /retrieve, /open, GET /health."""
    from thinktwice.tools.corpus import open_corpus
    from thinktwice.tools.serving import Server

    with Server(open_corpus(corpus), host, port, expose=expose) as server:
        typer.echo(f"{server.address}  (corpus: {corpus}; POST /retrieve; Ctrl-C ends it)")
        with suppress(KeyboardInterrupt):
            server.serve_forever()


@contextmanager
def _progress() -> "Iterator[Tell]":
    """Lend a listener that keeps one line on a terminal, and writes one now and then elsewhere."""
    import sys
    import time

    from thinktwice.cli.progress import EVERY, interactive, logging_to

    console = interactive(sys.stderr)
    live, last = console.is_interactive, time.monotonic()

    def tell(done: str, documents: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= (0.1 if live else EVERY):
            last = now
            line = f"{documents:,} documents {done}"
            typer.echo(f"\r{line}\033[K" if live else line, nl=not live, err=True)

    with logging_to(console):
        try:
            yield tell
        finally:
            if live:
                typer.echo("\r\033[K", nl=False, err=True)


def _table(found: "tuple[Passage, ...]") -> None:
    from rich.console import Console
    from rich.markup import escape

    from thinktwice.cli.tables import plain_table
    from thinktwice.show import printable

    table = plain_table("", "title", "score", "text")
    for place, passage in enumerate(found, 1):
        title = passage.title + (f" (via {passage.via})" if passage.via else "")
        text = " ".join(passage.text.split())
        shown = text if len(text) <= 160 else f"{text[:160].rsplit(' ', 1)[0]} …"
        table.add_row(str(place), escape(printable(title)), f"{passage.score:,.1f}", escape(printable(shown)))
    Console(highlight=False).print(table)


def _whole(passage: "Passage") -> str:
    from thinktwice.show import printable

    title = passage.title + (f" (via {passage.via})" if passage.via else "")
    return f"{printable(title)}\n{printable(passage.text)}"
