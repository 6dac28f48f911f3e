"""What matters about this machine, and what to do about what is wrong with it. Law: no secret is printed."""

import os
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from thinktwice.run.provenance import cores, environment

NEEDED = ("torch", "transformers", "tokenizers", "safetensors")
OPTIONAL = {"trl": "train", "peft": "train", "accelerate": "train", "datasets": "train", "lm_eval": "eval"}
"""Package -> the extra that brings it."""
SHOWN = ("HF_HOME", "HF_HUB_OFFLINE", "HF_ENDPOINT", "TRANSFORMERS_OFFLINE", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")
SECRET = ("HF_TOKEN", "OPENAI_API_KEY")


def examine() -> Iterator[str]:
    """Yield one line a fact; a line that begins with "→" says what to do."""
    facts = environment()
    yield f"python        {facts['python']} ({sys.executable})"
    yield f"platform      {facts['platform']}"
    yield f"processor     {facts['cpu'] or 'unknown'}, {cores()} cores for this process"
    threads = os.environ.get("OMP_NUM_THREADS")
    yield f"threads       {threads or 'one a core (OMP_NUM_THREADS is not set)'}"
    if threads and threads.isdigit() and int(threads) > cores():
        yield f"→ OMP_NUM_THREADS={threads} is more than there are cores: export OMP_NUM_THREADS={cores()}"
    yield from _gpu(facts["gpu"])
    yield from _disk()
    for name in NEEDED:
        found = _version(name)
        yield f"{name:<14}{found or 'missing'}"
        if found is None:
            yield f"→ {name} is needed: make demo installs everything, or pip install thinktwice"
    for name, extra in OPTIONAL.items():
        yield f"{name:<14}{_version(name) or f'not installed (only for {extra}: pip install thinktwice[{extra}])'}"
    for name in SHOWN:
        if name in os.environ:
            yield f"{name:<22}{os.environ[name]}"
    for name in SECRET:
        yield f"{name:<22}{'set (not shown)' if os.environ.get(name) else 'not set'}"
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        yield "→ HF_HUB_OFFLINE is set: only bundled, local and cached models and datasets can be used"


def examine_transplant(model: str) -> Iterator[tuple[bool, str]]:
    """Yield whether each thing that a transplant needs holds of a model or a saved verifier, and one line about it."""
    from thinktwice.cli.progress import quiet_loading
    from thinktwice.engines.loading import check_transplant

    quiet_loading()
    for finding in check_transplant(model):
        yield finding.passed, f"{'✓' if finding.passed else '✗'} {finding.sentence}"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _gpu(found: list[str]) -> Iterator[str]:
    yield f"GPU           {'; '.join(found) or 'none (the demo needs none)'}"
    torch = _version("torch") or ""
    if found and torch.endswith("+cpu"):
        yield f"→ torch {torch} cannot use the GPU: pip install torch from https://pytorch.org/get-started/locally"


def _disk() -> Iterator[str]:
    try:
        free = shutil.disk_usage(Path.cwd()).free / 1e9
    except OSError:
        return
    yield f"disk          {free:.1f} GB free here"
    if free < 2:
        yield "→ less than 2 GB free: a run of the demo needs little, a fine-tuning of a larger model does not"
