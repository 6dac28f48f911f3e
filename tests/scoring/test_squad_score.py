"""SQuAD's official measures, and what a reply is read as."""

import json
from pathlib import Path

import pytest

from thinktwice.errors import DataError
from thinktwice.scoring import squad
from thinktwice.scoring.squad import Marks

DATA = Path(__file__).parents[2] / "../shared/data/squad"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="shared/data is not here")


def golds(name):
    articles = json.loads((DATA / name).read_text())["data"]
    questions = [qa for article in articles for paragraph in article["paragraphs"] for qa in paragraph["qas"]]
    return {qa["id"]: [answer["text"] for answer in qa["answers"]] for qa in questions}


@needs_data
def test_the_official_scripts_numbers_to_the_last_digit():
    wanted = golds("dev-v2.0.cs224n-split.json")
    predictions = json.loads((DATA / "golden_predictions.json").read_text())
    found = squad.evaluate(wanted, predictions)
    assert (found.all.n, found.all.em, found.all.f1) == (6078, 50.47713063507733, 57.477787631105926)
    assert found.answerable is not None
    assert found.unanswerable is not None
    assert (found.answerable.n, found.unanswerable.n) == (2910, 3168)
    parts = (found.answerable, found.unanswerable)
    assert sum(part.n * part.em for part in parts) / 6078 == pytest.approx(found.all.em)
    assert sum(part.n * part.f1 for part in parts) / 6078 == pytest.approx(found.all.f1)


@needs_data
def test_saying_nothing_anywhere_has_half_of_v2_right():
    wanted = golds("dev-v2.0.cs224n-split.json")
    found = squad.evaluate(wanted, dict.fromkeys(wanted, ""))
    assert (found.all.em, found.all.f1) == (52.122408687068116, 52.122408687068116)
    assert found.answerable == squad.Totals(2910, 0.0, 0.0)
    assert found.unanswerable == squad.Totals(3168, 100.0, 100.0)


@needs_data
def test_v1_is_the_answerable_part_of_v2():
    predictions = json.loads((DATA / "golden_predictions.json").read_text())
    one = squad.evaluate(golds("derived-v1.1-format.json"), predictions, version="1.1")
    assert one.all == one.answerable == squad.evaluate(golds("dev-v2.0.cs224n-split.json"), predictions).answerable
    assert one.unanswerable is None


def test_a_missing_prediction_is_left_out_by_v2_and_wrong_in_v1():
    wanted = {"a": ["Ida"], "b": ["Otto"]}
    two, one = (squad.evaluate(wanted, {"a": "Ida"}, version=version) for version in ("2.0", "1.1"))
    assert (two.all, two.missing) == (squad.Totals(1, 100.0, 100.0), ("b",))
    assert (one.all, one.missing) == (squad.Totals(2, 50.0, 50.0), ("b",))
    with pytest.raises(DataError, match="no question has a prediction"):
        squad.evaluate(wanted, {"c": "Ida"})


@pytest.mark.parametrize(
    ("said", "wanted", "marks"),
    [
        ("The  Eiffel-Tower!", ["eiffeltower"], Marks(1, 1)),
        ("in Paris", ["Rome", "Paris", "in the city of Paris"], Marks(0, 2 / 3)),
        ("10th and 11th", ["10th", "in the 10th and 11th centuries"], Marks(0, 0.75)),
        ("yes indeed", ["yes"], Marks(0, 2 / 3)),  # not HotpotQA's rule
        ("", [], Marks(1, 1)),
        ("", [""], Marks(1, 1)),
        ("the", [], Marks(1, 1)),  # nothing is left of it
        ("x", [], Marks(0, 0)),
        ("", ["x"], Marks(0, 0)),
        ("", ["the", "x"], Marks(0, 0)),  # a gold of which nothing is left does not count
        ("new new york", ["new york"], Marks(0, 0.8)),
    ],
)
def test_the_best_gold_counts(said, wanted, marks):
    found = squad.best(said, wanted)
    assert (found.em, found.f1) == pytest.approx((marks.em, marks.f1))


@pytest.mark.parametrize("answer", ["5", "No", "War", "no", "911"])
def test_a_short_answer_is_an_answer(answer):
    for reply in (answer, f"The answer is: {answer}", f"<answer>{answer}</answer>"):
        assert squad.prediction(reply) == answer
        assert squad.score(reply, [answer, "something else"], "em").value == 1.0


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ("The answer is: unanswerable", ""),
        ("Unanswerable.", ""),
        ("It does not say so.\nThe answer is: No answer", ""),
        ("<answer>no answer</answer>", ""),
        ("The answer is: no answer found", "no answer found"),  # the whole of it, or it is an answer
        ("There is no answer, I think", "There is no answer, I think"),
        ("The answer is: the unanswerable question", "the unanswerable question"),
        ("", None),
        ("I think\nand think", None),
        ("The answer is: ", None),
    ],
)
def test_only_the_very_words_say_that_there_is_no_answer(reply, said):
    assert squad.prediction(reply) == said


def test_a_mute_reply_is_unparsed_and_wrong_even_where_there_is_no_answer():
    for wanted in ([], [""], ["Ida"]):
        found = squad.score("", wanted)
        assert (found.value, found.answer, found.scored) == (0.0, None, True)
        assert found.why.startswith("unparsed")
    right = squad.score("The answer is: unanswerable", [])
    assert (right.value, right.answer) == (1.0, "unanswerable")


def test_the_value_is_the_measure_that_was_asked_for_and_both_are_named():
    em, words = (squad.score("The answer is: Ida", ["Ida Marshby"], measure) for measure in ("em", "f1"))
    assert em.value == 0.0
    assert words.value == pytest.approx(2 / 3)
    assert em.why == words.why == "EM 0, F1 0.67: said 'Ida'; expected 'Ida Marshby'"
