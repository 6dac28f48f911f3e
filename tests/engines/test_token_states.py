"""What a local engine shows of its model: states of every token, and the model's identity."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from thinktwice.engines.base import ReadingEngine
from thinktwice.engines.fingerprint import fingerprint
from thinktwice.engines.local import LocalEngine
from thinktwice.errors import DataError
from thinktwice.nano import resolve

TEXTS = [[5, 6, 7], [], [9] * 12, [4], list(range(3, 30)), [5, 6, 7, 8]]


def llama(seed=0, **options):
    torch.manual_seed(seed)
    shape = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    return LlamaForCausalLM(LlamaConfig(**shape, num_attention_heads=4, max_position_embeddings=64, **options))


@pytest.fixture(scope="module")
def engine():
    return LocalEngine.load("nano", device="cpu", batch_size=3)


def test_batched_states_are_those_of_each_text_alone(engine):
    assert isinstance(engine, ReadingEngine)
    for found, ids in zip(engine.token_states(TEXTS), TEXTS, strict=True):
        assert found.dtype == np.float32
        assert found.shape == (len(ids), 64)
        if ids:
            with torch.inference_mode():
                alone = engine.model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0]
            np.testing.assert_allclose(found, alone.numpy(), atol=2e-5)


def test_absolute_positions_are_not_moved_by_padding(tmp_path):
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4, n_positions=40))
    tokenizer = LocalEngine.load("nano").tokenizer
    engine = LocalEngine(model, tokenizer, batch_size=8)
    for found, ids in zip(engine.token_states(TEXTS), TEXTS, strict=True):
        if ids:
            np.testing.assert_allclose(found, engine.token_states([ids])[0], atol=1e-5)


def test_what_is_too_long_is_refused_not_cut(engine):
    with pytest.raises(DataError, match="513 tokens and the model reads 512"):
        engine.token_states([[5] * 513])


def test_identity_is_weights_and_text_not_number_format_or_added_rows():
    plain = fingerprint(llama(), [3, 4])
    assert plain == fingerprint(llama(), [3, 4])
    grown = llama()
    grown.resize_token_embeddings(80, mean_resizing=False)
    assert fingerprint(grown, [3, 4]) == plain
    assert fingerprint(llama().to(torch.bfloat16), [3, 4]) == plain
    assert plain.startswith("LlamaForCausalLM 2x32 ")


@pytest.mark.parametrize(
    "part", ["model.layers.1.mlp.up_proj.weight", "model.norm.weight", "model.embed_tokens.weight"]
)
def test_another_weight_is_another_model(part):
    changed = llama()
    with torch.no_grad():
        dict(changed.named_parameters())[part][-1 if "norm" in part else 3] += 0.5
    assert fingerprint(changed, [3, 4]) != fingerprint(llama(), [3, 4])


def test_other_ids_of_the_same_text_are_another_identity():
    assert fingerprint(llama(), [3, 4]) != fingerprint(llama(), [4, 3])


def test_the_bundled_base_keeps_its_identity_on_disk(tmp_path, engine):
    engine.model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert fingerprint(again, [3, 4]) == engine.fingerprint([3, 4])
    other = AutoModelForCausalLM.from_pretrained(resolve("nano-annealed"))
    assert fingerprint(other, [3, 4]) != engine.fingerprint([3, 4])
