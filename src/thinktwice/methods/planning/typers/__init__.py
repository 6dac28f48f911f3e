"""Step types: what kind of step each line of a solution is. Law: one list of types a step, never shifted, never cut."""

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast

from thinktwice.errors import ConfigError, DataError, nearest
from thinktwice.methods.planning.typers.artefact import AGAIN, read_typer
from thinktwice.methods.planning.typers.embedding import Embed, Solution, embedder_of

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["EMBEDDED", "Embed", "Solution", "StepTyper", "build_typer", "embedder_of", "load_typer", "type_names"]


class StepTyper(Protocol):
    """Gives every step its types. A typer is a value: `fit` returns the fitted one."""

    kind: ClassVar[str]
    """Its name in `KINDS`."""

    @property
    def types(self) -> tuple[str, ...]:
        """Every type it may give, in the order of their tokens."""
        ...

    def fit(self, solutions: Sequence[Solution], embed: Embed | None, seed: int) -> "StepTyper":
        """Return the typer fitted on solutions; the same solutions and seed give the same typer."""
        ...

    def predict(self, solutions: Sequence[Solution], embed: Embed | None) -> list[list[tuple[str, ...]]]:
        """Return, for each solution, the types of each step: several where it has several, () where it has none."""
        ...

    def save(self, directory: Path) -> None:
        """Write `typer.json`, and tensors beside it as safetensors."""
        ...


KINDS: "Mapping[str, str]" = {
    "general": "given:General",
    "+-*/": "given:Operators",
    "memory": "given:Labels",
    "random": "given:Random",
    "k-means": "clusters:KMeans",
    "tf-idf": "clusters:TfIdf",
    "vae": "sqvae:SoftQuantised",
}
ALIASES = {
    "operators": "+-*/", "labels": "memory", "kmeans": "k-means", "tfidf": "tf-idf", "sq-vae": "vae", "sqvae": "vae",
}  # fmt: skip

EMBEDDED = frozenset({"k-means", "vae"})
"""The kinds that read embeddings; all others read text or labels."""


def type_names(kind: str, num_types: int, labels: tuple[str, ...]) -> tuple[str, ...]:
    """Return every type of a kind: the tokens are made before anything is fitted.

    Raises:
        ConfigError: no such kind.
    """
    kind = _known(kind)
    return () if kind in ("none", "general") else build_typer(kind, num_types, labels).types


def build_typer(kind: str, num_types: int, labels: tuple[str, ...]) -> StepTyper:
    """Return an unfitted typer."""
    return cast(StepTyper, _class(_known(kind)).build(num_types, labels))


def load_typer(directory: Path) -> StepTyper:
    """Read a fitted typer back.

    Raises:
        DataError: there is none, or it is damaged.
    """
    saved = read_typer(directory)
    load: Callable[[dict[str, Any], Path], StepTyper] = _class(_known(saved["kind"])).load
    try:
        return load(saved, directory)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{directory} holds no fitted typer that can be read ({error}). {AGAIN}") from error


def _known(kind: str) -> str:
    kind = ALIASES.get(kind, kind)
    if kind != "none" and kind not in KINDS:
        known = ("none", *KINDS)
        raise ConfigError(f"method.extract_step_type_tokens={kind!r} is no source of types.{nearest(kind, known)}")
    return kind


def _class(kind: str) -> Any:
    module, _, name = KINDS[kind].partition(":")
    return getattr(import_module(f"{__name__}.{module}"), name)
