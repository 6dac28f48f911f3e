import itertools
import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from thinktwice.decode.loop import decode
from thinktwice.errors import DataError, TrainError
from thinktwice.train import Training, fit, fit_stream
from thinktwice.train.objective import unwrap
from thinktwice.train.vocab import load_model
from thinktwice.types import Sampling


def tensors(folder):
    return load_file(folder / "model.safetensors")


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_fit_lowers_the_loss_and_saves_a_plain_model(make_base, make_examples, tmp_path):
    base, examples = make_base(), make_examples(48)
    reports, audits = [], []
    settings = Training(epochs=6, batch_size=8, lr=5e-3, eval_every=10, log_every=5)
    out = fit(examples, base, tmp_path / "out", settings, dev=make_examples(8, seed=1), progress=reports.append,
              on_audit=audits.append)  # fmt: skip
    assert out == tmp_path / "out" / "model"
    assert audits[0].n == 48
    assert reports[-1].step == reports[-1].steps == 36
    assert reports[-1].loss < 0.8 * reports[0].loss
    assert reports[-1].dev_loss is not None
    model, tokenizer = AutoModelForCausalLM.from_pretrained(out), AutoTokenizer.from_pretrained(out)
    assert isinstance(model, torch.nn.Module)
    assert tokenizer.eos_token_id == 2
    lines = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 5, 10, 15, 20, 25, 30, 35, 36]
    assert {"step", "loss", "lr", "grad_norm", "tokens", "tokens_per_second", "eta_s", "dev_loss"} <= lines[0].keys()
    assert [line["step"] for line in lines if line["dev_loss"] is not None] == [10, 20, 30, 36]
    audit = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert audit["n"] == 48
    assert audit["dev"]["n"] == 8
    assert not (tmp_path / "out" / "checkpoints").exists()


def test_a_finished_training_is_not_repeated_and_another_is_refused(make_base, make_examples, tmp_path):
    base, examples, settings = make_base(), make_examples(8), Training(steps=3, batch_size=4)
    out, calls = fit(examples, base, tmp_path / "out", settings), []
    before = tensors(out)
    assert fit(examples, base, tmp_path / "out", settings, progress=calls.append) == out
    assert calls == []
    assert same(before, tensors(out))
    with pytest.raises(TrainError, match=r"training\.lr: 0\.001 -> 0\.002"):
        fit(examples, base, tmp_path / "out", replace(settings, lr=2e-3))
    with pytest.raises(TrainError, match="data"):
        fit(examples[1:], base, tmp_path / "out", settings)
    with pytest.raises(TrainError, match="base"):
        fit(examples, make_base("other", seed=1), tmp_path / "out", settings)
    (out / "training.json").unlink()
    with pytest.raises(TrainError, match="not made by this training"):
        fit(examples, base, tmp_path / "out", settings)


def test_the_audit_stops_a_training_before_step_1(make_base, make_examples, tmp_path):
    base, examples, reports = make_base(), make_examples(8), []
    examples[3] = replace(examples[3], weights=(0.0,) * len(examples[3].weights))
    with pytest.raises(DataError, match="'p3' teaches nothing"):
        fit(examples, base, tmp_path / "out", Training(steps=3), progress=reports.append)
    with pytest.raises(DataError, match="Nothing is cut"):
        fit(make_examples(8), base, tmp_path / "out", Training(steps=3, max_length=6), progress=reports.append)
    assert reports == []
    assert not (tmp_path / "out").exists()


def test_the_model_keeps_the_dtype_of_its_base(make_base, make_examples, tmp_path):
    base = make_base()
    half = tmp_path / "half"
    load_model(base).to(torch.bfloat16).save_pretrained(half)
    AutoTokenizer.from_pretrained(base).save_pretrained(half)
    seen = []
    out = fit(make_examples(8), half, tmp_path / "out", Training(steps=2, batch_size=4, lr=1e-2),
              progress=lambda r: seen.append(r.grad_norm))  # fmt: skip
    assert {tensor.dtype for tensor in tensors(out).values()} == {torch.bfloat16}
    assert {
        tensor.dtype for tensor in tensors(fit(make_examples(8), base, tmp_path / "o", Training(steps=1))).values()
    } == {torch.float32}


@pytest.mark.parametrize("backend", ["loop", "trl"])
def test_layout_and_unrolled_training_end_alike(backend, make_base, make_layout_examples, tmp_path):
    base, examples = make_base(initializer_range=0.1), make_layout_examples(6)
    losses, trained = {}, {}
    for attention in ("layout", "unrolled"):
        settings = Training(backend=backend, steps=2, batch_size=100, lr=1e-4, attention=attention)
        curve = losses[attention] = []
        out = fit(examples, base, tmp_path / attention, settings, progress=lambda r, c=curve: c.append(r.loss))
        trained[attention] = tensors(out)
    assert losses["layout"] == pytest.approx(losses["unrolled"], rel=1e-5)
    for name, tensor in trained["layout"].items():
        torch.testing.assert_close(tensor, trained["unrolled"][name], atol=2e-5, rtol=1e-4)


def test_a_stream_is_trained_resumed_and_recorded(make_model, make_tokenizer, make_examples, tmp_path):
    examples = make_examples(50)

    def endless(start):
        return (examples[k % 50] for k in itertools.count(start))

    settings = Training(steps=8, tokens_per_step=200, optimizer="muon", lr=1e-2, schedule="wsd", save_every=3)
    options = {"name": "world-1", "tokenizer": make_tokenizer(), "dev": make_examples(4, seed=2)}
    whole = fit_stream(endless, make_model(), tmp_path / "whole", settings, **options)

    class Killed(BaseException):
        pass

    def kill(report):
        if report.step == 5:
            raise Killed

    with pytest.raises(Killed):
        fit_stream(endless, make_model(), tmp_path / "cut", settings, progress=kill, **options)
    cut = fit_stream(endless, make_model(), tmp_path / "cut", settings, **options)
    assert same(tensors(whole), tensors(cut))
    with pytest.raises(TrainError, match="data"):
        fit_stream(endless, make_model(), tmp_path / "cut", settings, **{**options, "name": "world-2"})
    with pytest.raises(TrainError, match="base"):
        fit_stream(endless, make_model(seed=1), tmp_path / "cut", settings, **options)


@pytest.mark.parametrize("backend", ["loop", "trl"])
def test_answers_are_counted_inside_the_training_and_again_from_its_checkpoint(
    backend, make_base, make_examples, tmp_path
):
    """`eval_acc` of trainer_state.json is what the saved weights give, and measuring it changes nothing."""

    def share(model) -> float:
        assert not model.training
        prompts = [example.token_ids[:6] for example in make_examples(12)]
        written = decode(unwrap(model), prompts, Sampling(max_new_tokens=8), eos_ids=[2])
        return sum(sum(completion.token_ids) % 2 for completion in written) / len(written)

    settings = Training(backend=backend, steps=6, batch_size=6, lr=1e-2, eval_every=2, log_every=100)
    out = fit(make_examples(18), make_base(), tmp_path / "measured", settings, evaluate=share)
    plain = fit(make_examples(18), make_base("again"), tmp_path / "plain", settings)
    assert all(
        torch.equal(a, b) for a, b in zip(load_model(out).parameters(), load_model(plain).parameters(), strict=True)
    )
    state = json.loads((tmp_path / "measured" / "trainer_state.json").read_text())
    measured = {row["step"]: row["eval_acc"] for row in state["log_history"] if "eval_acc" in row}
    assert list(measured) == [2, 4, 6]
    assert (state["global_step"], state["max_steps"]) == (6, 6)
    assert measured[6] == share(load_model(out).eval())
    assert len(set(measured.values())) > 1
