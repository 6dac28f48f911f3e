"""The recipe: one result, with every arm it is compared with. Law: inert; `__post_init__` may refuse, never assign."""

import re
from dataclasses import dataclass, field
from typing import Any, Literal

from thinktwice.config.source import merge
from thinktwice.config.strict import REST, to_dict
from thinktwice.errors import ConfigError, nearest

Tracker = Literal["tensorboard", "wandb", "trackio", "mlflow"]


@dataclass(frozen=True)
class Spec:
    """A named task or method and its options, written flat: `{name: arith, facts: 3}`."""

    name: str
    """The registered name; `thinktwice tasks` and `thinktwice methods` list them."""
    options: dict[str, Any] = field(default_factory=dict, metadata=REST)
    """Everything else; checked against the task's or method's own fields when it is built."""


@dataclass(frozen=True)
class Model:
    """Which base model, and how it is loaded."""

    path: str = "nano"
    """"nano" (in the package), a directory, or a Hugging Face hub id."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    device: str = "auto"
    """"auto", "cpu", "cuda", "cuda:1", "mps"."""
    revision: str | None = None
    """Commit or tag of a hub model; pin it where a result is reported."""
    attention: Literal["auto", "eager", "sdpa", "flash_attention_2", "flex_attention"] = "auto"
    template: str | None = None
    """How a problem becomes a prompt; None is the method's default."""


@dataclass(frozen=True)
class Decode:
    """How every arm writes its answers."""

    max_new_tokens: int = 256
    """Budget of sampled tokens a problem, retracted ones included."""
    batch_size: int = 64
    temperature: float = 0.0
    """0 is greedy."""
    top_p: float = 1.0
    top_k: int = 0
    """0 is no limit."""

    def __post_init__(self) -> None:
        """Refuse what cannot be decoded with."""
        _require(self.max_new_tokens > 0, f"max_new_tokens must be positive, got {self.max_new_tokens}")
        _require(self.batch_size > 0, f"batch_size must be positive, got {self.batch_size}")
        _require(self.temperature >= 0, f"temperature must be 0 (greedy) or more, got {self.temperature}")
        _require(0 < self.top_p <= 1, f"top_p must be in (0, 1], got {self.top_p}")
        _require(self.top_k >= 0, f"top_k must be 0 (no limit) or more, got {self.top_k}")


@dataclass(frozen=True)
class Evaluation:
    """What is scored. Law: choices are made on dev; test is read once."""

    problems: int = 500
    """Test problems a level."""
    dev_problems: int = 200
    """Dev problems a level."""
    num_test: int = 0
    """Dev problems answered inside the training loop, every `train.eval_every` steps and at its end, drawn without
    replacement; 0: none. Lands in `trainer_state.json` as `eval_acc`."""
    levels: tuple[int, ...] = (0,)
    """Difficulty levels that are scored; 0 where the dataset has none."""
    in_distribution: int | None = None
    """The level that stands for "as hard as training"."""
    seed: int = 0
    """Seeds the choice of problems and the bootstrap."""

    def __post_init__(self) -> None:
        """Refuse an evaluation that measures nothing."""
        _require(self.problems > 0, f"problems must be positive, got {self.problems}")
        _require(self.dev_problems >= 0, f"dev_problems must be 0 or more, got {self.dev_problems}")
        _require(self.num_test >= 0, f"num_test must be 0 or more, got {self.num_test}")
        _require(bool(self.levels), "levels must name at least one level")
        _require(len(set(self.levels)) == len(self.levels), f"levels names a level twice: {list(self.levels)}")
        if self.in_distribution is not None:
            _require(
                self.in_distribution in self.levels,
                f"in_distribution is {self.in_distribution}, which levels {list(self.levels)} does not score",
            )


@dataclass(frozen=True)
class Arm:
    """One column of the comparison: what it changes in the method, and whose weights it runs on."""

    method: dict[str, Any] = field(default_factory=dict)
    """Options that replace the recipe's method options for this arm."""
    trained: bool = True
    """False runs the base model untouched."""
    weights: str | None = None
    """Another arm whose trained weights this one reuses; only decoding differs then."""
    start: str | None = None
    """Another arm whose trained weights this one is trained further from (preferences after examples); what it collects
    is written by those weights. None: the base."""
    train: dict[str, Any] = field(default_factory=dict)
    """Training options that replace the recipe's for this arm; checked like the recipe's."""
    match_tokens: str | None = None
    """An arm further up whose sampled tokens a problem this one may spend too, by voting: the equal-compute control."""

    @property
    def trains(self) -> bool:
        """True when this arm trains weights of its own."""
        return self.trained and self.weights is None


@dataclass(frozen=True)
class Headline:
    """The comparison fixed before anything is measured: arm `a` against arm `b` at one level."""

    a: str
    b: str
    level: int
    through: str | None = None
    """An arm between them that splits the gain: a - through is acting on it, through - b is learning to detect."""


@dataclass(frozen=True)
class Recipe:
    """One result: a task, a base model, a method, and the arms it is compared with."""

    name: str
    """Names the run directory."""
    task: Spec
    method: Spec
    arms: dict[str, Arm]
    model: Model = field(default_factory=Model)
    train: dict[str, Any] = field(default_factory=dict)
    """Training options; checked against the trainer's own fields when training is set up."""
    decode: Decode = field(default_factory=Decode)
    evaluation: Evaluation = field(default_factory=Evaluation)
    headline: Headline | None = None
    seed: int = 0
    """Seeds data, initialisation of new rows, order of batches and sampling."""
    report_to: tuple[Tracker, ...] = ()
    """Experiment trackers that are told the numbers, too, each in `trackers/` of the run; none of them is asked for a
    network or a key unless the environment does (WANDB_MODE=online, MLFLOW_TRACKING_URI). No part of what decides a
    run: it may be changed when one is gone on with."""

    def deciding(self) -> dict[str, Any]:
        """Return everything that decides the results, as plain values: all but `report_to`."""
        return {name: value for name, value in to_dict(self).items() if name != "report_to"}

    def method_of(self, arm: str) -> Spec:
        """Return an arm's method: the recipe's with the arm's changes, or another one altogether."""
        changes = {key: value for key, value in self.arms[arm].method.items() if key != "name"}
        name = str(self.arms[arm].method.get("name", self.method.name))
        return Spec(name, merge(self.method.options, changes) if name == self.method.name else changes)

    def __post_init__(self) -> None:
        """Refuse a recipe that contradicts itself."""
        _require_name(self.name, "name", r"[A-Za-z0-9][A-Za-z0-9._-]*")
        _require(bool(self.arms), "arms must name at least one arm")
        for name, arm in self.arms.items():
            _require_name(name, f"arms.{name}", r"[A-Za-z0-9][A-Za-z0-9_-]*")
            if arm.weights is not None:
                source = self._arm(arm.weights, f"arms.{name}.weights")
                _require(
                    source.trains,
                    f"arms.{name}.weights: arm {arm.weights!r} trains no weights of its own; name an arm that does",
                )
            self._check_training(name, arm)
            if arm.match_tokens is not None:
                self._arm(arm.match_tokens, f"arms.{name}.match_tokens")
                order = list(self.arms)
                _require(
                    order.index(arm.match_tokens) < order.index(name),
                    f"arms.{name}.match_tokens: arm {arm.match_tokens!r} must stand further up, to be solved first",
                )
        if self.headline is not None:
            chosen = [self.headline.a, self.headline.b, *([self.headline.through] if self.headline.through else [])]
            for key, arm_name in zip(("a", "b", "through"), chosen, strict=False):
                self._arm(arm_name, f"headline.{key}")
            _require(len(set(chosen)) == len(chosen), f"headline compares an arm with itself: {', '.join(chosen)}")
            _require(
                self.headline.level in self.evaluation.levels,
                f"headline.level is {self.headline.level}, which evaluation.levels {list(self.evaluation.levels)} "
                "does not score",
            )

    def _check_training(self, name: str, arm: Arm) -> None:
        """Refuse a start, or training options, that no training will use."""
        for key, given in (("start", arm.start is not None), ("train", bool(arm.train))):
            _require(
                not given or arm.trains,
                f"arms.{name}.{key}: this arm trains no weights of its own; drop `{key}`, or let it train",
            )
        if arm.start is None:
            return
        start = self._arm(arm.start, f"arms.{name}.start")
        instead = f"name {start.weights!r}, whose weights it has" if start.weights else "drop `start` for the base"
        _require(start.trains, f"arms.{name}.start: arm {arm.start!r} trains no weights of its own; {instead}")
        chain = [name]
        while (before := self._arm(chain[-1], f"arms.{name}.start").start) is not None:
            chain.append(before)
            _require(
                before not in chain[:-1],
                f"arms.{name}.start: {' -> '.join(chain)} goes in a circle; one of these arms must start from the base",
            )

    def _arm(self, name: str, where: str) -> Arm:
        if name not in self.arms:
            raise ConfigError(f"{where}: no arm is called {name!r}.{nearest(name, self.arms)}")
        return self.arms[name]


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ConfigError(message)


def _require_name(name: str, where: str, pattern: str) -> None:
    _require(
        re.fullmatch(pattern, name) is not None,
        f"{where}: {name!r} names a file or directory; use letters, digits, '-' and '_' only",
    )
