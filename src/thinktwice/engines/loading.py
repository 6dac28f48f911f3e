"""A model from a directory or a hub id, with what lies over it: an adapter, a prefix, a verifier's adapters."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from thinktwice.decode.prefix import has_prefix, load_prefix
from thinktwice.decode.transplant import Verifier
from thinktwice.decode.transplant.check import Finding, check
from thinktwice.decode.transplant.saved import is_verifier, read_verifier
from thinktwice.engines.verifying import Adapters
from thinktwice.errors import ModelError
from thinktwice.nano import BUNDLED, resolve

Dtype = Literal["auto", "float32", "bfloat16", "float16"]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model that is ready to be used."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    adapters: Adapters | None
    """Of a verifier; the model is then its base."""
    verifier: Verifier | None


def load(
    path: str | Path,
    *,
    dtype: Dtype = "auto",
    device: str = "auto",
    adapter: str | Path | None = None,
    revision: str | None = None,
    attention: str = "auto",
) -> Loaded:
    """Load what `LocalEngine.load` describes. Law: safetensors only, and no code from the checkpoint is run.

    Raises:
        ModelError: nothing there, or not loadable.
    """
    path = resolve(str(path)) if str(path) in BUNDLED else path
    folder = Path(path) if adapter is None and is_verifier(path) else None
    saved = None if folder is None else read_verifier(folder)
    if folder is not None:
        path = _base_of(folder)
    elif adapter is None and (Path(path) / "adapter_config.json").is_file():
        path, adapter = _base_of(Path(path)), path
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if dtype == "auto" and device == "cpu":
        dtype = "float32"
    words = None if attention == "auto" else attention
    adapters: Adapters | None = None
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            path, dtype=dtype, use_safetensors=True, revision=revision, attn_implementation=words
        )
        words_of = next((place for place in (adapter, folder) if _has_tokenizer(place)), path)
        tokenizer = AutoTokenizer.from_pretrained(words_of, revision=revision)
        if folder is not None and saved is not None:
            adapters = Adapters(model, folder, saved)
        elif has_prefix(adapter):
            load_prefix(model, str(adapter))
        elif adapter is not None:
            model.load_adapter(str(adapter))
    except (OSError, ValueError, ImportError, KeyError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"No model could be loaded from {str(path)!r}: {reason} Give a directory with config.json and "
            "safetensors weights, or a hub id that this machine can reach (HF_HUB_OFFLINE unset, network up)."
        ) from error
    model = model.to(device)
    verifier = None
    if saved is not None:
        pad_id = tokenizer.pad_token_id or 0
        verifier = Verifier(model, switch=adapters, layers=saved.layers, parts=saved.parts, pad_id=pad_id)
    return Loaded(model, tokenizer, adapters, verifier)


def check_transplant(path: str | Path) -> list[Finding]:
    """Try on a model, or on a saved verifier, whether keys and values can be moved; see `transplant.check`."""
    loaded = load(path)
    names = () if loaded.adapters is None else loaded.adapters.saved.adapters
    return check(loaded.model, verifier=loaded.verifier, adapters=names)


def _base_of(adapter: Path) -> str:
    """Return the path or id of the model an adapter was trained over."""
    for file, field in (("base.json", "base"), ("adapter_config.json", "base_model_name_or_path")):
        if (adapter / file).is_file():
            base = json.loads((adapter / file).read_text(encoding="utf-8")).get(field)
            if base:
                return str(base)
    raise ModelError(f"The adapter in {str(adapter)!r} does not name its base; load the base with adapter={adapter}.")


def _has_tokenizer(adapter: str | Path | None) -> bool:
    return adapter is not None and (Path(adapter) / "tokenizer_config.json").is_file()
