"""A saved model that is opened once and asked often."""

import pytest

from thinktwice.answer import open_model
from thinktwice.types import Sampling

QUESTION = "Ann has 3 pens. Ben has as many as Ann plus 4. How many pens does Ben have?"


class EnoughError(Exception):
    pass


def test_what_a_listener_raises_ends_the_answer_and_leaves_the_model_as_it_was():
    model = open_model("nano-annealed")
    whole = model.answer(QUESTION, Sampling(max_new_tokens=40))
    seen = []

    def listen(event, spell):
        seen.append(event)
        if len(seen) == 3:
            raise EnoughError

    with pytest.raises(EnoughError):
        model.answer(QUESTION, Sampling(max_new_tokens=40), on_event=listen)
    assert len(seen) == 3
    assert model.answer(QUESTION, Sampling(max_new_tokens=40)) == whole


def test_a_model_that_takes_nothing_back_has_no_threshold():
    model = open_model("nano-annealed")
    assert not model.retracts
    with pytest.raises(ValueError, match="no undo threshold"):
        model.answer(QUESTION, Sampling(), bias=1.0)
