"""`thinktwice types`: fit what gives steps their types, and look at what it gives."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from thinktwice.errors import ConfigError, DataError, RunError, nearest

if TYPE_CHECKING:
    from thinktwice.config import Recipe
    from thinktwice.methods.planning.typers import Solution, StepTyper
    from thinktwice.methods.planning.typers.pictures import Picture


def types(
    action: Annotated[str, typer.Argument(help="fit or show.", metavar="fit|show")],
    path: Annotated[Path, typer.Argument(help="fit: a recipe. show: a fitted typer, or a run that has some.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="fit: key=value pairs laid over the recipe.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "--output-dir", help="fit: the new directory. show: where the page goes."),
    ] = None,
    arm: Annotated[str | None, typer.Option(help="fit: whose method options; default: the headline's.")] = None,
    selection_method: Annotated[
        str | None,
        typer.Option(
            "--selection-method",
            "--extract-step-type-tokens",
            help="k-means, vae, tf-idf, +-*/, memory or random; default: the method's.",
        ),
    ] = None,
    num_types: Annotated[
        int | None, typer.Option("--num-types", "--num-plan-types", help="How many; default: the method's.")
    ] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", "--train-epoch", help="Of the SQ-VAE.")] = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            "--encoder", "--embedding-model-name", help="A sentence encoder to embed steps with; default: the model."
        ),
    ] = None,
    problems: Annotated[int | None, typer.Option(help="fit: only the first so many training problems.", min=1)] = None,
) -> None:
    """Fit step types on a recipe's training problems, or show fitted ones: a table, and a page with pictures.

    types fit RECIPE --out DIR   then train with method.artefact=DIR.

    types show DIR|RUN           DIR/types.html has the clusters and what follows what.
    """
    if action not in ("fit", "show"):
        raise ConfigError(f"types {action!r} is not known.{nearest(action, ('fit', 'show'))}")
    if action == "fit":
        if out is None:
            raise ConfigError("types fit needs a directory to write to: --out DIR")
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise ConfigError(f"{out} exists already; choose another --out")
        options = {"extract_step_type_tokens": selection_method, "num_plan_types": num_types}
        _fit(path, overrides or [], out, arm, options, epochs, encoder, problems)
        _show(out, None)
        return
    if overrides or any(value is not None for value in (arm, selection_method, num_types, epochs, encoder, problems)):
        raise ConfigError("types show takes a directory and --out; the other options are for types fit")
    places = _fitted(path)
    if out is not None and len(places) > 1:
        raise ConfigError(f"{path} has {len(places)} fitted typers; --out is for one of them: name it")
    for place in places:
        _show(place, out)


def _fit(
    path: Path,
    overrides: list[str],
    out: Path,
    arm: str | None,
    options: Mapping[str, Any],
    epochs: int | None,
    encoder: str | None,
    problems: int | None,
) -> None:
    """Fit, and write the typer and its picture of the dev problems (of the training problems, where dev is empty)."""
    from thinktwice.cli.progress import quiet_loading
    from thinktwice.config import Recipe, load
    from thinktwice.methods.planning import solution_of
    from thinktwice.methods.planning.typers import EMBEDDED
    from thinktwice.methods.planning.typers.pictures import picture
    from thinktwice.tasks import check_disjoint, load_task

    recipe = load(Recipe, path, overrides)
    unfitted, name = _typer_of(recipe, arm, options)
    if epochs is not None:
        from thinktwice.methods.planning.typers.sqvae import SoftQuantised

        if not isinstance(unfitted, SoftQuantised):
            raise ConfigError("--epochs is for the SQ-VAE; set --selection-method vae")
        unfitted = replace(unfitted, autoencoder=replace(unfitted.autoencoder, epochs=epochs))
    task = load_task(recipe.task.name, **recipe.task.options)
    check_disjoint(task)
    train = [s for p in list(task.splits["train"])[:problems] if (s := solution_of(p)) is not None]
    dev = [s for p in task.splits.get("dev", ()) if (s := solution_of(p)) is not None]
    if not train:
        raise ConfigError(f"{recipe.task.name} has no worked solutions, and so no steps to give types to")
    quiet_loading()
    embed = _embedder(recipe, encoder)
    fitted = unfitted.fit(train, embed, recipe.seed)
    shown: list[Solution] = dev or train
    try:
        seen = picture(fitted, shown, embed, seed=recipe.seed)
    except DataError as error:
        if fitted.kind in EMBEDDED:
            raise
        typer.echo(f"the steps are not drawn on a plane: {error}", err=True)
        seen = picture(fitted, shown, None, seed=recipe.seed)
    fitted.save(out)
    seen.save(out)
    typer.echo(f"fitted: {out}  (use it: method.artefact={out}, arm {name})")


def _typer_of(recipe: "Recipe", arm: str | None, options: Mapping[str, Any]) -> "tuple[StepTyper, str]":
    """Return the unfitted typer of an arm's method, with options laid over it, and the arm's name."""
    from thinktwice.methods import build_method
    from thinktwice.methods.planning import Planning
    from thinktwice.methods.planning.typers import build_typer

    chosen = {key: value for key, value in options.items() if value is not None}
    plans = [name for name in recipe.arms if recipe.method_of(name).name == "planning"]
    name = arm or (recipe.headline.a if recipe.headline else plans[0] if plans else next(iter(recipe.arms)))
    if name not in recipe.arms:
        raise ConfigError(f"no arm is called {name!r}.{nearest(name, recipe.arms)}")
    spec = recipe.method_of(name)
    told = dict(spec.options) if spec.name == "planning" else {}
    if spec.name != "planning" and "extract_step_type_tokens" not in chosen:
        raise ConfigError(f"arm {name!r} has no planning tokens; name one that has with --arm, or --selection-method")
    if "num_plan_types" in chosen:
        told.pop("num_types", None)
    method = build_method("planning", told | chosen)
    assert isinstance(method, Planning)
    if not method.types:
        raise ConfigError(
            f"types of kind {method.extract_step_type_tokens!r} tell no step from another; choose --selection-method"
        )
    return build_typer(method.extract_step_type_tokens, len(method.types), method.labels), name


def _embedder(recipe: "Recipe", encoder: str | None) -> Any:
    """Return what embeds steps: the sentence encoder, or the recipe's base model."""
    from thinktwice.answer import base_directory, load_engine
    from thinktwice.methods.planning.typers import embedder_of
    from thinktwice.render import Render

    model = recipe.model
    engine = load_engine(
        Path(base_directory(model)), dtype=model.dtype, device=model.device, attention=model.attention,
        batch_size=recipe.decode.batch_size,
    )  # fmt: skip
    return embedder_of(engine, Render(engine.tokenizer, model.template), encoder)


def _fitted(path: Path) -> list[Path]:
    """Return the fitted typers at a place: the directory itself, or those of a run's stages."""
    from thinktwice.methods.planning.typers.artefact import FILE

    if (path / FILE).is_file():
        return [path]
    found = sorted({file.parent for file in path.glob(f"stages/**/{FILE}")})
    if not found:
        raise RunError(f"there is no fitted typer at {path}, nor in a run there; thinktwice types fit RECIPE --out DIR")
    return found


def _show(place: Path, out: Path | None) -> None:
    """Print what a typer gives, and write its page."""
    from thinktwice.methods.planning.typers.artefact import facts, read_typer
    from thinktwice.methods.planning.typers.pictures import FILE, Picture
    from thinktwice.report.steptypes import steptypes_page
    from thinktwice.run import write_text

    told = facts(read_typer(place))
    for term, words in told.items():
        typer.echo(f"{term}: {words}")
    if not (place / FILE).is_file():
        typer.echo(f"{place} has no {FILE}, and so nothing to draw; thinktwice types fit makes one")
        return
    seen = Picture.load(place)
    _print(seen)
    page = out or place / "types.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    write_text(page, steptypes_page(seen, told, place.name))
    typer.echo(f"page: {page}")


def _print(seen: "Picture") -> None:
    """Print counts, examples and transitions."""
    from rich.console import Console
    from rich.text import Text

    from thinktwice.cli.tables import plain_table
    from thinktwice.methods.planning.tokens import ANSWER
    from thinktwice.methods.planning.typers.pictures import START
    from thinktwice.show import printable

    console = Console(highlight=False)
    labels = sorted({label for counts in seen.labels.values() for label in counts})
    total = max(1, sum(seen.counts.values()))
    table = plain_table("type", *(["word"] if seen.words else []), "blocks", "share", *labels, "for example")
    for name in seen.types:
        word = [seen.words.get(name, "–")] if seen.words else []
        share = f"{100 * seen.counts[name] / total:.1f} %"
        by_label = [f"{seen.labels.get(name, {}).get(label, 0):,}" for label in labels]
        example = printable(next(iter(seen.examples.get(name, ())), ""))
        example = example if len(example) <= 60 else example[:59] + "…"
        row = [name, *word, f"{seen.counts[name]:,}", share, *by_label, example]
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)
    follows = plain_table("\nblock → next", *(f"\n{name}" for name in (*seen.types, ANSWER)))
    for name, counts in zip((START, *seen.types), seen.transitions, strict=True):
        follows.add_row(*(Text(cell) for cell in (name, *(f"{count:,}" for count in counts))))
    console.print(follows)
