"""A fitted typer on disk: typer.json, and numbers beside it in typer.safetensors. Law: no pickle; damage is refused."""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinktwice.config import parse, to_dict
from thinktwice.errors import DataError
from thinktwice.methods.planning.typers.embedding import Embed, Solution
from thinktwice.run import write_json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FILE, TENSORS = "typer.json", "typer.safetensors"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Fit:
    """What a typer was fitted on, and how its types fell there."""

    problems: int
    steps: int
    seed: int
    counts: dict[str, int]
    """Type -> steps that have it; every type is there, those with none as 0."""
    embedder: str = ""
    """Identity of the embedder; empty where none was used."""

    @property
    def used(self) -> int:
        """Types that some step has."""
        return sum(1 for count in self.counts.values() if count)

    @property
    def perplexity(self) -> float:
        """How many equally frequent types would be as spread: 1 when all steps have one, K when all are as frequent."""
        total = sum(self.counts.values())
        shares = [count / total for count in self.counts.values() if count]
        return math.exp(-sum(p * math.log(p) for p in shares))


def fit_of(
    solutions: Sequence[Solution], found: Sequence[str], types: Sequence[str], seed: int, embed: Embed | None = None
) -> Fit:
    """Count how types fell on the solutions that a typer was fitted on."""
    counted = Counter(found)
    steps = sum(len(s.steps) for s in solutions)
    return Fit(len(solutions), steps, seed, {name: counted[name] for name in types}, embed.identity if embed else "")


def write_typer(
    directory: Path,
    kind: str,
    fields: Mapping[str, Any],
    tensors: "Mapping[str, NDArray[np.generic]] | None" = None,
    fit: Fit | None = None,
) -> None:
    """Write a typer; the json goes last and names the digest of the tensors, so that a half-written one is refused."""
    directory.mkdir(parents=True, exist_ok=True)
    digest = None
    if tensors:
        import numpy as np
        from safetensors.numpy import save

        content = save({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()})
        digest = _digest(content)
        (directory / TENSORS).write_bytes(content)
    told = None if fit is None else to_dict(fit)
    write_json(
        directory / FILE, {"format": FORMAT, "kind": kind, "fields": dict(fields), "fit": told, "tensors": digest}
    )


def read_typer(directory: Path) -> dict[str, Any]:
    """Return what `typer.json` says.

    Raises:
        DataError: there is none, or it is damaged, or of another format.
    """
    path = directory / FILE
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        if saved["format"] != FORMAT:
            raise DataError(f"{path} has format {saved['format']}; this version reads {FORMAT}. {AGAIN}")
        missing = {"kind", "fields", "fit", "tensors"} - saved.keys()
        if missing:
            raise KeyError(min(missing))
    except DataError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is not a fitted typer ({type(error).__name__}: {error}). {AGAIN}") from error
    return saved  # type: ignore[no-any-return]  # its parts are checked by who reads them


def read_tensors(saved: Mapping[str, Any], directory: Path) -> "dict[str, NDArray[Any]]":
    """Return the tensors that belong to a `typer.json`.

    Raises:
        DataError: they are not there, or are not those that were written with it.
    """
    from safetensors.numpy import load

    path = directory / TENSORS
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} is missing or cannot be read. {AGAIN}") from error
    if _digest(content) != saved["tensors"]:
        raise DataError(f"{path} has other bytes than were written with {FILE}. {AGAIN}")
    return load(content)


def need_embedder(kind: str, embed: Embed | None) -> Embed:
    """Return the embedder; DataError says how to have one."""
    if embed is None:
        raise DataError(
            f"types of kind {kind} are inferred from embeddings, which a server does not give; "
            "use a model on this machine, or a sentence encoder."
        )
    return embed


def check_fitted(kind: str, fit: Fit | None) -> Fit:
    """Return what a typer was fitted on; DataError when it was not."""
    if fit is None:
        raise DataError(f"this {kind} typer is not fitted; fit it on training solutions first.")
    return fit


def check_embedder(kind: str, fit: Fit | None, embed: Embed | None) -> Embed:
    """Return the embedder; DataError when it is not the one that the typer was fitted with."""
    fitted, embed = check_fitted(kind, fit), need_embedder(kind, embed)
    if embed.identity != fitted.embedder:
        raise DataError(
            f"this {kind} typer was fitted on embeddings of {fitted.embedder}, not of {embed.identity}. {AGAIN}"
        )
    return embed


def facts(saved: Mapping[str, Any]) -> dict[str, str]:
    """Return what a `typer.json` says about its fit, in words for a person, in order."""
    told = {"source of types": str(saved["kind"])}
    if saved["fit"] is None:
        return told
    fit = parse(Fit, saved["fit"], FILE)
    told |= {
        "fitted on": f"{fit.steps:,} steps of {fit.problems:,} problems, seed {fit.seed}",
        "types in use": f"{fit.used} of {len(fit.counts)}, as spread as {fit.perplexity:.1f} equally frequent ones",
    }
    return told | ({"embedder": fit.embedder} if fit.embedder else {})


AGAIN = "Fit it again (thinktwice types fit), or leave method.artefact out."
"""What to do about a typer that cannot be used."""


def _digest(content: bytes) -> str:
    import hashlib

    return hashlib.sha256(content).hexdigest()
