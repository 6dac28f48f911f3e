"""Direct preference optimisation: the number of the paper, the reference that training started from, the same laws."""

import copy
import itertools
import json
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from thinktwice.errors import DataError, TrainError
from thinktwice.train.batch import ExampleSteps
from thinktwice.train.loop import train_loop
from thinktwice.train.metrics import Preference
from thinktwice.train.objective import Objective
from thinktwice.train.pairs import (
    PairSteps,
    ReferencedPair,
    check_pair,
    collate_pairs,
    held_out_batches,
    is_pairs,
    pair_size,
    pairs_fingerprint,
)
from thinktwice.train.preference import DropGuard, PairObjective
from thinktwice.train.reference import logprobs
from thinktwice.train.settings import Training
from thinktwice.types import Example, Pair

CPU = torch.device("cpu")


def weights(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def referenced(model, pairs, settings=None):
    known = logprobs(model, pairs, settings or Training(), device=CPU, precision="fp32")
    return [ReferencedPair(pair, *row) for pair, row in zip(pairs, known.tolist(), strict=True)]


def logprob_by_hand(model, example):
    """One side alone, full logits, a loop over positions: sum of weight x log-probability, and sum of weights."""
    logits = model(torch.tensor([example.token_ids])).logits[0].double()
    total, learned = torch.zeros((), dtype=torch.float64), 0.0
    for i, (target, weight) in enumerate(zip(example.targets, example.weights, strict=True)):
        if weight:
            total = total + weight * F.log_softmax(logits[i], -1)[target]
            learned += weight
    return total, learned


def loss_by_hand(model, start, pairs, settings):
    losses = []
    for pair in pairs:
        ratios = []
        for side in (pair.chosen, pair.rejected):
            now, learned = logprob_by_hand(model, side)
            with torch.no_grad():
                before, _ = logprob_by_hand(start, side)
            ratios.append((now - before) / (learned if settings.length_normalised else 1))
            if side is pair.chosen:
                nll = -now / learned
        z = settings.beta * (ratios[0] - ratios[1])
        s = settings.label_smoothing
        preference = -(1 - s) * torch.log(torch.sigmoid(z)) - s * torch.log(torch.sigmoid(-z))
        losses.append(preference + settings.nll_weight * nll)
    return torch.stack(losses).sum()


@pytest.mark.parametrize(
    "options",
    [{}, {"beta": 0.5, "nll_weight": 0.3}, {"label_smoothing": 0.1}, {"length_normalised": True, "beta": 2.0}],
)
def test_loss_and_gradient_are_those_of_the_paper_written_by_hand(options, make_model, make_pairs):
    settings, start, model = Training(**options), make_model(), make_model()
    pairs = make_pairs(6, fractions=True)
    with torch.no_grad():  # some way from where it started
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    objective = PairObjective(model, settings)
    ours = objective(collate_pairs(referenced(start, pairs)))
    theirs = loss_by_hand(model, start, pairs, settings)
    assert float(ours.detach()) == pytest.approx(float(theirs.detach()), rel=1e-5)
    gradients = []
    for loss in (ours, theirs):
        model.zero_grad()
        loss.backward()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters()})
    for name in gradients[0]:
        torch.testing.assert_close(gradients[0][name], gradients[1][name], atol=1e-5, rtol=1e-4)


def test_the_numbers_of_a_step_are_means_over_its_pairs(make_model, make_pairs):
    settings, start, model, pairs = Training(beta=0.2), make_model(), make_model(seed=1), make_pairs(7)
    objective = PairObjective(model, settings)
    assert objective.take() is None
    known = referenced(start, pairs)
    for part in (known[:3], known[3:]):
        objective(collate_pairs(part))
    found = objective.take()
    assert objective.take() is None
    with torch.no_grad():
        now = [[logprob_by_hand(model, side) for side in (p.chosen, p.rejected)] for p in pairs]
        was = [[logprob_by_hand(start, side) for side in (p.chosen, p.rejected)] for p in pairs]
    ratios = [[float(a - b) for (a, _), (b, _) in zip(x, y, strict=True)] for x, y in zip(now, was, strict=True)]
    margins = [0.2 * (chosen - rejected) for chosen, rejected in ratios]
    expected = Preference(
        margin=sum(margins) / 7,
        accuracy=sum(margin > 0 for margin in margins) / 7,
        chosen_logprob=sum(float(x[0][0]) for x in now) / 7,
        rejected_logprob=sum(float(x[1][0]) for x in now) / 7,
        chosen_change=sum(r[0] / x[0][1] for r, x in zip(ratios, now, strict=True)) / 7,
        rejected_change=sum(r[1] / x[1][1] for r, x in zip(ratios, now, strict=True)) / 7,
        chosen_mean_logprob=sum(float(x[0][0]) / x[0][1] for x in now) / 7,
    )
    for name in Preference.__slots__:
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-4), name


def tasteful(pairs):
    """The same pairs with a rule that a tiny model can learn: chosen is written in low ids, rejected in high ones."""

    def into(side, low, high):
        start = next(i for i, weight in enumerate(side.weights) if weight > 0) + 1
        ids = tuple(i if k < start or i == 2 else low + i % (high - low) for k, i in enumerate(side.token_ids))
        return replace(side, token_ids=ids, targets=(*ids[1:], 0))

    return [Pair(into(pair.chosen, 4, 100), into(pair.rejected, 200, 260), pair.kind) for pair in pairs]


def test_it_starts_at_log_two_and_moves_chosen_over_rejected(make_model, make_pairs):
    """Also on pairs held out."""
    settings = Training(steps=30, batch_size=16, lr=3e-3, nll_weight=0.2, eval_every=40, log_every=40)
    model, pairs, held_out = make_model(), tasteful(make_pairs(64)), tasteful(make_pairs(24, seed=1))
    known, dev, reports = referenced(model, pairs), referenced(model, held_out), []
    train_loop(model, PairSteps(known, settings), settings, dev=held_out_batches(dev, settings), pairs=True,
               progress=reports.append)  # fmt: skip
    first, last = reports[0], reports[-1]
    nll = -first.preference.chosen_mean_logprob
    assert first.loss == pytest.approx(math.log(2) + 0.2 * nll, rel=1e-4)
    assert first.preference.margin == pytest.approx(0, abs=1e-4)
    assert last.dev_preference.accuracy > 0.9
    assert last.dev_preference.margin > 0.3
    assert last.dev_preference.chosen_change > 0


def close_pairs(pairs):
    """Two sides that differ in one token only: where chosen's likelihood is displaced most."""
    made = []
    for pair in pairs:
        ids = list(pair.chosen.token_ids)
        ids[-2] = 4 + (ids[-2] + 7) % 200
        made.append(Pair(pair.chosen, replace(pair.chosen, token_ids=tuple(ids), targets=(*ids[1:], 0)), "close"))
    return made


@pytest.fixture
def preferred(make_model, make_pairs):
    """Learn chosen by heart, then prefer it to what is nearly the same; return what became of it."""
    pairs = close_pairs(make_pairs(16, hole=False))
    learned, settings = make_model(), Training(steps=60, batch_size=16, lr=1e-2)
    train_loop(learned, ExampleSteps([pair.chosen for pair in pairs], settings), settings)

    def prefer(settings):
        model, reports = copy.deepcopy(learned), []
        source = PairSteps(referenced(model, pairs), settings)
        train_loop(model, source, settings, pairs=True, progress=reports.append)
        return reports[-1].preference

    return prefer


def test_chosen_does_not_fall_with_an_nll_term_and_does_without(preferred, caplog):
    plain = Training(steps=30, batch_size=16, lr=5e-3, beta=0.1, log_every=100)
    fallen, held = preferred(plain), preferred(replace(plain, nll_weight=1.0))
    assert fallen.accuracy == held.accuracy == 1.0
    assert held.chosen_change > 0 > fallen.chosen_change
    with pytest.raises(TrainError, match=r"fallen by \d\.\d+ nats a token .*nll_weight"):
        preferred(replace(plain, max_chosen_drop=-fallen.chosen_change / 3))
    assert "training stops at" in caplog.text


def test_the_guard_averages_over_ten_steps_and_goes_on_after_a_resume():
    def seen(change):
        return Preference(0, 0, 0, 0, change, 0, 0)

    guard = DropGuard(0.1)
    for step, change in enumerate([-0.5, *[0.2] * 9], 1):
        if step == 1:
            with pytest.raises(TrainError):
                DropGuard(0.1).see(1, seen(change))
        else:
            guard.see(step, seen(change))
    resumed = DropGuard(0.1, guard.recent)
    for watcher in (guard, resumed):
        watcher.see(11, seen(-2.0))  # the mean of ten is -0.02
        with pytest.raises(TrainError, match="steps up to 12"):
            watcher.see(12, seen(-2.0))
    DropGuard(0.0).see(1, seen(-99.0))
    guard.see(13, None)


@pytest.mark.parametrize("options", [{"batch_size": 5}, {"tokens_per_step": 150}])
def test_both_sides_of_a_pair_stand_in_one_micro_batch(options, make_pairs):
    settings = Training(epochs=2, grad_accumulation=3, **options)
    known = [ReferencedPair(pair, k, -k) for k, pair in enumerate(make_pairs(40))]
    source, seen = PairSteps(known, settings), []
    for batches, _ in itertools.islice(source.steps(), source.total):
        assert len(batches) <= 3
        assert sum(b.weight for b in batches) <= options.get("batch_size", 99)
        length = max(b.rows.input_ids_BT.shape[1] for b in batches)
        assert 2 * sum(b.weight for b in batches) * length <= options.get("tokens_per_step", 1e9)
        for batch in batches:
            chosen, rejected = batch.reference_R.chunk(2)
            assert torch.equal(chosen, -rejected)
            for k, row in enumerate(chosen.int().tolist()):
                for place, side in ((k, known[row].pair.chosen), (len(chosen) + k, known[row].pair.rejected)):
                    ids = batch.rows.input_ids_BT[place, : len(side.token_ids)]
                    assert tuple(ids.tolist()) == side.token_ids
                seen.append(row)
    assert sorted(seen) == sorted([*range(40), *range(40)])
    assert pair_size(known[0]) == 2 * max(len(known[0].pair.chosen.token_ids), len(known[0].pair.rejected.token_ids))


def test_accumulation_and_checkpointing_change_nothing(make_model, make_pairs):
    pairs, trained = make_pairs(24, fractions=True), []
    for options in ({}, {"grad_accumulation": 4}, {"gradient_checkpointing": True}):
        settings = Training(epochs=2, batch_size=8, lr=1e-3, nll_weight=0.1, **options)
        model, losses = make_model(), []
        source = PairSteps(referenced(model, pairs, settings), settings)
        train_loop(model, source, settings, pairs=True, progress=lambda r, out=losses: out.append(r.loss))
        trained.append((weights(model), losses))
    for other, losses in trained[1:]:
        assert losses == pytest.approx(trained[0][1], rel=1e-5)
        for name, tensor in trained[0][0].items():
            torch.testing.assert_close(other[name], tensor, atol=3e-5, rtol=1e-4)


@pytest.mark.parametrize("early", [0, 3])
def test_killed_anywhere_it_ends_with_identical_weights(early, make_model, make_pairs, tmp_path):
    settings = Training(steps=14, tokens_per_step=300, save_every=3, log_every=1, eval_every=2, lr=5e-3,
                        max_chosen_drop=50.0, early_stopping=early)  # fmt: skip
    pairs, held_out = make_pairs(40), make_pairs(6, seed=1)

    class Killed(BaseException):
        pass

    def kill_at(step):
        def progress(report):
            if report.step == step:
                raise Killed

        return progress

    def run(name, progress=None):
        model = make_model(attention_dropout=0.1)
        known, dev = referenced(model, pairs, settings), held_out_batches(referenced(model, held_out), settings)
        result = train_loop(model, PairSteps(known, settings), settings, dev=dev, pairs=True, progress=progress,
                            out_dir=tmp_path / name)  # fmt: skip
        return weights(model), result

    whole, expected = run("whole")
    for stop in (2, 4, 5 if early else 11):
        with pytest.raises(Killed):
            run("cut", kill_at(stop))
    cut, result = run("cut")
    assert result == expected
    assert same(cut, whole)
    rows = [
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("whole", "cut")
    ]
    timeless = [[{k: v for k, v in row.items() if k not in ("eta_s", "tokens_per_second")} for row in r] for r in rows]
    assert timeless[0] == timeless[1]
    assert {"margin", "accuracy", "chosen_change", "dev_margin"} <= timeless[0][1].keys()


def test_the_models_own_dropout_is_switched_off_so_that_it_starts_at_its_reference(make_model, make_pairs):
    model, reports, settings = make_model(attention_dropout=0.5), [], Training(steps=1, batch_size=8)
    source = PairSteps(referenced(model, make_pairs(8)), settings)
    train_loop(model, source, settings, pairs=True, progress=reports.append)
    assert reports[0].loss == pytest.approx(math.log(2), abs=1e-4)


def test_the_reference_does_not_depend_on_how_pairs_are_batched(make_model, make_pairs):
    model, pairs = make_model(), make_pairs(20, fractions=True)
    found = [
        logprobs(model, pairs, settings, device=CPU, precision="fp32")
        for settings in (
            Training(batch_size=1),
            Training(batch_size=7, grad_accumulation=2),
            Training(tokens_per_step=90),
        )
    ]
    with torch.no_grad():
        by_hand = [[float(logprob_by_hand(model, side)[0]) for side in (p.chosen, p.rejected)] for p in pairs]
    for each in found:
        torch.testing.assert_close(each, torch.tensor(by_hand, dtype=torch.float64), atol=1e-4, rtol=1e-5)


def test_layouts_are_carried_on_both_sides(make_model, make_layout_examples):
    """Retracted tokens: the loss is the one of every context on its own."""
    from thinktwice.resolve import unroll

    a, b = make_layout_examples(1), make_layout_examples(1, branches=3)
    model = make_model()
    pair = Pair(a[0], replace(b[0], problem_id="p0"))
    found = logprobs(model, [pair], Training(), device=CPU, precision="fp32")
    with torch.no_grad():
        expected = [sum(float(logprob_by_hand(model, part)[0]) for part in unroll(side)) for side in (a[0], b[0])]
    assert found[0].tolist() == pytest.approx(expected, rel=1e-5)


SIDE = Example((5, 6, 7, 8, 2), (6, 7, 8, 2, 0), (0, 0, 1, 1, 0), problem_id="p")


def test_a_pair_that_contradicts_itself_is_refused():
    other = replace(SIDE, token_ids=(5, 6, 7, 9, 2), targets=(6, 7, 9, 2, 0))
    check_pair(Pair(SIDE, other))
    for broken, says in (
        (replace(other, token_ids=(5, 9, 7, 9, 2)), "part at token 1, before anything is learned"),
        (replace(other, weights=(0.0,) * 5), "rejected of the pair of problem 'p' teaches nothing"),
        (replace(other, weights=(0, 0, -1, 1, 0)), "rejected of a pair: .* negative"),
        (replace(other, problem_id="q"), "problems 'p' and 'q'"),
    ):
        with pytest.raises(DataError, match=says):
            check_pair(Pair(SIDE, broken))


def test_mixed_sets_are_refused_and_fingerprints_tell_pairs_apart():
    pair = Pair(SIDE, replace(SIDE, token_ids=(5, 6, 7, 9, 2)), "loop")
    assert is_pairs([pair])
    assert not is_pairs([SIDE])
    assert not is_pairs([])
    with pytest.raises(DataError, match="1 of 2 training examples are pairs"):
        is_pairs([pair, SIDE])
    swapped = Pair(pair.rejected, pair.chosen, "loop")
    found = [pairs_fingerprint(p) for p in ([pair], [swapped], [replace(pair, kind="x")], [pair, swapped], [])]
    assert len(set(found)) == 5


def test_nothing_else_is_computed_than_what_is_learned(make_model, make_pairs):
    """The objective of pairs is made of the objective of examples: chosen's share of it is the plain loss."""
    model, pairs = make_model(), make_pairs(5)
    known = logprobs(model, pairs, Training(), device=CPU, precision="fp32")
    batch = collate_pairs(referenced(model, pairs))
    assert float(Objective(model)(batch.rows).detach()) == pytest.approx(-float(known.sum()), rel=1e-5)
