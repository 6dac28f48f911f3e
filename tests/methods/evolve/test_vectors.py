"""Texts as vectors: deterministic, blind to padding, and able to tell arithmetic apart."""

import sys

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel, BertTokenizerFast

from thinktwice.engines.local import LocalEngine
from thinktwice.engines.scripted import ScriptedEngine
from thinktwice.errors import ConfigError, DataError
from thinktwice.methods.evolve.vectors import HashedWords, ModelStates, Sentences, vectors_of
from thinktwice.render import Render


def test_words_and_marks_and_single_digits_count():
    texts = ["4 + 4 = 9", "4 * 4 = 8", "four plus four", "4 + 4 = 9", ""]
    found = HashedWords()(texts)
    assert found.shape == (5, 1024)
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found[:4], axis=1), 1.0, atol=1e-6)
    assert not found[4].any()
    alike = found @ found.T
    assert alike[0, 3] == pytest.approx(1.0)
    assert 0 < alike[0, 1] < 0.9
    assert alike[0, 2] == pytest.approx(0.0)
    np.testing.assert_array_equal(found, HashedWords()(texts))
    assert HashedWords(64)([]).shape == (0, 64)


def test_a_rare_word_weighs_more_than_one_that_all_have():
    found = HashedWords()(["wrong carry", "wrong sign", "wrong unit", "carry"])
    assert found[0] @ found[3] > found[0] @ found[1]


def test_without_scikit_learn_there_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.feature_extraction.text", None)
    with pytest.raises(ConfigError, match=r"pip install 'thinktwice\[train\]'"):
        HashedWords()(["a"])


@pytest.fixture(scope="module")
def engine():
    return LocalEngine.load("nano", device="cpu", batch_size=4)


def test_the_models_own_states_hold_nothing_of_padding(engine):
    render = Render(engine.tokenizer)
    embed = vectors_of("model", engine, render)
    assert isinstance(embed, ModelStates)
    short, long = "Gus 10 = Ida 3", "Gus has 3 eggs. " * 20
    found = embed([short, long, ""])
    assert found.shape == (3, 64)
    with torch.inference_mode():
        states = engine.model.base_model(torch.tensor([render.encode(short)])).last_hidden_state[0]
    np.testing.assert_allclose(found[0], states.mean(0).numpy(), atol=2e-5)
    np.testing.assert_allclose(found[0], embed([short])[0], atol=2e-5)
    assert not found[2].any()
    assert embed([]).shape == (0, 0)
    many = [f"Gus has {number} eggs." for number in range(70)]
    np.testing.assert_allclose(embed(many)[66:], embed(many[66:]), atol=2e-5)
    with pytest.raises(DataError, match="the model reads 512"):
        embed(["Gus has 3 eggs. " * 400])


def test_an_engine_without_states_embeds_nothing(engine):
    with pytest.raises(ConfigError, match="shows no states"):
        vectors_of("model", ScriptedEngine([]), Render(engine.tokenizer))
    with pytest.raises(ConfigError, match="shows no states"):
        vectors_of("model", None, None)
    assert vectors_of("words", None, None) == HashedWords()


def test_a_sentence_encoder_may_do_it(tmp_path):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefgh", "eggs"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(vocab=str(tmp_path / "vocab.txt"), model_max_length=16).save_pretrained(tmp_path)
    torch.manual_seed(0)
    shape = BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=16, hidden_dropout_prob=0.0,
    )  # fmt: skip
    BertModel(shape).save_pretrained(tmp_path)
    embed = vectors_of(str(tmp_path), None, None)
    assert isinstance(embed, Sentences)
    found = embed(["eggs", "a b c d e f g h"])
    assert found.shape == (2, 16)
    np.testing.assert_allclose(found[0], embed(["eggs"])[0], atol=1e-5)
    with pytest.raises(DataError, match=r"feedback 'a a a .*' is a text of 20 tokens; the encoder reads 1 to 16"):
        embed(["eggs", "a " * 18])
