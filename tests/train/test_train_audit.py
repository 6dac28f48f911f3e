import json
from dataclasses import replace

import pytest

from thinktwice.errors import DataError, TrainError
from thinktwice.resolve import example
from thinktwice.train.audit import audit, colour
from thinktwice.train.settings import Training
from thinktwice.types import Example

PLAIN = Example((5, 6, 7, 8, 2), (6, 7, 8, 2, 0), (0, 0, 1, 1, 0), problem_id="p")


def facts(examples, settings=None, **options):
    return audit(examples, settings or Training(), **({"eos_id": 2, "max_length": 64, "vocabulary": 300} | options))


def test_the_facts(make_examples, make_tokenizer):
    examples = make_examples(40)
    found = facts(examples)
    lengths = sorted(len(e.token_ids) for e in examples)
    assert (found.n, found.length_max, found.tokens) == (40, lengths[-1], sum(lengths))
    assert (found.length_p5, found.length_p50, found.length_p95) == (lengths[2], lengths[20], lengths[38])
    assert found.supervised == sum(w > 0 for e in examples for w in e.weights)
    assert found.supervised_share == found.supervised / found.tokens
    assert found.end_learned_share == 1.0
    record = json.loads(json.dumps(found.to_dict()))
    assert record["n"] == 40
    assert "kept" not in record
    text = "\n".join(found.lines(make_tokenizer()))
    for part in ("examples          40 (0 dropped)", "median", "100.0% of the examples", "learned"):
        assert part in text


@pytest.mark.parametrize(
    ("changed", "options", "error", "message"),
    [
        ({"weights": (0.0,) * 5}, {}, DataError, "teaches nothing"),
        ({}, {"max_length": 4}, DataError, "has 5 tokens, 4 are allowed"),
        ({"weights": (0, 0, 1, 0, 0)}, {}, TrainError, "never stop"),
        ({"targets": (6, 7, 8, 9, 2)}, {}, TrainError, "never stop"),
        ({}, {"vocabulary": 8}, DataError, "token id 8, the model has 8 rows"),
        ({"dead_from": (5, 1, 5, 5, 5)}, {}, DataError, "sees itself"),
    ],
)
def test_what_would_be_lost_in_silence_is_an_error(changed, options, error, message):
    facts([PLAIN])
    with pytest.raises(error, match=message):
        facts([replace(PLAIN, **changed)], **options)


def test_dropping_is_asked_for_counted_and_named():
    long = replace(PLAIN, problem_id="long", token_ids=PLAIN.token_ids * 2, targets=PLAIN.targets * 2,
                   weights=PLAIN.weights * 2)  # fmt: skip
    found = facts([PLAIN, long], Training(overflow="drop"), max_length=6)
    assert [e.problem_id for e in found.kept] == ["p"]
    (dropped,) = found.dropped
    assert (dropped.problem_id, dropped.length) == ("long", 10)
    assert any("1 longer than 6 tokens: long" in line for line in found.lines())
    with pytest.raises(TrainError, match="all 1 are longer"):
        facts([long], Training(overflow="drop"), max_length=6)
    with pytest.raises(TrainError, match="no examples"):
        facts([])


def test_some_examples_may_end_elsewhere_but_the_share_is_told():
    found = facts([PLAIN, replace(PLAIN, weights=(0, 0, 1, 0, 0))])
    assert found.end_learned_share == 0.5
    assert facts([replace(PLAIN, weights=(0, 0, 1, 0, 0))], eos_id=None).end_learned_share is None


def test_colours_show_what_is_learned_and_what_was_retracted():
    undo, end = 3, frozenset({9})
    raw = (50, 51, 10, 11, 9, 66, 67, undo, 12, 9, 2)  # prompt 50 51; step 10 11 9; error 66 67 undone; step 12 9; end
    packed = example(raw, undo, floor=2, context="rewind", unit="step", step_ends=end, problem_id="p")
    spans = [(span.colour, span.token_ids, span.learned) for span in colour(packed)]
    assert spans == [
        ("seen", (50, 51), False),
        ("learned", (10, 11, 9), True),
        ("retracted", (66, 67), False),
        ("retracted", (3,), True),
        ("learned", (12, 9, 2), True),
    ]
    assert facts([PLAIN, packed]).sample_problem_id == "p"
    assert facts([PLAIN, packed]).layout_share == 0.5
