import itertools
from dataclasses import replace

import pytest
import torch

from thinktwice.errors import DataError, TrainError
from thinktwice.train.batch import ExampleSteps, StreamSteps, check_example, collate, fingerprint, visible
from thinktwice.train.objective import forward_inputs
from thinktwice.train.settings import Training
from thinktwice.types import Example


def rows_of(batches):
    return [tuple(map(tuple, batch.input_ids_BT.tolist())) for batch in batches]


def test_visible_is_the_rule_of_the_layout():
    dead_from = torch.tensor([[6, 3, 3, 6, 5, 6]])
    seen = visible(dead_from)[0, 0]
    for i, j in itertools.product(range(6), repeat=2):
        assert bool(seen[i, j]) == (j <= i < int(dead_from[0, j]))


def test_padding_is_never_learned_and_targets_are_explicit():
    a = Example((5, 6, 7), (9, 8, 0), (0.5, 1.0, 0.0), problem_id="a")
    b = Example((5, 6, 7, 8, 9), (6, 7, 8, 9, 0), (0, 0, 1, 1, 0), problem_id="b")
    batch = collate([[a], [b]], pad_id=3)
    assert batch.input_ids_BT.tolist() == [[5, 6, 7, 3, 3], [5, 6, 7, 8, 9]]
    assert batch.targets_BT.tolist() == [[9, 8, -100, -100, -100], [-100, -100, 8, 9, -100]]
    assert batch.supervised_N.tolist() == [0, 1, 7, 8]
    assert (batch.weight, batch.tokens, batch.problem_ids) == (3.5, 8, ("a", "b"))
    assert batch.dead_from_BT is None


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_padding_and_packing_change_no_logits(attention, make_model, make_examples, make_layout_examples):
    model = make_model(attention=attention).eval()
    examples = make_examples(3) + make_layout_examples(2)

    def logits(rows):
        batch = collate(rows)
        with torch.no_grad():
            return model(**forward_inputs(model, batch)).logits

    alone = [logits([[example]])[0] for example in examples]
    packed = logits([examples])[0]
    padded = logits([[example] for example in examples])
    plain = logits([[example] for example in examples[:3]])
    start = 0
    for k, example in enumerate(examples):
        length = len(example.token_ids)
        torch.testing.assert_close(packed[start : start + length], alone[k], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(padded[k, :length], alone[k], atol=1e-5, rtol=1e-5)
        if k < 3:
            torch.testing.assert_close(plain[k, :length], alone[k], atol=1e-5, rtol=1e-5)
        start += length


@pytest.mark.parametrize("options", [{"batch_size": 5}, {"tokens_per_step": 90}, {"packing": True, "max_length": 50}])
def test_every_epoch_holds_every_example_once_in_a_new_order(options, make_examples):
    examples = make_examples(40)
    source = ExampleSteps(examples, Training(epochs=2, **options))
    steps = [batches for batches, _ in itertools.islice(source.steps(), source.total)]
    names = [name for batches in steps for batch in batches for name in batch.problem_ids]
    expected = sorted(example.problem_id for example in examples)
    assert sorted(names[:40]) == expected
    assert sorted(names[40:]) == expected
    assert names[:40] != names[40:]
    again = ExampleSteps(examples, Training(epochs=2, **options))
    assert [rows_of(b) for b, _ in itertools.islice(again.steps(), source.total)] == [rows_of(b) for b in steps]
    other = ExampleSteps(examples, Training(epochs=2, seed=1, **options))
    assert [rows_of(b) for b, _ in itertools.islice(other.steps(), source.total)] != [rows_of(b) for b in steps]


def test_token_budget_is_kept_with_little_padding(make_examples):
    source = ExampleSteps(make_examples(400), Training(tokens_per_step=300))
    batches = [batch for step, _ in itertools.islice(source.steps(), source.total) for batch in step]
    assert all(batch.input_ids_BT.numel() <= 300 for batch in batches)
    padded, real = sum(b.input_ids_BT.numel() for b in batches), sum(b.tokens for b in batches)
    assert real / padded > 0.95
    packed = ExampleSteps(make_examples(400), Training(packing=True, max_length=100, batch_size=3))
    batches = [batch for step, _ in itertools.islice(packed.steps(), packed.total) for batch in step]
    assert all(batch.input_ids_BT.shape[1] <= 100 for batch in batches)
    assert sum(b.tokens for b in batches) / sum(b.input_ids_BT.numel() for b in batches) > 0.95


def test_accumulation_splits_the_same_step(make_examples):
    whole = ExampleSteps(make_examples(24), Training(batch_size=8))
    split = ExampleSteps(make_examples(24), Training(batch_size=8, grad_accumulation=4))
    for (one, _), (many, _) in itertools.islice(zip(whole.steps(), split.steps(), strict=False), 3):
        assert len(many) == 4
        assert one[0].problem_ids == tuple(name for batch in many for name in batch.problem_ids)


def test_sources_go_on_where_they_stopped(make_examples):
    examples = make_examples(300)
    settings = Training(steps=30, tokens_per_step=120)

    def endless(start):
        return (examples[k % 300] for k in itertools.count(start))

    for source in (ExampleSteps(examples[:20], settings), StreamSteps(endless, settings, "world")):
        every = list(itertools.islice(source.steps(), 30))
        for k in (0, 4, 17):
            resumed = list(itertools.islice(source.steps(every[k][1]), 29 - k))
            assert [rows_of(b) for b, _ in resumed] == [rows_of(b) for b, _ in every[k + 1 :]]


def test_a_stream_must_be_endless_and_its_examples_sound(make_examples):
    settings = Training(steps=100, batch_size=4)
    with pytest.raises(TrainError, match=r"training\.steps"):
        StreamSteps(lambda start: iter([]), Training(), "x")
    with pytest.raises(TrainError, match="ended after 10"):
        list(StreamSteps(lambda start: iter(make_examples(10)[start:]), settings, "x").steps())
    bad = replace(make_examples(1)[0], weights=(1.0,))
    with pytest.raises(DataError, match="weights has 1"):
        next(StreamSteps(lambda start: itertools.repeat(bad), settings, "x").steps())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"token_ids": ()}, "empty"),
        ({"targets": (1, 2)}, "targets has 2 entries for 3"),
        ({"weights": (1.0, float("nan"), 0.0)}, "not a number"),
        ({"weights": (1.0, -1.0, 0.0)}, "negative"),
        ({"targets": (1, -100, 0), "weights": (1.0, 1.0, 0.0)}, "without a target"),
        ({"dead_from": (3, 1, 3)}, "sees itself"),
        ({"dead_from": (3, 3, 4)}, "at most at 3"),
        ({"positions": (0, -1, 1)}, "negative position"),
        ({"token_ids": (1, -5, 2)}, "negative token id"),
    ],
)
def test_contradictory_examples_are_refused_by_name(change, message):
    sound = Example((1, 2, 3), (2, 3, 0), (1.0, 1.0, 0.0), problem_id="gsm8k/7")
    check_example(sound)
    with pytest.raises(DataError, match=message) as error:
        check_example(replace(sound, **change))
    assert "gsm8k/7" in str(error.value)


def test_fingerprint_sees_every_field(make_examples):
    examples = make_examples(3)
    prints = {fingerprint(examples), fingerprint(examples[::-1]), fingerprint(examples[:2])}
    first = examples[0]
    length = len(first.token_ids)
    for change in (
        {"weights": (0.5,) * length},
        {"targets": (9,) * length},
        {"dead_from": (length,) * length},
        {"positions": tuple(range(1, length + 1))},
        {"problem_id": "other"},
    ):
        prints.add(fingerprint([replace(first, **change), *examples[1:]]))
    assert len(prints) == 8
