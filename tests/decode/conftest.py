"""Two-layer random models of several families."""

from collections.abc import Callable
from functools import cache

import pytest
import torch
import transformers
from transformers import PreTrainedModel

VOCABULARY = 61

COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.3,  # spreads the logits: no near-ties that rounding could decide
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
FULL = {"layer_types": ["full_attention", "full_attention"]}
FAMILIES: dict[str, dict[str, object]] = {
    "Llama": {"tie_word_embeddings": True},
    "Qwen2": {},
    "Qwen3": {"head_dim": 8},
    "Mistral": {"sliding_window": None, "head_dim": 8},
    "Gemma2": {"head_dim": 8, "query_pre_attn_scalar": 8, **FULL},
    "Gemma3Text": {"head_dim": 8, "query_pre_attn_scalar": 8, **FULL},
    "Phi": {"num_key_value_heads": 4},
    "GPT2": {},
    "Olmo2": {},
}


@cache
def build(family: str, backend: str = "sdpa") -> PreTrainedModel:
    """A random model, the same in every test of a session."""
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**{**COMMON, **FAMILIES[family]})
    config._attn_implementation = "eager" if family == "Gemma2" else backend  # its soft cap has no sdpa
    name = {"GPT2": "GPT2LMHeadModel", "Gemma3Text": "Gemma3ForCausalLM"}.get(family, f"{family}ForCausalLM")
    model: PreTrainedModel = getattr(transformers, name)(config).eval()
    return model


@pytest.fixture(params=sorted(FAMILIES))
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    """One model of each family."""
    return build(request.param)


@pytest.fixture
def llama() -> PreTrainedModel:
    """The one model for what does not depend on the family."""
    return build("Llama")


@pytest.fixture(scope="session")
def build_model() -> Callable[..., PreTrainedModel]:
    """Builds a model by family and backend."""
    return build
