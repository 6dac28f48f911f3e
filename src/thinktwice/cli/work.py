"""The commands that compute: run, train, solve, eval. Law: everything heavy is imported inside them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from thinktwice.errors import ConfigError, RunError

if TYPE_CHECKING:
    from thinktwice.run import Run

RecipeFile = Annotated[Path, typer.Argument(help="A recipe (YAML), or a run's config.json.", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="key=value pairs laid over the recipe, such as train.lr=1e-3.", show_default=False),
]
Runs = Annotated[Path, typer.Option(help="Directory under which every run has its own, runs/NAME.")]
AllowCodeChange = Annotated[
    bool, typer.Option("--allow-code-change", help="Go on with a run that was begun with other code.")
]


def run(
    recipe: RecipeFile,
    overrides: Overrides = None,
    runs: Runs = Path("runs"),
    allow_code_change: AllowCodeChange = False,
    dry: Annotated[bool, typer.Option("--dry-run", help="Print memory, commands and files, and run nothing.")] = False,
    until_round: Annotated[
        int | None, typer.Option(help="Stop behind this round, as one job of a chain does.", min=1, show_default=False)
    ] = None,
) -> None:
    """Train and score every arm of a recipe, and write the page.

    A terminal shows what is done, how long it will take, and how the comparison
    stands; anything else gets a line now and then.

    Interrupted or killed, the same command goes on where it stopped.
    To look on from another terminal: thinktwice watch.
    """
    from thinktwice.cli.progress import quiet_loading, watching
    from thinktwice.cli.tables import outcome
    from thinktwice.config import Recipe, load
    from thinktwice.report import report

    loaded = load(Recipe, recipe, overrides or ())
    if dry:
        from thinktwice.cli.dry_run import dry_run

        dry_run(loaded, recipe, overrides or (), runs)
        return
    with watching(runs / loaded.name) as listen:
        from thinktwice import pipeline

        quiet_loading()
        options: dict[str, Any] = {"allow_code_change": True} if allow_code_change else {}
        options |= {} if until_round is None else {"until_round": until_round}
        place = pipeline.run_recipe(loaded, runs / loaded.name, progress=listen, **options)
    typer.echo(err=True)
    if until_round is not None:
        typer.echo(f"every arm is behind round {until_round}; the same command without --until-round goes on.")
        return
    outcome(place)
    typer.echo(f"report: {report(place)}")


def train(
    recipe: RecipeFile,
    overrides: Overrides = None,
    arm: Annotated[str | None, typer.Option(help="Which arm; default: the headline's.")] = None,
    runs: Runs = Path("runs"),
) -> None:
    """Train one arm of a recipe, without scoring it."""
    from thinktwice.cli.progress import quiet_loading, watching
    from thinktwice.config import Recipe, load

    loaded = load(Recipe, recipe, overrides or ())
    chosen = arm or (loaded.headline.a if loaded.headline else next(iter(loaded.arms)))
    with watching(runs / loaded.name) as listen:
        from thinktwice import pipeline

        quiet_loading()
        place = pipeline.train_arm(loaded, runs / loaded.name, chosen, progress=listen)
    typer.echo(f"model: {place}")


def solve(
    question: Annotated[str, typer.Argument(help="The question, or - to read it from standard input.")],
    model: Annotated[
        str | None,
        typer.Option(help="Model directory, run directory or hub id; default: the newest run's headline arm."),
    ] = None,
    runs: Runs = Path("runs"),
    max_new_tokens: Annotated[int, typer.Option(help="Tokens to sample at most, retracted ones included.")] = 256,
    temperature: Annotated[float, typer.Option(help="0 is greedy.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Of sampling.")] = 0,
    undo_threshold: Annotated[
        float | None,
        typer.Option(
            help="Added to the undo token's logit: above 0 takes back more, below 0 less; default: what dev chose.",
            show_default=False,
        ),
    ] = None,
    transcript: Annotated[
        bool, typer.Option("--transcript", help="In a pipe, too, show what was taken back, as [-...-].")
    ] = False,
    pace: Annotated[
        float | None, typer.Option(help="Write no faster than this many tokens a second, to follow by eye.", min=0.1)
    ] = None,
) -> None:
    """Answer one question, showing what the model takes back while it does.

    On a terminal retracted text is red and struck through; without colour it
    stands between [- and -]. In a pipe, standard output is the reply alone.

    A last line on standard error says what it came to: answer, tokens,
    retractions, speed. Control characters in a reply are spelled out.
    """
    import sys
    import time

    from thinktwice.cli.progress import interactive, logging_to, quiet_loading
    from thinktwice.cli.transcript import Page, laid_out, summary
    from thinktwice.show import printable, to_plain, trace_pieces
    from thinktwice.types import Sampling

    text = sys.stdin.read().strip() if question == "-" else question
    if not text:
        raise ConfigError('there is no question; write it in quotes: thinktwice solve "..."')
    chosen = model_directory(model, runs)
    console, errors = interactive(sys.stdout), interactive(sys.stderr)
    with logging_to(errors), Page(console, pace=pace) as page:
        from thinktwice.answer import open_model

        quiet_loading()
        saved = open_model(chosen)
        page.control_ids = saved.render.special_ids - {saved.render.end_id}
        began = time.monotonic()
        sampling = Sampling(max_new_tokens=max_new_tokens, temperature=temperature, seed=seed)
        trace = saved.answer(text, sampling, on_event=page.on_event, bias=undo_threshold)
        seconds = time.monotonic() - began - page.waited
    if trace.error:
        raise RunError(f"the model could not answer: {trace.error}")
    if not console.is_interactive:
        print(to_plain(trace_pieces(trace)) if transcript else printable(trace.reply), flush=True)
    parts = summary(trace, seconds)
    if errors.is_interactive:
        errors.print(laid_out(parts, errors.width))
    else:
        print(" · ".join(parts), file=sys.stderr)


def evaluate(
    model: Annotated[str, typer.Argument(help="Model directory, run directory, nano, or hub id.")],
    tasks: Annotated[
        str, typer.Option(help="Comma-separated: thinktwice_arith, thinktwice_gsm8k, or any task of the harness.")
    ] = "thinktwice_arith",
    data: Annotated[Path | None, typer.Option(help="Rows to evaluate on, or a GSM8K directory.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first problems; for a quick look.")] = None,
    fewshot: Annotated[int | None, typer.Option(help="Examples in the prompt.")] = None,
    chat: Annotated[bool, typer.Option("--chat", help="Use the tokenizer's chat template.")] = False,
    batch_size: Annotated[int, typer.Option(help="Rows decoded together.")] = 64,
    out: Annotated[Path | None, typer.Option(help="Write the numbers there as JSON.")] = None,
) -> None:
    """Evaluate a model with lm-evaluation-harness, the evaluation of record."""
    from thinktwice.cli.progress import quiet_loading
    from thinktwice.cli.tables import evaluations

    chosen = model_directory(model, Path("runs"))
    try:
        from thinktwice.evals import evaluate as measure
        from thinktwice.evals.harness import ThinkTwiceLM
    except ModuleNotFoundError as error:
        raise ConfigError(f"{error.name} is not installed; pip install 'thinktwice[eval]'") from None
    quiet_loading()
    lm = ThinkTwiceLM.create_from_arg_obj({"pretrained": chosen, "batch_size": batch_size})
    options = {"data": str(data)} if data else None
    found = measure(lm, _words(tasks), options=options, limit=limit, num_fewshot=fewshot, chat=chat)
    evaluations(found)
    if out is not None:
        from thinktwice.config import to_dict
        from thinktwice.run import write_json

        numbers = {name: {k: v for k, v in to_dict(e).items() if k != "samples"} for name, e in found.items()}
        write_json(out, numbers)
        typer.echo(f"numbers: {out}")


def _words(text: str) -> Sequence[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def model_directory(model: str | None, runs: Path, arm: str | None = None) -> str:
    """Return where a model lies: as named, or a run's (the newest run's) headline arm.

    Raises:
        RunError: no finished training is there.
    """
    from thinktwice.run import Run

    if model is not None and not (Path(model) / "config.json").is_file():
        return model  # a bundled name or a hub id; the engine says so when it is neither
    if model is not None and "model_type" in json.loads((Path(model) / "config.json").read_text(encoding="utf-8")):
        return model
    if model is not None:
        return str(trained(Run.load(Path(model)), arm))
    finished = sorted(runs.glob("*/summary.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    if not finished:
        raise RunError(
            f"there is no finished run under {runs}/ to take a model from; make demo, or name one with --model"
        )
    return str(trained(Run.load(finished[0].parent), arm))


def trained(run: "Run", arm: str | None) -> Path:
    """Return the directory of the weights that an arm of a run trained or reuses; default: the headline's arm."""
    from thinktwice.config import Recipe, parse
    from thinktwice.errors import nearest

    recipe = parse(Recipe, run.config, str(run.root / "config.json"))
    able = [name for name, a in recipe.arms.items() if a.trained]
    name = arm or (recipe.headline.a if recipe.headline else able[-1] if able else "")
    if name not in recipe.arms:
        raise ConfigError(f"{run.root} has no arm {name!r}.{nearest(name, able)}")
    source = recipe.arms[name].weights or name
    path = run.artefact(f"train-{source}", "model")
    if path is None:
        raise RunError(f"arm {name!r} of {run.root} has no finished training; thinktwice run {run.root}/config.json")
    return path
