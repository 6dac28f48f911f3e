"""Two-layer random models of the families a transplant is tried on, and choices of random tokens."""

import random
from collections.abc import Callable
from functools import cache

import pytest
import torch
import transformers
from transformers import PreTrainedModel

from thinktwice.types import Choice, Move

VOCABULARY = 61
COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.3,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": 0,
}
FAMILIES: dict[str, dict[str, object]] = {
    "Llama": {},
    "Qwen2": {},
    "Qwen3": {"head_dim": 8},
    "Mistral": {"head_dim": 8},
    "Gemma2": {"head_dim": 8, "query_pre_attn_scalar": 8},
    "Gemma3Text": {"head_dim": 8, "query_pre_attn_scalar": 8},
    "Phi3": {},
    "GPT2": {},
    "GPTNeoX": {},
    "Olmo2": {},
    "Glm": {"head_dim": 8},
    "Falcon": {},
    "OPT": {"word_embed_proj_dim": 32, "ffn_dim": 48},
    "Mpt": {"d_model": 32, "n_heads": 4, "n_layers": 2},
    "GPTNeo": {"attention_types": [[["global"], 2]], "num_layers": 2},
}
EAGER = {"Gemma2", "Mpt", "GPTNeo"}
NAMES = {"GPT2": "GPT2LMHeadModel", "Gemma3Text": "Gemma3ForCausalLM"}
RECURRENT = {
    "Qwen3Next": {"head_dim": 8},
    "FalconH1": {},
    "Jamba": {},
    "MiniMax": {},
    "RecurrentGemma": {},
    "Lfm2": {"layer_types": ["conv", "full_attention"]},
    "Bamba": {"mamba_n_heads": 8, "mamba_d_head": 8},
}


def build_family(family: str, **options: object) -> PreTrainedModel:
    """A random model in evaluation mode."""
    torch.manual_seed(0)
    own = FAMILIES.get(family) or RECURRENT.get(family) or {}
    config = getattr(transformers, f"{family}Config")(**{**COMMON, **own, **options})
    config._attn_implementation = "eager" if family in EAGER else "sdpa"
    model: PreTrainedModel = getattr(transformers, NAMES.get(family, f"{family}ForCausalLM"))(config)
    return model.eval()


_cached = cache(build_family)


@pytest.fixture(scope="session")
def build() -> Callable[..., PreTrainedModel]:
    """Builds a model by family and config options; without options, always the same object."""
    return lambda family, **options: build_family(family, **options) if options else _cached(family)


@pytest.fixture(params=sorted(FAMILIES))
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    """One model of each family."""
    return _cached(request.param)


@pytest.fixture
def llama() -> PreTrainedModel:
    """The model for what does not depend on the family."""
    return _cached("Llama")


@pytest.fixture(scope="session")
def make_choices() -> Callable[..., list[Choice]]:
    """Items of random tokens in both orders; `start` and `stop` cut rows off the candidates' ends (seed: -1, -1)."""

    def make(items: int = 3, seed: int = 0, start: int = 0, stop: int = 0) -> list[Choice]:
        draw = random.Random(seed)
        choices = []
        for k in range(items):
            question = [draw.randrange(8, VOCABULARY) for _ in range(draw.randint(2, 5))]
            candidates = [[draw.randrange(8, VOCABULARY) for _ in range(draw.randint(3, 6))] for _ in range(2)]
            argued = tuple((*question, 3, *candidate) for candidate in candidates)
            for order in ((0, 1), (1, 0)):
                ids, moves = list(question), []
                for source in order:
                    ids.append(3)
                    first, n = len(question) + 1, len(candidates[source])
                    moves.append(Move(source, first + start, len(ids) + start, n + stop - start))
                    ids += candidates[source]
                ids += [4, 5]
                choices.append(Choice(argued, tuple(ids), tuple(moves), (6, 7), order.index(0), f"p{k}"))
        return choices

    return make
