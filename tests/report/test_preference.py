"""What a run says of DPO after SFT: printed whichever way it went, and only where the arms are there."""

from dataclasses import replace

import pytest

from thinktwice.config import Headline
from thinktwice.methods.react import metrics
from thinktwice.records import Cell, Comparison, Finding, Measure, Summary
from thinktwice.report.claims import headline, measured
from thinktwice.report.preference import QUESTION, REPEATS, answer

PLAN = Headline("dpo", "sft_full", 4)


def summary(difference: float = 0.01, half: float = 0.05, *names: str, measure: str = "F1") -> Summary:
    arms = {name: {4: Cell(300, 0.4, (0.35, 0.45))} for name in ("sft_full", "dpo", *names)}
    gain = Comparison("dpo", "sft_full", 4, difference, (difference - half, difference + half))
    rest = [Comparison(n, "sft_cut" if n.startswith("cut_") else "sft_full", 4, -0.3, (-0.35, -0.25)) for n in names]
    found = {
        name: (Finding("Loops", (), (), measures=(Measure(REPEATS, share, (share / 2, share * 2)),)),)
        for name, share in (("sft_full", 0.02), ("dpo", 0.01), ("sft_cut", 0.15))
        if name in arms
    }
    return Summary(arms, (gain, *rest), gain, findings=found, measure=measure)


@pytest.mark.parametrize(
    ("difference", "half", "says"),
    [
        (0.01, 0.05, "No gain was shown"),
        (-0.1, 0.05, "No, it harms"),
        (0.12, 0.05, "Yes"),
        (0.03, 0.01, "By less than a single seed can tell from noise"),
    ],
)
def test_the_answer_is_given_whichever_way_it_went(difference: float, half: float, says: str) -> None:
    found = answer(summary(difference, half), PLAN)
    assert found is not None
    assert (found.question, found.verdict) == (QUESTION, says)


def test_the_sentence_names_score_and_loops_before_and_after() -> None:
    found = answer(summary(), PLAN)
    assert found is not None
    assert found.sentence == (
        "On top of whole episodes, DPO changes the mean F1 at level 4 by +1.0 points (−4.0 to +6.0), and the share of "
        "questions with a search repeated, over all levels, from 2.0\u00a0% (1.0 to 4.0) to 1.0\u00a0% (0.5 to 2.0)."
    )
    assert found.beside == ()


def test_the_other_arms_are_told_beside_it_where_they_were_run() -> None:
    found = answer(summary(0.01, 0.05, "sft_cut", "guard", "cut_dpo_araft"), PLAN)
    assert found is not None
    cut, guard, cure = found.beside
    assert cut.startswith("Learned from cut episodes instead: −30.0 points (−35.0 to −25.0); a search repeated in 15.0")
    assert guard == "A guard instead of DPO: −30.0 points (−35.0 to −25.0)."
    assert cure.startswith("cut_dpo_araft, on top of cut episodes: −30.0")


def test_a_loss_at_another_level_is_not_left_out() -> None:
    whole = summary()
    lost = Comparison("dpo", "sft_full", 2, -0.2, (-0.25, -0.15))
    cells = {**whole.arms["dpo"], 2: whole.arms["dpo"][4]}
    found = answer(replace(whole, arms={**whole.arms, "dpo": cells}, comparisons=(*whole.comparisons, lost)), PLAN)
    assert found is not None
    assert found.beside == ("DPO at the other levels: level 2 −20.0 points (−25.0 to −15.0).",)


def test_a_run_without_these_arms_is_not_asked() -> None:
    other = Comparison("a", "b", 4, 0.1, (0.0, 0.2))
    assert answer(Summary({"a": {}, "b": {}}, (other,)), Headline("a", "b", 4)) is None


def test_the_report_knows_the_measure_by_the_name_that_the_method_gives_it() -> None:
    assert metrics.REPEATS == REPEATS


def test_a_mean_of_grades_is_not_called_a_share_of_right_answers() -> None:
    graded = headline(summary())
    assert graded is not None
    assert graded.sentence.startswith(
        "At level 4, dpo reaches a mean F1 of 40.0\u00a0% on 300 test problems, its control"
    )
    unnamed = summary(measure="accuracy")
    assert measured(unnamed) == "score"  # p is None: an older run of graded answers
    exact = Comparison("dpo", "sft_full", 4, 0.01, (-0.1, 0.1), 0.5)
    assert measured(Summary(unnamed.arms, (exact,), exact)) == ""
