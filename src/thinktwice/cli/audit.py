"""The command that says what a verifier must beat: audit. Law: everything heavy is imported inside it."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from thinktwice.errors import ConfigError, nearest

if TYPE_CHECKING:
    from rich.table import Table

    from thinktwice.methods.transplant.audit import Audit

PAIRINGS = ("any", "within", "balanced")
LIKENESSES = ("any", "steps", "length")


def audit(
    file: Annotated[
        Path,
        typer.Argument(
            help="Items as `thinktwice argue` writes them, the seed's dataset.csv, or GSM8K's example_model_solutions.",
            show_default=False,
        ),
    ],
    pairing: Annotated[
        str,
        typer.Option(
            help="any; within: both candidates by one generator; balanced: as many pairs one way round as the other."
        ),
    ] = "any",
    alike: Annotated[
        str, typer.Option(help="any; steps: both candidates have as many lines; length: and as many tokens.")
    ] = "any",
    most: Annotated[int | None, typer.Option(help="Pairs of one question at most.", min=1, show_default=False)] = None,
    repeats: Annotated[int, typer.Option(help="So many random 90/10 splits more, for the spread.", min=0)] = 0,
    seed: Annotated[int, typer.Option(help="Of pairing and folds.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")] = False,
) -> None:
    """Say what a verifier must beat on right and wrong candidates, before it is trained.

    Shortcuts that understand nothing: a constant slot, the argument's choice, the
    longer text, false equations, n-grams, who wrote it. And what the data gives
    away: label noise, equal pairs, slots, what train and test share.

    Where the authors fixed a split it is used, else 5 folds by question.
    """
    from thinktwice.config import to_dict
    from thinktwice.methods.transplant.audit import audit as measure
    from thinktwice.methods.transplant.seed_data import read_source

    if pairing not in PAIRINGS:
        raise ConfigError(f"--pairing {pairing!r} is none.{nearest(pairing, PAIRINGS)}")
    if alike not in LIKENESSES:
        raise ConfigError(f"--alike {alike!r} is none.{nearest(alike, LIKENESSES)}")
    rules: dict[str, Any] = {"by_generator": pairing, "alike": alike}
    found = measure(read_source(file), **rules, most=most, repeats=repeats, seed=seed)
    if as_json:
        typer.echo(json.dumps({**to_dict(found), "bar": to_dict(found.bar), "sentence": found.sentence}, indent=2))
        return
    _print(found, repeats)


def _print(found: "Audit", repeats: int) -> None:
    from rich.console import Console
    from rich.markup import escape

    console = Console(highlight=False)
    questions = "" if found.questions == found.pairs else f" of {found.questions} questions"
    console.print(
        f"[bold]{escape(found.kind)}[/]: {found.items} items, {found.pairs} pairs{questions}; tested on {found.tested} "
        f"({found.split})"
    )
    table = _table("shortcut", "%", "95 %", *(["other splits"] if repeats else []), "")
    for bar in sorted(found.bars, key=lambda bar: -bar.accuracy):
        low, high = bar.ci
        notes = [f"{bar.undecided} undecided"] if bar.undecided else []
        notes += [] if bar.legible else ["not in texts"]
        table.add_row(
            escape(bar.name),
            f"{100 * bar.accuracy:.1f}",
            f"{100 * low:.1f}–{100 * high:.1f}",
            *([_spread(bar.repeated)] if repeats else []),
            ", ".join(notes),
            style="bold" if bar == found.bar else None,
        )
    console.print(table)
    console.print()
    table = _table("in the data", "%", "of")
    for fact in found.facts:
        table.add_row(escape(fact.name), f"{100 * fact.share:.1f}", f"{fact.count}/{fact.n}")
    console.print(table)
    console.print(f"\n[bold]{escape(found.sentence)}[/]")


def _table(*columns: str) -> "Table":
    """Return a table whose numbers stand under each other and never break."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for index, column in enumerate(columns):
        table.add_column(column, no_wrap=True, justify="right" if index in (1, 2) else "left")
    return table


def _spread(repeated: tuple[float, float] | None) -> str:
    return "" if repeated is None else f"{100 * repeated[0]:.1f} ± {100 * repeated[1]:.1f}"
