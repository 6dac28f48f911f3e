import json

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from thinktwice.train import Training, fit


def test_fit_lowers_the_loss_and_saves_a_plain_model(make_base, make_examples, tmp_path):
    base, examples = make_base(), make_examples(48)
    reports = []
    settings = Training(epochs=6, batch_size=8, lr=5e-3, eval_every=10, log_every=5)
    out = fit(examples, base, tmp_path / "out", settings, dev=make_examples(8, seed=1), progress=reports.append)
    assert out == tmp_path / "out" / "model"
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
