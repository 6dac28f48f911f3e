import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from thinktwice.tools import Retriever
from thinktwice.tools.build import build
from thinktwice.tools.corpus import Corpus, open_local
from thinktwice.tools.documents import Document, read_documents
from thinktwice.tools.serving import Server

HOTPOT = Path(__file__).parents[2] / "../shared/data/hotpotqa_300"

PAGES = (
    Document("John F. Kennedy", "He was president of the United States.", redirects=("JFK", "Jack Kennedy")),
    Document("Kennedy", choices=("Robert Kennedy", "John F. Kennedy", "Nobody Kennedy")),
    Document("Robert Kennedy", "He was a senator, and a brother of the president."),
    Document("The president's brother", redirect="RFK"),
    Document("RFK", redirect="Robert Kennedy"),
    Document("Round", redirect="About"),
    Document("About", redirect="Round"),
    Document("Nowhere", redirect="No such page"),
    Document("VIVA", "A music channel."),
    Document("Viva", "A cry of joy."),
    Document("Verano de Escándalo", "A wrestling show, once a year."),
    Document("The Who", "A band that played loudly."),
    Document("Twin A", "Same words here."),
    Document("Twin B", "Same words here."),
)


@pytest.fixture
def small(tmp_path: Path) -> Corpus:
    path = tmp_path / "small.sqlite"
    build(PAGES, path, "a few pages")
    return open_local(path)


@pytest.fixture(scope="session")
def hotpot(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    if not HOTPOT.exists():
        pytest.skip("shared/data is not here")
    path = tmp_path_factory.mktemp("hotpot") / "hotpot.sqlite"
    build(read_documents([HOTPOT]), path, "hotpotqa_300")
    return open_local(path)


@pytest.fixture
def serving() -> Iterator[Callable[[Retriever], str]]:
    """Serve a retriever on loopback; return the address."""
    servers: list[Server] = []

    def start(retriever: Retriever) -> str:
        server = Server(retriever, port=0)
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return server.address

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
