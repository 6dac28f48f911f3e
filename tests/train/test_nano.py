"""The nano base: what ships, and what makes it."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from thinktwice import nano as bundled
from thinktwice.config import load
from thinktwice.errors import ConfigError
from thinktwice.train import nano
from thinktwice.train.vocab import control_token_ids

RECIPE = Path(__file__).parents[2] / "recipes" / "nano.yaml"
WORLDS: dict[str, nano.World] = {
    "nano": nano.Arith(),
    "nano-annealed": nano.Arith(),
    "nano-wiki": nano.Wiki(),
    "nano-critic": nano.Criticised(),
}


def test_the_recipe_file_is_the_default_recipe() -> None:
    assert load(nano.Pretraining, RECIPE) == nano.Pretraining()


@pytest.mark.parametrize("name", sorted(bundled.BUNDLED))
def test_the_shipped_model_is_small_safe_and_of_the_recipes_shape(name: str) -> None:
    place = Path(bundled.resolve(name))
    weights = list(place.glob("*.safetensors"))
    assert sum(path.stat().st_size for path in weights) <= 4_000_000
    assert not list(place.glob("*.bin")) + list(place.glob("*.pt"))
    assert "license" in (place / "README.md").read_text(encoding="utf-8")
    model = AutoModelForCausalLM.from_pretrained(place)
    assert 200_000 <= sum(p.numel() for p in model.parameters()) <= 1_000_000
    assert model.config.model_type == "llama"
    tokenizer = AutoTokenizer.from_pretrained(place)
    added = control_token_ids(place)
    assert {token.token for token in getattr(WORLDS[name], "control_tokens", ())} == set(added)
    assert tokenizer.get_vocab() == nano.tokenizer(WORLDS[name]).get_vocab() | added
    assert len(tokenizer) < model.config.vocab_size  # room for control tokens


@pytest.mark.parametrize("name", sorted(bundled.BUNDLED))
def test_ids_that_pretraining_never_wrote_can_never_be_sampled(name: str) -> None:
    place = bundled.resolve(name)
    model = AutoModelForCausalLM.from_pretrained(place)
    tokenizer = AutoTokenizer.from_pretrained(place)
    suppressed = set(model.generation_config.suppress_tokens)
    for word in WORLDS[name].words:
        (written,) = tokenizer(word, add_special_tokens=False)["input_ids"]
        assert written not in suppressed
    assert tokenizer.eos_token_id not in suppressed
    assert set(tokenizer("\x00é§")["input_ids"]) <= suppressed
    assert tokenizer.pad_token_id in suppressed


def test_a_tiny_pretraining_is_made_again_bit_for_bit(tmp_path: Path) -> None:
    phase = replace(nano.FAST, steps=3, tokens_per_step=400, warmup_steps=1, save_every=0, log_every=1)
    recipe = nano.Pretraining(hidden_size=16, layers=1, heads=2, feed_forward=16, phases=(phase, phase), anneal_steps=2)
    first = nano.pretrain(recipe, tmp_path / "a")
    again = nano.pretrain(recipe, tmp_path / "b")
    assert first[1] is not None
    assert again[1] is not None
    for one, other in zip(first, again, strict=True):
        left, right = (AutoModelForCausalLM.from_pretrained(path).state_dict() for path in (one, other))
        assert all(torch.equal(left[key], right[key]) for key in left)
    assert nano.pretrain(replace(recipe, anneal_steps=0), tmp_path / "a") == (first[0], None)
    with pytest.raises(ConfigError, match="at least one"):
        nano.pretrain(replace(recipe, phases=()), tmp_path / "c")
