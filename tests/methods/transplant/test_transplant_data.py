"""Items and pairs: labels belong to candidates, not to slots or generators."""

from collections import Counter

import pytest

from thinktwice.errors import DataError
from thinktwice.methods.transplant.data import Candidate, Item, folds, last_step_start, pairs, read_items, write_items
from thinktwice.methods.transplant.seed_data import (
    ANSWER_FIRST,
    read_arguments,
    read_solutions,
    read_source,
    seed_test,
)


def test_items_survive_the_disk(tmp_path, make_item):
    items = [
        make_item("a", "right by m", "wrong by m", argument="Candidate 1 …\u2028", argued_for=0),
        Item("b", "q", "1", (Candidate("x\ny", "1", True, token_ids=(3, 4)),)),
    ]
    write_items(tmp_path / "items.jsonl", items)
    assert read_items(tmp_path / "items.jsonl") == items


def test_a_bad_line_is_named(tmp_path, make_item):
    path = tmp_path / "items.jsonl"
    write_items(path, [make_item("a", "right", "wrong")] * 2)
    with pytest.raises(DataError, match=r"items.jsonl:2: id 'a' stands twice"):
        read_items(path)
    path.write_text('{"id": "a", "question": "q", "gold": "1", "candidates": [], "colour": "red"}\n')
    with pytest.raises(DataError, match="colour"):
        read_items(path)
    path.write_text("{\n")
    with pytest.raises(DataError, match=r":1: not JSON"):
        read_items(path)


def test_every_right_candidate_meets_every_wrong_one_in_an_order_a_coin_decides(make_item):
    items = [make_item(f"q{i}", "right by m", "wrong by m", "right by m") for i in range(200)]
    found = pairs(items)
    assert len(found) == 400
    assert all(pair.is_pair for pair in found)
    assert len({pair.id for pair in found}) == 400
    assert 160 < sum(pair.right == 0 for pair in found) < 240
    assert found == pairs(items)
    assert max(Counter(pair.id.split("/")[0] for pair in pairs(items, most=1)).values()) == 1


def test_a_pair_with_an_argument_keeps_its_order_and_one_without_does_not(make_item):
    argued = [make_item(f"q{i}", "right by m", "wrong by n", argument="Candidate 1.", argued_for=0) for i in range(60)]
    assert pairs(argued) == argued
    silent = pairs([make_item(f"q{i}", "right by m", "wrong by n") for i in range(60)])
    assert 15 < sum(pair.right == 0 for pair in silent) < 45


def test_balanced_pairs_say_nothing_of_the_generator(make_item):
    items = [make_item(f"a{i}", "right by m", "wrong by n") for i in range(30)]
    items += [make_item(f"b{i}", "wrong by m", "right by n") for i in range(10)]
    items += [make_item(f"c{i}", "right by m", "wrong by m") for i in range(5)]
    winners = Counter(pair.candidates[pair.right].generator for pair in pairs(items, by_generator="balanced"))
    assert winners == {"m": 15, "n": 10}
    assert len(pairs(items, by_generator="within")) == 5


def test_equal_texts_are_no_pair():
    same = Candidate("x", "1", True), Candidate("x", "2", False)
    assert pairs([Item("q", "q", "1", same)]) == []


def test_pairs_of_like_length():
    texts = {"a b\nc": True, "a\nb": False, "a c\nb": False, "a b c": False}
    item = Item("q", "q", "1", tuple(Candidate(text, "1", right) for text, right in texts.items()))

    def wrongs(**rules):
        return {c.text for pair in pairs([item], **rules) for c in pair.candidates if not c.right}

    assert wrongs() == {"a\nb", "a c\nb", "a b c"}
    assert wrongs(alike="steps") == {"a\nb", "a c\nb"}
    assert wrongs(alike="length") == {"a c\nb"}


def test_folds_keep_a_question_together(make_item):
    items = pairs([make_item(f"q{i % 7}", "right", "wrong", "wrong", "right") for i in range(7)])
    parts = folds(items, 3)
    assert sorted(i for part in parts for i in part) == list(range(len(items)))
    where = {}
    for number, part in enumerate(parts):
        for index in part:
            assert where.setdefault(items[index].group, number) == number


@pytest.mark.parametrize(
    ("text", "last"),
    [
        ("a = 1\nb = 2\n#### 2", "b = 2\n#### 2"),
        ("a = 1\nb = 2\nA: 2\n", "b = 2\nA: 2\n"),
        ("a = 1\nso b = 2", "so b = 2"),
        ("First 2 x 3 = 6. Then 6 + 1 = 7.  The sum is 7.", "The sum is 7."),
        ("one", "one"),
        ("", ""),
    ],
)
def test_the_last_step(text, last):
    assert text[last_step_start(text) :] == last


def test_the_seeds_rows(seed_file):
    items = read_arguments(seed_file)
    assert len(items) == len({item.id for item in items}) == 2748
    assert all(item.is_pair and item.argued_for is not None for item in items)
    assert items[0].gold == "47"
    assert items[1].right == 1  # swapped
    assert {item.candidates[1 - item.right].generator for item in items} == {ANSWER_FIRST}


def test_the_seeds_split_is_that_of_datasets_not_of_sklearn(seed_file):
    items = read_arguments(seed_file)
    test = [items[index] for index in seed_test(len(items))]
    assert len(test) == 275
    assert round(sum(item.right == 1 for item in test) / 275, 3) == 0.509
    assert round(sum(item.right == item.argued_for for item in test) / 275, 2) == 0.64


def test_gsm8k_solutions(gsm8k_file):
    items = read_solutions(gsm8k_file)
    assert len(items) == 1319
    assert {len(item.candidates) for item in items} == {2}
    assert len(pairs(items)) == 357  # questions on which one of the two models is right
    balanced = pairs(items, by_generator="balanced")
    winners = Counter(pair.candidates[pair.right].generator for pair in balanced)
    assert winners == {"6b_finetuning": 64, "6b_verification": 64}


def test_a_file_of_no_known_kind(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"text": 1}\n')
    with pytest.raises(DataError, match="no known kind"):
        read_source(path)
    path.with_suffix(".csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="no column 'Question'"):
        read_source(path.with_suffix(".csv"))
    with pytest.raises(DataError, match="no file"):
        read_source(tmp_path / "none.csv")
