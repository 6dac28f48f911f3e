"""What a saved verifier says of itself: which adapters its roles have, and what is moved between them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from thinktwice.decode.transplant.verifier import Parts, Role
from thinktwice.errors import ModelError

FILE = "verifier.json"
"""In the directory of a saved verifier, beside the directories of its adapters."""
ARGUER, CHOOSER = "arguer", "chooser"


@dataclass(frozen=True, slots=True)
class SavedVerifier:
    """The contents of verifier.json."""

    arguer: Literal["joint", "frozen", "tied", "none"]
    """joint: an adapter of its own; frozen: the base as it is; tied: the chooser's; none: nothing is moved."""
    layers: tuple[int, ...] = ()
    """Whose keys and values are moved; empty: all."""
    parts: Parts = "kv"

    def adapter(self, role: Role) -> str | None:
        """Return the name of a role's adapter; None: the base as it is."""
        if role == "chooser" or self.arguer == "tied":
            return CHOOSER
        return ARGUER if self.arguer == "joint" else None

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names of the adapters there are; each has a directory."""
        return (CHOOSER, ARGUER) if self.arguer == "joint" else (CHOOSER,)


def is_verifier(folder: str | Path) -> bool:
    """Return whether a directory holds a verifier."""
    return (Path(folder) / FILE).is_file()


def read_verifier(folder: str | Path) -> SavedVerifier:
    """Return what a saved verifier says of itself.

    Raises:
        ModelError: its file is damaged.
    """
    try:
        found = json.loads((Path(folder) / FILE).read_text(encoding="utf-8"))
        return SavedVerifier(found["arguer"], tuple(int(layer) for layer in found["layers"]), found["parts"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{Path(folder) / FILE} is damaged ({error}); train the verifier again.") from error
