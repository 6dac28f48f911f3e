import json
from pathlib import Path

import pytest

from thinktwice.errors import DataError
from thinktwice.methods.evolve.feedback import Feedback, read
from thinktwice.methods.evolve.human import (
    Review,
    add_review,
    item,
    item_id,
    read_human,
    read_queue,
    read_reviews,
    write_queue,
)

DRAFT = Feedback("incorrect", 0.5, 1, "3 and 4 are 7.", "7", "as written", "self")


def test_a_queue_is_read_as_it_was_written_and_grows_once(tmp_path: Path) -> None:
    path = tmp_path / "deep/queue.jsonl"
    rows = [item("p/1", 0, "Wie viele?\u2028", "8\n", DRAFT), item("p/1", 3, "Wie viele?\u2028", "9")]
    assert write_queue(path, rows) == 2
    written = path.read_bytes()
    assert write_queue(path, rows) == 0
    assert write_queue(path, [item("p/1", 7, "Wie viele?\u2028", "9")]) == 0  # another sample of the same answer
    assert path.read_bytes() == written
    assert write_queue(path, [item("p/2", 0, "q", "9")]) == 1
    items, bad = read_queue(path)
    assert list(items.values()) == [*rows, item("p/2", 0, "q", "9")]
    assert bad == {}
    assert not list(path.parent.glob("*.tmp"))


def test_an_answer_has_one_id_whoever_wrote_it() -> None:
    assert item_id("p", "a b\n") == item_id("p", "a b") == item("p", 4, "q", "a b").id
    assert len({item_id("p", "a"), item_id("p", "b"), item_id("r", "a")}) == 3


def test_a_queue_that_cannot_be_added_to_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "queue.jsonl"
    write_queue(path, [item("p", 0, "q", "a")])
    with pytest.raises(DataError, match="another question"):
        write_queue(path, [item("r", 0, "q", "a"), item("p", 0, "other", "a")])
    with path.open("a") as stream:
        stream.write("{half")
    before = path.read_bytes()
    with pytest.raises(DataError, match="1: not a line of JSON"):
        write_queue(path, [item("r", 0, "q", "a")])
    assert path.read_bytes() == before


def test_what_was_said_comes_back_as_feedback(tmp_path: Path) -> None:
    path = tmp_path / "human.jsonl"
    add_review(path, Review("p/1", "incorrect", 0.9, 2, "half of 48\nis 24", "72"))
    add_review(path, Review("p/2", "unsure"))
    found, bad = read_human(path)
    assert bad == {}
    said = found["p/1"]
    assert (said.verdict, said.confidence, said.step, said.explanation, said.answer) == (
        *("incorrect", 0.9, 2),
        *("half of 48\nis 24", "72"),
    )
    assert said.source == "human"
    assert read(said.text).answer == "72"
    assert found["p/2"].says_right is None


def test_the_later_word_counts(tmp_path: Path) -> None:
    path = tmp_path / "human.jsonl"
    add_review(path, Review("p", "incorrect", step=1))
    add_review(path, Review("p", "correct"))
    assert read_reviews(path)[0] == {"p": Review("p", "correct")}


def test_a_torn_line_spoils_nothing_but_itself(tmp_path: Path) -> None:
    path = tmp_path / "human.jsonl"
    add_review(path, Review("p", "correct"))
    with path.open("a") as stream:
        stream.write('{"id": "q", "verd')  # killed here
    add_review(path, Review("r", "unsure"))
    found, bad = read_human(path)
    assert list(found) == ["p", "r"]
    assert bad == {"not a line of JSON": 1}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ('{"id": "p"}', "verdict: missing"),
        ('{"verdict": "correct"}', "id: missing"),
        ('{"id": "p", "verdict": "unparsed"}', "verdict"),
        ('{"id": "p", "verdict": "correct", "step": 0}', "counted from 1"),
        ('{"id": "p", "verdict": "correct", "step": "two"}', "step"),
        ('{"id": "p", "verdict": "correct", "confidence": 1.5}', "between 0 and 1"),
        ('{"id": "p", "verdict": "correct", "verdikt": 1}', "Did you mean 'verdict'"),
        ('["p", "correct"]', "expected a mapping"),
        ("p correct", "not a line of JSON"),
        ('{"id": "\udcff"}', "not a line of JSON"),
    ],
)
def test_bad_rows_are_counted_with_their_reason(row: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "human.jsonl"
    good = json.dumps({"id": "good", "verdict": "correct"})
    path.write_bytes(f"{row}\n\n{good}\n{row}".encode(errors="surrogateescape"))
    found, bad = read_human(path)
    assert list(found) == ["good"]
    assert list(bad.values()) == [2]
    assert reason in next(iter(bad))


def test_an_id_that_stands_twice_in_a_queue_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "queue.jsonl"
    write_queue(path, [item("p", 0, "q", "a")])
    path.write_bytes(2 * path.read_bytes())
    assert read_queue(path)[1] == {"its id stands there before": 1}


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Check the path"):
        read_human(tmp_path / "none.jsonl")
