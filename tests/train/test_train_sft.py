"""Behind TRL: the same losses and weights as our own loop and as a cross entropy written by hand."""

import json
import warnings
from dataclasses import replace

import pytest

from thinktwice.train.batch import ExampleSteps
from thinktwice.train.loop import train_loop
from thinktwice.train.settings import Training


@pytest.fixture
def train_trl():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from thinktwice.train.sft import train_trl
    return train_trl


def weights(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def largest_difference(a, b):
    return max(float((a[name] - b[name]).abs().max()) for name in a)


@pytest.mark.parametrize(
    "options", [{}, {"grad_accumulation": 3, "batch_size": 6}, {"packing": True, "max_length": 40}, {"schedule": "wsd"}]
)
def test_trl_and_our_loop_train_the_same(options, make_model, make_tokenizer, make_examples, tmp_path, train_trl):
    settings = Training(steps=4, batch_size=4, lr=1e-3, warmup_steps=1, weight_decay=0.1, log_every=1)
    settings = replace(settings, **options)
    examples = make_examples(16, fractions=True)
    ours, theirs = make_model(), make_model()
    reports_ours, reports_theirs = [], []
    a = train_loop(ours, ExampleSteps(examples, settings), settings, progress=reports_ours.append)
    b = train_trl(theirs, examples, settings, make_tokenizer(), out_dir=tmp_path, progress=reports_theirs.append)
    assert [r.loss for r in reports_theirs] == pytest.approx([r.loss for r in reports_ours], abs=1e-5)
    assert [r.lr for r in reports_theirs] == pytest.approx([r.lr for r in reports_ours])
    assert [r.grad_norm for r in reports_theirs] == pytest.approx([r.grad_norm for r in reports_ours], rel=1e-3)
    assert (a.steps, a.tokens, a.supervised) == (b.steps, b.tokens, b.supervised)
    assert largest_difference(weights(ours), weights(theirs)) < 1e-5
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
