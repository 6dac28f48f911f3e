import gzip
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from thinktwice.errors import ConfigError, DataError
from thinktwice.tools.build import Built, build, corpus_of
from thinktwice.tools.corpus import Corpus, open_local
from thinktwice.tools.documents import Document, read_documents

DATA = Path(__file__).parents[2] / "../shared/data"
PAGES = [
    Document("A", "first text", redirects=("Alpha",)),
    Document("A", "first text"),
    Document("A", "a longer first text", choices=("B", "Nowhere")),
    Document("B", "second"),
    Document("Beta", redirect="B"),
    Document("Bet", redirect="Beta"),
    Document("C", "third", redirects=("B", "Alpha")),
]


def everything(corpus: Corpus):
    pages = list(corpus.pages())
    return corpus.corpus, pages, [corpus.search(q, 9) for q in ("first text", "alpha", "third second", "B")]


def test_order_does_not_matter():
    wanted = everything(corpus_of(PAGES, "x"))
    shuffled = list(PAGES)
    for seed in range(5):
        random.Random(seed).shuffle(shuffled)
        assert everything(corpus_of(shuffled, "another source")) == wanted


def test_what_was_merged_and_left_out_is_counted(tmp_path):
    built = build(PAGES, tmp_path / "c.sqlite", "x")
    assert built == Built(built.corpus, documents=3, redirects=4, disambiguations=1, repeated=1, differing=1, lost=2)
    assert str(built) == (
        "3 pages; 4 redirects; 1 disambiguation pages; 1 repeated documents merged; "
        "1 of a known title but another text left out; 2 redirects or choices that lead to no page left out"
    )
    corpus = open_local(tmp_path / "c.sqlite")
    assert [(title, text, names) for _, title, text, names in corpus.pages()] == [
        ("A", "a longer first text", ("Alpha",)),
        ("B", "second", ("Bet", "Beta")),
        ("C", "third", ("Alpha",)),
    ]
    assert corpus.open("A").choices == ("B",)


@pytest.mark.parametrize(
    "other",
    [Document("A", "other"), Document("B", "text"), Document("A", "text", ("N",)), Document("A", "text", (), ("A",))],
)
def test_other_documents_have_another_hash(other):
    assert corpus_of([other], "x").corpus != corpus_of([Document("A", "text")], "x").corpus


def test_the_hash_is_the_documented_one():
    import hashlib

    line = json.dumps(["Ä", "t", ["N"], []], ensure_ascii=False, separators=(",", ":")) + "\n"
    assert corpus_of([Document("Ä", "t", ("N",))], "x").corpus == hashlib.sha256(line.encode()).hexdigest()


def test_a_corpus_that_is_there_is_kept(tmp_path):
    path = tmp_path / "c.sqlite"
    build(PAGES, path, "x")
    before = path.read_bytes()

    def read():
        yield PAGES[0]
        raise AssertionError("nothing may be read")

    with pytest.raises(ConfigError, match="is there already; replace it with --force"):
        build(read(), path, "x")
    assert path.read_bytes() == before
    build(PAGES[:1], path, "x", force=True)
    assert open_local(path).info.documents == 1
    with pytest.raises(ConfigError, match="is a directory"):
        build(PAGES, tmp_path, "x", force=True)


def test_a_corpus_that_is_being_searched_may_be_replaced(tmp_path):
    path = tmp_path / "c.sqlite"
    build(PAGES, path, "x")
    old = open_local(path)
    build([Document("New", "first")], path, "x", force=True)
    assert old.search("first", 1)[0].title == "A"
    assert open_local(path).search("first", 1)[0].title == "New"


def test_a_build_that_fails_leaves_what_was_there(tmp_path):
    path = tmp_path / "c.sqlite"
    build(PAGES, path, "x")
    before = path.read_bytes()

    def broken():
        yield Document("Z", "z")
        raise DataError("the dump ends")

    with pytest.raises(DataError, match="the dump ends"):
        build(broken(), path, "x", force=True)
    with pytest.raises(DataError, match="no document"):
        build([], path, "x", force=True)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["c.sqlite"]


def test_a_killed_build_leaves_no_corpus(tmp_path):
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom thinktwice.tools.build import build\n"
        "from thinktwice.tools.documents import Document\n"
        "def slow():\n    yield Document('A', 'x')\n    print('going', flush=True)\n    time.sleep(60)\n"
        "build(slow(), Path(sys.argv[1]), 'x')\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "c.sqlite")], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"going\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait(20)
    process.stdout.close()
    assert not (tmp_path / "c.sqlite").exists()


def test_progress_is_told(tmp_path):
    told = []
    build(
        (Document(f"P{n}", "x") for n in range(2500)), tmp_path / "c.sqlite", "x", tell=lambda *news: told.append(news)
    )
    reads = [("read", 1000), ("read", 2000), ("read", 2500)]
    assert told == [*reads, ("indexed", 1000), ("indexed", 2000), ("indexed", 2500)]


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot write"):
        build(PAGES, tmp_path / "file" / "c.sqlite", "x")


def test_names_that_are_no_text_are_cleaned():
    corpus = corpus_of([Document(" New\nYork_City ", "a\ud800b"), Document("\0", "nothing")], "x")
    assert [(title, text) for _, title, text, _ in corpus.pages()] == [("New York City", "ab")]


# Readers


def test_both_layouts_of_hotpotqa_are_read(tmp_path):
    pairs = [["A", ["One.", " Two."]], ["B", ["Three."]]]
    columns = {"title": ["A", "B"], "sentences": [["One.", " Two."], ["Three."]]}
    wanted = [Document("A", "One. Two."), Document("B", "Three.")]
    for name, context in (("pairs.json", pairs), ("columns.json", columns)):
        (tmp_path / name).write_text(json.dumps([{"question": "?", "context": context}] * 2))
        assert list(read_documents([tmp_path / name])) == wanted * 2


@pytest.mark.skipif(not DATA.exists(), reason="shared/data is not here")
def test_hotpotqa_without_contexts_names_the_fix():
    with pytest.raises(DataError, match=r"without their paragraphs .*hotpot_dev_distractor_v1\.json"):
        list(read_documents([DATA / "hotpotqa/hotpot_dev_v1_simplified.json"]))


ROWS = [
    {"title": "A", "text": "a text", "url": "https://…", "id": 7},
    {"title": "B", "abstract": "b text", "aliases": ["Bee"]},
    {"title": "C", "text": ["One.", " Two."], "redirects": ["Sea"]},
    {"title": "D", "text": [["Par one."], ["Par", " two."]]},
    {"title": "E", "choices": ["A", "B"]},
    {"title": "Dee", "redirect": "D"},
]
READ = [
    Document("A", "a text"),
    Document("B", "b text", ("Bee",)),
    Document("C", "One. Two.", ("Sea",)),
    Document("D", "Par one.\nPar two."),
    Document("E", choices=("A", "B")),
    Document("Dee", redirect="D"),
]


@pytest.mark.parametrize("name", ["d.jsonl", "d.json", "d.jsonl.gz", "d.jsonl.bz2"])
def test_abstracts_are_read(tmp_path, name, monkeypatch):
    import bz2

    monkeypatch.setattr("thinktwice.tools.documents.PIECE", 7)  # every row is cut somewhere
    text = json.dumps(ROWS) if name == "d.json" else "\ufeff" + "\r\n".join(map(json.dumps, ROWS)) + "\n\n"
    pack = {".gz": gzip.compress, ".bz2": bz2.compress}.get(Path(name).suffix, bytes)
    (tmp_path / name).write_bytes(pack(text.encode()))
    assert list(read_documents([tmp_path])) == READ


def test_a_long_dump_is_read_in_bounded_memory(tmp_path, monkeypatch):
    import tracemalloc

    monkeypatch.setattr("thinktwice.tools.documents.PIECE", 1 << 16)
    path = tmp_path / "d.jsonl"
    row = json.dumps({"title": "T", "text": "word " * 200})
    with path.open("w") as file:
        file.writelines(row + "\n" for _ in range(4000))  # 4 MB
    tracemalloc.start()
    assert sum(1 for _ in read_documents([path])) == 4000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


def test_bad_rows_are_counted_and_too_many_stop(tmp_path, caplog):
    path = tmp_path / "d.jsonl"
    good = [json.dumps({"title": f"T{n}", "text": "x"}) for n in range(300)]
    path.write_text("\n".join([*good, "{broken", '{"title": "", "text": "x"}']))
    assert len(list(read_documents([path]))) == 300
    assert "2 of 302 rows cannot be read (row 301: it is not JSON" in caplog.text
    assert "row 302: its title is missing" in caplog.text
    path.write_text("\n".join([*good, *['{"titel": "x"}'] * 4]))
    with pytest.raises(DataError, match=r"4 of 304 rows .*has `title` and `text` \(or `abstract`\)"):
        list(read_documents([path]))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"[", "broken JSON array"),
        (b'[{"title": "A", "text": "x"}, {"title', "broken JSON array"),
        (b"\xff\xfe{", "files are UTF-8"),
        (b'{"title": "A"}', "it has no text"),
        (b'{"title": "A", "text": 7}', "its text is no text"),
        (b'{"title": "A", "text": "x", "redirects": "B"}', "'redirects' is no list of titles"),
        (b"[7]", "it is not a JSON object"),
        (b'{"context": [["A"]]}', "a paragraph is not"),
        (b'{"context": {"title": ["A"], "sentences": []}}', "shorter"),
    ],
)
def test_files_that_cannot_be_read_say_why(tmp_path, content, says):
    (tmp_path / "d.json").write_bytes(content)
    with pytest.raises(DataError, match=says):
        list(read_documents([tmp_path / "d.json"]))


def test_no_file_and_no_gzip_say_so(tmp_path):
    with pytest.raises(DataError, match=r"cannot read .*No such file"):
        list(read_documents([tmp_path / "none.json"]))
    (tmp_path / "d.json.gz").write_bytes(b"plain")
    with pytest.raises(DataError, match="cannot read"):
        list(read_documents([tmp_path / "d.json.gz"]))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"has no file that ends in \.json"):
        list(read_documents([tmp_path / "empty"]))
