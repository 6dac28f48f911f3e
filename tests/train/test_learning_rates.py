"""Several learning rates, the best on dev kept: what a comparison between arms needs."""

import json
import random
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from thinktwice.errors import ConfigError, TrainError
from thinktwice.train import Training, fit
from thinktwice.types import Choice

RATES = (1e-6, 0.02, 0.3)
SETTINGS = Training(mode="lora", lora_rank=2, batch_size=8, steps=4, lrs=RATES, eval_every=2, log_every=1)


def make_choices(items):
    """Each item asks, in both orders, which of two texts has the larger first token."""
    draw, found = random.Random(0), []
    for k in range(items):
        sides = [[draw.randrange(20, 260) for _ in range(4)] for _ in range(2)]
        for order in ((0, 1), (1, 0)):
            ids = (*sides[order[0]], 5, *sides[order[1]], 6)
            right = int(sides[order[1]][0] > sides[order[0]][0])
            found.append(Choice((), ids, (), (7, 8), right, f"{k}"))
    return found


def learn(base, out, settings=SETTINGS, **options):
    return fit(make_choices(12), base, out, settings, dev=make_choices(12), **options)  # dev is what is learned


def weights(model):
    return {str(p.relative_to(model)): load_file(p) for p in sorted(model.rglob("*.safetensors"))}


def same(one, two):
    a, b = weights(one), weights(two)
    return a.keys() == b.keys() and all(torch.equal(a[f][n], b[f][n]) for f in a for n in a[f])


@pytest.mark.slow
@pytest.mark.parametrize("keep", ["loss", "accuracy"])
def test_the_rate_that_is_best_on_dev_is_kept(tmp_path, make_base, keep):
    base, settings = make_base(), replace(SETTINGS, keep=keep, early_stopping=9)
    seen, audits = [], []
    final = learn(base, tmp_path / "out", settings, progress=seen.append, on_audit=audits.append)
    record = json.loads((tmp_path / "out/rates.json").read_text())
    assert [row["lr"] for row in record["tried"]] == list(RATES)
    best = min(record["tried"], key=lambda r: r["dev_loss"] if keep == "loss" else (-r["accuracy"], r["dev_loss"]))
    assert record["kept"] == best["lr"] != RATES[0]
    assert [point["step"] for point in best["curve"]] == [2, 4]
    alone = learn(base, tmp_path / "alone", replace(settings, lrs=(), lr=record["kept"]))
    assert same(final, alone)
    assert (tmp_path / "out/metrics.jsonl").read_text().count("\n") == 4
    assert {"audit.json", "trainer_state.json"} <= {path.name for path in (tmp_path / "out").iterdir()}
    assert [report.step for report in seen] == list(range(1, 13))
    assert {report.steps for report in seen} == {12}
    assert seen[-1].eta_s == 0
    assert len(audits) == 1


@pytest.mark.slow
def test_killed_between_rates_it_goes_on_and_ends_the_same(tmp_path, make_base):
    base = make_base()
    whole = learn(base, tmp_path / "whole")
    seen = []

    def stop(report):
        if report.step == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn(base, tmp_path / "out", progress=stop)
    assert not (tmp_path / "out/model").exists()
    final = learn(base, tmp_path / "out", progress=seen.append)
    assert min(report.step for report in seen) > 4  # the first rate was not trained again
    assert same(final, whole)
    written = (final / "training.json").stat().st_mtime_ns
    assert learn(base, tmp_path / "out", progress=seen.clear) == final
    assert (final / "training.json").stat().st_mtime_ns == written


@pytest.mark.parametrize("lrs", [(1e-3,), (1e-3, 1e-3), (1e-3, 0.0), (1e-3, float("inf"))])
def test_rates_that_leave_nothing_to_choose_are_refused(lrs):
    with pytest.raises(ConfigError, match="two positive rates or more, each once"):
        Training(lrs=lrs)


def test_there_must_be_something_to_choose_on(tmp_path, make_base, monkeypatch):
    base = make_base()
    with pytest.raises(ConfigError, match="chooses a learning rate on dev examples"):
        fit(make_choices(2), base, tmp_path / "out", SETTINGS)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(TrainError, match="chooses in one process"):
        learn(base, tmp_path / "out")


def test_one_rate_is_the_training_it_always_was():
    assert Training().fingerprint() == Training(lrs=()).fingerprint()
    assert Training().fingerprint() != SETTINGS.fingerprint()
