"""The bar before training: the notes' numbers on the real files, and planted shortcuts on made ones."""

import json
import random

import pytest

from thinktwice.errors import DataError
from thinktwice.methods.transplant.audit import audit
from thinktwice.methods.transplant.data import Candidate, Item, write_items
from thinktwice.methods.transplant.measures import ends_in, template
from thinktwice.methods.transplant.seed_data import Source, read_source
from thinktwice.methods.transplant.shortcuts import false_equations


@pytest.fixture(scope="module")
def seeds_audit(seed_file):
    return audit(read_source(seed_file))


def test_shortcuts_of_the_seed(seeds_audit):
    """transplant.md, 1.4: 0.491/0.509, 0.640, 0.524, 0.58, 0.74-0.75 and 0.793 on n = 275."""
    bars = {bar.name: bar for bar in seeds_audit.bars}
    assert {bar.n for bar in bars.values()} == {275}
    assert round(bars["always slot 1"].accuracy, 3) == 0.491
    assert round(bars["always slot 2"].accuracy, 3) == 0.509
    assert bars["follow the argument"].accuracy == 0.64
    assert round(bars["longer text"].accuracy, 3) == 0.524
    assert 0.56 < bars["fewer false equations"].accuracy < 0.60
    assert 0.73 < bars["n-grams of words"].accuracy < 0.78
    assert 0.73 < bars["n-grams of characters"].accuracy < 0.76
    assert 0.64 < bars["n-grams of the last step"].accuracy < 0.72
    assert bars["n-grams + the argument's choice"].accuracy == pytest.approx(0.793, abs=0.01)
    low, high = bars["follow the argument"].ci
    assert low == pytest.approx(0.582, abs=0.005)
    assert high == pytest.approx(0.694, abs=0.005)


def test_the_bar_is_the_best_that_can_be_read(seeds_audit):
    assert seeds_audit.bar.name == "n-grams + the argument's choice"
    assert seeds_audit.sentence.startswith("A verifier must beat 79.6 % on this split")
    assert "who wrote each candidate alone gives 100.0 %" in seeds_audit.sentence


def test_facts_of_the_seed(seeds_audit):
    found = {fact.name: fact for fact in seeds_audit.facts}
    assert round(found["wrong candidate ends in the right number"].share, 3) == 0.138
    assert found["the two candidates are the same words"].count == 30
    assert round(found["argument chooses slot 1"].share, 3) == 0.872
    assert round(found["argument for slot 2 is right"].share, 2) == 0.91
    assert round(found["argument for slot 1 is right"].share, 2) == 0.55
    assert round(found["argument names a candidate"].share, 3) == 0.999
    assert 0.5 < found["masked, it still shares more words with its choice"].share < 0.65
    assert found["test questions whose template is in train"].count >= 10


def test_gsm8k_by_command(gsm8k_file, call):
    code, out, _ = call("audit", str(gsm8k_file), "--json")
    found = json.loads(out)
    bars = {bar["name"]: bar["accuracy"] for bar in found["bars"]}
    assert code == 0
    assert found["tested"] == found["pairs"] == 357
    assert bars["who wrote it"] == pytest.approx(293 / 357)  # the verifier's picks are right more often
    assert bars["fewer false equations"] == pytest.approx(0.52, abs=0.02)
    code, out, _ = call("audit", str(gsm8k_file), "--pairing", "balanced")
    assert code == 0
    assert "128 pairs" in out
    assert "alone gives" not in out


def made(count, wrong):
    """Pairs whose right text is words of chance, and whose wrong text is made from one by `wrong`."""
    rng = random.Random(0)
    items = []
    for number in range(count):
        words = " ".join(rng.choices(["red", "blue", "green", "grey"], k=8))
        other = wrong(" ".join(rng.choices(["red", "blue", "green", "grey"], k=8)))
        both = (Candidate(f"{words}. Total {number}", str(number), True), Candidate(other, "-1", False))
        items.append(Item(f"i{number}", f"question {number}", str(number), both))
    return Source("items", items)


def test_a_planted_fingerprint_is_found_and_its_absence_too():
    found = {bar.name: bar for bar in audit(made(120, lambda words: words + ". In total, well")).bars}
    assert found["n-grams of words"].accuracy > 0.97
    assert found["n-grams of the last step"].accuracy > 0.97
    clean = made(120, str)
    items = [  # the label is a coin: nothing is there to find
        Item(i.id, i.question, i.gold, tuple(Candidate(c.text, "0", (n + int(i.id[1:])) % 2 == 0) for n, c in
             enumerate(sorted(i.candidates, key=lambda c: c.text)))) for i in clean.items
    ]  # fmt: skip
    for bar in audit(Source("items", items)).bars:
        assert 0.35 < bar.accuracy < 0.65, bar


def test_no_question_stands_in_train_and_test():
    """Every text is a word of its question's own: whoever saw the question knows the label, nobody else can."""
    rng = random.Random(0)
    items = []
    for number in range(60):
        right, wrong = ("".join(rng.choices("abcdefgh", k=9)) for _ in range(2))
        for copy in range(4):
            both = (Candidate(right, "1", True), Candidate(wrong, "2", False))
            items.append(Item(f"{number}-{copy}", f"Question {number}", "1", both))
    found = {bar.name: bar for bar in audit(Source("items", items)).bars}
    assert found["n-grams of words"].accuracy == 0.5
    assert found["n-grams of words"].undecided == 240


def test_a_false_equation_is_counted():
    assert false_equations("2 + 2 = 5 so 3 x 3 = 9.\n5 - 1 = 3") == 2


def test_label_noise_and_templates():
    assert ends_in("so he has $1,200.00 left", "1200")
    assert not ends_in("he has 12", "-12")
    assert not ends_in("none", "1")
    assert template("Ann has 3 apples.") == template("Ann has 1,250 apples.")


def test_refusals(tmp_path, call, make_item):
    write_items(tmp_path / "x.jsonl", [make_item("a", "right", "right")])
    code, _, said = call("audit", str(tmp_path / "x.jsonl"))
    assert code == 1
    assert "no question has a right and a wrong candidate" in said
    code, _, said = call("audit", str(tmp_path / "x.jsonl"), "--pairing", "balance")
    assert code == 2
    assert "Did you mean 'balanced'?" in said
    with pytest.raises(DataError, match="too few"):
        audit(Source("items", [make_item("a", "right", "wrong")]))
