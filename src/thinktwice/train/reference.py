"""What the starting weights think of every pair, computed once, before step 1. Law: never of other weights or pairs.

No second model is held in memory, and none is rebuilt by switching an adapter off: full training, LoRA, QLoRA, prompt
and prefix tuning all ask the very weights that training starts from. The answers are kept beside the checkpoints,
under the hash of those weights, so that a training that was killed goes on with the same numbers.
"""

import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from random import Random
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from thinktwice.errors import TrainError
from thinktwice.train.batch import plan_steps
from thinktwice.train.checkpoint import flush, sha256
from thinktwice.train.objective import Objective
from thinktwice.train.pairs import ReferencedPair, collate_pairs, pair_size, pairs_fingerprint
from thinktwice.train.preference import row_sums
from thinktwice.train.settings import Training
from thinktwice.types import Pair

log = logging.getLogger("thinktwice.train")
FILE, MANIFEST = "reference.safetensors", "reference.json"
SAMPLED = 65_536
"""Values of a tensor that are hashed, evenly spread: any training changes some, and 7 B weights take seconds."""

Referenced = tuple[list[ReferencedPair], list[ReferencedPair]]
"""(pairs to train on, dev pairs)."""


def reference(
    model: nn.Module,
    pairs: Sequence[Pair],
    dev: Sequence[Pair],
    settings: Training,
    *,
    out_dir: Path,
    device: torch.device,
    precision: str,
    pad_id: int = 0,
) -> Referenced:
    """Return every pair with its log-probabilities under `model` as it is now, read back where they are known already.

    Several processes share the work.

    Args:
        model: the starting weights, adapters included; moved to `device`, otherwise unchanged.
        pairs: what is trained on.
        dev: what is measured.
        settings: the size of a batch.
        out_dir: where reference.safetensors and reference.json are kept.
        device: where it is computed.
        precision: as in training, so that the reference is what the model says at step 1.
        pad_id: fills short rows.

    Raises:
        TrainError: what is kept there is of other weights or pairs; a log-probability that is not finite.
    """
    identity = {
        "weights": weights_hash(model),
        "pairs": pairs_fingerprint(pairs),
        "dev": pairs_fingerprint(dev),
        "precision": precision,
    }
    known = load(out_dir, identity)
    if known is None:
        model.to(device)
        options: dict[str, Any] = {"device": device, "precision": precision, "pad_id": pad_id}
        known = {
            name: logprobs(model, part, settings, **options) for name, part in (("train", pairs), ("dev", dev)) if part
        }
        if _rank()[0] == 0:
            save(out_dir, known, identity)
    both = (_attach(part, known.get(name)) for name, part in (("train", pairs), ("dev", dev)))
    train, held_out = both
    return train, held_out


@torch.no_grad()
def logprobs(
    model: nn.Module,
    pairs: Sequence[Pair],
    settings: Training,
    *,
    device: torch.device,
    precision: str,
    pad_id: int = 0,
) -> Tensor:
    """Return log-probabilities (pairs, 2) of chosen and rejected, float64, on the CPU, without dropout.

    Raises:
        TrainError: one is not finite, naming the problem.
    """
    training = model.training
    model.eval()
    objective, found = Objective(model), torch.zeros(len(pairs), 2, dtype=torch.float64)
    unknown = [ReferencedPair(pair, 0.0, 0.0) for pair in pairs]
    steps = plan_steps(range(len(pairs)), lambda k: pair_size(unknown[k]), settings, Random(0))
    batches = [step[k :: settings.grad_accumulation] for step in steps for k in range(settings.grad_accumulation)]
    rank, processes = _rank()
    for places in [batch for batch in batches if batch][rank::processes]:
        batch = collate_pairs([unknown[k] for k in places], pad_id).to(device)
        with autocast(device, precision):
            sums_R = -row_sums(objective.nll(batch.rows), batch.rows).cpu()
        found[places] = torch.stack(sums_R.chunk(2), dim=1)
    model.train(training)
    if processes > 1:
        shared = found.to(device)
        torch.distributed.all_reduce(shared)
        found = shared.cpu()
    if not torch.isfinite(found).all():
        broken = [pairs[k].problem_id for k in range(len(pairs)) if not torch.isfinite(found[k]).all()]
        raise TrainError(
            f"The starting weights give problem {broken[0]} (and {len(broken) - 1} more) a log-probability that is not "
            "finite. Look at the pairs with `thinktwice show`, and set training.precision=fp32."
        )
    return found


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """Return the context in which a forward pass has that precision."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16 if precision == "bf16" else torch.float16)


def weights_hash(model: nn.Module) -> str:
    """Return a hash of a model's weights, every tensor sampled (SAMPLED values); where they lie does not matter."""
    digest = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        values = parameter.data.flatten()
        digest.update(f"{name} {tuple(parameter.shape)} {parameter.dtype}\n".encode())
        digest.update(values[:: values.numel() // SAMPLED + 1].cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def save(folder: Path, known: Mapping[str, Tensor], identity: Mapping[str, str]) -> None:
    """Write the log-probabilities, and last, what they are of: a file without its manifest does not count."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    aside = folder / f".{FILE}.{os.getpid()}"
    save_file(dict(known), aside)
    flush(aside)
    os.replace(aside, folder / FILE)
    record = {"sha256": sha256(folder / FILE), "of": dict(identity)}
    aside = folder / f".{MANIFEST}.{os.getpid()}"
    aside.write_text(json.dumps(record, indent=1), encoding="utf-8")
    flush(aside)
    os.replace(aside, folder / MANIFEST)
    flush(folder)


def load(folder: Path, identity: Mapping[str, str]) -> dict[str, Tensor] | None:
    """Return what `save` wrote, or None where nothing is, or what is there is damaged (which is said aloud).

    Raises:
        TrainError: it is whole, and of other weights, pairs or precision.
    """
    try:
        record = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        found = record["of"]
        if sha256(folder / FILE) != record["sha256"]:
            raise ValueError(f"{FILE} does not match its hash")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as damage:
        log.warning("The reference in %s is damaged (%s); computing it again.", folder, damage)
        return None
    if changed := [key for key, value in identity.items() if found.get(key) != value]:
        what = "; ".join(f"{key} was {str(found.get(key))[:12]}, is {identity[key][:12]}" for key in changed)
        raise TrainError(
            f"The reference log-probabilities in {folder} are of another training ({what}). Use a new directory, or "
            "undo the change: preferences are measured against the weights that training started from."
        )
    return load_file(folder / FILE)


def _attach(pairs: Sequence[Pair], known: Tensor | None) -> list[ReferencedPair]:
    rows = [] if known is None else known.tolist()
    return [ReferencedPair(pair, *row) for pair, row in zip(pairs, rows, strict=True)]


def _rank() -> tuple[int, int]:
    """Return (this process's number, how many there are)."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1
