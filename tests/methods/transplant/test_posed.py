"""Problems made of candidates, and a verifier's answers to them, told and read back."""

import math
from dataclasses import replace
from typing import Any

import pytest

from thinktwice.config import parse, to_dict
from thinktwice.errors import ConfigError, DataError
from thinktwice.methods.transplant import Transplant, posed
from thinktwice.methods.transplant.asking import ask, orders
from thinktwice.methods.transplant.data import Candidate, Item
from thinktwice.methods.transplant.posing import Posing
from thinktwice.types import Choice, Problem, Trace


def item(*rights: bool, argument: str = "", argued_for: int | None = None) -> Item:
    candidates = tuple(Candidate(f"step {i}", str(i), right, "", (7, i)) for i, right in enumerate(rights))
    return Item("q/0-1", "How many?", "4", candidates, argument, argued_for)


def choose(by_text: dict[str, float]):
    """An engine whose verdict follows a worth of each candidate; it sees them in the order in which they are shown."""

    class Chooser:
        def choose(self, choices: list[Choice]) -> list[tuple[float, ...]]:
            found = []
            for choice in choices:
                worths = [by_text[str(text)] for text in choice.token_ids]
                total = math.log(sum(math.exp(w) for w in worths))
                found.append(tuple(w - total for w in worths))
            return found

    return Chooser()


def rendered(item: Item, order: tuple[int, ...]) -> Choice:
    right = next((slot for slot, index in enumerate(order) if item.candidates[index].right), None)
    return Choice((), tuple(order), (), tuple(range(100, 100 + max(2, len(order)))), right, item.id)


def test_a_posed_problem_holds_its_item_and_survives_the_disk() -> None:
    before = item(False, True, argument="Candidate 1 is right.", argued_for=0)
    problem = posed.to_problem(before)
    assert (problem.answer, problem.level, problem.solution) == ("2", 2, "4")
    assert parse(Problem, to_dict(problem)) == problem
    after = posed.to_item(problem)
    assert [(c.text, c.right, c.token_ids) for c in after.candidates] == [
        (c.text, c.right, c.token_ids) for c in before.candidates
    ]
    assert (after.argument, after.argued_for, after.gold) == (before.argument, 0, "4")
    with pytest.raises(DataError, match="no candidates to choose from"):
        posed.to_item(Problem("p", "How many?", "4"))


def test_a_pair_is_asked_in_both_orders_and_read_back() -> None:
    problem = posed.to_problem(item(False, True, argument="1", argued_for=0))
    (trace,) = ask([problem], choose({"0": 0.0, "1": 2.0}), rendered, mode="pairwise")
    answered = posed.read(problem, parse(Trace, to_dict(trace)))
    first, second = answered.verdicts
    assert (first.order, first.right, first.argued_for) == ((0, 1), 1, 0)
    assert (second.order, second.right, second.argued_for) == ((1, 0), 0, 1)
    assert math.exp(first.logprobs[1]) == pytest.approx(1 / (1 + math.exp(-2)), abs=1e-5)
    assert first.logprobs == pytest.approx(tuple(reversed(second.logprobs)))
    assert answered.best == (1,)
    score = posed.judge(problem, trace)
    assert (score.value, score.answer) == (1.0, "2")
    assert "Solution 2 is right (88%)" in trace.conclusion
    assert trace.sampled_tokens == 2  # one identifier an order
    assert [step.text for step in trace.steps if step.token_ids == (7, 1)] == ["step 1"]


def test_a_verifier_that_prefers_a_slot_is_half_right_and_said_to_be() -> None:
    problem = posed.to_problem(item(False, True))
    trace = posed.told_in_orders(problem, dict.fromkeys(((0, 1), (1, 0)), ((-0.1, -2.4), (5, 6))))
    assert posed.judge(problem, trace).value == 0.5
    assert posed.fault(problem, trace) == "same slot in both orders"
    tied = posed.told_in_orders(problem, dict.fromkeys(((0, 1), (1, 0)), ((-0.7, -0.7), (5, 6))))
    assert posed.judge(problem, tied).value == 0.5
    assert posed.judge(problem, tied).answer is None


def test_of_a_group_the_best_is_chosen_and_equal_texts_have_one_score() -> None:
    group = item(False, True, False)
    twin = replace(group, candidates=(*group.candidates, group.candidates[1]))
    assert len(orders(twin, "pairwise")) == 6  # three different texts, each two of them in both orders
    problem = posed.to_problem(twin)
    assert problem.answer == "2 4"
    (trace,) = ask([problem], choose({"0": 1.0, "1": 2.0, "2": 0.0}), rendered, mode="pairwise")
    answered = posed.read(problem, trace)
    assert answered.best == (1, 3)
    assert answered.scores[1] == answered.scores[3] > answered.scores[0] > answered.scores[2]
    assert posed.judge(problem, trace).value == 1.0
    hopeless = posed.to_problem(item(False, False, False))
    (trace,) = ask([hopeless], choose({"0": 1.0, "1": 2.0, "2": 0.0}), rendered, mode="pairwise")
    assert posed.judge(hopeless, trace).value == 0.0
    assert posed.fault(hopeless, trace) == "no candidate is right"


def test_scores_of_single_candidates_become_a_verdict_on_the_pair() -> None:
    problem = posed.to_problem(item(True, False))
    trace = posed.told_by_score(problem, (math.log(0.8), math.log(0.5)), (5, 6))
    answered = posed.read(problem, trace)
    assert answered.verdicts == ()
    (verdict,) = posed.as_verdicts(problem, answered)
    # exactly one is right: 0.8 x 0.5 against 0.5 x 0.2
    assert math.exp(verdict.logprobs[0]) == pytest.approx(0.8)
    assert verdict.right == 0
    certain = posed.told_by_score(problem, (0.0, -100.0), (5, 6))
    (verdict,) = posed.as_verdicts(problem, posed.read(problem, certain))
    assert math.exp(verdict.logprobs[0]) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"states": "shuffled", "rows": "none"}, "needs states that are moved"),
        ({"states": "swapped", "mode": "pointwise"}, "needs two solutions in one text"),
        ({"mode": "listwise"}, "set method.posing.group"),
        ({"rows": "contents"}, "is no rule"),
        ({"posing": {"group": 2}}, "3 candidates or more"),
        ({"posing": {"temperature": 0.0}}, "greedy samples are all the same"),
        ({"posing": {"shares": [0.5, 0.5]}}, "leaves nothing to train on"),
    ],
)
def test_what_says_nothing_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse(Transplant, options)
    assert Posing().group == 0
