"""Pairs through `fit`: audited, referenced once, resumed, over every kind of adapter, and never over other weights."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

import thinktwice.train.reference as reference_module
from thinktwice.errors import ConfigError, DataError, ModelError, TrainError
from thinktwice.train import Training, fit
from thinktwice.train.adapters import load_adapter
from thinktwice.train.pair_audit import audit_pairs
from thinktwice.train.pairs import collate_pairs
from thinktwice.train.reference import reference, weights_hash
from thinktwice.train.vocab import load_model, prepare_base
from thinktwice.types import ControlToken, Example, Pair

CPU = torch.device("cpu")
SMALL = {"steps": 3, "batch_size": 6, "lr": 1e-2, "log_every": 1, "precision": "fp32"}


def logprobs(model, pairs):
    out = []
    for pair in pairs:
        for side in (pair.chosen, pair.rejected):
            with torch.no_grad():
                table = model(torch.tensor([side.token_ids])).logits[0].log_softmax(-1)
            learned = [(i, t, w) for i, (t, w) in enumerate(zip(side.targets, side.weights, strict=True)) if w]
            out.append(sum(w * float(table[i, t]) for i, t, w in learned))
    return torch.tensor(out, dtype=torch.float64).reshape(-1, 2)


def test_fit_learns_from_pairs_and_writes_down_what_moved(make_base, make_pairs, tmp_path):
    base, pairs, audits, reports = make_base(), make_pairs(24), [], []
    settings = Training(**{**SMALL, "steps": 12}, eval_every=6)
    out = fit(pairs, base, tmp_path / "out", settings, dev=make_pairs(6, seed=1), on_audit=audits.append,
              progress=reports.append)  # fmt: skip
    known = load_file(tmp_path / "out" / "reference.safetensors")
    torch.testing.assert_close(known["train"], logprobs(load_model(base), pairs), atol=1e-4, rtol=1e-5)
    assert known["dev"].shape == (6, 2)
    moved = logprobs(load_model(out), pairs) - known["train"]
    assert float((moved[:, 0] - moved[:, 1]).mean()) > 0.5
    audit = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert audits[0].reference is not None
    assert (audit["pairs"], audit["kinds"], audit["dev"]["pairs"]) == (24, {"loop": 12, "format": 12}, 6)
    state = json.loads((tmp_path / "out" / "trainer_state.json").read_text())
    assert {"rewards/margins", "logps/chosen"} <= state["log_history"][0].keys()
    assert "eval_rewards/accuracies" in state["log_history"][-1]
    steps = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert steps[-1]["dev_accuracy"] == reports[-1].dev_preference.accuracy
    assert fit(pairs, base, tmp_path / "out", settings, dev=make_pairs(6, seed=1), progress=None) == out
    with pytest.raises(TrainError, match=r"training\.beta: 0\.1 -> 0\.2"):
        fit(pairs, base, tmp_path / "out", replace(settings, beta=0.2), dev=make_pairs(6, seed=1))


def test_sets_that_mix_are_refused(make_base, make_pairs, make_examples, tmp_path):
    base, settings = make_base(), Training(**SMALL)
    with pytest.raises(DataError, match="3 of 5 training examples are pairs"):
        fit([*make_pairs(3), *make_examples(2)], base, tmp_path / "a", settings)
    with pytest.raises(DataError, match="same sort"):
        fit(make_pairs(3), base, tmp_path / "b", settings, dev=make_examples(2))
    with pytest.raises(TrainError, match="packing"):
        fit(make_pairs(3), base, tmp_path / "c", Training(packing=True, **SMALL))


def test_a_killed_training_goes_on_with_the_reference_it_began_with(make_base, make_pairs, tmp_path, monkeypatch):
    base, pairs, settings = make_base(), make_pairs(16), Training(**{**SMALL, "steps": 6}, save_every=2)

    class Killed(BaseException):
        pass

    def kill(report):
        if report.step == 5:
            raise Killed

    whole = fit(pairs, base, tmp_path / "whole", settings)
    with pytest.raises(Killed):
        fit(pairs, base, tmp_path / "cut", settings, progress=kill)
    with monkeypatch.context() as patch:
        patch.setattr(reference_module, "logprobs", lambda *_, **__: pytest.fail("computed again"))
        cut = fit(pairs, base, tmp_path / "cut", settings)
    a, b = (load_file(folder / "model.safetensors") for folder in (whole, cut))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_reference_of_other_weights_pairs_or_bytes_never_counts(make_model, make_pairs, tmp_path, caplog):
    pairs, settings = make_pairs(6), Training(**SMALL)

    def ask(model, pairs=pairs, dev=(), precision="fp32"):
        return reference(model, pairs, dev, settings, out_dir=tmp_path, device=CPU, precision=precision)[0]

    model = make_model()
    first = ask(model)
    assert ask(make_model()) == first
    poisoned = make_model()
    with torch.no_grad():
        poisoned.model.layers[1].mlp.up_proj.weight[3, 3] += 1e-3
    assert weights_hash(poisoned) != weights_hash(model)
    with pytest.raises(TrainError, match=r"weights was \w+, is"):
        ask(poisoned)
    for changed in ({"pairs": pairs[1:]}, {"dev": pairs[:1]}, {"precision": "bf16"}):
        with pytest.raises(TrainError, match=f"{next(iter(changed))} was"):
            ask(model, **changed)
    known = load_file(tmp_path / "reference.safetensors")
    save_file({"train": known["train"] + 1}, tmp_path / "reference.safetensors")
    assert ask(model) == first
    assert "damaged" in caplog.text
    (tmp_path / "reference.json").unlink()  # killed between the two files
    assert ask(model) == first
    with torch.no_grad():
        model.model.norm.weight[0] = torch.nan
    (tmp_path / "reference.json").unlink()
    with pytest.raises(TrainError, match=r"problem p0 \(and 5 more\)"):
        ask(model)


UNDO = ControlToken("<undo>", "take back the previous token", ("undo", "delete"))


@pytest.mark.parametrize(
    ("mode", "backend"), [("lora", "loop"), ("prompt-tuning", "loop"), ("prefix-tuning", "loop"), ("lora", "trl")]
)
def test_every_adapter_starts_at_its_reference_and_is_trained_further(
    mode, backend, make_base, make_examples, make_pairs, tmp_path
):
    """First on examples, then the same adapter on pairs: the reference is the adapter as it was, not the bare base."""
    prepare_base(make_base(), tmp_path / "base", [UNDO])
    base, options = tmp_path / "base", {"mode": mode, "lora_rank": 4, "prefix_tokens": 4}
    new = load_model(base).config.vocab_size - 1
    examples = [replace(e, token_ids=(new, *e.token_ids[1:])) for e in make_examples(12)]
    started = fit(examples, base, tmp_path / "sft", Training(**SMALL, **options))
    pairs = [
        Pair(*(replace(side, token_ids=(new, *side.token_ids[1:])) for side in (pair.chosen, pair.rejected)))
        for pair in make_pairs(12)
    ]
    settings, reports = Training(**SMALL, **options, backend=backend), []
    out = fit(pairs, base, tmp_path / "dpo", settings, start=started, progress=reports.append)
    before, after = (load_adapter(folder, base) for folder in (started, out))
    known = load_file(tmp_path / "dpo" / "reference.safetensors")["train"]
    torch.testing.assert_close(known, logprobs(before, pairs), atol=1e-4, rtol=1e-5)
    assert reports[0].preference.margin == pytest.approx(0, abs=1e-4)
    moved = logprobs(after, pairs) - known
    assert float((moved[:, 0] - moved[:, 1]).mean()) > 0
    assert not any(".ref." in name or "/ref/" in name for name in map(str, out.rglob("*")))
    assert sorted(p.name for p in out.iterdir()) == sorted(p.name for p in started.iterdir())


def test_an_adapter_is_merged_for_full_training_and_never_continued_as_another(
    make_base, make_examples, make_pairs, tmp_path
):
    base, lora = make_base(), {"mode": "lora", "lora_rank": 4}
    started = fit(make_examples(12), base, tmp_path / "sft", Training(**SMALL, **lora))
    out = fit(make_pairs(8), base, tmp_path / "full", Training(**SMALL), start=started)
    assert (out / "model.safetensors").is_file()
    known = load_file(tmp_path / "full" / "reference.safetensors")["train"]
    torch.testing.assert_close(known, logprobs(load_adapter(started), make_pairs(8)), atol=1e-4, rtol=1e-5)
    for changed, says in (
        ({"mode": "lora", "lora_rank": 8}, "set lora_rank=4, or mode=full"),
        ({"mode": "lora", "lora_rank": 4, "lora_alpha": 8}, "set lora_alpha=32"),
        ({"mode": "prompt-tuning"}, "set mode=lora or qlora, or mode=full"),
        ({"mode": "prefix-tuning"}, "set mode=lora or qlora"),
    ):
        with pytest.raises(ModelError, match=says):
            fit(make_pairs(8), base, tmp_path / "x", Training(**{**SMALL, **changed}), start=started)
    other = make_base("other", seed=5)
    with pytest.raises(ModelError, match="trained over other weights"):
        fit(make_pairs(8), other, tmp_path / "y", Training(**SMALL, **lora), start=started)


def test_four_bits_need_what_this_machine_lacks_and_say_so(make_base, make_examples, make_pairs, tmp_path):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    settings = Training(**SMALL, mode="qlora", lora_rank=16, lora_alpha=32)
    base, lora = make_base(), Training(**SMALL, mode="lora", lora_rank=16, lora_alpha=32)
    started = fit(make_examples(12), base, tmp_path / "sft", lora)
    for start in (None, started):
        with pytest.raises(ModelError, match=r"training\.mode=qlora needs (bitsandbytes|a GPU)"):
            fit(make_pairs(8), base, tmp_path / "out", settings, start=start)


# -- the audit ---------------------------------------------------------------------------------------------------------

SIDE = Example((5, 6, 7, 8, 2), (6, 7, 8, 2, 0), (0, 0, 1, 1, 0), problem_id="p")
OTHER = replace(SIDE, token_ids=(5, 6, 7, 9, 9, 2), targets=(6, 7, 9, 9, 2, 0), weights=(0, 0, 1, 0, 1, 0))


def facts(pairs, settings=None, **options):
    return audit_pairs(pairs, settings or Training(), **({"eos_id": 2, "max_length": 64, "vocabulary": 300} | options))


def test_the_facts_of_pairs(make_tokenizer):
    same = Pair(SIDE, replace(SIDE), "loop")
    found = facts([Pair(SIDE, OTHER, "loop"), same, Pair(OTHER, SIDE)])
    assert (found.n, found.kinds) == (2, {"loop": 1, "unnamed": 1})
    assert [(d.problem_id, d.reason) for d in found.dropped] == [("p", "with both sides the same")]
    assert (found.chosen.length_max, found.rejected.length_max, found.length_max) == (6, 6, 6)
    assert (found.chosen.tokens, found.chosen.supervised, found.supervised_share) == (11, 4, 8 / 22)
    assert found.chosen.end_learned_share == found.rejected.end_learned_share == 1.0
    spans = [(span.colour, span.token_ids) for span in found.sample]
    assert spans == [
        ("seen", (5, 6, 7)), ("learned", (8, 2)), ("retracted", (9,)), ("seen", (9,)), ("retracted", (2,)),
    ]  # fmt: skip
    record = json.loads(json.dumps(found.to_dict()))
    assert record["pairs"] == record["n"] == 2
    assert "kept" not in record
    text = "\n".join(found.lines(make_tokenizer()))
    for part in (
        "2 (1 dropped): loop 1, unnamed 1",
        "1 with both sides the same: p",
        "nothing is cut",
        "ends in 100.0%",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("pair", "options", "error", "message"),
    [
        (Pair(SIDE, SIDE), {}, TrainError, "no pair to train on: 1 with both sides the same"),
        (Pair(SIDE, OTHER), {"max_length": 5}, DataError, "has 6 tokens, 5 are allowed. Nothing is cut"),
        (Pair(SIDE, OTHER), {"vocabulary": 9}, DataError, "token id 9, the model has 9 rows"),
        (Pair(SIDE, replace(OTHER, weights=(0.0,) * 6)), {}, DataError, "teaches nothing"),
    ],
)
def test_what_would_be_lost_in_silence_is_an_error(pair, options, error, message):
    with pytest.raises(error, match=message):
        facts([pair], **options)


def test_long_pairs_are_dropped_whole_when_asked_for():
    found = facts([Pair(SIDE, OTHER), Pair(SIDE, replace(SIDE, token_ids=(5, 6, 7, 9, 2)))], Training(overflow="drop"),
                  max_length=5)  # fmt: skip
    assert found.n == 1
    assert found.dropped[0].reason == "longer than 5 tokens"
    with pytest.raises(TrainError, match="1 longer than 5 tokens"):
        facts([Pair(SIDE, OTHER)], Training(overflow="drop"), max_length=5)


def test_a_batch_of_pairs_counts_pairs(make_pairs):
    from thinktwice.train.pairs import ReferencedPair

    batch = collate_pairs([ReferencedPair(pair, 0.0, 0.0) for pair in make_pairs(5)])
    assert (batch.weight, len(batch.problem_ids), batch.rows.input_ids_BT.shape[0]) == (5, 5, 10)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"beta": 0.0}, "beta"),
        ({"nll_weight": -1.0}, "nll_weight"),
        ({"label_smoothing": 0.5}, "label_smoothing"),
        ({"max_chosen_drop": float("nan")}, "max_chosen_drop"),
    ],
)
def test_settings_of_pairs_are_checked(options, field):
    with pytest.raises(ConfigError, match=field):
        Training(**options)


def test_settings_of_pairs_make_no_other_training_of_one_without(tmp_path):
    assert Training(beta=0.1).fingerprint() == Training().fingerprint() != Training(beta=0.2).fingerprint()
