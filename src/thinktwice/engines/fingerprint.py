"""A model's identity: what it computes from ordinary text. Law: weights matter; name, path and device do not."""

import hashlib
from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

SAMPLED = 65_536
"""Values of a tensor that are read, evenly spread: any training changes some of them, and 7 B weights take seconds."""


@torch.no_grad()
def fingerprint(model: PreTrainedModel, token_ids: Sequence[int]) -> str:
    """Return the model's class, its size and a hash of its weights, as one line.

    Of the rows of the vocabulary only those of `token_ids` are read: tokens that were added do not make another model.
    Weights count to the precision of bfloat16, so that a number format does not either.

    Args:
        model: any model with an input embedding.
        token_ids: what its tokenizer makes of some text; another vocabulary or template is another identity.
    """
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()  # type: ignore[no-untyped-call]
    rows = embedding.weight
    assert isinstance(rows, torch.Tensor)
    vocabulary = {id(rows), *(id(p) for p in (head.parameters() if head is not None else ()))}
    hashed = hashlib.sha256(repr(tuple(token_ids)).encode())
    _add(hashed, rows[list(token_ids)])
    for name, tensor in sorted(model.named_parameters()):
        if id(tensor) not in vocabulary:
            hashed.update(name.encode())
            _add(hashed, tensor.flatten()[:: tensor.numel() // SAMPLED + 1])
    config = model.config.get_text_config()
    size = f"{config.num_hidden_layers}x{config.hidden_size}"
    return f"{type(model).__name__} {size} {hashed.hexdigest()[:16]}"


def _add(hashed: "hashlib._Hash", tensor: torch.Tensor) -> None:
    hashed.update(tensor.to("cpu", torch.bfloat16).contiguous().view(torch.int16).numpy().tobytes())
