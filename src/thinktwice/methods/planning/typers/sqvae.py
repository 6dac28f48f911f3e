"""SQ-VAE: step types as the softly quantised code of a variational autoencoder over step embeddings.

Source: *Guiding Language Model Reasoning with Planning Tokens* (Wang et al. 2024), `model/vae.py` of its public code,
layer for layer:

    encoder   H → 512 ReLU → 512 ReLU → 512 → μ, log σ² of size K
    code      softmax(μ + σε) @ codebook (K, 64)
    decoder   64 → 512 ReLU → 512 ReLU → 512 → H
    loss      0.5 · squared error / steps + 0.1 · KL to N(0, 1) / steps;   Adam, 1e-4, 10 epochs, a batch a problem
    type      argmax softmax(μ)

Differences: it is seeded, written as safetensors, and how many types it really uses is measured and said.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from thinktwice.config import parse, to_dict
from thinktwice.errors import ConfigError, DataError
from thinktwice.methods.planning.typers.artefact import (
    Fit,
    check_embedder,
    check_fitted,
    fit_of,
    need_embedder,
    read_tensors,
    write_typer,
)
from thinktwice.methods.planning.typers.clusters import by_solution, check_enough, numbered
from thinktwice.methods.planning.typers.embedding import Embed, Solution

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Autoencoder:
    """Shape and training of the autoencoder; the defaults are the public code's."""

    hidden: int = 512
    layers: int = 3
    """Of encoder and decoder; the last has no ReLU."""
    code: int = 64
    learning_rate: float = 1e-4
    kl: float = 0.1
    epochs: int = 10
    batch_problems: int = 1
    """Problems whose steps are one batch."""

    def __post_init__(self) -> None:
        """Refuse what cannot be trained."""
        if min(self.hidden, self.code, self.epochs, self.batch_problems) < 1 or self.layers < 2:
            raise ConfigError("an SQ-VAE needs hidden, code, epochs and batch_problems of 1 or more, and 2 layers.")
        if not (self.learning_rate > 0 and self.kl >= 0):
            raise ConfigError("an SQ-VAE needs a learning_rate above 0 and a kl of 0 or more.")


@dataclass(frozen=True, slots=True, eq=False)
class SoftQuantised:
    """The most probable code of a step. Law: same solutions, seed and number of threads, same typer."""

    types: tuple[str, ...]
    autoencoder: Autoencoder = Autoencoder()
    tensors: "dict[str, NDArray[np.float32]]" = field(default_factory=dict)
    """Weight, (out, in), and bias of `encoder.<i>`, `mean`, `log_variance`, `decoder.<i>`, `out`; the `codebook`."""
    fitted: Fit | None = None
    kind: ClassVar[str] = "vae"

    @classmethod
    def build(cls, num_types: int, labels: tuple[str, ...]) -> Self:
        """Return the unfitted typer."""
        return cls(numbered("vae_", num_types))

    def fit(self, solutions: Sequence[Solution], embed: Embed | None, seed: int) -> Self:
        """Return the trained typer; a warning says when most types are never given.

        Raises:
            DataError: fewer steps than types, nothing that embeds, or the training left the finite numbers.
        """
        embed = need_embedder(self.kind, embed)
        vectors = embed(solutions)
        check_enough(self.kind, len(self.types), len(vectors), solutions)
        tensors = train(vectors, [len(s.steps) for s in solutions], len(self.types), self.autoencoder, seed)
        if not all(np.isfinite(tensor).all() for tensor in tensors.values()):
            raise DataError("the SQ-VAE diverged; set a lower learning rate.")
        found = [self.types[k] for k in most_probable(vectors, tensors)]
        fitted = fit_of(solutions, found, self.types, seed, embed)
        if fitted.perplexity < max(1.5, len(self.types) / 2):
            log.warning(
                "the SQ-VAE's codebook has collapsed: %d of %d types are given, as spread as %.1f equally frequent. "
                "Train it for more epochs, ask for fewer types, or use k-means.",
                fitted.used, len(self.types), fitted.perplexity,
            )  # fmt: skip
        return replace(self, tensors=tensors, fitted=fitted)

    def predict(self, solutions: Sequence[Solution], embed: Embed | None) -> list[list[tuple[str, ...]]]:
        """Return the most probable type of each step, seen or not.

        Raises:
            DataError: not fitted, or fitted with another embedder.
        """
        embed = check_embedder(self.kind, self.fitted, embed)
        found = most_probable(embed(solutions), self.tensors)
        return by_solution([(self.types[k],) for k in found], solutions)

    def save(self, directory: Path) -> None:
        """Write types, settings, fit and weights."""
        fitted = check_fitted(self.kind, self.fitted)
        fields = {"types": list(self.types), "autoencoder": to_dict(self.autoencoder)}
        write_typer(directory, self.kind, fields, self.tensors, fitted)

    @classmethod
    def load(cls, saved: dict[str, Any], directory: Path) -> Self:
        """Read it back."""
        where = str(directory)
        types, tensors = tuple(saved["fields"]["types"]), read_tensors(saved, directory)
        if len(tensors["mean.weight"]) != len(types):
            raise DataError(f"{directory} has {len(types)} types and {len(tensors['mean.weight'])} codes.")
        settings = parse(Autoencoder, saved["fields"]["autoencoder"], where)
        return cls(types, settings, tensors, parse(Fit, saved["fit"], where))


def most_probable(vectors: "NDArray[np.float32]", tensors: "dict[str, NDArray[np.float32]]") -> list[int]:
    """Return argmax softmax(μ) for each vector; of several as probable, the first."""
    state = vectors
    layers = sum(1 for name in tensors if name.startswith("encoder.") and name.endswith(".weight"))
    for i in range(layers):
        state = state @ tensors[f"encoder.{i}.weight"].T + tensors[f"encoder.{i}.bias"]
        state = np.maximum(state, 0) if i < layers - 1 else state
    mean = state @ tensors["mean.weight"].T + tensors["mean.bias"]
    return mean.argmax(axis=1).tolist()  # type: ignore[no-any-return]  # softmax keeps the order


def train(
    vectors: "NDArray[np.float32]", lengths: Sequence[int], types: int, settings: Autoencoder, seed: int
) -> "dict[str, NDArray[np.float32]]":
    """Train the autoencoder on the CPU and return its weights by name; the global random state stays as it is.

    Args:
        vectors: one vector a step, problem after problem.
        lengths: steps of each problem.
        types: K.
        settings: shape and training.
        seed: of the weights, the noise and the order of the problems.
    """
    import torch

    draw = torch.Generator().manual_seed(seed)
    steps = torch.from_numpy(vectors)
    problems = [rows for rows in torch.split(torch.arange(len(steps)), list(lengths)) if len(rows)]
    parameters = _initial(steps.shape[1], types, settings, draw)
    optimizer = torch.optim.Adam(parameters.values(), lr=settings.learning_rate, fused=True)
    for _ in range(settings.epochs):
        order = torch.randperm(len(problems), generator=draw).tolist()
        for start in range(0, len(order), settings.batch_problems):
            rows = torch.cat([problems[i] for i in order[start : start + settings.batch_problems]])
            optimizer.zero_grad()
            _loss(steps[rows], parameters, settings, draw).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return {name: parameter.detach().numpy() for name, parameter in parameters.items()}


def _loss(steps: "Tensor", parameters: "dict[str, Tensor]", settings: Autoencoder, draw: Any) -> "Tensor":
    import torch

    state = _mlp(steps, parameters, "encoder", settings.layers)
    mean, log_variance = (_linear(state, parameters, name) for name in ("mean", "log_variance"))
    noise = torch.randn(mean.shape, generator=draw)
    code = (mean + (0.5 * log_variance).exp() * noise).softmax(dim=-1) @ parameters["codebook"]
    state = _mlp(code, parameters, "decoder", settings.layers)
    again = _linear(state, parameters, "out")
    divergence = -0.5 * (1 + log_variance - log_variance.exp() - mean.square()).sum()
    return (0.5 * (again - steps).square().sum() + settings.kl * divergence) / len(steps)


def _mlp(state: "Tensor", parameters: "dict[str, Tensor]", name: str, layers: int) -> "Tensor":
    for i in range(layers):
        state = _linear(state, parameters, f"{name}.{i}")
        state = state.relu() if i < layers - 1 else state
    return state


def _linear(state: "Tensor", parameters: "dict[str, Tensor]", name: str) -> "Tensor":
    return state @ parameters[f"{name}.weight"].T + parameters[f"{name}.bias"]


def _initial(inputs: int, types: int, settings: Autoencoder, draw: Any) -> "dict[str, Tensor]":
    """Draw every matrix as torch's `nn.Linear` does: uniform within 1 / sqrt(inputs)."""
    import torch

    hidden = [settings.hidden] * settings.layers
    shapes: dict[str, tuple[int, int]] = {}
    for name, first in (("encoder", inputs), ("decoder", settings.code)):
        shapes |= {f"{name}.{i}": pair for i, pair in enumerate(zip([first, *hidden], hidden, strict=False))}
    shapes |= dict.fromkeys(("mean", "log_variance"), (settings.hidden, types))
    shapes["out"] = (settings.hidden, inputs)
    made: dict[str, Tensor] = {}
    for name, (fan_in, fan_out) in shapes.items():
        for part, shape in (("weight", (fan_out, fan_in)), ("bias", (fan_out,))):
            made[f"{name}.{part}"] = (2 * torch.rand(shape, generator=draw) - 1) / fan_in**0.5
    made["codebook"] = (2 * torch.rand((types, settings.code), generator=draw) - 1) / types**0.5
    for tensor in made.values():
        tensor.requires_grad_()
    return made
