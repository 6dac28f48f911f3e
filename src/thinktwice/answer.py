"""A saved model, from a run or from anywhere, and how it answers a question."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from thinktwice import nano
from thinktwice.config import Model, Recipe, parse
from thinktwice.errors import ConfigError, ModelError
from thinktwice.methods import Retracting, Solver, build_method
from thinktwice.methods.backtrack import UNDO
from thinktwice.render import Render
from thinktwice.run import Run, read_json
from thinktwice.types import Problem, Sampling, Trace


def solve_question(
    question: str,
    model: str,
    *,
    on_event: Callable[[Any, Callable[[Sequence[int]], str]], None] | None = None,
    options: Mapping[str, Any] | None = None,
    bias: float | None = None,
) -> Trace:
    """Answer one question with a saved model, by the method it was trained for, and watch it being written.

    `on_event` gets every decoding event and a function that spells ids; `options` are those of `Sampling`; `bias`
    replaces the undo threshold.
    """
    return open_model(model).answer(question, Sampling(**(options or {})), on_event=on_event, bias=bias)


@dataclass(frozen=True)
class SavedModel:
    """A saved model, loaded, with the method that it answers by."""

    engine: Any
    render: Render
    method: Solver
    place: Path
    """Where its weights lie."""

    def answer(
        self,
        question: str,
        sampling: Sampling,
        *,
        on_event: Callable[[Any, Callable[[Sequence[int]], str]], None] | None = None,
        bias: float | None = None,
    ) -> Trace:
        """Answer one question; `bias` replaces the undo threshold (added to the undo token's logit).

        What `on_event` raises ends the decoding at that token, and passes: that is how a listener stops an answer. The
        model is as good as new afterwards.
        """
        method = self.method
        if bias is not None:
            if not self.retracts:
                raise ConfigError("this model has no undo threshold: it cannot take anything back.")
            method = replace(cast(Any, method), bias=bias)
        watched: Any = self.engine
        if on_event is not None:
            watched = Watched(self.engine, lambda event: on_event(event, self.render.text))
        return method.solve([Problem("question", question, "")], watched, self.render, sampling)[0]

    def as_arm(self, arm: str) -> "SavedModel":
        """Return the same weights answering by the method of another arm of their run; nothing is loaded again.

        Example: `open_model("runs/backtrack/stages/train-backtrack/model").as_arm("backtrack_off")`.
        """
        return replace(self, method=_method_of(self.place, self.render, arm))

    @property
    def retracts(self) -> bool:
        """Whether the method can take back what it wrote, so that it has a threshold."""
        return threshold_of(self.method) is not None


def open_model(model: str) -> SavedModel:
    """Load a saved model to answer questions with.

    A model from a run answers as its arm did there, undo threshold included; any other with an undo token takes back
    what it takes back; the rest answer plainly.
    """
    if _is_verifier(Path(model)):
        raise ConfigError(
            f"{model} is a verifier: it says which of several solutions is right, and answers no questions. Ask it "
            "with thinktwice verify."
        )
    return _opened(Path(model) if _is_adapter(Path(model)) else Path(nano.resolve(model)))


def open_verifier(model: Path) -> SavedModel:
    """Load a verifier that a run trained: `rank` of `methods.transplant.ranking` asks it about candidates.

    Raises:
        ConfigError: no verifier, or one that lies in no run, so that nobody knows what it was trained to read.
    """
    if not _is_verifier(model):
        raise ConfigError(
            f"{model} is no verifier. Train one (thinktwice run recipes/transplant.yaml); for a model that answers "
            "questions there is thinktwice solve."
        )
    if _run_of(model) is None:
        raise ConfigError(
            f"{model} lies in no run, and what it reads is in the run's recipe; keep it there, or copy all."
        )
    return _opened(model)


def _opened(place: Path) -> SavedModel:
    engine = load_engine(place)
    render = Render(cast(Any, engine.tokenizer), _template_of(place))
    return SavedModel(engine, render, _method_of(place, render), place)


@dataclass(frozen=True)
class Watched:
    """An engine that tells a listener everything it writes."""

    engine: Any
    listen: Callable[[Any], None]

    @property
    def name(self) -> str:
        """The engine's."""
        return str(self.engine.name)

    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling, **options: Any) -> Any:
        """Generate, listening."""
        return self.engine.generate(prompts, sampling, listener=self.listen, **options)


def load_engine(model: Path, **options: Any) -> Any:
    """Load a model; an adapter that a run trained goes on what it was trained over there, wherever the run lies now."""
    from thinktwice.engines.local import LocalEngine

    root = _run_of(model)
    if root is not None and _is_adapter(model):
        recipe = parse(Recipe, Run.load(root).config, str(root))
        return LocalEngine.load(plain_base(root, recipe, _arm_of(model, recipe)), adapter=model, **options)
    return LocalEngine.load(model, **options)


def plain_base(root: Path, recipe: Recipe, arm: str) -> Path:
    """Return the whole model that an arm of a run starts from, or that the adapter it starts from stands on."""
    start = recipe.arms[arm].start
    if start is None:
        return root / "stages" / "base"
    model = root / "stages" / f"train-{start}" / "model"
    return plain_base(root, recipe, start) if _is_adapter(model) else model


def method_of(run: Run, recipe: Recipe, arm: str) -> Solver:
    """Return how an arm of a run answers: as it was scored, as dev chose, or as the recipe says. Needs no torch."""
    spec = recipe.method_of(arm)
    made = (run.artefact(f"{stage}-{arm}", "method.json") for stage in ("solve", "calibrate"))
    chosen = next((path for path in made if path is not None), None)
    return build_method(spec.name, spec.options if chosen is None else read_json(chosen))


def threshold_of(method: Solver) -> float | None:
    """Return a method's undo threshold, a bias on the undo token's logit; None when it can take nothing back."""
    if not isinstance(method, Retracting) or getattr(method, "context", None) == "off" or not hasattr(method, "bias"):
        return None
    return float(method.bias)


def weights_of(run: Run, recipe: Recipe, arm: str) -> Path | None:
    """Return where the weights lie that an arm of a run answers with; None while they are not trained."""
    chosen = recipe.arms[arm]
    if not chosen.trained:
        return run.artefact("base", "config.json") and run.root / "stages" / "base"
    return run.artefact(f"train-{chosen.weights or arm}", "model")


def base_directory(model: Model) -> str:
    """Return where the base model lies, its revision fetched from the hub where one is pinned.

    Raises:
        ConfigError: an adapter, or a revision of something that is not on the hub.
        ModelError: the hub does not have it, or cannot be reached.
    """
    if _is_adapter(Path(model.path)):
        raise ConfigError(f"model.path={model.path!r} is an adapter. Merge it first: thinktwice export.")
    place = nano.resolve(model.path)
    if model.revision is None:
        return place
    if Path(place).is_dir():
        raise ConfigError(f"model.revision={model.revision!r} is for hub models, but model.path is {model.path!r}.")
    from huggingface_hub import snapshot_download

    files = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
    try:
        return snapshot_download(place, revision=model.revision, allow_patterns=files)
    except Exception as error:  # whatever the hub, the network or a cache does, the fix is the same
        raise ModelError(
            f"{place!r} at revision {model.revision!r} cannot be loaded from the hub "
            f"({(str(error).strip() or type(error).__name__).splitlines()[0]}). "
            "Check both, or get online once so that it is cached."
        ) from error


def _is_verifier(place: Path) -> bool:
    return (place / "verifier.json").is_file()


def _is_adapter(place: Path) -> bool:
    return (place / "adapter_config.json").is_file()


def _run_of(model: Path) -> Path | None:
    """Return the run directory that a model lies in (RUN/stages/train-ARM/model, or RUN/stages/base)."""
    place = model.resolve()
    if place.name == "base" and place.parent.name == "stages" and (place.parents[1] / "config.json").is_file():
        return place.parents[1]
    return place.parents[2] if place.name == "model" and place.parents[1].name == "stages" else None


def _template_of(model: Path) -> str | None:
    root = _run_of(model)
    return parse(Recipe, Run.load(root).config, str(root)).model.template if root else None


def _method_of(model: Path, render: Render, arm: str | None = None) -> Solver:
    root = _run_of(model)
    if root is None:
        return build_method("backtrack" if UNDO.token in render.tokenizer.get_vocab() else "baseline", {})
    run = Run.load(root)
    recipe = parse(Recipe, run.config, str(root))
    return method_of(run, recipe, arm or _arm_of(model, recipe))


def _arm_of(model: Path, recipe: Recipe) -> str:
    """Return the arm that a run's weights belong to; the untouched base is the untrained arm's."""
    name = model.resolve().parent.name
    if name.startswith("train-"):
        return name.removeprefix("train-")
    return next((arm for arm, a in recipe.arms.items() if not a.trained), next(iter(recipe.arms)))
