"""LoRA and QLoRA in which the control tokens are learned too, saved with the adapter, and survive the merge.

PEFT's ways to lose them, each a regression test here: adapters alone never train a new row; an untied head's new row
is neither trained nor saved when only the embedding is named; `modules_to_save` silently unties a tied head.
"""

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import torch
from peft import LoraConfig, PeftModel, TrainableTokensConfig, get_peft_model, prepare_model_for_kbit_training
from peft.utils.other import TrainableTokensWrapper
from torch import nn
from transformers import BitsAndBytesConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.pytorch_utils import Conv1D

from thinktwice.decode.prefix import attach_prefix, has_prefix, load_prefix, save_prefix, states_of
from thinktwice.decode.transplant.saved import is_verifier
from thinktwice.errors import ModelError
from thinktwice.train.objective import embedding, output_head
from thinktwice.train.settings import Training
from thinktwice.train.vocab import (
    base_fingerprint,
    control_token_ids,
    encode_plain,
    load_model,
    load_tokenizer,
    quiet,
    save_model,
    stored_dtype,
)

BASE_FILE = "base.json"
"""In an adapter's directory: where its base is, and the fingerprint of its weights."""


def _allow_bias_lookup() -> None:
    """Let TRL ask a head with trained rows for its bias; PEFT 0.21's wrapper raises AttributeError instead."""
    if not hasattr(TrainableTokensWrapper, "bias"):
        bias = property(lambda self: getattr(self.token_adapter.base_layer, "bias", None))
        setattr(TrainableTokensWrapper, "bias", bias)  # noqa: B010  an attribute PEFT does not declare


_allow_bias_lookup()


def lora_config(model: PreTrainedModel, settings: Training, new_ids: Sequence[int] = ()) -> LoraConfig:
    """Return what an adapter of a model is like; see `attach_lora`."""
    rows = {name: sorted(new_ids) for name in _matrices(model)} if new_ids and settings.lora_new_rows else {}
    targets = [layer for name in settings.lora_targets for layer in _layers(model, name)]
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules="all-linear" if targets == ["all-linear"] else targets,
        trainable_token_indices=rows or None,
        fan_in_fan_out=any(isinstance(part, Conv1D) for part in model.modules()),  # GPT-2 keeps its matrices turned
    )


def attach_lora(
    model: PreTrainedModel, settings: Training, new_ids: Sequence[int] = (), name: str = "default"
) -> PeftModel:
    """Wrap a model with adapters. Law: of the vocabulary only the rows of `new_ids` are trained, in both matrices.

    Args:
        model: a causal language model; changed in place.
        settings: rank, targets, ...
        new_ids: of the control tokens.
        name: of the adapter, where there will be several.

    Raises:
        ModelError: a target layer the model does not have.
    """
    config = lora_config(model, settings, new_ids)
    try:
        with quiet():
            adapted = get_peft_model(model, config, adapter_name=name)
    except ValueError as error:
        layers = sorted(
            {name.rsplit(".", 1)[-1] for name, part in model.named_modules() if isinstance(part, nn.Linear)}
        )
        raise ModelError(
            f"training.lora_targets={settings.lora_targets} does not fit this model; its layers: {layers}."
        ) from error
    assert isinstance(adapted, PeftModel)
    return adapted


def attach_rows(model: PreTrainedModel, settings: Training, new_ids: Sequence[int] = ()) -> PeftModel:
    """Wrap a model so that the rows of `new_ids` are trained, in both matrices, and nothing else (prompt tuning).

    Raises:
        ModelError: there are no new rows.
    """
    if not new_ids:
        raise ModelError("training.mode=prompt-tuning trains the control tokens' rows, and this method adds no token.")
    with quiet():
        config = TrainableTokensConfig(
            task_type="CAUSAL_LM", target_modules=_matrices(model), token_indices=sorted(new_ids)
        )
        adapted = get_peft_model(model, config)
    assert isinstance(adapted, PeftModel)
    return adapted


START = "Solve the problem step by step, one line at a time, and state the answer at the end.\n"
"""A learned prefix starts as the keys and values of this text, as often as it takes."""


def attach_learned_prefix(
    model: PreTrainedModel, settings: Training, tokenizer: PreTrainedTokenizerBase
) -> PreTrainedModel:
    """Give a model a prefix that is trained, and freeze everything else (prefix tuning).

    Raises:
        ModelError: its attention takes no prefix.
    """
    text = encode_plain(tokenizer, START)
    ids = (text * (settings.prefix_tokens // len(text) + 1))[: settings.prefix_tokens]
    states = states_of(model, ids)
    model.requires_grad_(False)
    return attach_prefix(model, states)


def _matrices(model: PreTrainedModel) -> list[str]:
    """Return the names of the layers that have a row for every token: the embeddings, and a head of its own."""
    head = output_head(model)
    tied = head is None or getattr(head, "weight", None) is embedding(model)
    modules = [model.get_input_embeddings(), *([head] if head is not None and not tied else [])]
    return [_name_of(model, module) for module in modules]


GROUPS = {"mlp": ("mlp", "feed_forward", "ffn", "block_sparse_moe"), "atten": ("attn", "attention")}
"""Name of a group -> what the modules that hold its layers are called, in part."""


def _layers(model: PreTrainedModel, name: str) -> list[str]:
    """Return the layers a name stands for, each by the ends of its path, which PEFT matches."""
    if name not in GROUPS:
        return [name]
    found = []
    for path, part in model.named_modules():
        *parents, leaf = path.split(".")
        inside = any(word in parent for parent in parents for word in GROUPS[name])
        if inside and isinstance(part, nn.Linear | Conv1D):
            found.append(f"{parents[-1]}.{leaf}")
    if not found:
        raise ModelError(f"training.lora_targets={name!r} finds no layer in this model; name its layers instead.")
    return list(dict.fromkeys(found))


def _name_of(model: PreTrainedModel, module: nn.Module) -> str:
    path: str = next(name for name, part in model.named_modules() if part is module)
    return path.rsplit(".", 1)[-1]


def load_quantised(base_dir: str | Path, dtype: torch.dtype, bits: int = 4) -> PreTrainedModel:
    """Return the base ready for adapters, in 4 bits (NF4, double quantisation; QLoRA, Dettmers et al., 2023) or in 8
    (LLM.int8, Dettmers et al., 2022).

    Raises:
        ModelError: bitsandbytes or a GPU is missing.
    """
    if find_spec("bitsandbytes") is None:
        raise ModelError("training.mode=qlora needs bitsandbytes: pip install 'thinktwice[qlora]', or use mode=lora.")
    if not torch.cuda.is_available():
        raise ModelError("training.mode=qlora needs a GPU; use mode=lora on a CPU.")
    nf4 = {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": True,
        "bnb_4bit_compute_dtype": dtype,
    }
    config = cast(Any, BitsAndBytesConfig)(**(nf4 if bits == 4 else {"load_in_8bit": True}))
    model = load_model(base_dir, dtype, quantization_config=config, device_map={"": torch.cuda.current_device()})
    prepared: PreTrainedModel = cast(Any, prepare_model_for_kbit_training)(model, use_gradient_checkpointing=False)
    return prepared


def save_adapter(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    out: Path,
    *,
    base_dir: str,
    fingerprint: str,
    control_tokens: dict[str, int] | None = None,
    files: dict[str, str] | None = None,
) -> Path:
    """Write the adapter, its trained rows and the tokenizer. Law: the base's matrices are never copied into it."""
    record = json.dumps({"base": base_dir, "fingerprint": fingerprint}, indent=1)
    if not isinstance(model, PeftModel):
        model = _PrefixAlone(model)
    return save_model(
        model,
        tokenizer,
        out,
        control_tokens=control_tokens,
        files={**(files or {}), BASE_FILE: record},
        save_embedding_layers=False,  # the prepared base has the rows; PEFT would save both whole matrices
    )


class _PrefixAlone(nn.Module):
    """A model of which only the prefix is saved."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def save_pretrained(self, folder: Path, *, save_embedding_layers: bool) -> None:
        save_prefix(self.model, folder)


def is_adapter(folder: str | Path) -> bool:
    """Return whether a directory holds an adapter rather than a whole model."""
    return (Path(folder) / "adapter_config.json").is_file()


def load_adapter(
    adapter_dir: Path, base_dir: str | Path | None = None, dtype: torch.dtype | str = torch.float32
) -> PreTrainedModel | PeftModel:
    """Return base and adapter together, ready to be used. Law: never over a base it was not trained on.

    Raises:
        ModelError: the base is not found or has other weights.
    """
    base = find_base(adapter_dir, base_dir)
    if has_prefix(adapter_dir):
        prefixed: Any = load_prefix(load_model(base, dtype), adapter_dir)
        prefixed.eval()
        return cast(PreTrainedModel, prefixed)
    with quiet():
        adapted: PeftModel = PeftModel.from_pretrained(load_model(base, dtype), str(adapter_dir))
    return adapted.eval()


def merge(adapter_dir: Path, out: Path, base_dir: str | Path | None = None, dtype: torch.dtype | None = None) -> Path:
    """Write a plain model with the adapter's changes in its weights. Law: in fp32 the same logits.

    Args:
        adapter_dir: what `fit` saved with mode lora or qlora.
        out: a new model directory.
        base_dir: default: the base the adapter was trained over. Never a quantised one.
        dtype: of the saved weights; default: the base's. The sum itself is made in fp32.

    Raises:
        ModelError: it is a prefix, or a verifier.
    """
    if is_verifier(adapter_dir):
        raise ModelError(
            f"{adapter_dir} is a verifier: two readers and what passes between them, which no plain model can hold. "
            "Use its directory (LocalEngine.load)."
        )
    if has_prefix(adapter_dir):
        raise ModelError(
            "A learned prefix is no change of weights, so that no plain model can hold it; use the adapter's directory."
        )
    base = find_base(adapter_dir, base_dir)
    whole = merged(adapter_dir, base)
    nn.Module.to(whole, dtype or stored_dtype(base) or torch.float32)
    tokens = {**control_token_ids(base), **control_token_ids(adapter_dir)}
    return save_model(whole, load_tokenizer(adapter_dir), out, control_tokens=tokens)


def merged(adapter_dir: Path, base_dir: str | Path) -> PreTrainedModel:
    """Return a plain model, in fp32, with the adapter's changes in its weights.

    Raises:
        ModelError: it is a prefix, or was trained over another base.
    """
    if has_prefix(adapter_dir):
        raise ModelError(
            "A learned prefix is no change of weights, so that full training cannot start from it; "
            "set training.mode=prefix-tuning to train it further."
        )
    adapted: Any = load_adapter(adapter_dir, base_dir)
    whole: PreTrainedModel = adapted.merge_and_unload(safe_merge=True)
    return whole.requires_grad_(True)


def find_base(adapter_dir: Path, base_dir: str | Path | None) -> str | Path:
    """Return the base of an adapter: the one named, or its own.

    Raises:
        ModelError: the base has other weights than the one it was trained over.
    """
    record = json.loads((adapter_dir / BASE_FILE).read_text(encoding="utf-8"))
    base = base_dir or record["base"]
    if base_fingerprint(base) != record["fingerprint"]:
        raise ModelError(f"The adapter in {adapter_dir} was trained over other weights than {base}; name its own base.")
    return base
