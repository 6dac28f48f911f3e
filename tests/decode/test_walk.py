"""A critic's walk: what it is shown while it decodes is what its examples show, and it draws nothing but verdicts."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thinktwice.decode.loop import decode
from thinktwice.decode.walk import OnlyVerdicts, Walk, annotate, split_steps
from thinktwice.engines.scripted import ScriptedEngine
from thinktwice.types import Completion, Sampling

from .conftest import build

RIGHT, WRONG, EOS, END_OF_LINE = 58, 59, 60, 9
ids = st.lists(st.integers(1, 50), min_size=1, max_size=4).map(tuple)
texts = st.lists(ids, min_size=1, max_size=4)


@st.composite
def walks(draw: st.DrawFn) -> tuple[list[tuple[int, ...]], int | None, tuple[int, ...]]:
    steps = draw(texts)
    wrong = draw(st.none() | st.integers(0, len(steps) - 1))
    return steps, wrong, (*draw(ids), EOS) if wrong is not None else ()


def begin(steps: list[tuple[int, ...]], question: tuple[int, ...] = (1, 2)) -> tuple[int, ...]:
    return (*question, *steps[0])


@given(walks())
def test_an_example_s_ids_are_what_the_decoder_shows(walk: tuple[list[tuple[int, ...]], int | None, tuple[int, ...]]):
    """The scripted engine draws what the example says a critic writes, and sees what the example shows."""
    steps, wrong, instead = walk
    expected, written = annotate(steps, RIGHT, WRONG, wrong, instead)
    drawn = [token for token, by_critic in zip(expected, written, strict=True) if by_critic]
    prompt = begin(steps)
    engine = ScriptedEngine([drawn], eos_ids=[EOS])
    (done,) = engine.generate([prompt], Sampling(), controls=[Walk({prompt: steps}, RIGHT)])
    assert done.stop == "done"
    assert (*steps[0], *done.kept_ids) == expected
    assert tuple(fate == "kept" for fate in done.fates) == written[len(steps[0]) :]
    assert len(done.token_ids) == len(done.kept_ids)  # nothing that was shown is taken back


def criticise(
    answers: list[list[tuple[int, ...]]], temperature: float = 0.0, seed: int = 0, **options: int
) -> list[Completion]:
    prompts = [begin(steps, (1, 2 + place)) for place, steps in enumerate(answers)]
    sampling = Sampling(temperature=temperature, max_new_tokens=options.get("budget", 20), seed=seed)
    control = Walk(dict(zip(prompts, answers, strict=True)), RIGHT)
    rules = [OnlyVerdicts(RIGHT, WRONG)]
    return decode(build("Llama"), prompts, sampling, controls=[control], rules=rules, eos_ids=[EOS])


@settings(max_examples=25)
@given(st.lists(texts, min_size=1, max_size=4), st.sampled_from([0.0, 1.0, 5.0]), st.integers(0, 9))
def test_whatever_the_weights_a_walk_is_one_that_an_example_could_show(
    answers: list[list[tuple[int, ...]]], temperature: float, seed: int
) -> None:
    """A random model knows nothing of verdicts: what it draws is a verdict after each step all the same."""
    for steps, done in zip(answers, criticise(answers, temperature, seed), strict=True):
        shown = (*steps[0], *done.kept_ids)
        drawn = [token for token, fate in zip(done.token_ids, done.fates, strict=True) if fate == "kept"]
        if WRONG in drawn:
            at = drawn.index(WRONG)
            assert drawn[:at] == [RIGHT] * at
            instead = drawn[at + 1 :]
            assert not {RIGHT, WRONG} & {*instead}
            assert done.stop == "done" if instead[-1:] == [EOS] else done.stop in ("budget", "length")
            expected, written = annotate(steps, RIGHT, WRONG, at, instead)
        else:
            assert drawn == [RIGHT] * len(steps)  # behind the last step it ends, and draws no more
            assert done.stop == "done"
            expected, written = annotate(steps, RIGHT, WRONG, None)
        assert shown == expected
        assert tuple(fate == "kept" for fate in done.fates) == written[len(steps[0]) :]


def test_verdicts_are_drawn_from_the_two_alone() -> None:
    """Their log-probabilities are those of a choice between two: what the critic's confidence is made of."""
    steps = [(5,), (6, 7)]
    (done,) = criticise([steps], temperature=1.0)
    with torch.inference_mode():
        logits_V = build("Llama")(torch.tensor([begin(steps, (1, 2))])).logits[0, -1]
    pair = logits_V[[RIGHT, WRONG]].log_softmax(-1)
    assert done.token_ids[0] in (RIGHT, WRONG)
    assert done.logprobs[0] == pytest.approx(float(pair[[RIGHT, WRONG].index(done.token_ids[0])]), abs=1e-4)


def test_answers_that_begin_alike_go_their_own_ways_in_calls_of_their_own() -> None:
    """A walk knows a row by its prompt: the critic asks them one after the other (`critics`)."""
    first, second = [(5,), (6,)], [(5,), (7,), (8,)]
    prompt = begin(first)
    shown = []
    for steps in (first, second):
        drawn = [RIGHT] * len(steps)
        control = Walk({prompt: steps}, RIGHT)
        (done,) = ScriptedEngine([drawn]).generate([prompt], Sampling(), controls=[control])
        shown.append(done.kept_ids)
    assert shown == [(RIGHT, 6, RIGHT), (RIGHT, 7, RIGHT, 8, RIGHT)]


def test_one_line_is_judged_once() -> None:
    prompt = begin([(5, 6)])
    control = Walk({prompt: [(5, 6)]}, RIGHT)
    (done,) = ScriptedEngine([[RIGHT, RIGHT]]).generate([prompt], Sampling(), controls=[control])
    assert (done.kept_ids, done.stop) == ((RIGHT,), "done")


def test_a_budget_counts_what_is_drawn_not_what_is_shown() -> None:
    steps: list[tuple[int, ...]] = [(5,) * 9, (6,) * 9, (7,) * 9]
    prompt = begin(steps)
    control = Walk({prompt: steps}, RIGHT)
    (done,) = ScriptedEngine([[RIGHT] * 3]).generate([prompt], Sampling(max_new_tokens=3), controls=[control])
    assert (done.stop, len(done.kept_ids)) == ("done", 3 + 18)
    (cut,) = ScriptedEngine([[RIGHT] * 3]).generate([prompt], Sampling(max_new_tokens=2), controls=[control])
    assert cut.stop == "budget"


@given(st.lists(st.integers(1, 50), max_size=12))
def test_steps_joined_are_the_ids_again(token_ids: list[int]) -> None:
    steps = split_steps(token_ids, frozenset((END_OF_LINE,)))
    assert [token for step in steps for token in step] == token_ids
    assert all(step for step in steps)
    assert all(END_OF_LINE not in step[:-1] for step in steps)
    assert all(step[-1] == END_OF_LINE for step in steps[:-1])


def test_nothing_is_shown_behind_the_first_wrong_step() -> None:
    found, by_critic = annotate([(5,), (6, 7), (8,)], RIGHT, WRONG, 1, (9, EOS))
    assert found == (5, RIGHT, 6, 7, WRONG, 9, EOS)
    assert by_critic == (False, True, False, False, True, True, True)
