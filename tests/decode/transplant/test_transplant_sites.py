import pytest
import torch
from peft import LoraConfig, get_peft_model

from thinktwice.decode.transplant import Verifier
from thinktwice.decode.transplant.sites import find_sites
from thinktwice.errors import ConfigError, ModelError

RECURRENT = ["Qwen3Next", "FalconH1", "Jamba", "MiniMax", "RecurrentGemma", "Lfm2", "Bamba"]


def columns(site):
    return None if site.columns_C is None else site.columns_C.tolist()


def test_every_layer_has_one_place_for_keys_and_one_for_values(model):
    sites = find_sites(model)
    assert [site.key for site in sites] == [(0, "k"), (0, "v"), (1, "k"), (1, "v")]
    assert all(
        model.get_submodule(site.path) is site.module or site.path in dict(model.named_modules()) for site in sites
    )
    assert not any("norm" in site.path for site in sites)


@pytest.mark.parametrize(
    ("family", "name", "keys", "values"),
    [
        ("Llama", "k_proj", None, None),
        ("Qwen3", "k_proj", None, None),  # its norm comes after
        ("Phi3", "qkv_proj", list(range(32, 48)), list(range(48, 64))),  # queries, keys, values
        ("GPT2", "c_attn", list(range(32, 64)), list(range(64, 96))),
        (
            "GPTNeoX",  # queries, keys and values of a head side by side
            "query_key_value",
            [24 * head + 8 + i for head in range(4) for i in range(8)],
            [24 * head + 16 + i for head in range(4) for i in range(8)],
        ),
        ("Falcon", "query_key_value", list(range(32, 40)), list(range(40, 48))),  # one key for all heads
    ],
)
def test_columns_of_fused_projections_are_those_of_the_models_own_code(build, family, name, keys, values):
    key, value = find_sites(build(family))[:2]
    assert key.path.endswith(name)
    assert (columns(key), columns(value)) == (keys, values)


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning")
def test_with_an_adapter_the_place_is_behind_it(build):
    config = LoraConfig(r=2, target_modules="all-linear")
    adapted = get_peft_model(build("Llama", tie_word_embeddings=False), config)
    sites = find_sites(adapted.get_base_model())
    assert sites[0].path.endswith("self_attn.k_proj")
    assert hasattr(sites[0].module, "lora_A")


@pytest.mark.parametrize("family", RECURRENT)
def test_recurrent_layers_are_refused(build, family):
    with pytest.raises(ModelError, match=r"around the transplant.*Use a decoder"):
        find_sites(build(family))


def test_latent_attention_is_refused(build):
    with pytest.raises(ModelError, match=r"has not been verified.*Use a decoder"):
        find_sites(build("DeepseekV3"))


def test_a_layer_that_does_not_exist_is_refused(llama):
    with pytest.raises(ConfigError, match=r"Layers \[2\] are not among this model's 2"):
        Verifier(llama, layers=(0, 2))


@pytest.mark.parametrize("family", ["Llama", "Qwen3", "Phi3", "Olmo2", "GPTNeoX"])
def test_half_precision_hides_no_column(build, family):
    model = build(family, hidden_size=256, num_attention_heads=8, num_hidden_layers=4, head_dim=32).to(torch.bfloat16)
    found, sites = find_sites(model), find_sites(model.float())
    assert [site.path for site in found] == [site.path for site in sites]
    assert [columns(site) for site in found] == [columns(site) for site in sites]


def test_looking_leaves_the_model_as_it_was(build):
    model = build("Llama", tie_word_embeddings=False).train()
    find_sites(model)
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())
