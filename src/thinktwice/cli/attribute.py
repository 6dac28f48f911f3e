"""The command that looks into wrong answers: attribute. Law: everything heavy is imported inside it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from thinktwice.errors import ConfigError, RunError, nearest

if TYPE_CHECKING:
    from thinktwice.config import Recipe
    from thinktwice.methods.planning import Planning
    from thinktwice.methods.planning.attribution import Attribution
    from thinktwice.records import Finding, TraceRecord
    from thinktwice.run import Run


def attribute(
    run: Annotated[Path, typer.Argument(help="A run directory with an arm of planning tokens.", show_default=False)],
    arm: Annotated[
        str | None, typer.Option(help="Whose wrong answers.", show_default="the headline's, if it plans")
    ] = None,
    problems: Annotated[int, typer.Option(help="At most so many wrong answers, drawn by chance.", min=1)] = 200,
    samples: Annotated[int, typer.Option(help="Continuations sampled after each line.", min=5)] = 32,
    temperature: Annotated[float, typer.Option(help="Of the continuations.", min=0.0)] = 1.0,
) -> None:
    """Ask of an arm's wrong answers whether memory or reasoning failed, and how far to trust what is found.

    Two ways that need no knowledge of the truth: the reference's memory lines are put
    into the model's own reply; and every line's continuations are sampled, to see where
    the chance of a right answer falls. Where the task has an oracle that judges lines,
    the precision and recall of both are measured against it.

    What is found goes to RUN/notes/attribution-ARM.json and, with the next
    `thinktwice report RUN`, into its page.
    """
    from thinktwice.config import Recipe, parse, to_dict
    from thinktwice.methods.planning.blame import tables
    from thinktwice.run import Run

    read = Run.load(run)
    recipe = parse(Recipe, read.config, str(run / "config.json"))
    chosen = arm or _arm(recipe)
    method = _method(read, recipe, chosen)
    records = _records(read, chosen)
    found = _attribute(read, recipe, chosen, method, records, problems, samples, temperature)
    others = _interventions(read, recipe)
    shown = (*tables(found), *([others] if others else []))
    path = read.write_note(f"attribution-{chosen}", {**to_dict(found), "findings": [to_dict(t) for t in shown]})
    _print(shown)
    typer.echo(f"attribution: {path}")


def _arm(recipe: "Recipe") -> str:
    """Return the arm that is meant when none is named."""
    from thinktwice.methods import method_class
    from thinktwice.methods.planning import Planning

    plans = [name for name in recipe.arms if method_class(recipe.method_of(name).name) is Planning]
    if recipe.headline and recipe.headline.a in plans:
        return recipe.headline.a
    if len(plans) == 1:
        return plans[0]
    raise ConfigError(f"say whose answers with --arm: {', '.join(plans) or 'no arm of this run has planning tokens'}")


def _method(run: "Run", recipe: "Recipe", arm: str) -> "Planning":
    """Return how an arm answered, with the typer that was fitted for it."""
    from dataclasses import replace

    from thinktwice.answer import method_of
    from thinktwice.methods.planning import Planning

    if arm not in recipe.arms:
        raise ConfigError(f"{run.root} has no arm {arm!r}.{nearest(arm, recipe.arms)}")
    method = method_of(run, recipe, arm)
    if not isinstance(method, Planning):
        raise ConfigError(f"arm {arm!r} is no arm of planning tokens; attribution asks for the types of its steps.")
    fitted = run.artefact(f"collect-{recipe.arms[arm].weights or arm}", "fitted")
    return replace(method, artefact=str(fitted)) if fitted is not None and method.artefact is None else method


def _records(run: "Run", arm: str) -> "list[TraceRecord]":
    from thinktwice.config import parse
    from thinktwice.records import TraceRecord

    if run.artefact(f"solve-{arm}", "method.json") is None:
        raise RunError(f"arm {arm!r} has not answered yet; thinktwice run {run.root}/config.json goes on with the run")
    rows = run.traces(arm).done.values()
    return [parse(TraceRecord, row, f"traces/{arm}.jsonl") for row in rows]


def _attribute(
    run: "Run",
    recipe: "Recipe",
    arm: str,
    method: "Planning",
    records: "list[TraceRecord]",
    problems: int,
    samples: int,
    temperature: float,
) -> "Attribution":
    from thinktwice.answer import load_engine, weights_of
    from thinktwice.cli.progress import quiet_loading
    from thinktwice.methods.planning.attribution import attribute
    from thinktwice.render import Render
    from thinktwice.tasks import load_task
    from thinktwice.types import Sampling

    weights = weights_of(run, recipe, arm)
    if weights is None:
        raise RunError(f"the weights of arm {arm!r} are not in {run.root}; thinktwice run {run.root}/config.json")
    task = load_task(recipe.task.name, **recipe.task.options)
    model, decode = recipe.model, recipe.decode
    quiet_loading()
    engine: Any = load_engine(
        weights, dtype=model.dtype, device=model.device, batch_size=decode.batch_size, attention=model.attention
    )
    return attribute(
        method,
        list(task.splits["test"]),
        records,
        engine,
        Render(engine.tokenizer, model.template),
        Sampling(decode.temperature, decode.top_p, decode.top_k, decode.max_new_tokens, seed=recipe.seed),
        task,
        samples=samples,
        temperature=temperature,
        limit=problems,
        listen=lambda done, total: typer.echo(f"{done} of {total} wrong answers", err=True),
    )


def _interventions(run: "Run", recipe: "Recipe") -> "Finding | None":
    """Return what interfering with types did in this run; None where no arm does, or they have not answered."""
    from thinktwice.answer import method_of
    from thinktwice.methods.planning.interventions import interventions
    from thinktwice.render import Render
    from thinktwice.train.vocab import load_tokenizer

    answered = [name for name in recipe.arms if run.artefact(f"solve-{name}", "method.json") is not None]
    methods = {name: method_of(run, recipe, name) for name in answered}
    weights = {name: recipe.arms[name].weights or name for name in answered}
    records = {name: _records(run, name) for name in answered}
    tokenizer: Any = load_tokenizer(run.root / "stages" / "base")
    return interventions(methods, weights, records, Render(tokenizer, recipe.model.template), seed=recipe.seed)


def _print(shown: "tuple[Finding, ...]") -> None:
    from rich.console import Console
    from rich.markup import escape

    from thinktwice.cli.tables import plain_table

    console = Console(highlight=False)
    for finding in shown:
        console.print(f"\n[bold]{escape(finding.title)}[/]")
        table = plain_table(*map(escape, finding.columns))
        for row in finding.rows:
            table.add_row(*map(escape, row))
        console.print(table)
        if finding.note:
            console.print(escape(finding.note), style="dim")
