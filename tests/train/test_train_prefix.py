"""Prefix tuning: decoding sees what training learned, the base stays as it is, and PEFT's is the same function."""

import json
import subprocess
import sys

import pytest
import torch
from peft import PrefixTuningConfig, get_peft_model
from safetensors.torch import load_file
from transformers import DynamicCache, GPT2Config, GPT2LMHeadModel

from thinktwice.decode.prefix import attach_prefix, states_of
from thinktwice.engines.local import LocalEngine
from thinktwice.errors import ConfigError, ModelError
from thinktwice.train import Training, fit
from thinktwice.train.adapters import attach_learned_prefix, is_adapter, load_adapter, merge
from thinktwice.train.batch import collate
from thinktwice.train.objective import Objective
from thinktwice.train.vocab import load_model, load_tokenizer, quiet
from thinktwice.types import Rewind, Sampling

PREFIX = Training(mode="prefix-tuning", prefix_tokens=5, epochs=3, batch_size=6, lr=3e-2)
IDS = torch.tensor([[5, 9, 30, 40, 77, 31, 8], [6, 9, 30, 41, 76, 30, 9]])


def logits(model, **options):
    with torch.no_grad():
        return model(IDS, **options).logits


def gpt2():
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(vocab_size=320, n_embd=32, n_layer=2, n_head=4, n_positions=64)).eval()


def random_states(model, width=5):
    draw = torch.Generator().manual_seed(3)
    return [
        tuple(torch.randn(part.shape[0], width, part.shape[2], generator=draw) for part in s)
        for s in states_of(model, [1])
    ]


@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt2"])
def test_a_prefix_is_what_a_cache_that_holds_it_is(family, make_model):
    model = gpt2() if family == "gpt2" else make_model(family).eval()
    states = random_states(model)
    cache = DynamicCache(config=model.config)
    for layer, (keys, values) in enumerate(states):
        cache.update(keys.expand(2, -1, -1, -1), values.expand(2, -1, -1, -1), layer)
    positions = torch.arange(IDS.shape[1])[None]
    expected = logits(model, past_key_values=cache, position_ids=positions)
    without = logits(model)
    found = logits(attach_prefix(model, states), use_cache=False)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert (found - without).abs().max() > 1e-2


def test_it_is_pefts_function_with_the_keys_turned_once(make_model):
    model, width = make_model("llama").eval(), 5
    config = PrefixTuningConfig(
        task_type="CAUSAL_LM", num_virtual_tokens=width, num_layers=2, token_dim=16, num_attention_heads=2,
        num_transformer_submodules=1,
    )  # fmt: skip
    with quiet():
        tuned = get_peft_model(model, config).eval()
    with torch.no_grad():
        tuned.prompt_encoder["default"].embedding.weight.normal_(generator=torch.Generator().manual_seed(5))
        past = tuned.get_prompt(batch_size=1)
        expected = tuned(input_ids=IDS, attention_mask=torch.ones_like(IDS)).logits
        # PEFT's text begins at position `width`; ours at 0, so its keys are turned back by as much
        cos, sin = model.model.rotary_emb(torch.zeros(1), torch.tensor([[-width]]))

    def turned(keys):
        left, right = keys.chunk(2, dim=-1)
        return keys * cos[0] + torch.cat([-right, left], dim=-1) * sin[0]

    states = [(turned(layer.keys[0]), layer.values[0]) for layer in past.layers]
    found = logits(attach_prefix(tuned.get_base_model(), states), use_cache=False)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("packed", [False, True])
def test_the_loss_is_the_whole_forwards(packed, make_model, make_layout_examples, make_examples):
    model = make_model("llama").eval()
    examples = make_layout_examples(3) if packed else make_examples(4)
    batch = collate([[e] for e in examples])
    states = random_states(model)
    plain = float(Objective(model)(batch).detach())
    found = float(Objective(attach_prefix(model, states))(batch).detach())
    assert abs(found - plain) > 1e-3
    one_by_one = sum(float(Objective(model)(collate([[e]])).detach()) for e in examples)
    assert found == pytest.approx(one_by_one, rel=1e-5)  # padding and layouts hide what they hid before


@pytest.fixture
def trained(make_base, make_examples, tmp_path):
    base = make_base()
    return base, fit(make_examples(18), base, tmp_path / "out", PREFIX)


def test_only_the_prefix_is_trained_and_saved_and_a_fresh_process_reads_the_same(trained):
    base, adapter = trained
    assert is_adapter(adapter)
    tensors = load_file(adapter / "prefix.safetensors")
    assert sorted(tensors) == ["0.keys", "0.values", "1.keys", "1.values"]
    assert all(tensor.shape == (2, 5, 8) for tensor in tensors.values())
    assert [path.name for path in adapter.glob("*.safetensors")] == ["prefix.safetensors"]
    model = load_adapter(adapter)
    here, start = logits(model), logits(attach_learned_prefix(load_model(base), PREFIX, load_tokenizer(base)))
    assert (here - start).abs().max() > 1e-2
    assert not any("prefix" in name for name, _ in load_model(base).named_parameters())
    code = (
        "import sys, json, pathlib, torch\nfrom thinktwice.train.adapters import load_adapter\n"
        "model = load_adapter(pathlib.Path(sys.argv[1]))\n"
        f"print(json.dumps(model(torch.tensor({IDS.tolist()})).logits.tolist()))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(adapter)], check=True, capture_output=True, text=True)
    assert torch.equal(torch.tensor(json.loads(done.stdout.splitlines()[-1])), here)


class TakeBack:
    """Takes the first three tokens back, once."""

    watch = frozenset()

    def __init__(self):
        self.done = False

    def edit(self, row, drawn):
        if self.done or len(row.token_ids) - row.prompt_length < 2:
            return None
        self.done = True
        return Rewind(3, ban=(row.token_ids[row.prompt_length],))


def test_decoding_sees_the_prefix_after_a_rewind_too(trained):
    base, adapter = trained
    model = load_adapter(adapter)
    engine = LocalEngine.load(adapter)
    prompts = [[5, 9, 30], [6, 9, 30, 41, 8]]

    def greedy(prompt, n, banned=()):
        ids = list(prompt)
        while len(ids) < len(prompt) + n:
            with torch.no_grad():
                scores = model(torch.tensor([ids]), use_cache=False).logits[0, -1]
            scores[list(engine.suppress)] = float("-inf")
            scores[list(banned) if len(ids) == len(prompt) else []] = float("-inf")
            ids.append(int(scores.argmax()))
            if ids[-1] in engine.eos_ids:
                break
        return tuple(ids[len(prompt) :])

    done = engine.generate(prompts, Sampling(max_new_tokens=8))
    assert [c.token_ids for c in done] == [greedy(p, 8) for p in prompts]
    plain = LocalEngine.load(base).generate(prompts, Sampling(max_new_tokens=8))
    assert [c.token_ids for c in done] != [c.token_ids for c in plain]
    first = greedy(prompts[0], 1)
    (edited,) = engine.generate(prompts[:1], Sampling(max_new_tokens=8), controls=[TakeBack()])
    again = greedy(prompts[0], len(edited.kept_ids), banned=first)
    assert edited.kept_ids == again
    assert edited.kept_ids[0] != first[0]


def test_what_cannot_be_is_said(trained, tmp_path, make_base):
    base, adapter = trained
    with pytest.raises(ModelError, match="no change of weights"):
        merge(adapter, tmp_path / "merged")
    with pytest.raises(ModelError, match="other weights"):
        load_adapter(adapter, make_base("other", seed=4))
    with pytest.raises(ConfigError, match="set backend=loop"):
        Training(mode="prefix-tuning", backend="trl")
    with pytest.raises(ConfigError, match="prefix_tokens is 0"):
        Training(mode="prefix-tuning", prefix_tokens=0)
    model = load_model(base)
    with pytest.raises(ModelError, match="takes no prefix"):
        attach_prefix(model, random_states(model)[:1])
    assert load_tokenizer(adapter).eos_token_id == load_tokenizer(base).eos_token_id
