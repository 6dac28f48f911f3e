import itertools
import json
import os
import shutil
import signal
from dataclasses import replace

import pytest
import torch

from thinktwice.errors import ConfigError, TrainError
from thinktwice.train.batch import ExampleSteps, StreamSteps
from thinktwice.train.loop import dev_batches, train_loop
from thinktwice.train.objective import Objective
from thinktwice.train.optimizer import Muon, build_optimizers, orthogonalise
from thinktwice.train.settings import Training


def weights(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


class Killed(BaseException):
    """Stands for a process that is gone: nothing after it runs."""


def kill_at(step):
    def progress(report):
        if report.step == step:
            raise Killed

    return progress


def loss_of(model, dev, settings):
    batches = dev_batches(dev, settings)
    with torch.no_grad():
        return float(sum(Objective(model)(b) for b in batches)) / sum(b.weight for b in batches)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_training_learns_and_repeats_exactly(optimizer, make_model, make_examples):
    settings = Training(epochs=8, batch_size=8, lr=5e-3, optimizer=optimizer, weight_decay=0.01)
    examples, results, models = make_examples(48), [], []
    for _ in range(2):
        model = make_model()
        torch.manual_seed(len(models))  # what happened before must not matter
        before = loss_of(model, examples, settings)
        results.append(train_loop(model, ExampleSteps(examples, settings), settings))
        models.append(model)
    assert loss_of(models[0], examples, settings) < 0.6 * before
    assert same(weights(models[0]), weights(models[1]))
    assert results[0] == results[1]
    assert results[0].tokens == 8 * sum(len(e.token_ids) for e in examples)


def test_accumulation_and_checkpointing_change_nothing(make_model, make_examples):
    examples = make_examples(24, fractions=True)
    trained = []
    for options in ({}, {"grad_accumulation": 4}, {"gradient_checkpointing": True}):
        settings = Training(epochs=2, batch_size=8, lr=1e-3, **options)
        model, losses = make_model(), []
        train_loop(model, ExampleSteps(examples, settings), settings, progress=lambda r, out=losses: out.append(r.loss))
        trained.append((weights(model), losses))
    for other, losses in trained[1:]:
        assert losses == pytest.approx(trained[0][1], rel=1e-5)
        for name, tensor in trained[0][0].items():
            torch.testing.assert_close(other[name], tensor, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", ["adamw", "muon", "early", "stream"])
def test_killed_anywhere_it_ends_with_identical_weights(kind, make_model, make_examples, tmp_path):
    examples, dev = make_examples(40), make_examples(6, seed=1)
    settings = Training(steps=14, tokens_per_step=150, save_every=3, log_every=1, eval_every=2, lr=5e-3)
    if kind == "muon":
        settings = replace(settings, optimizer="muon", schedule="cosine", embedding_lr=1e-3)
    if kind == "early":
        settings = replace(settings, lr=0.05, early_stopping=3)

    def source():
        if kind == "stream":
            return StreamSteps(lambda k: (examples[i % 40] for i in itertools.count(k)), settings, "world")
        return ExampleSteps(examples, settings)

    def model():
        return make_model(attention_dropout=0.1)  # dropout: the random state must come back, too

    whole, cut = model(), model()
    expected = train_loop(whole, source(), settings, dev=dev, out_dir=tmp_path / "whole")
    for stop in (2, 4, 9, 11):
        torch.manual_seed(stop)
        with pytest.raises(Killed):
            train_loop(cut, source(), settings, dev=dev, out_dir=tmp_path / "cut", progress=kill_at(stop))
        cut = model()  # a new process starts from the base again
    assert train_loop(cut, source(), settings, dev=dev, out_dir=tmp_path / "cut") == expected
    assert same(weights(cut), weights(whole))

    def logged(name):
        lines = [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        return [(line["step"], line["loss"], line["dev_loss"]) for line in lines]

    assert logged("cut") == logged("whole")
    if kind != "early":  # only the last two are kept
        kept = sorted(path.name for path in (tmp_path / "cut" / "checkpoints").iterdir())
        assert kept == ["step-00000009", "step-00000012"]


@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_signal_saves_the_running_step(number, error, make_model, make_examples, tmp_path):
    settings = Training(steps=6, batch_size=4, lr=5e-3)
    whole, cut, examples = make_model(), make_model(), make_examples(16)
    train_loop(whole, ExampleSteps(examples, settings), settings)
    before = signal.getsignal(number)

    def interrupt(report):
        if report.step == 3:
            os.kill(os.getpid(), number)

    with pytest.raises(error) as raised:
        train_loop(cut, ExampleSteps(examples, settings), settings, out_dir=tmp_path, progress=interrupt)
    if number == signal.SIGTERM:
        assert raised.value.code == 143
    assert signal.getsignal(number) is before
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000003"]
    steps = []
    cut = make_model()
    train_loop(
        cut, ExampleSteps(examples, settings), settings, out_dir=tmp_path, progress=lambda r: steps.append(r.step)
    )
    assert steps == [4, 5, 6]
    assert same(weights(cut), weights(whole))


def stop_with_checkpoints(make_model, examples, settings, folder):
    with pytest.raises(Killed):
        train_loop(make_model(), ExampleSteps(examples, settings), settings, out_dir=folder, progress=kill_at(7))
    return sorted((folder / "checkpoints").iterdir())


@pytest.mark.parametrize("damage", ["flip", "truncate", "missing", "manifest", "state"])
def test_a_damaged_checkpoint_is_passed_over_loudly(damage, make_model, make_examples, tmp_path, caplog):
    settings, examples = Training(steps=8, batch_size=4, save_every=2), make_examples(16)
    whole = make_model()
    train_loop(whole, ExampleSteps(examples, settings), settings)
    *_, older, newest = stop_with_checkpoints(make_model, examples, settings, tmp_path)
    assert (older.name, newest.name) == ("step-00000004", "step-00000006")
    path = newest / {"manifest": "manifest.json", "state": "state.json"}.get(damage, "tensors.safetensors")
    data = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "flip":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    else:
        path.write_bytes(data[: len(data) // 2])
    steps, again = [], make_model()
    train_loop(
        again, ExampleSteps(examples, settings), settings, out_dir=tmp_path, progress=lambda r: steps.append(r.step)
    )
    assert steps[0] == 5
    assert "step-00000006 is damaged" in caplog.text
    assert same(weights(again), weights(whole))


def test_a_half_written_checkpoint_does_not_count(make_model, make_examples, tmp_path):
    settings, examples = Training(steps=8, batch_size=4, save_every=2), make_examples(16)
    *_, newest = stop_with_checkpoints(make_model, examples, settings, tmp_path)
    os.replace(newest, newest.with_name(".step-00000006.999"))  # killed before the rename
    steps = []
    train_loop(
        make_model(),
        ExampleSteps(examples, settings),
        settings,
        out_dir=tmp_path,
        progress=lambda r: steps.append(r.step),
    )
    assert steps[0] == 5


def test_a_changed_training_is_refused(make_model, make_examples, tmp_path, monkeypatch):
    settings, examples = Training(steps=8, batch_size=4, save_every=2), make_examples(16)
    stop_with_checkpoints(make_model, examples, settings, tmp_path)

    def resume(settings=settings, examples=examples, **options):
        return train_loop(make_model(), ExampleSteps(examples, settings), settings, out_dir=tmp_path, **options)

    with pytest.raises(TrainError, match="settings was"):
        resume(settings=replace(settings, lr=2e-3))
    with pytest.raises(TrainError, match="data was"):
        resume(examples=examples[1:])
    with pytest.raises(TrainError, match="base was"):
        resume(base="another")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(TrainError, match="backend=trl"):
        resume()
    monkeypatch.delenv("WORLD_SIZE")
    resume(settings=replace(settings, log_every=1))  # how often is logged decides no weight


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_broken_number_stops_with_step_and_problems(what, make_model, make_examples, tmp_path):
    settings, examples, model = Training(steps=8, batch_size=4, save_every=1), make_examples(4), make_model()

    def poison(report):
        if report.step == 3 and what == "loss":
            with torch.no_grad():
                model.model.embed_tokens.weight[2] = torch.nan
        elif report.step == 3:
            model.model.norm.weight.register_hook(lambda grad: grad * torch.inf)

    with pytest.raises(TrainError, match=rf"The {what} is (nan|inf) at step 4 \(problems p\d, p\d") as error:
        train_loop(model, ExampleSteps(examples, settings), settings, out_dir=tmp_path, progress=poison)
    assert "lr" in str(error.value)
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["step-00000002", "step-00000003"]
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert all(json.loads(line)["step"] <= 3 for line in lines)


def test_early_stopping_keeps_the_best(make_model, make_examples):
    settings = Training(steps=200, batch_size=8, lr=2e-2, schedule="constant", eval_every=2, early_stopping=3)
    examples, dev = make_examples(16), make_examples(8, seed=5)
    model, curve = make_model(), {}
    result = train_loop(
        model,
        ExampleSteps(examples, settings),
        settings,
        dev=dev,
        progress=lambda r: curve.update({r.step: r.dev_loss} if r.dev_loss is not None else {}),
    )
    assert result.steps < 200
    assert result.best_step == min(curve, key=lambda step: curve[step]) == result.steps - 6
    assert loss_of(model, dev, settings) == pytest.approx(result.dev_loss, rel=1e-6)
    assert result.dev_loss == min(curve.values())
    with pytest.raises(ConfigError, match="dev examples"):
        train_loop(model, ExampleSteps(examples, settings), settings)


def test_the_weights_kept_are_the_most_accurate_where_that_is_asked_for(make_model, make_examples):
    settings = Training(steps=8, batch_size=8, lr=1e-3, schedule="constant", eval_every=2, early_stopping=99)
    examples, dev, right = make_examples(16), make_examples(8, seed=5), iter((0.2, 0.9, 0.9, 0.4))
    by_loss = train_loop(
        make_model(), ExampleSteps(examples, settings), settings, dev=dev, evaluate=lambda _: next(right)
    )
    asked, rows = replace(settings, keep="accuracy"), {}
    right = iter((0.2, 0.9, 0.9, 0.4))
    found = train_loop(
        make_model(),
        ExampleSteps(examples, asked),
        asked,
        dev=dev,
        evaluate=lambda _: next(right),
        progress=lambda r: rows.update({r.step: r.dev_loss} if r.dev_loss is not None else {}),
    )
    assert by_loss.best_step == 8  # the loss still falls
    assert found.best_step == 6  # of two that are as accurate, the one of lower loss
    assert found.dev_loss == rows[6]
    with pytest.raises(ConfigError, match="num_test"):
        train_loop(make_model(), ExampleSteps(examples, asked), asked, dev=dev)
    assert asked.fingerprint() != settings.fingerprint()


def test_muon_moves_hidden_matrices_only():
    matrices = torch.randn(3, 24, 40, generator=torch.Generator().manual_seed(0))
    for shape in (matrices, matrices.mT):
        values = torch.linalg.svdvals(orthogonalise(shape))
        assert values.min() > 0.5
        assert values.max() < 1.3


@pytest.mark.parametrize("tied", [True, False])
def test_muon_takes_hidden_matrices_and_adamw_the_rest(tied, make_model):
    model = make_model(tie_word_embeddings=tied)
    adamw, muon = build_optimizers(model, Training(optimizer="muon", lr=1e-2, embedding_lr=1e-3, weight_decay=0.1))
    assert isinstance(muon, Muon)
    names = {id(p): name for name, p in model.named_parameters()}
    moved = {names[id(p)] for group in muon.param_groups for p in group["params"]}
    rest = {names[id(p)]: group for group in adamw.param_groups for p in group["params"]}
    assert moved | rest.keys() == set(names.values())
    assert not moved & rest.keys()
    assert all("_proj" in name for name in moved)
    assert ("lm_head.weight" in rest) == (not tied)
    assert rest["model.embed_tokens.weight"]["peak"] == 1e-3
    assert rest["model.norm.weight"]["weight_decay"] == 0.0
    assert muon.param_groups[0]["peak"] == 1e-2


def test_half_precision(make_model, make_examples):
    settings = Training(steps=6, batch_size=8, lr=5e-3, precision="bf16")
    model, losses = make_model(), []
    train_loop(
        model, ExampleSteps(make_examples(), settings), settings,
        device=torch.device("cpu"), progress=lambda r: losses.append(r.loss),
    )  # fmt: skip
    assert losses[-1] < losses[0]
    assert model.model.norm.weight.dtype == torch.float32
    with pytest.raises(ConfigError, match="fp16 needs a GPU"):
        train_loop(
            model, ExampleSteps(make_examples(), settings), replace(settings, precision="fp16"),
            device=torch.device("cpu"),
        )  # fmt: skip


def test_a_full_disk_is_named(make_model, make_examples, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 0))
    settings = Training(steps=4, batch_size=4, save_every=1)
    with pytest.raises(TrainError, match="make room"):
        train_loop(make_model(), ExampleSteps(make_examples(), settings), settings, out_dir=tmp_path)
