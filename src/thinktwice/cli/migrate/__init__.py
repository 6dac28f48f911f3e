"""The command that translates another system's command line into a recipe: migrate."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from thinktwice.errors import ConfigError, nearest

METHODS = ("planning", "react", "transplant", "evolve")


def migrate(
    method: Annotated[
        str, typer.Argument(help="Whose scripts: planning, react (araft's), transplant or evolve.", show_default=False)
    ],
    command: Annotated[
        list[str],
        typer.Argument(
            help="After --: the script's name and its flags; or a shell file that runs it.", show_default=False
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Write the recipe there; default: standard output.", show_default=False)
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Directory of the dataset, for task.path.", show_default=False)
    ] = None,
    compat: Annotated[
        bool, typer.Option("--compat", help="Do as the public code does: its scores, filters, lengths, pairs.")
    ] = False,
    controls: Annotated[bool, typer.Option("--controls/--no-controls", help="Add the arms that a claim needs.")] = True,
) -> None:
    """Translate a command line of a public code into a recipe, with a note for everything that is different.

    What cannot be had is refused with its reason; nothing is passed over.
    """
    from thinktwice.cli.migrate.evolve_recipe import migrate_evolve
    from thinktwice.cli.migrate.react_recipe import migrate_react
    from thinktwice.cli.migrate.recipe import migrate_planning
    from thinktwice.cli.migrate.transplant_recipe import migrate_transplant

    if method not in METHODS:
        raise ConfigError(f"there is no table for {method!r}.{nearest(method, METHODS)}")
    translators = {
        "planning": migrate_planning,
        "react": migrate_react,
        "transplant": migrate_transplant,
        "evolve": migrate_evolve,
    }
    translate = translators[method]
    if out is not None and out.exists():
        raise ConfigError(f"{out} exists already; choose another --out")
    made = translate(command, data=str(data) if data else None, compat=compat, controls=controls)
    if not made.tree:
        if out is not None:
            raise ConfigError(f"there is no recipe to write; leave out --out. What does it: {made.command}")
        typer.echo(_comments(made.notes) + made.command)
        return
    shown = made.command.replace("FILE", str(out) if out is not None else "FILE.yaml")
    text = _yaml(made.tree, [*made.notes, f"To run it: {shown}"])
    if out is None:
        typer.echo(text, nl=False)
        return
    out.write_text(text, encoding="utf-8")
    for note in made.notes:
        typer.echo(f"- {note}", err=True)
    typer.echo(shown)


def _yaml(tree: dict[str, Any], notes: list[str]) -> str:
    """Write a recipe, its notes as comments before it."""
    return _comments(notes) + "\n" + "\n".join(_section(key, value) for key, value in tree.items())


def _comments(notes: Sequence[str]) -> str:
    return "".join(f"# {' '.join(note.split())}\n" for note in notes)


def _section(key: str, value: Any) -> str:
    if not isinstance(value, dict) or not value or key == "headline":
        return f"{key}: {_flow(value)}\n"
    return f"{key}:\n" + "".join(f"  {name}: {_flow(below)}\n" for name, below in value.items())


def _flow(value: Any) -> str:
    """Write a value on one line; JSON is YAML, and words that need no quotes have none."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(below)}" for key, below in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z][\w./-]*", value) and value not in ("true", "false", "null"):
        return value
    return json.dumps(value, ensure_ascii=False)
