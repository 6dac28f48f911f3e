"""What a model looks like, without its weights."""

from typing import Any

from transformers import AutoConfig, LlamaConfig, PreTrainedConfig

from thinktwice.errors import ConfigError
from thinktwice.nano import BUNDLED, resolve

KNOWN: dict[str, dict[str, Any]] = {
    "openlm-research/open_llama_3b": {
        "hidden_size": 3200, "intermediate_size": 8640, "num_hidden_layers": 26, "num_attention_heads": 32,
        "vocab_size": 32000, "max_position_embeddings": 2048,
    },
    "meta-llama/Llama-2-7b-hf": {
        "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32,
        "vocab_size": 32000, "max_position_embeddings": 4096,
    },
    "meta-llama/Llama-2-13b-hf": {
        "hidden_size": 5120, "intermediate_size": 13824, "num_hidden_layers": 40, "num_attention_heads": 40,
        "vocab_size": 32000, "max_position_embeddings": 4096,
    },
}  # fmt: skip
"""Shapes of models that are estimated without their config.json: those of the presets, from their model cards."""


def shapes(model: str) -> PreTrainedConfig:
    """Return what a model looks like: from its config.json (a directory, or in the hub's cache), or as known here.

    Raises:
        ConfigError: nobody here knows; nothing is downloaded.
    """
    place = resolve(model) if model in BUNDLED else model
    try:
        found: PreTrainedConfig = AutoConfig.from_pretrained(place, local_files_only=True)
        return found
    except (OSError, ValueError):
        if model in KNOWN:
            return LlamaConfig(**KNOWN[model], tie_word_embeddings=False)
    raise ConfigError(
        f"model.path={model!r}: its shapes are not known here. Give a directory with a config.json, or download it "
        f"first; known without one: {', '.join(KNOWN)}."
    )


def width_of(text: Any, heads: str) -> int:
    """Return how wide all heads of a kind are together ("num_attention_heads", "num_key_value_heads")."""
    count = getattr(text, heads, None) or text.num_attention_heads
    return int(count) * int(getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads)


def feed_forward_of(text: Any) -> int:
    """Return how wide the feed-forward layers are inside."""
    return int(getattr(text, "intermediate_size", None) or 4 * text.hidden_size)
