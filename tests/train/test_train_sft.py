"""Behind TRL: the same losses and weights as our own loop and as a cross entropy written by hand."""

import json
import warnings
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from thinktwice.errors import ConfigError, TrainError
from thinktwice.resolve import unroll
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


def test_the_first_loss_is_a_cross_entropy_written_by_hand(
    make_model, make_tokenizer, make_examples, make_layout_examples, tmp_path, train_trl
):
    """Explicit targets that are not the next ids, fractions as weights, and retracted tokens, through TRL's head."""
    examples = make_examples(4, fractions=True)
    examples[0] = replace(examples[0], targets=tuple((t + 5) % 320 for t in examples[0].targets))
    examples += make_layout_examples(3)
    model, reports = make_model(), []
    total, weight = 0.0, 0.0
    for example in (part for e in examples for part in unroll(e)):
        with torch.no_grad():
            logits = model(torch.tensor([example.token_ids])).logits[0]
        for i, (target, w) in enumerate(zip(example.targets, example.weights, strict=True)):
            total += w * float(F.cross_entropy(logits[i], torch.tensor(target)))
            weight += w
    train_trl(model, examples, Training(steps=1, batch_size=7), make_tokenizer(), out_dir=tmp_path,
              progress=reports.append)  # fmt: skip
    assert reports[0].loss == pytest.approx(total / weight, rel=1e-5)


@pytest.mark.parametrize("early", [0, 2])
def test_killed_anywhere_it_ends_with_identical_weights(
    early, make_model, make_tokenizer, make_examples, tmp_path, train_trl, caplog
):
    examples, dev = make_examples(24), make_examples(6, seed=1)
    settings = Training(steps=10, batch_size=4, save_every=2, eval_every=2, lr=0.05, early_stopping=early, log_every=1)

    class Killed(BaseException):
        pass

    def kill(report):
        if report.step == 7:
            raise Killed

    def run(model, name, progress=None):
        return train_trl(model, examples, settings, make_tokenizer(), out_dir=tmp_path / name, dev=dev,
                         progress=progress)  # fmt: skip

    def model():
        return make_model(attention_dropout=0.1)

    whole, cut = model(), model()
    expected = run(whole, "whole")
    with pytest.raises(Killed):
        run(model(), "cut", kill)
    newest = tmp_path / "cut" / "checkpoints" / "checkpoint-6" / "optimizer.pt"
    newest.write_bytes(newest.read_bytes()[:-10])  # Transformers would crash on this, or not notice
    assert run(cut, "cut") == expected
    assert (expected.best_step < expected.steps) == bool(early)
    assert "checkpoint-6 is damaged" in caplog.text
    assert largest_difference(weights(whole), weights(cut)) == 0
    curves = []
    for name in ("whole", "cut"):
        lines = [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        curves.append([(line["step"], line["loss"], line["dev_loss"]) for line in lines])
    assert curves[0] == curves[1]


def test_early_stopping_keeps_the_best_as_our_loop_does(make_model, make_tokenizer, make_examples, tmp_path, train_trl):
    settings = Training(steps=100, batch_size=8, lr=2e-2, schedule="constant", eval_every=2, early_stopping=2)
    examples, dev, ours, theirs = make_examples(16), make_examples(8, seed=5), make_model(), make_model()
    a = train_loop(ours, ExampleSteps(examples, settings), settings, dev=dev)
    b = train_trl(theirs, examples, settings, make_tokenizer(), out_dir=tmp_path, dev=dev)
    assert (a.steps, a.best_step) == (b.steps, b.best_step)
    assert a.steps < 100
    assert b.dev_loss == pytest.approx(a.dev_loss, rel=1e-3)
    assert largest_difference(weights(ours), weights(theirs)) < 5e-3


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_broken_number_stops_with_step_and_problems(
    what, make_model, make_tokenizer, make_examples, tmp_path, train_trl
):
    """Transformers logs a loss of 0.0 and ends "successfully"."""
    model, settings = make_model(), Training(steps=8, batch_size=4, save_every=1)

    def poison(report):
        if report.step == 3 and what == "loss":
            with torch.no_grad():
                model.model.embed_tokens.weight[2] = torch.nan
        elif report.step == 3:
            model.model.norm.weight.register_hook(lambda grad: grad * torch.inf)

    with pytest.raises(TrainError, match=rf"The {what} is (nan|inf) at step 4 \(problems p\d, p\d"):
        train_trl(model, make_examples(4), settings, make_tokenizer(), out_dir=tmp_path, progress=poison)
    assert not (tmp_path / "checkpoints" / "checkpoint-4").exists()


def test_what_trl_cannot_carry_is_refused(make_model, make_tokenizer, make_examples, tmp_path, train_trl):
    with pytest.raises(ConfigError, match="backend=loop"):
        train_trl(make_model(), make_examples(4), Training(optimizer="muon"), make_tokenizer(), out_dir=tmp_path)


def test_the_settings_change_memory_not_the_result(make_model, make_tokenizer, make_examples, tmp_path, train_trl):
    curves = []
    for k, options in enumerate(({}, {"gradient_checkpointing": True}, {"precision": "bf16"})):
        settings = Training(steps=3, batch_size=4, **options)
        curve = []
        train_trl(make_model(), make_examples(12), settings, make_tokenizer(), out_dir=tmp_path / str(k),
                  progress=lambda r, c=curve: c.append(r.loss))  # fmt: skip
        curves.append(curve)
    assert curves[1] == pytest.approx(curves[0], rel=1e-5)
    assert curves[2] == pytest.approx(curves[0], rel=3e-2)
    assert curves[2] != curves[0]
