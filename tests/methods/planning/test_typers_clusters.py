"""Types found in data: planted ones are found again, by the same seed the same, on unseen steps too."""

import logging
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest
import torch

from thinktwice.errors import ConfigError, DataError
from thinktwice.methods.planning.typers import Solution, StepTyper, build_typer, load_typer
from thinktwice.methods.planning.typers.sqvae import Autoencoder, most_probable, train

K, WIDTH = 3, 12


@dataclass(frozen=True)
class Planted:
    """Steps "0", "1", ... lie around the centre of that number; each step has a place of its own."""

    identity: str = "planted"
    spread: float = 0.3

    def __call__(self, solutions: Sequence[Solution]) -> Any:
        centres = np.random.default_rng(1).normal(size=(9, WIDTH)) * 3
        rows = [
            centres[int(step)]
            + self.spread * np.random.default_rng(crc32(f"{s.problem_id}/{i}".encode())).normal(size=WIDTH)
            for s in solutions
            for i, step in enumerate(s.steps)
        ]
        return np.array(rows, np.float32).reshape(-1, WIDTH)


def planted(count: int, seed: int = 0) -> list[Solution]:
    draw = np.random.default_rng(seed)
    return [Solution(f"{seed}-{i}", "q", tuple(map(str, draw.integers(0, K, 1 + i % 5)))) for i in range(count)]


def flat(found: list[list[tuple[str, ...]]]) -> list[str]:
    return [name for steps in found for (name,) in steps]


def unfitted(kind: str) -> Any:
    typer: Any = build_typer(kind, K, ())
    fast = Autoencoder(epochs=12, batch_problems=6, hidden=128, learning_rate=1e-3)
    return replace(typer, autoencoder=fast) if kind == "vae" else typer


@pytest.fixture(scope="module")
def fitted() -> dict[str, Any]:
    return {kind: unfitted(kind).fit(planted(120), Planted(), 0) for kind in ("k-means", "vae")}


@pytest.mark.parametrize("kind", ["k-means", "vae"])
def test_planted_types_are_found_again_on_unseen_steps(fitted: dict[str, Any], kind: str) -> None:
    typer: StepTyper = fitted[kind]
    unseen = planted(40, seed=9)
    found = typer.predict(unseen, Planted())
    assert [len(steps) for steps in found] == [len(s.steps) for s in unseen]
    pairs = Counter(zip(flat(found), (step for s in unseen for step in s.steps), strict=True))
    assert len(pairs) == K  # each planted type has one found type, and the other way round
    assert fitted[kind].fitted.used == K
    assert fitted[kind].fitted.perplexity == pytest.approx(3, abs=0.1)


@pytest.mark.parametrize("kind", ["k-means", "vae"])
def test_the_same_seed_gives_the_same_typer_and_leaves_chance_alone(fitted: dict[str, Any], kind: str) -> None:
    torch.manual_seed(4)
    before = torch.get_rng_state()
    again = unfitted(kind).fit(planted(120), Planted(), 0)
    assert torch.equal(torch.get_rng_state(), before)
    if kind == "vae":
        assert all((again.tensors[name] == tensor).all() for name, tensor in fitted[kind].tensors.items())
    else:
        assert (again.centres == fitted[kind].centres).all()
    assert again.fitted == fitted[kind].fitted


@pytest.mark.parametrize("kind", ["k-means", "vae"])
def test_what_is_read_back_predicts_the_same(fitted: dict[str, Any], kind: str, tmp_path: Path) -> None:
    fitted[kind].save(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["typer.json", "typer.safetensors"]
    again = load_typer(tmp_path)
    unseen = planted(40, seed=9)
    assert again.predict(unseen, Planted()) == fitted[kind].predict(unseen, Planted())
    assert again.types == fitted[kind].types


@pytest.mark.parametrize("kind", ["k-means", "vae"])
def test_another_embedder_is_refused(fitted: dict[str, Any], kind: str) -> None:
    with pytest.raises(DataError, match="was fitted on embeddings of planted, not of another"):
        fitted[kind].predict(planted(2), Planted("another"))
    with pytest.raises(DataError, match="a server does not give"):
        fitted[kind].predict(planted(2), None)
    with pytest.raises(DataError, match="a server does not give"):
        unfitted(kind).fit(planted(2), None, 0)
    with pytest.raises(DataError, match="is not fitted"):
        unfitted(kind).predict(planted(2), Planted())
    with pytest.raises(DataError, match="is not fitted"):
        unfitted(kind).save(Path("nowhere"))


@pytest.mark.parametrize("kind", ["k-means", "vae"])
def test_more_types_than_steps_is_refused(kind: str) -> None:
    with pytest.raises(DataError, match=r"with 3 types needs at least 3 steps .* the 1 problems have 2"):
        unfitted(kind).fit([Solution("p", "q", ("0", "1"))], Planted(), 0)


def test_fewer_different_steps_than_types_is_refused() -> None:
    with pytest.raises(DataError, match="fewer different steps than types"):
        unfitted("k-means").fit([Solution("p", "q", ("0", "1") * 5)], Planted(spread=0), 0)


def test_without_scikit_learn_the_sentence_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.cluster", None)
    with pytest.raises(ConfigError, match="pip install scikit-learn"):
        unfitted("k-means").fit(planted(5), Planted(), 0)


def test_the_first_cluster_is_the_largest(fitted: dict[str, Any]) -> None:
    counts = list(fitted["k-means"].fitted.counts.values())
    assert counts == sorted(counts, reverse=True)


def test_a_collapsed_codebook_is_said(caplog: pytest.LogCaptureFixture) -> None:
    idle = replace(unfitted("vae"), autoencoder=Autoencoder(epochs=1, hidden=8, learning_rate=1e-9))
    one = [Solution(f"p{i}", "q", ("0",)) for i in range(20)]
    with caplog.at_level(logging.WARNING):
        typer = idle.fit(one, Planted(spread=0.01), 0)
    assert typer.fitted.perplexity == pytest.approx(1)
    assert "codebook has collapsed: 1 of 3 types" in caplog.text


def test_a_training_that_diverges_is_refused() -> None:
    wild = replace(unfitted("vae"), autoencoder=Autoencoder(epochs=3, learning_rate=1e6))
    with pytest.raises(DataError, match="diverged"):
        wild.fit(planted(30), Planted(), 0)


def test_the_sqvae_has_the_shape_of_the_public_code() -> None:
    settings = Autoencoder()
    assert (settings.learning_rate, settings.epochs, settings.kl, settings.batch_problems) == (1e-4, 10, 0.1, 1)
    vectors = Planted()(planted(3))
    tensors = train(vectors, [len(s.steps) for s in planted(3)], 5, replace(settings, epochs=1), 0)
    assert {name: tensor.shape for name, tensor in tensors.items() if not name.endswith("bias")} == {
        "encoder.0.weight": (512, WIDTH),
        "encoder.1.weight": (512, 512),
        "encoder.2.weight": (512, 512),
        "mean.weight": (5, 512),
        "log_variance.weight": (5, 512),
        "codebook": (5, 64),
        "decoder.0.weight": (512, 64),
        "decoder.1.weight": (512, 512),
        "decoder.2.weight": (512, 512),
        "out.weight": (WIDTH, 512),
    }
    state = torch.from_numpy(vectors)  # the same reading with torch's own layers
    for i in range(3):
        state = torch.nn.functional.linear(
            state, *(torch.tensor(tensors[f"encoder.{i}.{p}"]) for p in ("weight", "bias"))
        )
        state = state.relu() if i < 2 else state
    mean = torch.nn.functional.linear(state, *(torch.tensor(tensors[f"mean.{p}"]) for p in ("weight", "bias")))
    assert most_probable(vectors, tensors) == mean.softmax(-1).argmax(-1).tolist()


WORDS = [
    Solution("p", "q", ("Multiply 3 and 4 to get 12.", "Then she has half of it.", "The rest is 6.")),
    Solution("q", "q", ("Multiply again, multiply twice.", "Half of 4 is 2.", "12 - 2 = 10")),
    Solution("r", "q", ("Subtract 2.", "Half, half, half.", "Subtract 3 to get 6.", "1 + 1 = 2", "It is 4.", "So 5.")),
]


def test_the_word_of_highest_weight_is_the_type() -> None:
    typer: Any = build_typer("tf-idf", 3, ()).fit(WORDS, None, 0)
    assert set(typer.words) == {"multiply", "half", "subtract"}
    name = dict(zip(typer.words, typer.types, strict=True))
    unseen = Solution("u", "q", ("HALF of it, then multiply", "half half multiply", "12 = 12", "an unknown word"))
    (found,) = typer.predict([unseen], None)  # the public code's predict needs an argument that nobody gives it
    assert found[1:] == [(name["half"],), (), ()]
    assert found[0] in ((name["half"],), (name["multiply"],))
    assert sum(typer.fitted.counts.values()) == 7


def test_words_are_written_and_read_back(tmp_path: Path) -> None:
    typer = build_typer("tfidf", 3, ()).fit(WORDS, None, 0)
    typer.save(tmp_path)
    assert load_typer(tmp_path) == typer
    assert typer == build_typer("tfidf", 3, ()).fit(WORDS, None, 0)


def test_more_types_than_words_is_refused() -> None:
    with pytest.raises(DataError, match=r"tf-idf needs 30 words .* Lower method.num_plan_types"):
        build_typer("tf-idf", 30, ()).fit(WORDS, None, 0)
    with pytest.raises(DataError, match="is not fitted"):
        build_typer("tf-idf", 3, ()).predict(WORDS, None)


def test_an_autoencoder_that_cannot_be_trained_is_refused() -> None:
    with pytest.raises(ConfigError, match="learning_rate above 0"):
        Autoencoder(learning_rate=0)
    with pytest.raises(ConfigError, match="2 layers"):
        Autoencoder(layers=1)
