"""Merges of whole models: tensor by tensor, what the formulas say, and nothing where there is nothing to merge."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from thinktwice.errors import ConfigError, ModelError
from thinktwice.train import Training, fit
from thinktwice.train.adapters import merged
from thinktwice.train.merging import _ties, merge
from thinktwice.train.vocab import control_token_ids, load_model, prepare_base
from thinktwice.types import ControlToken

TOKEN = ControlToken("<|undo|>", "delete the previous token in the response", ("delete", "undo"))


def weights(path: Path) -> dict[str, torch.Tensor]:
    return dict(load_model(path).state_dict())


def closest(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    assert a.keys() == b.keys()
    return max(float((a[name] - b[name]).abs().max()) for name in a)


@pytest.fixture
def tuned(make_base, make_examples, tmp_path):
    """A base and fine-tunings of it on other examples each."""

    def make(tied: bool, n: int = 2, **settings) -> tuple[Path, list[Path]]:
        base = tmp_path / "prepared"
        prepare_base(make_base(tie_word_embeddings=tied), base, [TOKEN])
        options = {"steps": 3, "batch_size": 6, "lr": 1e-2, **settings}
        return base, [
            fit(make_examples(12, seed=seed), base, tmp_path / f"tuned{seed}", Training(**options)) for seed in range(n)
        ]

    return make


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("policy", ["average", "ties"])
def test_the_merge_of_one_model_is_that_model(tied, policy, tuned, tmp_path):
    base, (model,) = tuned(tied, 1)
    found = merge(base, [model], tmp_path / "merged", policy=policy, density=1.0)
    assert closest(weights(found), weights(base)) > 1e-3
    assert closest(weights(found), weights(model)) < 1e-6
    assert control_token_ids(found) == control_token_ids(base)


@pytest.mark.parametrize("tied", [True, False])
def test_an_average_is_the_mean_by_shares(tied, tuned, tmp_path):
    base, models = tuned(tied)
    first, second = (weights(path) for path in models)
    for shares, (a, b) in {None: (0.5, 0.5), (3.0, 1.0): (0.75, 0.25), (0.0, 2.0): (0.0, 1.0)}.items():
        found = weights(merge(base, models, tmp_path / "merged", shares=shares))
        assert closest(found, {name: a * first[name] + b * second[name] for name in first}) < 1e-6


@pytest.mark.parametrize("tied", [True, False])
def test_ties_moves_every_tensor_once(tied, tuned, tmp_path):
    """A tied head is the embedding again: merged twice, what the first pass moved would be trimmed and elected anew."""
    base, models = tuned(tied)
    start, moved = weights(base), [weights(path) for path in models]
    found = weights(merge(base, models, tmp_path / "merged", policy="ties", density=0.3))
    for name, tensor in start.items():
        step = _ties([each[name] - tensor for each in moved], [0.5, 0.5], 0.3)
        assert torch.allclose(found[name], tensor + step, atol=1e-6), name


def test_ties_trims_elects_and_averages_what_agrees():
    first, second = torch.tensor([4.0, -3.0, 0.1, 0.2]), torch.tensor([2.0, 5.0, 0.3, -0.1])
    # Half of each stays; where they disagree the larger sum wins, and the other is left out of the mean.
    assert _ties([first, second], [0.5, 0.5], 0.5).tolist() == [3.0, 5.0, 0.0, 0.0]
    # With density 1 and one sign everywhere it is the weighted mean.
    assert _ties([first.abs(), second.abs()], [0.75, 0.25], 1.0).tolist() == pytest.approx([3.5, 3.5, 0.15, 0.175])
    # Opposed and equal: nobody is elected.
    assert _ties([first, -first], [0.5, 0.5], 1.0).tolist() == [0.0] * 4


def test_adapters_are_merged_into_their_base_first(tuned, tmp_path):
    base, models = tuned(True, 2, mode="lora", lora_rank=4)
    assert (models[0] / "adapter_config.json").is_file()
    found = merge(base, models, tmp_path / "merged")
    assert not (found / "adapter_config.json").is_file()
    each = [dict(merged(path, base).state_dict()) for path in models]
    assert closest(weights(found), {name: (each[0][name] + each[1][name]) / 2 for name in each[0]}) < 1e-6
    assert load_file(found / "model.safetensors")  # whole, and readable without PEFT


def test_what_cannot_be_merged_is_refused(tuned, make_base, tmp_path):
    base, models = tuned(True, 1)
    with pytest.raises(ConfigError, match="nothing to merge"):
        merge(base, [], tmp_path / "merged")
    for shares in ([1.0, 1.0], [-1.0], [0.0]):
        with pytest.raises(ConfigError, match="give one each"):
            merge(base, models, tmp_path / "merged", shares=shares)
    with pytest.raises(ConfigError, match="density"):
        merge(base, models, tmp_path / "merged", policy="ties", density=0.0)
    with pytest.raises(ModelError, match="is no tuning of"):
        merge(make_base("other", intermediate_size=40), models, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()
