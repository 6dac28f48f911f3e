"""Control tokens: one id each, with rows that start out meaning something. Text that spells one never becomes one."""

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from transformers import (
    AddedToken,
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from thinktwice.errors import ModelError
from thinktwice.train.checkpoint import publish
from thinktwice.train.objective import embedding, output_head
from thinktwice.types import ControlToken

Initialisation = Literal["description", "words", "combined", "mean"]
TOKENS_FILE = "control_tokens.json"
"""In a model's directory: {token: id} of the control tokens that were added to it."""


def add_control_tokens(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    tokens: Sequence[ControlToken],
    *,
    init: Initialisation = "combined",
    noise: float = 0.1,
    seed: int = 0,
    pad_to_multiple_of: int | None = None,
) -> dict[str, int]:
    """Give every token one id and initialised rows, and return {token: id}. Law: the same call gives the same rows.

    A token the tokenizer already has (a reserved one) keeps its id; a new one takes a spare row of a padded
    vocabulary, and the matrices grow only when there is none. With an untied head the output row is initialised from
    the output rows of the same words.

    Args:
        model: changed in place.
        tokenizer: changed in place.
        tokens: what to add.
        init: description: mean of the rows of its words; words: mean over the words; combined: the mean of both;
            mean: mean of all rows in use.
        noise: standard deviation of the noise added to each row, in units of the spread of the rows in use.
        seed: of the noise.
        pad_to_multiple_of: when the matrices must grow, to a multiple of this.

    Raises:
        ModelError: a token that would not be one id, or is the unknown, begin, end or padding token.
    """
    used = sorted(set(tokenizer.get_vocab().values()))
    words = {token.token: _word_ids(tokenizer, token, init) for token in tokens}
    for token in tokens:
        # Marked as special even when the vocabulary has it, so that plain text can be kept from becoming it.
        tokenizer.add_tokens([AddedToken(token.token, special=True, normalized=False)], special_tokens=True)
    ids = {token.token: single_id(tokenizer, token.token) for token in tokens}
    if len(set(ids.values())) != len(tokens):
        raise ModelError(f"Control tokens share an id: {ids}. Give every token its own name.")
    rows = len(embedding(model))
    if max(ids.values(), default=0) >= rows:
        # Our own initialisation follows; Transformers' would cost a covariance of the whole matrix.
        model.resize_token_embeddings(max(ids.values()) + 1, pad_to_multiple_of, mean_resizing=False)
    known = [i for i in used if i < rows]
    for tensor in _row_tensors(model):
        draw = torch.Generator().manual_seed(seed)
        _initialise(tensor, known, rows, [(ids[t.token], words[t.token]) for t in tokens], init, noise, draw)
    return ids


def _row_tensors(model: PreTrainedModel) -> list[Tensor]:
    """Return every tensor with a row for every token: embeddings, an untied head, its bias."""
    tensors = [embedding(model)]
    head = output_head(model)
    for name in ("weight", "bias"):
        tensor = getattr(head, name, None)
        if isinstance(tensor, Tensor) and tensor is not tensors[0]:
            tensors.append(tensor)
    return tensors


@torch.no_grad()
def _initialise(
    weight: Tensor,
    known: Sequence[int],
    old_rows: int,
    new: Sequence[tuple[int, list[list[int]]]],
    init: Initialisation,
    noise: float,
    draw: torch.Generator,
) -> None:
    fresh = {i for i, _ in new}
    in_use = weight[[i for i in known if i not in fresh]].float()
    mean, spread = in_use.mean(0), in_use.std()
    weight[old_rows:] = mean.to(weight.dtype)  # rows that only pad the matrix: never sampled, but never random either
    table = weight.detach().float().clone()
    for token_id, groups in new:
        means = [torch.stack([table[i] for i in group]).mean(0) for group in groups]
        row = mean if init == "mean" or not means else torch.stack(means).mean(0)
        jitter = torch.randn(row.shape, generator=draw).to(row.device) * spread * noise
        weight[token_id] = (row + jitter).to(weight.dtype)


def _word_ids(tokenizer: PreTrainedTokenizerBase, token: ControlToken, init: Initialisation) -> list[list[int]]:
    """Return groups of ids; the row is the mean over groups of the mean within a group."""
    description = [encode_plain(tokenizer, token.description)] if init in ("description", "combined") else []
    words = [i for word in token.words for i in encode_plain(tokenizer, " " + word)]
    groups = description + ([words] if init in ("words", "combined") else [])
    if init == "words" and not words:
        raise ModelError(f"init=words needs words for {token.token}; give some or use init=description.")
    return [group for group in groups if group]


def single_id(tokenizer: PreTrainedTokenizerBase, token: str) -> int:
    """Return the one id of a control token.

    Raises:
        ModelError: the tokenizer splits it, or it is the unknown, begin, end or padding token.
    """
    found = tokenizer.convert_tokens_to_ids(token)
    reserved = {
        "unknown": tokenizer.unk_token_id,
        "begin": tokenizer.bos_token_id,
        "end": tokenizer.eos_token_id,
        "padding": tokenizer.pad_token_id,
    }
    for role, token_id in reserved.items():
        if token_id is not None and found == token_id:
            raise ModelError(f"{token!r} is this tokenizer's {role} token; choose another name for the control token.")
    encoded = tokenizer.encode(token, add_special_tokens=False)
    if not isinstance(found, int) or encoded != [found]:
        raise ModelError(f"This tokenizer reads {token!r} as {encoded}, not as one token; choose another name.")
    return found


def encode_plain(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Encode text from outside: what spells a control token stays letters.

    Raises:
        ModelError: the tokenizer turns the spelling into the token all the same.
    """
    special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
    if special.isdisjoint(ids):
        return ids
    # The model's own vocabulary knows the spelling (a reserved token in a word list): break it apart.
    spelled = [token.content for i, token in tokenizer.added_tokens_decoder.items() if i in special and token.content]
    pieces = [text]
    for token in sorted(spelled, key=len, reverse=True):
        pieces = [part for piece in pieces for part in _cut_inside(piece, token)]
    parts = [tokenizer.encode(piece, add_special_tokens=False, split_special_tokens=True) for piece in pieces]
    if any(not special.isdisjoint(part) for part in parts):
        raise ModelError(
            "This tokenizer turns plain text into a special token; remove the token's text from the input."
        )
    return [i for part in parts for i in part]


def _cut_inside(text: str, token: str) -> list[str]:
    pieces, start = [], 0
    while (found := text.find(token, start)) >= 0 and len(token) > 1:
        pieces.append(text[start : found + 1])
        start = found + 1
    return [*pieces, text[start:]]


@contextmanager
def quiet() -> Iterator[None]:
    """Keep other libraries' progress bars, and their warnings about each other's renamings, off the terminal."""
    library = cast(Any, logging)
    bars = library.is_progress_bar_enabled()
    library.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*gradient_checkpointing.*", FutureWarning)
            # PEFT warns of every tied head; trained rows it does tie, which a test looks at.
            warnings.filterwarnings("ignore", ".*a tied layer is part of the adapter.*")
            yield
    finally:
        if bars:
            library.enable_progress_bar()


def load_tokenizer(folder: str | Path) -> PreTrainedTokenizerBase:
    """Return a model's tokenizer. Code shipped with a model is not run."""
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(str(folder))
    return tokenizer


def load_model(folder: str | Path, dtype: torch.dtype | str = torch.float32, **options: Any) -> PreTrainedModel:
    """Return a causal language model. Law: safetensors only; code shipped with a model is not run."""
    with quiet():
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            str(folder), dtype=dtype, use_safetensors=True, **options
        )
    return model


def prepare_base(
    base: str | Path,
    out: Path,
    tokens: Sequence[ControlToken],
    *,
    init: Initialisation = "combined",
    noise: float = 0.1,
    seed: int = 0,
    pad_to_multiple_of: int | None = None,
) -> dict[str, int]:
    """Save `base` with the control tokens' rows in it, and return {token: id}. Law: complete or not there.

    Adapters are trained over this directory, so that nothing of the vocabulary is re-drawn when they are loaded.
    Control tokens that the base has from a training of its own keep their rows, and the weights the base's own dtype.
    """
    model, tokenizer = load_model(base, dtype="auto"), load_tokenizer(base)
    known = control_token_ids(base)
    fresh = [token for token in tokens if token.token not in known]
    ids = add_control_tokens(
        model, tokenizer, fresh, init=init, noise=noise, seed=seed, pad_to_multiple_of=pad_to_multiple_of
    )
    save_model(model, tokenizer, out, control_tokens={**known, **ids})
    return {token.token: {**known, **ids}[token.token] for token in tokens}


def save_model(
    model: PreTrainedModel | nn.Module,
    tokenizer: PreTrainedTokenizerBase | None,
    out: Path,
    *,
    control_tokens: dict[str, int] | None = None,
    files: dict[str, str] | None = None,
    **options: Any,
) -> Path:
    """Write a model's directory aside and give it its name when it is whole. `files`: more files, name -> text."""
    out.parent.mkdir(parents=True, exist_ok=True)
    aside = out.with_name(f".{out.name}.{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    with quiet():
        model.save_pretrained(aside, **options)  # type: ignore[operator]
    if tokenizer is not None:
        tokenizer.save_pretrained(aside)
    if control_tokens:
        (aside / TOKENS_FILE).write_text(json.dumps(control_tokens, indent=1), encoding="utf-8")
    for name, text in (files or {}).items():
        (aside / name).write_text(text, encoding="utf-8")
    publish(aside, out)
    return out


def control_token_ids(folder: str | Path) -> dict[str, int]:
    """Return {token: id} of the control tokens added to a saved model; empty when there are none."""
    path = Path(folder) / TOKENS_FILE
    if not path.is_file():
        return {}
    ids: dict[str, int] = json.loads(path.read_text(encoding="utf-8"))
    return ids


def base_fingerprint(base: str | Path) -> str:
    """Return a hash of a model's directory: its config, and of each weight file its size and both ends.

    A hub id is hashed as it is; pin a revision by using a local directory.
    """
    folder, digest = Path(base), hashlib.sha256()
    if not folder.is_dir():
        return hashlib.sha256(str(base).encode()).hexdigest()
    for path in [*sorted(folder.glob("*.safetensors")), folder / "config.json"]:
        if not path.is_file():
            continue
        with path.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            digest.update(f"{path.name}:{size}:".encode())
            for offset in (0, max(0, size - (1 << 20))):
                stream.seek(offset)
                digest.update(stream.read(1 << 20))
    return digest.hexdigest()


def adapter_fingerprint(base: str | Path, adapter: Path) -> str:
    """Return a hash of a base with an adapter over it."""
    digest = hashlib.sha256(base_fingerprint(base).encode())
    for path in [*sorted(adapter.glob("*.safetensors")), adapter / "adapter_config.json"]:
        if path.is_file():
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def stored_dtype(base: str | Path) -> torch.dtype | None:
    """Return the dtype a model's weights are stored in, where its config tells."""
    dtype = getattr(AutoConfig.from_pretrained(str(base)), "dtype", None)
    return dtype if isinstance(dtype, torch.dtype) else None
