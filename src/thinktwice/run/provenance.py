"""Under what conditions a run was made: code, machine, packages. Law: an allow-list; no secret ever enters a file."""

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from thinktwice.run.files import file_digest

PACKAGES = (
    "thinktwice", "torch", "transformers", "tokenizers", "safetensors", "huggingface_hub", "numpy", "trl", "peft",
    "accelerate", "datasets", "bitsandbytes", "lm_eval",
)  # fmt: skip
VARIABLES = (
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "CUBLAS_WORKSPACE_CONFIG", "PYTHONHASHSEED",
    "HF_HUB_OFFLINE", "WORLD_SIZE",
)  # fmt: skip
READERS = ("cli", "evals", "report", "show.py", "status.py", "ui")
"""Parts of the package that only read results; changing them does not change a run."""

_SECRET_KEY = re.compile(r"token$|key$|secret|passw|auth|credential", re.IGNORECASE)
_SECRET_VALUE = re.compile(r"\b(?:hf_|sk-|ghp_|github_pat_|xox[a-z]-)\w[\w-]{8,}|(?<=://)[^/@\s]+@")


def environment(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Return the machine and the packages a run is made with."""
    packages = {}
    for name in PACKAGES:
        try:
            packages[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "command": without_secrets(sys.argv if argv is None else argv),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _cpu(),
        "cores": cores(),
        "gpu": gpus(),
        "packages": packages,
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
    }


def without_secrets(argv: Sequence[str]) -> list[str]:
    """Return a command line with everything that looks like a key, token or password replaced by ***."""
    shown: list[str] = []
    hide = False
    for word in argv:
        key, equals, _ = word.partition("=")
        if hide and not word.startswith("-"):
            shown.append("***")
        elif equals and _SECRET_KEY.search(key):
            shown.append(f"{key}=***")
        else:
            shown.append(_SECRET_VALUE.sub("***", word))
        hide = word.startswith("--") and not equals and bool(_SECRET_KEY.search(key))
    if shown:
        shown[0] = Path(shown[0]).name
    return shown


def cores() -> int:
    """Return how many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus() -> list[str]:
    """Return the NVIDIA GPUs as the driver names them, without importing torch."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    out = _output([program, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"])
    return [line.strip() for line in (out or "").splitlines() if line.strip()]


def _cpu() -> str:
    try:
        info = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor()
    found = re.search(r"^model name\s*:\s*(.+)$", info, re.MULTILINE)
    return found.group(1) if found else platform.processor()


def code_state(package: Path | None = None) -> tuple[dict[str, Any], str]:
    """Return what the code is, and the patch against its commit ("" when clean or not a checkout).

    `files` maps every file of the package that can change a result to its SHA-256: it alone decides whether a run may
    be continued. Commit and version are for people.
    """
    package = package or Path(__file__).resolve().parents[1]
    files = {
        path.relative_to(package).as_posix(): file_digest(path)
        for path in sorted(package.rglob("*"))
        if path.is_file()
        and path.relative_to(package).parts[0] not in READERS
        and path.suffix not in {".pyc", ".md", ".tmp"}
        and "__pycache__" not in path.parts
    }
    state: dict[str, Any] = {"version": _version(), "commit": None, "changed": False, "files": files}
    git = ["git", "-C", str(package)]
    if shutil.which("git") is None or _output([*git, "ls-files", "--error-unmatch", "types.py"]) is None:
        return state, ""  # an installed package, or a package that lies inside someone else's checkout
    commit = _output([*git, "rev-parse", "HEAD"])
    patch = _output([*git, "diff", "HEAD", "--", "."]) or ""
    state |= {"commit": commit.strip() if commit else None, "changed": bool(patch)}
    return state, patch


def _version() -> str | None:
    try:
        return importlib.metadata.version("thinktwice")
    except importlib.metadata.PackageNotFoundError:
        return None


def _output(command: list[str]) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False, errors="replace")
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
