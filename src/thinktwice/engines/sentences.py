"""Sentence encoders: texts as vectors, each by itself. Needs no package beyond transformers; safetensors only."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from thinktwice.errors import DataError, ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray


class SentenceEncoder:
    """A sentence encoder from a directory or the hub. Law: a text's vector holds nothing of its neighbours' padding.

    The pooling and normalisation that a sentence-transformers directory states are followed; without them: the mean.
    """

    def __init__(self, path: str, *, batch_size: int = 64) -> None:
        """Load it.

        Raises:
            ModelError: it is not there, or it pools neither by the mean nor by the first token.
        """
        from transformers import AutoModel, AutoTokenizer

        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(path, padding_side="right")
            self.model: Any = AutoModel.from_pretrained(path, use_safetensors=True)
        except (OSError, ValueError, ImportError, KeyError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ModelError(
                f"No sentence encoder could be loaded from {path!r}: {reason} Give a directory with config.json and "
                "safetensors weights, or a hub id that this machine can reach (HF_HUB_OFFLINE unset, network up)."
            ) from error
        self.model.train(False)
        self.batch_size = batch_size
        self.pooling = _pooling_of(path)
        self.normalised = any(str(part.get("type", "")).endswith("Normalize") for part in _read(path, "modules.json"))

    def identity(self, probe: str) -> str:
        """Return the model, what its vocabulary makes of the text `probe`, and how it pools, as one line."""
        from thinktwice.engines.fingerprint import fingerprint

        said = fingerprint(self.model, self.tokenizer(probe)["input_ids"])
        return f"{said}, {self.pooling}{', normalised' if self.normalised else ''}"

    def __call__(self, texts: Sequence[str], names: Sequence[str]) -> "NDArray[np.float32]":
        """Return one vector a text, (texts, H). `names` say in an error which text is meant ("problem 7 has a step").

        Raises:
            DataError: a text is longer than the encoder reads; nothing is cut.
        """
        import torch

        limit = min(self.tokenizer.model_max_length, getattr(self.model.config, "max_position_embeddings", 2**31))
        found: list[NDArray[np.float32]] = []
        for start in range(0, len(texts), self.batch_size):
            chunk = slice(start, start + self.batch_size)
            batch = self.tokenizer(list(texts[chunk]), padding=True, return_tensors="pt", verbose=False)
            seen = batch["attention_mask"]
            for length, name in zip(seen.sum(dim=1).tolist(), names[chunk], strict=True):
                if not 0 < length <= limit:
                    raise DataError(f"{name} of {length} tokens; the encoder reads 1 to {limit}.")
            with torch.inference_mode():
                states = self.model(**batch).last_hidden_state.float()
                mean = (states * seen[..., None]).sum(dim=1) / seen.sum(dim=1, keepdim=True)
                pooled = mean if self.pooling == "mean" else states[:, 0]
                if self.normalised:
                    pooled = torch.nn.functional.normalize(pooled, dim=-1)
            found.append(pooled.numpy())
        return np.concatenate(found) if found else np.zeros((0, 0), np.float32)


def _pooling_of(path: str) -> str:
    said = _read(path, "1_Pooling/config.json")
    if not said:
        return "mean"
    on = [name for name, value in said.items() if name.startswith("pooling_mode_") and value is True]
    found = {"mean_tokens": "mean", "cls_token": "first"}.get(",".join(on).replace("pooling_mode_", ""))
    if found is None:
        raise ModelError(f"the sentence encoder {path!r} pools by {on}; only mean and first token are known.")
    return found


def _read(path: str, name: str) -> Any:
    """Return the JSON file of a model's directory or hub repository; an empty list where it has none."""
    from transformers.utils.hub import cached_file

    place = cached_file(
        path,
        name,
        _raise_exceptions_for_gated_repo=False,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    if place is None:
        return []
    with open(place, encoding="utf-8") as stream:
        return json.load(stream)
