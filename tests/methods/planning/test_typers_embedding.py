"""Embeddings of steps: exactly the step's own tokens, in the context that training shows."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel, BertTokenizerFast

from thinktwice.engines.local import LocalEngine
from thinktwice.errors import DataError, ModelError
from thinktwice.methods.planning.typers import Solution, embedder_of
from thinktwice.methods.planning.typers.embedding import ModelEmbedder
from thinktwice.methods.planning.typers.sentences import SentenceEncoder
from thinktwice.nano import resolve
from thinktwice.render import Render
from thinktwice.train.vocab import prepare_base
from thinktwice.types import ControlToken, Problem

STEPS = (
    "[reason]: U.S. law, No. 3. Then (a) 1.5 x 2 = 3.",
    r"So $\frac{1}{2}$ of [3, 4) is \n not.",
    "",
    "Gus 10 = Ida 3",
)
SOLUTION = Solution("p", "Gus has 3 eggs. How many?", STEPS)


@pytest.fixture(scope="module")
def engine() -> LocalEngine:
    return LocalEngine.load("nano", device="cpu", batch_size=4)


@pytest.fixture(scope="module")
def embed(engine: LocalEngine) -> ModelEmbedder:
    found = embedder_of(engine, Render(engine.tokenizer))
    assert isinstance(found, ModelEmbedder)
    return found


def test_a_step_is_the_mean_of_its_own_tokens_after_all_before_it(engine: LocalEngine, embed: ModelEmbedder) -> None:
    render = embed.render
    found = embed([SOLUTION, Solution("other", "q", ("Gus 10 = Ida 3",))])
    assert found.shape == (5, 64)
    # The input of training is question, steps, answer: the states of those very ids, cut where lines end.
    reply = render.steps("".join(f"{step}\n" for step in STEPS) + "#### 3")
    example = render.example(Problem("p", SOLUTION.question, "3"), [i for ids in reply for i in ids])
    with torch.inference_mode():
        states = engine.model.base_model(torch.tensor([example.token_ids])).last_hidden_state[0]
    at = len(render.question(SOLUTION.question))
    for vector, ids in zip(found, reply[:-1], strict=False):
        np.testing.assert_allclose(vector, states[at : at + len(ids)].mean(0).numpy(), atol=2e-5)
        at += len(ids)
    assert np.abs(found[3] - found[4]).max() > 0.01  # the same step in another context


def test_one_vector_a_step_whatever_the_step_holds(embed: ModelEmbedder) -> None:
    rng = np.random.default_rng(0)
    pieces = ["[rag]: ", "U.S. ", "3.14, ", r"$\sqrt{2}$ ", "[a](b) ", "e.g. ", "“é” ", "\t", "... ", "<prefix_0>"]
    solutions = [
        Solution(
            str(i), "q?", tuple("".join(rng.choice(pieces, rng.integers(1, 6))) for _ in range(rng.integers(0, 5)))
        )
        for i in range(30)
    ]
    assert len(embed(solutions)) == sum(len(s.steps) for s in solutions)
    assert len(embed([])) == 0
    assert np.isfinite(embed(solutions)).all()


@pytest.mark.parametrize("step", ["two\nlines", "two\u2028lines", "two\x0blines"])
def test_a_line_break_inside_a_step_is_refused(embed: ModelEmbedder, step: str) -> None:
    with pytest.raises(DataError, match="problem bad holds a line break"):
        embed([SOLUTION, Solution("bad", "q", ("one", step))])


def test_a_text_too_long_for_the_model_is_named(embed: ModelEmbedder) -> None:
    with pytest.raises(DataError, match=r"problem long: a text has .* the model reads 512"):
        embed([SOLUTION, Solution("long", "q", ("word " * 600,))])


def test_tokens_that_a_method_adds_do_not_make_another_embedder(embed: ModelEmbedder, tmp_path: Path) -> None:
    prepare_base(resolve("nano"), tmp_path, (ControlToken("<memory_0>", "A fact.", ("fact",)),), seed=3)
    prepared = LocalEngine.load(tmp_path, device="cpu")
    same = ModelEmbedder(prepared, Render(prepared.tokenizer))
    assert same.identity == embed.identity
    np.testing.assert_allclose(same([SOLUTION]), embed([SOLUTION]), atol=1e-5)
    other = LocalEngine.load("nano-annealed", device="cpu")
    assert ModelEmbedder(other, Render(other.tokenizer)).identity != embed.identity
    assert ModelEmbedder(prepared, Render(prepared.tokenizer, "Q: {question}\n")).identity != embed.identity


def test_a_server_embeds_nothing(embed: ModelEmbedder) -> None:
    class Server:
        name = "server"

        def generate(self, *arguments: object, **options: object) -> list[object]:
            return []

    assert embedder_of(Server(), embed.render) is None  # type: ignore[arg-type]
    assert embedder_of(None, embed.render) is None


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefghijklmnopqrstuvwxyz", "ann", "has", "eggs"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(vocab=str(tmp_path / "vocab.txt"), model_max_length=16).save_pretrained(tmp_path)
    torch.manual_seed(0)
    shape = BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=16, hidden_dropout_prob=0.0,
    )  # fmt: skip
    BertModel(shape).save_pretrained(tmp_path)
    return tmp_path


STEPPED = [Solution("p", "q", ("ann has eggs", "a b c d e f g")), Solution("r", "q", ("eggs",))]


def test_a_sentence_encoder_reads_each_step_alone(encoder: Path, embed: ModelEmbedder) -> None:
    found = embedder_of(None, embed.render, str(encoder))
    assert isinstance(found, SentenceEncoder)
    vectors = found(STEPPED)
    assert vectors.shape == (3, 16)
    np.testing.assert_allclose(vectors[2], found([STEPPED[1]])[0], atol=1e-5)  # padding changes nothing
    ids = found.encoder.tokenizer("eggs", return_tensors="pt")
    with torch.inference_mode():
        states = found.encoder.model(**ids).last_hidden_state[0]
    np.testing.assert_allclose(vectors[2], states.mean(0).numpy(), atol=1e-5)
    with pytest.raises(DataError, match="problem long has a step of 20 tokens"):
        found([Solution("long", "q", ("a " * 18,))])


def test_its_own_pooling_is_followed(encoder: Path) -> None:
    plain = SentenceEncoder(str(encoder))
    (encoder / "1_Pooling").mkdir()
    pooling = encoder / "1_Pooling" / "config.json"
    pooling.write_text(json.dumps({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}))
    (encoder / "modules.json").write_text(json.dumps([{"type": "sentence_transformers.models.Normalize"}]))
    first = SentenceEncoder(str(encoder))
    assert first.identity != plain.identity
    np.testing.assert_allclose(np.linalg.norm(first(STEPPED), axis=1), 1.0, atol=1e-5)
    ids = first.encoder.tokenizer("eggs", return_tensors="pt")
    with torch.inference_mode():
        state = first.encoder.model(**ids).last_hidden_state[0, 0].numpy()
    np.testing.assert_allclose(first(STEPPED)[2], state / np.linalg.norm(state), atol=1e-5)
    pooling.write_text(json.dumps({"pooling_mode_max_tokens": True}))
    with pytest.raises(ModelError, match="pools by"):
        SentenceEncoder(str(encoder))


def test_an_encoder_that_is_not_there_is_one_sentence() -> None:
    with pytest.raises(ModelError, match="No sentence encoder could be loaded from 'no/such-encoder'"):
        SentenceEncoder("no/such-encoder")
