"""The split backward pass against one graph over two copies of the base."""

import copy
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from thinktwice.decode.transplant import Verifier, option_logprobs
from thinktwice.decode.transplant.batch import of_wrong
from thinktwice.decode.transplant.saved import SavedVerifier
from thinktwice.errors import ConfigError
from thinktwice.train.device import enable_checkpointing
from thinktwice.train.settings import Training
from thinktwice.train.split import ChoiceObjective
from thinktwice.train.verifier import Roles, attach_verifier
from thinktwice.types import Choice, Move


def make_choices(items=3, seed=0, vocabulary=61):
    draw = random.Random(seed)
    choices = []
    for k in range(items):
        question = [draw.randrange(8, vocabulary) for _ in range(draw.randint(2, 5))]
        candidates = [[draw.randrange(8, vocabulary) for _ in range(draw.randint(3, 6))] for _ in range(2)]
        argued = tuple((*question, 3, *candidate) for candidate in candidates)
        for order in ((0, 1), (1, 0)):
            ids, moves = list(question), []
            for source in order:
                ids.append(3)
                moves.append(Move(source, len(question) + 1, len(ids), len(candidates[source])))
                ids += candidates[source]
            ids += [4, 5]
            choices.append(Choice(argued, tuple(ids), tuple(moves), (6, 7), order.index(0), f"p{k}"))
    return choices


@pytest.fixture
def make_readers(make_model):
    """A model with the adapters of its roles, random and not 0, and a verifier over it."""

    def make(settings, **options):
        saved = SavedVerifier(settings.arguer, settings.transplant_layers, settings.transplant_parts)
        model = attach_verifier(make_model(vocab=61), settings, saved)
        draw = torch.Generator().manual_seed(1)
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.data = torch.randn(parameter.shape, generator=draw) * 0.2
        model.train()
        if settings.gradient_checkpointing:
            enable_checkpointing(model)
        own = {"layers": saved.layers, "parts": saved.parts, **options}
        return model, Verifier(model, switch=Roles(model, saved), **own)

    return make


def gradients(model):
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def in_one_graph(model, batch, settings):
    """The loss and gradients of two copies of base and adapters, joined by one graph."""
    saved = SavedVerifier(settings.arguer, settings.transplant_layers, settings.transplant_parts)
    readers = {}
    for role in ("arguer", "chooser"):
        readers[role] = copy.deepcopy(model)
        readers[role].zero_grad()
        readers[role].get_base_model().activation_checkpointing_disable()
        Roles(readers[role], saved)(role)
    own = {"layers": saved.layers, "parts": saved.parts, "fast": False}
    routes = {role: Verifier(reader, **own).route for role, reader in readers.items()}
    with torch.set_grad_enabled(settings.arguer != "frozen"), routes["arguer"].argue(batch) as states:
        pass
    with routes["chooser"].choose(batch, states) as logits_BV:
        if settings.loss_over == "options":
            loss = torch.nn.functional.nll_loss(option_logprobs(logits_BV, batch), batch.right_B, reduction="sum")
        else:
            targets = batch.options_BO.gather(1, batch.right_B[:, None])[:, 0]
            loss = torch.nn.functional.cross_entropy(logits_BV, targets, reduction="sum")
        loss.backward()
    found = gradients(readers["chooser"])
    for name, gradient in gradients(readers["arguer"]).items():
        found[name] = found[name] + gradient if name in found else gradient
    return float(loss.detach()), found


CASES = [
    {},
    {"loss_over": "vocabulary"},
    {"arguer": "tied"},
    {"arguer": "frozen"},
    {"transplant_layers": (1,), "transplant_parts": "v"},
    {"transplant_parts": "k"},
]


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning")
@pytest.mark.parametrize("fast", [False, None], ids=["hooks", "fast"])
@pytest.mark.parametrize("recompute", [False, True], ids=["kept", "recomputed"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: " ".join(f"{k}={v}" for k, v in case.items()) or "joint")
def test_the_gradients_are_those_of_one_graph_over_two_models(make_readers, case, recompute, fast):
    settings = Training(mode="lora", lora_rank=4, gradient_checkpointing=recompute, **case)
    model, verifier = make_readers(settings, fast=fast)
    batch = verifier.collate(make_choices())
    loss = ChoiceObjective(verifier, settings)(batch)
    loss.backward()
    found = gradients(model)
    expected_loss, expected = in_one_graph(model, batch, settings)
    assert set(found) == set(expected)
    exact = recompute or verifier.fast is None
    assert float(loss.detach()) == pytest.approx(expected_loss, abs=0 if exact else 1e-5)
    for name, gradient in expected.items():
        assert torch.equal(found[name], gradient) if exact else torch.allclose(found[name], gradient, 1e-3, 1e-4), name
    arguer = [gradient for name, gradient in found.items() if ".arguer." in name]
    assert bool(arguer) == (settings.arguer == "joint")
    assert all(float(gradient.abs().max()) > 0 for gradient in arguer if gradient.shape[0] == 4)


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning")
def test_checkpointed_layers_really_run_again(make_readers):
    settings = Training(mode="lora", lora_rank=4, gradient_checkpointing=True)
    model, verifier = make_readers(settings)
    batch, ran = verifier.collate(make_choices()), []
    projection = model.get_base_model().model.layers[0].self_attn.k_proj
    projection.register_forward_hook(lambda *_: ran.append(verifier.switch.role))
    ChoiceObjective(verifier, settings)(batch).backward()
    # Phase 1, phase 2 and its layers again, phase 3 and its layers again: each under its own adapter.
    assert ran == ["arguer", "chooser", "chooser", "arguer", "arguer"]


def test_two_adapters_share_one_base_and_nothing_else(make_readers):
    model, _ = make_readers(Training(mode="lora", lora_rank=4))
    places = {}
    for name, parameter in model.named_parameters():
        role = next((role for role in ("arguer", "chooser") if f".{role}." in name), "base")
        places.setdefault(role, set()).add(parameter.data_ptr())
    assert len(places["arguer"]) == len(places["chooser"]) == 2 * 7 * 2
    assert not places["arguer"] & places["chooser"]
    assert not places["base"] & (places["arguer"] | places["chooser"])
    tied, _ = make_readers(Training(mode="lora", lora_rank=4, arguer="tied"))
    assert not any(".arguer." in name for name, _ in tied.named_parameters())


def test_switching_keeps_every_adapter_learning(make_readers):
    """PEFT's set_adapter alone would freeze the one it switches off."""
    model, verifier = make_readers(Training(mode="lora", lora_rank=4))
    for role in ("arguer", "chooser", "arguer"):
        verifier.switch(role)
        assert all(parameter.requires_grad for name, parameter in model.named_parameters() if "lora_" in name)
    frozen, verifier = make_readers(Training(mode="lora", lora_rank=4, arguer="frozen"))
    for role in ("arguer", "chooser"):
        verifier.switch(role)
        assert all(parameter.requires_grad for name, parameter in frozen.named_parameters() if "lora_" in name)


def test_a_frozen_arguer_is_the_base(make_readers, make_model):
    settings = Training(mode="lora", lora_rank=4, arguer="frozen")
    _, verifier = make_readers(settings)
    batch = verifier.collate(make_choices())
    verifier.switch("arguer")
    with torch.no_grad(), verifier.route.argue(batch) as found:
        pass
    plain = Verifier(make_model(vocab=61))
    with torch.no_grad(), plain.route.argue(batch) as expected:
        assert all(torch.equal(found[key], expected[key]) for key in expected)
    verifier.switch("chooser")
    with torch.no_grad(), verifier.route.argue(batch) as other:
        assert not torch.equal(other[1, "k"], expected[1, "k"])


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning")
def test_dropout_is_replayed_when_the_arguer_reads_again(make_readers):
    settings = Training(mode="lora", lora_rank=4, gradient_checkpointing=True, lora_dropout=0.5)
    _, verifier = make_readers(settings)
    batch, seen = verifier.collate(make_choices()), []
    site = verifier.route.sites[-1]
    site.module.register_forward_hook(lambda m, i, o: seen.append((verifier.switch.role, o.detach().clone())))
    objective = ChoiceObjective(verifier, settings)
    torch.manual_seed(3)
    objective(batch).backward()
    argued = [output for role, output in seen if role == "arguer"]
    assert len(argued) == 3
    assert torch.equal(argued[0], argued[1])
    assert torch.equal(argued[0], argued[2])
    after = torch.get_rng_state()
    torch.manual_seed(3)
    seen.clear()
    objective(batch).backward()
    assert torch.equal(torch.get_rng_state(), after)
    verifier.switch("arguer")
    with torch.no_grad(), verifier.route.argue(batch):
        assert not torch.equal(seen[-1][1], argued[0])  # another draw is another dropout


def test_choices_without_moves_leave_the_arguer_alone(make_readers):
    settings = Training(mode="lora", lora_rank=4)
    model, verifier = make_readers(settings)
    alone = [replace(choice, moves=()) for choice in make_choices()]
    ChoiceObjective(verifier, settings)(verifier.collate(alone)).backward()
    assert not any(".arguer." in name for name in gradients(model))
    mixed = verifier.collate([*make_choices(1), *alone])
    ChoiceObjective(verifier, settings)(mixed).backward()
    assert any(".arguer." in name for name in gradients(model))


def test_accuracy_counts_a_tie_as_half(make_readers):
    settings = Training(mode="lora", lora_rank=4)
    model, verifier = make_readers(settings)
    objective = ChoiceObjective(verifier, settings)
    with torch.no_grad():
        head = model.get_base_model().lm_head.weight
        head[7] = head[6]
        objective(verifier.collate(make_choices()))
    assert objective.accuracy() == 0.5
    assert objective.accuracy() == 0.0  # nothing since


SCRIPT = """
import os, sys, torch
torch.set_num_threads(1)
sys.path.insert(0, {tests!r})
from test_verifier_split import make_choices
from thinktwice.train.settings import Training
from thinktwice.train.verifier import train_choices
choices = make_choices(6)
settings = Training(mode="lora", lora_rank=2, batch_size=4, steps=3, lr=0.01, gradient_checkpointing=True)
from pathlib import Path
model, saved, result = train_choices(choices, {base!r}, settings, dev=choices[:4], out_dir=Path({out!r}))
if os.environ.get("RANK", "0") == "0":
    weights = {{n: p.detach() for n, p in model.named_parameters() if "lora_" in n}}
    torch.save((weights, result.loss, result.dev_loss, result.tokens), {out!r} + ".pt")
"""


@pytest.mark.slow
def test_two_processes_train_what_one_trains(tmp_path, make_model):
    base = tmp_path / "base"
    make_model(vocab=61).save_pretrained(base)
    found = []
    for processes in (1, 2):
        out = str(tmp_path / f"out{processes}")
        script = tmp_path / f"train{processes}.py"
        script.write_text(SCRIPT.format(tests=str(Path(__file__).parent), base=str(base), out=out))
        start = [sys.executable, "-W", "ignore"]
        if processes > 1:
            start += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        done = subprocess.run([*start, str(script)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        found.append(torch.load(f"{out}.pt", weights_only=False))
        assert (tmp_path / f"out{processes}/metrics.jsonl").read_text().count('"step": 3') == 1
    (one, loss, dev_loss, tokens), (two, other_loss, other_dev, other_tokens) = found
    assert tokens == other_tokens
    assert loss == pytest.approx(other_loss, abs=1e-5)
    assert dev_loss == pytest.approx(other_dev, abs=1e-5)
    assert set(one) == set(two)
    assert all(torch.allclose(one[name], two[name], atol=1e-5) for name in one)
    assert any(float(one[name].abs().max()) > 0 for name in one if "lora_B.arguer" in name)


@pytest.mark.parametrize("recompute", [False, True])
def test_an_adversary_is_taught_the_reverse_about_wrong_candidates_alone(make_readers, recompute):
    found = {}
    for strength in (0.0, 1.0, 3.0):
        settings = Training(mode="lora", lora_rank=2, adversarial=strength, gradient_checkpointing=recompute)
        model, verifier = make_readers(settings)
        batch = verifier.collate(make_choices())
        assert 0 < int(batch.against_U.sum()) < len(batch.against_U)
        loss = ChoiceObjective(verifier, settings)(batch)
        loss.backward()
        found[strength] = float(loss.detach()), gradients(model)
    (plain_loss, plain), (loss, turned), (_, more) = (found[strength] for strength in (0.0, 1.0, 3.0))
    assert plain_loss == loss
    moved = 0.0
    for name, gradient in plain.items():
        if ".chooser." in name:
            torch.testing.assert_close(turned[name], gradient)
        else:  # right + wrong, right - wrong, right - 3 wrong
            torch.testing.assert_close(more[name], 2 * turned[name] - gradient, rtol=1e-3, atol=1e-4)
            moved += float((turned[name] - gradient).abs().max())
    assert moved > 1e-3


def test_which_rows_are_a_wrong_candidates(make_readers):
    both = make_choices(1)
    assert [of_wrong(choice) for choice in both] == [(False, True), (True, False)]
    alone = replace(both[0], moves=both[0].moves[:1])
    assert of_wrong(alone) == (False,)
    assert of_wrong(replace(alone, right=1)) == (True,)
    assert of_wrong(replace(both[0], right=None)) == (False, False)
    _, verifier = make_readers(Training(mode="lora", lora_rank=2))
    batch = verifier.collate(both)
    wrong = len(both[0].argued[1]) - both[0].moves[1].start
    assert int(batch.against_U.sum()) == wrong
    with pytest.raises(ConfigError, match="arguer=joint"):
        Training(mode="lora", adversarial=0.5, arguer="tied")
