import json
import multiprocessing
import pickle
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thinktwice.errors import ConfigError, DataError
from thinktwice.tasks.worlds.wiki import Encyclopedia
from thinktwice.tools import Retriever
from thinktwice.tools.build import corpus_of, world_corpus
from thinktwice.tools.corpus import COMPLETE, Corpus, open_corpus, open_local
from thinktwice.tools.documents import Document

HOTPOT = Path(__file__).parents[2] / "../shared/data/hotpotqa_300"


def titles(found):
    return [passage.title for passage in found]


def gold(row):
    facts = row["supporting_facts"]
    return set(facts["title"]) if isinstance(facts, dict) else {title for title, _ in facts}


def test_the_notes_numbers_on_hotpotqa(hotpot):
    """research/react.md: 2,958 paragraphs; question: any gold@5 99.0, both@5 63.7; title: @1 91.8, @3 98.7.

    Ours with a title is 100, since the page whose title the query spells comes first; the notes' FTS5 alone did not.
    """
    assert (hotpot.info.documents, hotpot.info.characters) == (2958, 1623735)
    rows = [row for level in ("easy", "medium", "hard") for row in json.loads((HOTPOT / f"{level}.json").read_text())]
    found = [set(titles(hotpot.search(row["question"], 5))) for row in rows]
    assert sum(bool(gold(row) & five) for row, five in zip(rows, found, strict=True)) == 297
    assert sum(gold(row) <= five for row, five in zip(rows, found, strict=True)) == 191
    bridge = [gold(row) <= five for row, five in zip(rows, found, strict=True) if row["type"] == "bridge"]
    assert round(100 * sum(bridge) / len(bridge), 1) == 59.5
    golds = sorted({title for row in rows for title in gold(row)})[::5]
    assert all(titles(hotpot.search(title, 1)) == [title] for title in golds)


def test_words_alone_find_titles_as_often_as_the_notes_say(hotpot, monkeypatch):
    """The same queries without the page that the query spells: 91.8 and 98.7 in the notes, 92.0 and 98.7 here."""
    monkeypatch.setattr("thinktwice.tools.corpus._LOOKUPS", ())
    rows = [row for level in ("easy", "medium", "hard") for row in json.loads((HOTPOT / f"{level}.json").read_text())]
    asked = [title for row in rows for title in gold(row)]
    found = [titles(hotpot.search(title, 3)) for title in asked]
    assert len(asked) == 600
    assert sum(three[:1] == [title] for title, three in zip(asked, found, strict=True)) == 552
    assert sum(title in three for title, three in zip(asked, found, strict=True)) == 592


def test_pages_with_every_word_come_before_pages_with_some(small):
    corpus = corpus_of(
        [Document("A", "zebra zebra zebra"), Document("B", "filler " * 50 + "zebra okapi"), Document("C", "other")], "x"
    )
    found = corpus.search("zebra okapi", 3)
    assert titles(found) == ["B", "A"]  # A ranks higher by BM25 of "zebra", and lacks okapi
    assert found[0].score > COMPLETE > found[1].score
    assert titles(corpus.search("zebra okapi", 1)) == ["B"]


def test_scores_are_in_the_order_of_results(hotpot):
    for query in ("VIVA Media", "music television network", "Which magazine was started first"):
        scores = [passage.score for passage in hotpot.search(query, 10)]
        assert len(scores) == 10
        assert scores == sorted(scores, reverse=True)


def test_stems_and_accents_and_case_find(small):
    assert titles(small.search("wrestle", 1)) == ["Verano de Escándalo"]
    assert titles(small.search("ESCANDALO", 1)) == ["Verano de Escándalo"]
    assert set(titles(small.search("presidents", 2))) == {"John F. Kennedy", "Robert Kennedy"}


def test_a_title_counts_more_than_a_text():
    corpus = corpus_of([Document("One", "lantern " + "x " * 5), Document("Lantern maker", "one " + "x " * 5)], "x")
    assert titles(corpus.search("lantern x", 2))[0] == "Lantern maker"


def test_equal_pages_come_by_title_in_every_build():
    pages = [Document(f"Page {letter}", "the very same words") for letter in "dbacfe"]
    assert titles(corpus_of(pages, "x").search("same words", 4)) == ["Page a", "Page b", "Page c", "Page d"]
    assert titles(corpus_of(pages[::-1], "x").search("same words", 4)) == ["Page a", "Page b", "Page c", "Page d"]


def test_the_page_whose_title_is_asked_for_comes_first():
    pages = [Document("Dune", "short"), *(Document(f"Dune {n}", "dune dune dune dune") for n in range(9))]
    assert titles(corpus_of(pages, "x").search("dune", 2))[0] == "Dune"


def test_redirects_are_results_and_say_so(small):
    first = small.search("JFK", 1)[0]
    assert (first.title, first.via) == ("John F. Kennedy", "JFK")
    among_words = small.search("JFK senator speech", 5)
    assert ("John F. Kennedy", "JFK") in [(p.title, p.via) for p in among_words]
    assert next(p for p in small.search("president of the United States", 1)).via == ""
    assert small.search("Kennedy president", 1)[0].via == ""  # its own title has the word


def test_open_follows_redirects_of_redirects_and_no_circle(small):
    assert small.open("the_president's  BROTHER").title == "Robert Kennedy"
    assert small.open("The president's brother").via == "The president's brother"
    assert small.open("rfk").via == "RFK"
    assert [small.open(name) for name in ("Round", "About", "Nowhere", "Nobody", "")] == [None] * 5


def test_disambiguation_pages_have_choices(small):
    page = small.open("kennedy")
    assert page.choices == ("John F. Kennedy", "Robert Kennedy")
    assert page.text == "Kennedy may be: John F. Kennedy, Nobody Kennedy, Robert Kennedy."
    assert small.search("Kennedy", 3)[0].choices == page.choices
    assert all(small.open(choice).title == choice for choice in page.choices)


def test_titles_that_only_case_tells_apart(small):
    assert small.open("Viva").text == "A cry of joy."
    assert small.open("VIVA").text == "A music channel."
    either = small.open("viva")
    assert either.choices == ("VIVA", "Viva")
    assert small.search("viva", 1)[0].choices == ("VIVA", "Viva")
    assert small.open("verano de escandalo").title == "Verano de Escándalo"


def test_a_redirect_that_two_pages_claim_is_ambiguous():
    corpus = corpus_of([Document("A", "x", redirects=("Ace",)), Document("B", "y", redirects=("Ace",))], "x")
    assert corpus.open("ace").choices == ("A", "B")
    assert corpus.info.disambiguations == 0


def test_stop_words_count_only_alone(small):
    assert titles(small.search("the who", 1)) == ["The Who"]
    assert small.search("of and the", 3)[0].title  # nothing but stop words: they are searched for
    assert "The Who" not in titles(small.search("who was a senator", 5))


def test_nothing_found_is_empty(small):
    assert [small.search(q, 3) for q in ("", "  ", "?!", "\0", "qwertyuiop", "\ud800")] == [()] * 6
    assert small.search("president", 0) == small.search("president", -1) == ()


@pytest.mark.parametrize(
    "query",
    ["president NEAR senator", 'president"', '"president" OR *', "title:president", "president*", "-president",
     "president) AND (", "^president", "{text}: president", "president;DROP TABLE pages", "president + \\ ' --"],
)  # fmt: skip
def test_no_query_is_syntax(small, query):
    assert {"John F. Kennedy", "Robert Kennedy"} <= set(titles(small.search(query, 9)))


MEMORY = corpus_of([Document("One", "alpha beta"), Document("Two", "gamma ∂elta", redirects=("Zwei",))], "x")


@given(st.text(max_size=60), st.integers(-1, 3))
def test_any_text_is_a_query(query, k):
    found = MEMORY.search(query, k)
    assert len(found) <= max(k, 0)
    assert len({p.title for p in found}) == len(found)
    opened = MEMORY.open(query)
    assert opened is None or opened.title in ("One", "Two")


def test_a_page_of_nonsense_is_a_query(hotpot):
    assert len(hotpot.search("who " + "band " * 50_000 + '"' * 1000, 3)) == 3
    assert hotpot.search(" ".join(f"w{n}" for n in range(100_000)), 3) == ()
    assert hotpot.open("x" * 1_000_000) is None


def test_threads_share_a_corpus(hotpot):
    wanted = hotpot.search("music television network", 5)
    with ThreadPoolExecutor(8) as pool:
        assert all(f == wanted for f in pool.map(lambda _: hotpot.search("music television network", 5), range(64)))


def test_threads_that_ended_leave_no_connection(small):
    small.search("president")
    files = Path("/proc/self/fd")
    if not files.exists():
        pytest.skip("no /proc here")
    before = len(list(files.iterdir()))
    for _ in range(20):
        thread = threading.Thread(target=small.search, args=("president",))
        thread.start()
        thread.join()
    assert len(list(files.iterdir())) <= before + 1


def _searched(corpus: Retriever) -> list[str]:
    return sorted(titles(corpus.search("president", 2)))


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_corpus_survives_fork_and_pickle(small):
    assert _searched(small) == ["John F. Kennedy", "Robert Kennedy"]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(_searched, [small, small, MEMORY]) == [["John F. Kennedy", "Robert Kennedy"]] * 2 + [[]]
    again = pickle.loads(pickle.dumps(small))
    assert again == small
    assert _searched(again) == _searched(small)


def test_a_corpus_is_read_only(small):
    with small._reading() as db, pytest.raises(sqlite3.OperationalError, match="readonly"):
        db.execute("DELETE FROM pages")
    names = {path.name for path in small.source.parent.iterdir()}
    assert names == {"small.sqlite"}  # no journal, no lock, nothing beside it


def test_what_is_no_corpus_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"there is no corpus file .*thinktwice corpus build"):
        open_corpus(tmp_path / "none.sqlite")
    (tmp_path / "text").write_text("hello " * 100)
    with pytest.raises(DataError, match="is no corpus file"):
        open_corpus(tmp_path / "text")
    (tmp_path / "empty").touch()
    with pytest.raises(DataError, match="is no corpus file"):
        open_corpus(tmp_path / "empty")
    other = sqlite3.connect(tmp_path / "other.sqlite")
    other.execute("CREATE TABLE pages(id)")
    other.close()
    with pytest.raises(DataError, match="is no corpus file"):
        open_corpus(tmp_path / "other.sqlite")


def test_a_damaged_corpus_is_refused_in_one_sentence(small, tmp_path):
    data = small.source.read_bytes()
    cut = tmp_path / "cut.sqlite"
    cut.write_bytes(data[:-5000])
    with pytest.raises(DataError, match=r"damaged \(5000 bytes are missing"):
        open_corpus(cut)
    scratched = tmp_path / "scratched.sqlite"
    scratched.write_bytes(data[:4096] + b"\xff" * (len(data) - 4096))
    with pytest.raises(DataError, match="damaged"):
        open_corpus(scratched).search("president")
    newer = tmp_path / "newer.sqlite"
    newer.write_bytes(data[:60] + (9).to_bytes(4, "big") + data[64:])
    with pytest.raises(DataError, match="format 9; this version reads format 1"):
        open_corpus(newer)


def test_a_page_that_was_changed_is_found_out(small):
    small.check()
    path = small.source
    data = path.read_bytes()
    assert data.count(b"A cry of joy.") == 1
    path.write_bytes(data.replace(b"A cry of joy.", b"A cry of woe."))
    with pytest.raises(DataError, match="another hash"):
        open_local(path).check()


def test_the_wiki_world_is_there_at_once():
    corpus = open_corpus("wiki")
    assert open_corpus("wiki:0") is corpus
    world = Encyclopedia(0)
    for subject in (*world.persons[:20], *world.places["town"][:3], *world.places["country"]):
        assert corpus.open(subject).text == world.page(subject)
        assert corpus.search(subject, 1)[0].title == subject
    assert corpus.corpus == world_corpus(world).corpus
    assert open_corpus("wiki:7:40").corpus == world_corpus(Encyclopedia(7, people=40)).corpus
    for wrong in ("wiki:x", "wiki:", "wiki:1:2:3", "wiki:1:-4"):
        with pytest.raises(ConfigError, match="wiki:SEED:PEOPLE"):
            open_corpus(wrong)


def test_family_names_of_the_wiki_world_are_ambiguous():
    corpus = world_corpus(Encyclopedia(0, people=1008))
    ida = Encyclopedia(0, people=1008).persons[0]
    family = corpus.open(ida.split()[1].lower())
    assert ida in family.choices
    assert len(family.choices) > 1
    assert family.text == f"{family.title} may be: {', '.join(family.choices)}."
    alone = world_corpus(Encyclopedia(0, people=12))
    ida = Encyclopedia(0, people=12).persons[0]
    assert (alone.open(ida.split()[1]).title, alone.open(ida.split()[1]).via) == (ida, ida.split()[1])


def test_a_corpus_in_memory_is_a_corpus():
    assert isinstance(pickle.loads(pickle.dumps(MEMORY)), Corpus)
    assert MEMORY.size > 0
    MEMORY.check()
