"""Checkpoints that are whole or not there: written aside, verified by hash, resumed bit for bit."""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from thinktwice.errors import TrainError

log = logging.getLogger("thinktwice.train")
KEPT = 2
"""Checkpoints that stay on disk: the newest and, should it be damaged, the one before."""
MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of a training between two steps."""

    step: int
    """Optimiser steps taken."""
    tensors: dict[str, Tensor]
    """Trainable weights ("weights/..."), optimiser states, random number generators, the best weights so far."""
    state: dict[str, Any] = field(default_factory=dict)
    """Plain JSON: cursor, counters, early stopping."""


def save_checkpoint(folder: Path, checkpoint: Checkpoint, identity: Mapping[str, Any]) -> Path:
    """Write a checkpoint and return its directory. Law: a directory with its final name is complete.

    `identity` (settings, data, world size) is stored with it and compared by `load_newest`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / f"step-{checkpoint.step:08d}"
    aside = folder / f".step-{checkpoint.step:08d}.{os.getpid()}"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    size = sum(tensor.numel() * tensor.element_size() for tensor in checkpoint.tensors.values())
    free = shutil.disk_usage(folder).free
    if free < 2 * size:
        raise TrainError(f"A checkpoint needs {size >> 20} MiB, {folder} has {free >> 20} MiB free; make room first.")
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
    save_file(tensors, aside / "tensors.safetensors")
    (aside / "state.json").write_text(json.dumps(checkpoint.state), encoding="utf-8")
    files = {name: sha256(aside / name) for name in ("tensors.safetensors", "state.json")}
    manifest = {"step": checkpoint.step, "files": files, "identity": dict(identity), "torch": torch.__version__}
    (aside / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    publish(aside, final)
    for old in _newest_first(folder)[KEPT:]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def publish(aside: Path, final: Path) -> None:
    """Flush a finished directory to disk and give it its final name; what had the name before is replaced."""
    for path in [*(p for p in aside.rglob("*") if p.is_file()), aside]:
        flush(path)
    if final.exists():
        outgoing = final.with_name(f".{final.name}.old")
        shutil.rmtree(outgoing, ignore_errors=True)
        os.replace(final, outgoing)
        os.replace(aside, final)
        shutil.rmtree(outgoing, ignore_errors=True)
    else:
        os.replace(aside, final)
    flush(final.parent)


def load_newest(folder: Path, identity: Mapping[str, Any]) -> Checkpoint | None:
    """Return the newest checkpoint that is whole, or None. A damaged one is passed over, loudly.

    Raises:
        TrainError: the checkpoint belongs to other settings, data or another number of processes.
    """
    for path in _newest_first(folder):
        try:
            manifest = verify(path)
            found = manifest["identity"]
            state = json.loads((path / "state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError, KeyError, TypeError) as damage:
            log.warning("Checkpoint %s is damaged (%s); going back to the one before.", path, damage)
            continue
        if changed := sorted(k for k in {*found, *identity} if found.get(k) != identity.get(k)):
            what = "; ".join(f"{key} was {found.get(key)!r}, is {identity.get(key)!r}" for key in changed)
            raise TrainError(f"{path} belongs to another training ({what}). Use a new directory, or undo the change.")
        return Checkpoint(manifest["step"], load_file(path / "tensors.safetensors"), state)
    return None


def verify(folder: Path) -> dict[str, Any]:
    """Return a checkpoint's manifest after comparing every file with its hash; OSError or ValueError when damaged."""
    manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    for name, digest in manifest["files"].items():
        if sha256(folder / name) != digest:
            raise ValueError(f"{name} does not match its hash")
    return manifest


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"), key=lambda path: path.name, reverse=True)


def flush(path: Path) -> None:
    """Wait until a file or directory is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(path: Path) -> str:
    """Return the hash of a file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
