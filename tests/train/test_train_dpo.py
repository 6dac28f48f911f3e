"""Pairs behind TRL: the same losses and weights as our own loop, and the loss of TRL's own DPOTrainer."""

import warnings
from dataclasses import replace

import pytest
import torch

from thinktwice.errors import ConfigError, TrainError
from thinktwice.train.loop import train_loop
from thinktwice.train.pairs import PairSteps, ReferencedPair, collate_pairs, held_out_batches
from thinktwice.train.preference import PairObjective
from thinktwice.train.reference import logprobs
from thinktwice.train.settings import Training


@pytest.fixture
def train_trl_pairs():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from thinktwice.train.dpo import train_trl_pairs
    return train_trl_pairs


def referenced(model, pairs, settings):
    known = logprobs(model, pairs, settings, device=torch.device("cpu"), precision="fp32")
    return [ReferencedPair(pair, *row) for pair, row in zip(pairs, known.tolist(), strict=True)]


def weights(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def largest_difference(a, b):
    return max(float((a[name] - b[name]).abs().max()) for name in a)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"grad_accumulation": 3, "batch_size": 5, "nll_weight": 0.2},
        {"length_normalised": True, "beta": 2.0, "tokens_per_step": 200},
        {"label_smoothing": 0.1, "schedule": "wsd"},
    ],
)
def test_trl_and_our_loop_train_the_same(options, make_model, make_tokenizer, make_pairs, tmp_path, train_trl_pairs):
    settings = Training(steps=4, batch_size=4, lr=1e-3, warmup_steps=1, weight_decay=0.1, log_every=1, eval_every=2)
    settings = replace(settings, **options)
    ours, theirs = make_model(), make_model()
    pairs = referenced(ours, make_pairs(14, fractions=True), settings)
    dev = referenced(ours, make_pairs(4, seed=1), settings)
    reports_ours, reports_theirs = [], []
    a = train_loop(ours, PairSteps(pairs, settings), settings, dev=held_out_batches(dev, settings), pairs=True,
                   progress=reports_ours.append)  # fmt: skip
    b = train_trl_pairs(theirs, pairs, settings, make_tokenizer(), out_dir=tmp_path, dev=dev,
                        progress=reports_theirs.append)  # fmt: skip
    assert [r.loss for r in reports_theirs] == pytest.approx([r.loss for r in reports_ours], abs=1e-5)
    assert [r.grad_norm for r in reports_theirs] == pytest.approx([r.grad_norm for r in reports_ours], rel=1e-3)
    assert (a.steps, a.tokens, a.supervised) == (b.steps, b.tokens, b.supervised)
    assert b.dev_loss == pytest.approx(a.dev_loss, abs=1e-5)
    for which in ("preference", "dev_preference"):
        for x, y in zip(reports_ours, reports_theirs, strict=True):
            left, right = getattr(x, which), getattr(y, which)
            assert (left is None) == (right is None)
            for name in left.__slots__ if left else ():
                if name == "accuracy" and x.step == 1:
                    continue  # nothing has moved yet: the sign of a rounding error
                assert getattr(right, name) == pytest.approx(getattr(left, name), abs=1e-3, rel=1e-4), name
    assert largest_difference(weights(ours), weights(theirs)) < 1e-5


def test_the_loss_is_the_one_of_trls_own_trainer(make_model, make_tokenizer, make_pairs, tmp_path, make_base):
    """Stock DPOTrainer, its collator and its loss, on the same ids and the same reference."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from datasets import Dataset
        from trl import DPOConfig, DPOTrainer

        class Stock(DPOTrainer):
            def _prepare_dataset(self, dataset, *_, **__):
                return dataset

        settings = Training(beta=0.3)
        start, model = make_model(), make_model(seed=3)
        pairs = referenced(start, make_pairs(6, hole=False), settings)
        rows = []
        for each in pairs:
            end = next(i for i, weight in enumerate(each.pair.chosen.weights) if weight > 0) + 1
            sides = {"chosen": each.pair.chosen, "rejected": each.pair.rejected}
            rows.append({
                "prompt_ids": list(sides["chosen"].token_ids[:end]),
                **{f"{name}_ids": list(side.token_ids[end:]) for name, side in sides.items()},
            })  # fmt: skip
        config = DPOConfig(output_dir=str(tmp_path), beta=0.3, max_length=None, use_cpu=True, bf16=False,
                           report_to="none", gradient_checkpointing=False, disable_tqdm=True)  # fmt: skip
        trainer = Stock(model=model, ref_model=start, args=config, train_dataset=Dataset.from_list(rows),
                        processing_class=make_tokenizer())  # fmt: skip
        theirs = float(trainer.compute_loss(model, trainer.data_collator(rows)).detach())
    ours = float(PairObjective(model, settings)(collate_pairs(pairs)).detach()) / 6
    assert ours == pytest.approx(theirs, abs=1e-5)


def test_killed_anywhere_it_ends_with_identical_weights(
    make_model, make_tokenizer, make_pairs, tmp_path, train_trl_pairs
):
    settings = Training(steps=4, batch_size=4, save_every=2, lr=0.01, log_every=1, max_chosen_drop=9.0)

    class Killed(BaseException):
        pass

    def kill(report):
        if report.step == 3:
            raise Killed

    def run(name, progress=None):
        model = make_model(attention_dropout=0.1)
        pairs = referenced(model, make_pairs(20), settings)
        train_trl_pairs(model, pairs, settings, make_tokenizer(), out_dir=tmp_path / name, progress=progress)
        return weights(model)

    whole = run("whole")
    with pytest.raises(Killed):
        run("cut", kill)
    assert largest_difference(whole, run("cut")) == 0


def test_what_trl_cannot_carry_is_refused_and_a_fall_stops_it_too(
    make_model, make_tokenizer, make_pairs, tmp_path, train_trl_pairs
):
    model, pairs = make_model(), make_pairs(8)
    settings = Training(optimizer="muon")
    with pytest.raises(ConfigError, match="backend=loop"):
        train_trl_pairs(model, referenced(model, pairs, settings), settings, make_tokenizer(), out_dir=tmp_path)
    swapped = [replace(each, chosen=each.chosen + 99) for each in referenced(model, pairs, Training())]
    with pytest.raises(TrainError, match=r"max_chosen_drop=0\.5"):
        train_trl_pairs(model, swapped, Training(steps=1, max_chosen_drop=0.5), make_tokenizer(), out_dir=tmp_path)
