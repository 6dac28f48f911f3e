"""The rows of some tokens in a saved model, read without loading the model."""

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

INPUT = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "embed_in.weight", "tok_embeddings.weight")
OUTPUT = ("lm_head.weight", "embed_out.weight")
"""How the families call the two matrices; an output that is tied to the input is not saved."""
TRAINED = "trainable_tokens_delta"
"""PEFT's tensor of trained rows: the rows themselves, in the order of their ids, not a difference."""


def token_rows(folder: Path, ids: Sequence[int], base: Path | None = None) -> dict[str, NDArray[np.float32]]:
    """Return the rows (len(ids), H) of some tokens by matrix: "input", and "output" where the head has its own.

    Args:
        folder: a saved model, or an adapter.
        ids: of the tokens.
        base: what an adapter stands on: rows that it did not train are the base's.

    A matrix under no known name is left out.
    """
    if (folder / "adapter_config.json").is_file():
        return _trained(folder, ids, base)
    found: dict[str, NDArray[np.float32]] = {}
    with ExitStack() as files:
        for path in sorted(folder.glob("*.safetensors")):
            file = files.enter_context(safe_open(path, framework="pt"))
            for name in file.keys():  # noqa: SIM118  not a mapping
                for matrix, endings in (("input", INPUT), ("output", OUTPUT)):
                    if name.endswith(endings):
                        part = file.get_slice(name)
                        found[matrix] = np.stack([part[i : i + 1][0].float().numpy() for i in ids])
    return found


def _trained(folder: Path, ids: Sequence[int], base: Path | None) -> dict[str, NDArray[np.float32]]:
    found = token_rows(base, ids) if base is not None else {}
    own = _indices(json.loads((folder / "adapter_config.json").read_text(encoding="utf-8")))
    path = folder / "adapter_model.safetensors"
    if not path.is_file():
        return found
    with safe_open(path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118
            if not name.endswith(TRAINED):
                continue
            module = next((m for m in own if f".{m}." in name), None)
            if module is None:
                continue
            matrix = "output" if f"{module}.weight" in OUTPUT else "input"
            rows = dict(zip(sorted(own[module]), file.get_tensor(name).float().numpy(), strict=True))
            if matrix in found:
                found[matrix] = np.stack([rows.get(i, row) for i, row in zip(ids, found[matrix], strict=True)])
    return found


def _indices(config: dict[str, object]) -> dict[str, list[int]]:
    """Return {module: ids of its trained rows} from an adapter's config, of LoRA or of trainable tokens alone."""

    def read() -> Iterator[tuple[str, list[int]]]:
        trained, modules = config.get("trainable_token_indices"), config.get("target_modules")
        if isinstance(trained, dict):
            yield from trained.items()
        tokens = config.get("token_indices")
        if isinstance(tokens, list) and isinstance(modules, list | str):
            yield from ((module, tokens) for module in ([modules] if isinstance(modules, str) else modules))

    return dict(read())
