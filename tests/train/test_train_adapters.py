"""LoRA keeps what PEFT's defaults lose: the control tokens' rows, in both matrices, on disk, and through the merge."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel

from thinktwice.errors import ModelError
from thinktwice.train import Training, fit
from thinktwice.train.adapters import attach_lora, attach_rows, is_adapter, load_adapter, load_quantised, merge
from thinktwice.train.vocab import control_token_ids, load_model, prepare_base
from thinktwice.types import ControlToken, Example

UNDO = ControlToken("<|undo|>", "delete the previous token in the response", ("delete", "undo"))
LORA = Training(mode="lora", epochs=3, batch_size=6, lr=1e-2, lora_rank=4)
PROBE = torch.tensor([[5, 9, 301, 40, 77, 301, 8]])


@pytest.fixture
def trained(make_base, make_tokenizer, make_examples, tmp_path):
    """A prepared base with a control token, and an adapter trained on examples that use it."""

    def train(tied: bool, settings: Training = LORA) -> tuple[Path, Path, int]:
        base = tmp_path / "prepared"
        (token_id,) = prepare_base(make_base(tie_word_embeddings=tied), base, [UNDO]).values()
        examples = []
        for example in make_examples(18):
            ids = (*example.token_ids[:-2], token_id, *example.token_ids[-2:])
            weights = (*example.weights[:-1], 1.0, 0.0)
            examples.append(Example(ids, (*ids[1:], 0), weights, problem_id=example.problem_id))
        return base, fit(examples, base, tmp_path / "out", settings), token_id

    return train


def logits(model):
    with torch.no_grad():
        return model(PROBE).logits


@pytest.mark.parametrize("backend", ["loop", "trl"])
@pytest.mark.parametrize("tied", [True, False])
def test_only_the_new_rows_are_trained_saved_reloaded_and_merged(tied, backend, trained, tmp_path):
    # Under TRL this crashed: 'TrainableTokensWrapper' object has no attribute 'bias' (TRL 1.16, PEFT 0.21.2).
    base, adapter, token_id = trained(tied, Training(**{**vars_of(LORA), "backend": backend}))
    assert is_adapter(adapter)
    assert not is_adapter(base)
    assert control_token_ids(adapter) == {"<|undo|>": token_id}

    files = load_file(adapter / "adapter_model.safetensors")
    deltas = {name for name in files if "trainable_tokens_delta" in name}
    assert len(deltas) == (1 if tied else 2)  # an untied head's row was neither trained nor saved
    assert all(files[name].shape == (1, 32) for name in deltas)
    assert not any("base_layer" in name for name in files)  # nor are whole matrices copied into the adapter
    assert max(tensor.numel() for tensor in files.values()) < 32 * 300

    before, after = load_model(base), merge(adapter, tmp_path / "merged")
    model = AutoModelForCausalLM.from_pretrained(after)
    for part in ("get_input_embeddings", "get_output_embeddings"):
        changed = (getattr(model, part)().weight != getattr(before, part)().weight).any(1).nonzero().flatten().tolist()
        assert changed == [token_id]
    tied_after = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert tied_after == tied == model.config.tie_word_embeddings  # `modules_to_save` silently unties
    torch.testing.assert_close(logits(model), logits(load_adapter(adapter)), atol=1e-5, rtol=1e-5)
    assert (logits(model) - logits(before)).abs().max() > 1e-2
    assert control_token_ids(after) == {"<|undo|>": token_id}
    assert AutoTokenizer.from_pretrained(after).convert_tokens_to_ids("<|undo|>") == token_id


def vars_of(settings: Training) -> dict:
    return {name: getattr(settings, name) for name in settings.__slots__}


def test_a_fresh_process_reads_the_same_logits(trained):
    _, adapter, _ = trained(False)
    code = (
        "import sys, json, pathlib, torch\n"
        "from thinktwice.train.adapters import load_adapter\n"
        "torch.manual_seed(7)\n"
        "model = load_adapter(pathlib.Path(sys.argv[1]))\n"
        f"print(json.dumps(model(torch.tensor({PROBE.tolist()})).logits[0, -1].tolist()))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(adapter)], check=True, capture_output=True, text=True)
    there = torch.tensor(json.loads(done.stdout.splitlines()[-1]))
    torch.testing.assert_close(there, logits(load_adapter(adapter))[0, -1], atol=1e-6, rtol=1e-6)


def test_rows_stay_when_the_recipe_says_so(trained, tmp_path):
    base, adapter, token_id = trained(True, Training(**{**vars_of(LORA), "lora_new_rows": False}))
    model = load_model(merge(adapter, tmp_path / "merged"))
    row = model.get_input_embeddings().weight[token_id]
    assert torch.equal(row, load_model(base).get_input_embeddings().weight[token_id])


def test_an_adapter_is_never_put_over_another_base(trained, make_base, tmp_path):
    base, adapter, _ = trained(True)
    other = make_base("other", seed=3)
    with pytest.raises(ModelError, match="other weights"):
        load_adapter(adapter, other)
    load_adapter(adapter, base)


def test_interrupted_lora_goes_on_exactly(make_base, make_examples, tmp_path):
    base, examples = make_base(), make_examples(18)
    settings = Training(mode="lora", steps=9, batch_size=6, lr=1e-2, lora_rank=4, lora_dropout=0.1, save_every=2)
    whole = fit(examples, base, tmp_path / "whole", settings)

    class Killed(BaseException):
        pass

    def kill(report):
        if report.step == 5:
            raise Killed

    with pytest.raises(Killed):
        fit(examples, base, tmp_path / "cut", settings, progress=kill)
    cut = fit(examples, base, tmp_path / "cut", settings)
    a, b = (load_file(path / "adapter_model.safetensors") for path in (whole, cut))
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("tied", [True, False])
def test_prompt_tuning_trains_the_new_rows_and_nothing_else(tied, trained, tmp_path):
    base, adapter, token_id = trained(tied, Training(**{**vars_of(LORA), "mode": "prompt-tuning"}))
    assert sum(path.stat().st_size for path in adapter.glob("*.safetensors")) < 2000  # one row of 32, or two
    before, after = load_model(base), load_model(merge(adapter, tmp_path / "merged"))
    named = dict(before.named_parameters())
    for name, weight in after.named_parameters():
        changed = (weight != named[name]).flatten(1).any(1) if weight.dim() > 1 else weight != named[name]
        rows = changed.nonzero().flatten().tolist()
        assert rows == ([token_id] if "embed_tokens" in name or "lm_head" in name else []), name
    torch.testing.assert_close(logits(after), logits(load_adapter(adapter)), atol=1e-5, rtol=1e-5)


def test_prompt_tuning_without_new_tokens_is_refused(make_model):
    with pytest.raises(ModelError, match="adds no token"):
        attach_rows(make_model(), Training(mode="prompt-tuning"))


def test_groups_of_layers_are_found_in_every_architecture(make_model):
    def adapted(model, *targets: str) -> set[str]:
        wrapped = attach_lora(model, Training(mode="lora", lora_targets=targets))
        return {
            name.split(".lora_A")[0].split(".", 5)[-1] for name, _ in wrapped.named_parameters() if ".lora_A" in name
        }

    feed_forward = {"mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"}
    attention = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"}
    assert adapted(make_model(), "mlp") == feed_forward
    assert adapted(make_model(), "atten") == attention
    assert adapted(make_model(), "mlp", "atten") == feed_forward | attention
    ends = {"bos_token_id": 1, "eos_token_id": 2}
    small = GPT2LMHeadModel(GPT2Config(vocab_size=50, n_positions=32, n_embd=16, n_layer=1, n_head=2, **ends))
    assert adapted(small, "mlp") == {"mlp.c_fc", "mlp.c_proj"}  # not the attention's c_proj


def test_unknown_layers_are_named(make_model):
    with pytest.raises(ModelError, match="q_proj"):
        attach_lora(make_model(), Training(mode="lora", lora_targets=("query",)))


def test_qlora_names_what_is_missing(tmp_path, monkeypatch):
    import thinktwice.train.adapters as adapters

    monkeypatch.setattr(adapters, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"pip install 'thinktwice\[qlora\]'"):
        load_quantised(tmp_path, torch.float32)
    monkeypatch.setattr(adapters, "find_spec", lambda name: object())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelError, match="needs a GPU"):
        load_quantised(tmp_path, torch.float32)
