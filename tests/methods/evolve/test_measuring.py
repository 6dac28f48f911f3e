"""What is measured of a round: votes, flips, the critic, and how far the model went, on dev alone."""

import math
from pathlib import Path

import pytest

from thinktwice.answer import load_engine
from thinktwice.engines.scripted import ScriptedEngine
from thinktwice.methods.evolve import Evolve
from thinktwice.methods.evolve.measuring import Measured, measure, reading
from thinktwice.nano import resolve
from thinktwice.types import Sampling

METHOD = Evolve(wording="bare", samples=3)
SAMPLING = Sampling(max_new_tokens=60, seed=2)


@pytest.fixture(scope="module")
def started(engine, render, task, tmp_path_factory):
    place = tmp_path_factory.mktemp("measure")
    dev = task.splits["dev"]
    sets = (dev[:6], dev[10:18], dev[6:9])
    found = measure(METHOD, engine, render, task, SAMPLING, *sets, start=None, seed=0)
    found.save(place)
    return found, place, sets


def test_a_start_is_compared_with_nothing(started, task):
    found, place, (gate, watched, _) = started
    point = found.curve
    assert Measured.load(place) == found
    assert reading(place) == found.reading
    assert (point.gained, point.lost, point.kl, point.k) == (0.0, 0.0, 0.0, 3)
    assert len(found.reading.gate) == len(gate)
    assert point.gate == sum(found.reading.gate) / len(gate)
    assert point.watched == sum(ok for _, ok in found.greedy) / len(watched)
    assert [key for key, _ in found.greedy] == [p.id for p in watched]
    assert point.one <= point.passed
    assert 1 <= point.distinct <= 3
    assert found.reading.forgetting == point.before
    assert found.critic_said


def test_the_same_model_again_is_where_it_was(started, engine, render, task):
    found, place, sets = started
    again = measure(METHOD, engine, render, task, SAMPLING, *sets, start=place, start_engine=lambda: engine, seed=0)
    assert again.curve == found.curve  # no flips, and no divergence from itself
    assert again.curve.kl == 0.0


def test_flips_are_counted_both_ways_and_another_model_is_some_way_off(started, engine, render, task):
    found, place, sets = started
    by_prompt = {METHOD.answer_prompt(p, render, ()): p for own in sets for p in own}
    was = dict(found.greedy)

    def other_way(prompt):
        problem = by_prompt.get(tuple(prompt))
        if problem is None:  # a critic is asked
            return (render.control_id("<correct>"),) * 9
        right = not was.get(problem.id, False)
        return (*render.encode(problem.solution if right else "#### nothing"), render.end_id)

    scripted = ScriptedEngine(other_way, eos_ids=[render.end_id])
    flipped = measure(METHOD, scripted, render, task, SAMPLING, *sets, start=place, start_engine=lambda: engine, seed=0)
    right = sum(was.values()) / len(was)
    assert (flipped.curve.lost, flipped.curve.gained) == (right, 1 - right)
    assert flipped.curve.kl is None  # of a model that is not here nothing can be read
    assert flipped.curve.sensitivity == 1.0  # it says of everything that it is right
    assert not flipped.critic_above_chance
    far = load_engine(Path(resolve("nano-annealed")), device="cpu", batch_size=64)
    moved = measure(METHOD, engine, render, task, SAMPLING, *sets, start=place, start_engine=lambda: far, seed=0)
    assert moved.curve.kl is not None
    assert math.isfinite(moved.curve.kl)
    assert moved.curve.kl > 0.01


def test_unfinished_answers_are_nobody_s_to_judge(started, render, task):
    _, place, sets = started
    scripted = ScriptedEngine(lambda _: (7,) * 99, eos_ids=[render.end_id])
    found = measure(METHOD, scripted, render, task, SAMPLING, *sets, start=place, seed=0)
    assert (found.curve.balanced, found.critic_above_chance) == (None, False)
    assert found.critic_said == "there are no finished answers to judge."
    assert found.curve.watched == 0.0
