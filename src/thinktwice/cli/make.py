"""The commands that make a model directory: export, pretrain."""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from thinktwice.cli.work import Overrides, model_directory
from thinktwice.errors import ConfigError, RunError


def export(
    run: Annotated[str, typer.Argument(help="A run directory, or a model or adapter directory.")],
    to: Annotated[Path, typer.Option(help="The new model directory.", show_default=False)],
    arm: Annotated[str | None, typer.Option(help="Which arm of the run; default: the headline's.")] = None,
) -> None:
    """Write a trained model as a plain directory that transformers loads; an adapter is merged in."""
    if to.exists():
        raise ConfigError(f"{to} exists already; choose another --to")
    if not Path(run).is_dir():
        raise RunError(f"there is no directory {run}")
    source = (
        Path(run) if (Path(run) / "adapter_config.json").is_file() else Path(model_directory(run, Path("runs"), arm))
    )
    if (source / "adapter_config.json").is_file():
        from thinktwice.train.adapters import merge

        merge(source, to)
    else:
        partial = to.with_name(f"{to.name}.tmp")
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(source, partial, ignore=shutil.ignore_patterns("manifest.json"))
        partial.rename(to)
    typer.echo(f"model: {to}")


def pretrain(
    recipe: Annotated[
        str | None, typer.Argument(help="A file with the pretraining's settings, or the first key=value.")
    ] = None,
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option(help="Where the model is made.")] = Path("runs/nano"),
) -> None:
    """Make the nano base again, from nothing: the stable checkpoint and the annealed one.

    Minutes on a GPU, an hour or two on two cores; interrupted, the same command goes on.
    """
    from thinktwice.cli.progress import quiet_loading, training
    from thinktwice.config import load

    words = [*([recipe] if recipe and "=" in recipe else []), *(overrides or ())]
    path = Path(recipe) if recipe and "=" not in recipe else None
    with training() as listen:
        from thinktwice.train import nano

        quiet_loading()
        stable, annealed = nano.pretrain(load(nano.Pretraining, path, words), out, progress=listen)
    typer.echo(f"stable: {stable}")
    if annealed is not None:
        typer.echo(f"annealed: {annealed}")
