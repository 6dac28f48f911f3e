import pytest

from thinktwice.errors import DataError
from thinktwice.methods.react.budget import spans_of
from thinktwice.methods.react.rows import Layout, examples, steps, trajectory
from thinktwice.types import Example, Pair, Step, Trace

PROMPT = (1, 2, 3)
EPISODE = Trace(
    "x",
    (
        Step("text", "thought", (10,)),
        Step("error", "gone", (98,), kept=False),
        Step("action", "search", (11, 12)),
        Step("observation", "seen", (90, 91), sampled=False, sources=("a",)),
        Step("text", "thought", (13,)),
        Step("answer", "<answer>", (70,), sampled=False),
        Step("answer", "answer", (14, 15)),
    ),
)
IDS = (1, 2, 3, 10, 11, 12, 90, 91, 13, 70, 14, 15)


def learned(example: Example) -> list[int]:
    return [t for t, w in zip(example.targets, example.weights, strict=True) if w]


def pair(rejected=(20, 21), chosen=(30,)) -> Trace:
    return Trace(
        "x",
        (
            Step("text", "", (10,)),
            Step("critique", "loop", sampled=False, kept=False),
            Step("error", "", rejected, kept=False),
            Step("action", "", chosen),
        ),
    )


def test_a_trajectory_learns_what_the_model_wrote():
    row = trajectory(EPISODE, PROMPT)
    assert row.token_ids == IDS
    assert learned(row) == [10, 11, 12, 13, 14, 15]
    assert spans_of(row) == ((3, 6), (8, 9), (10, 12))


def test_an_actions_end_is_learned_though_its_token_spelled_more():
    steps = (Step("action", "[x", (10,)), Step("action", "].", (11,), kept=False), Step("action", "]", (12,), False))
    row = trajectory(Trace("x", steps), PROMPT)
    assert (row.token_ids, learned(row)) == ((1, 2, 3, 10, 12), [10, 12])


def test_a_row_for_each_step():
    first, second = steps(EPISODE, PROMPT)
    assert (first.token_ids, learned(first)) == (IDS[:6], [10, 11, 12])
    assert (second.token_ids, learned(second)) == (IDS, [13, 14, 15])


def test_rows_teach_the_same_whole_or_in_steps():
    whole = learned(trajectory(EPISODE, PROMPT))
    assert [i for row in steps(EPISODE, PROMPT) for i in learned(row)] == whole


def test_too_long_is_refused_dropped_or_cut():
    short = Trace("y", EPISODE.steps[:1])
    with pytest.raises(DataError, match=r"1 of 2 rows are longer than method.max_length=9 .* 1 of 4 actions"):
        examples([EPISODE, short], [PROMPT] * 2, Layout(max_length=9))
    made, budget = examples([EPISODE, short], [PROMPT] * 2, Layout(max_length=9, overflow="drop"))
    assert [row.problem_id for row in made] == ["y"]
    made, budget = examples([EPISODE, short], [PROMPT] * 2, Layout(max_length=9, overflow="cut"))
    assert learned(made[0]) == [10, 11, 12, 13]
    assert (budget.over, budget.lost, budget.cut, budget.tokens_lost) == (1, 1, 0, 2)
    with pytest.raises(DataError, match="nothing is left"):
        examples([EPISODE], [PROMPT], Layout(max_length=2, overflow="cut"))


def test_pairs_within_the_limits():
    made, budget = examples([pair()], [PROMPT], Layout())
    assert isinstance(made[0], Pair)
    assert (made[0].kind, budget.rows, budget.turns) == ("loop", 2, 2)
    made, _ = examples([pair()], [PROMPT], Layout(max_prompt=2))
    assert made[0].chosen.token_ids == (3, 10, 30)
    assert made[0].rejected.token_ids == (3, 10, 20, 21)
    made, _ = examples([pair()], [PROMPT], Layout(max_length=5, overflow="cut"))
    assert (learned(made[0].chosen), learned(made[0].rejected)) == ([30], [20])
    with pytest.raises(DataError, match="nothing is left"):
        examples([pair((20, 21), (20, 30))], [PROMPT], Layout(max_length=5, overflow="cut"))


def test_the_beginning_of_a_step_s_prompt_can_go():
    made, _ = examples([EPISODE], [PROMPT], Layout(by_step=True, max_prompt=2))
    assert [row.token_ids for row in made] == [(2, 3, 10, 11, 12), (90, 91, 13, 70, 14, 15)]
    assert [learned(row) for row in made] == [[10, 11, 12], [13, 14, 15]]


def test_episodes_and_pairs_do_not_mix():
    with pytest.raises(DataError, match="cannot be learned together"):
        examples([EPISODE, pair()], [PROMPT] * 2, Layout())
