"""ROUGE: the numbers that the package gives on real predictions, and what is done around it."""

import json
import sys
from pathlib import Path
from statistics import fmean

import pytest

from thinktwice.errors import ConfigError
from thinktwice.scoring import rouge

pytest.importorskip("rouge_score")

DATA = Path(__file__).parents[2] / "../shared/data/natural_instructions_v1"
GOLDEN = DATA / "gpt3_predictions/GOLDEN_rouge.json"
needs_data = pytest.mark.skipif(not GOLDEN.exists(), reason="shared/data is not here")
FILES = sorted(json.loads(GOLDEN.read_text())) if GOLDEN.exists() else ["absent"]


def pairs(name):
    """Return (prediction, its references) of a file of real predictions."""
    instances = json.loads((DATA / f"{name.split('.')[0]}.json").read_text())["Instances"]
    predictions = json.loads((DATA / "gpt3_predictions" / name).read_text())["predictions"]
    return [(one["output"], instances[one["index"]]["output"]) for one in predictions]


@needs_data
@pytest.mark.parametrize("name", FILES)
def test_real_predictions_have_their_golden_rouge(name):
    golden, found = json.loads(GOLDEN.read_text())[name], pairs(name)
    assert len(found) == golden["n"]
    for kind, key in (("rougeL", "rougeL_fmeasure_max_over_refs"), ("rouge1", "rouge1")):
        assert fmean(rouge.measure(*pair, kind).f1 for pair in found) == pytest.approx(golden[key], abs=1e-4)
        assert fmean(rouge.score(*pair, kind).value for pair in found) == pytest.approx(golden[key], abs=1e-4)


@needs_data
def test_every_file_of_predictions_has_a_golden_rouge():
    assert [path.name for path in sorted(GOLDEN.parent.glob("subtask*.json"))] == FILES


@needs_data
def test_the_first_reference_without_a_stemmer_is_another_measure():
    found = pairs("subtask005_mctaco_wrong_answer_generation_event_duration.zero_shot.json")
    plain = fmean(rouge.measure(said, wanted[:1], stemmed=False).f1 for said, wanted in found)
    assert plain < 0.5 * fmean(rouge.measure(*pair).f1 for pair in found)


@pytest.mark.parametrize(
    ("said", "wanted", "kind", "marks"),
    [
        ("the cat sat", ["the cat sat down"], "rouge1", (1, 3 / 4, 6 / 7)),
        ("the cat sat", ["the cat sat down"], "rouge2", (1, 2 / 3, 4 / 5)),
        ("sat the cat", ["the cat sat"], "rouge1", (1, 1, 1)),
        ("sat the cat", ["the cat sat"], "rougeL", (2 / 3, 2 / 3, 2 / 3)),
        ("two three\none", ["one\ntwo three"], "rougeL", (2 / 3, 2 / 3, 2 / 3)),
        ("two three\none", ["one\ntwo three"], "rougeLsum", (1, 1, 1)),  # line by line
        ("The cats!", ["the cat"], "rougeL", (1, 1, 1)),  # stemmed, without marks
        ("a b", ["c", "a", "a b c d"], "rougeL", (1 / 2, 1, 2 / 3)),  # the best by F; of equals the first
        ("", ["a"], "rougeL", (0, 0, 0)),
        ("кошка", ["кошка"], "rougeL", (0, 0, 0)),  # words of a-z and 0-9 only
    ],
)
def test_each_rouge_by_hand(said, wanted, kind, marks):
    found = rouge.measure(said, wanted, kind)
    assert (found.precision, found.recall, found.f1) == pytest.approx(marks)


def test_a_score_says_why():
    found = rouge.score(" two cats\n", ["a dog", "the two cats"])
    assert (found.value, found.answer) == (pytest.approx(0.8), "two cats")
    assert found.why == "ROUGE-L 0.80 (precision 1.00, recall 0.67); expected 'a dog'"
    assert "expected" not in rouge.score("a dog", ["a dog"]).why
    mute = rouge.score(" \n", ["a dog"])
    assert (mute.value, mute.answer, mute.scored) == (0.0, None, True)


def test_what_cannot_be_measured_is_one_sentence(monkeypatch):
    with pytest.raises(ConfigError, match="Did you mean 'rougeL'"):
        rouge.measure("a", ["a"], "rougel")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="at least one reference"):
        rouge.measure("a", [])
    rouge._scorer.cache_clear()
    monkeypatch.setitem(sys.modules, "rouge_score.rouge_scorer", None)  # as if it were not installed
    with pytest.raises(ConfigError, match=r"pip install 'thinktwice\[eval\]'"):
        rouge.measure("a", ["a"])
