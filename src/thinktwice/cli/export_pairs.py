"""The command that writes training tables for other trainers: export-pairs. Law: it needs no model."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from thinktwice.errors import ConfigError, DataError

SHOWN = 20
"""Malformed rows that are named, at most."""


def export_pairs(
    trajectories: Annotated[
        Path, typer.Argument(help="JSON Lines: araft's trajectories, or those of `thinktwice distil`.")
    ],
    out: Annotated[Path, typer.Option(help="The directory that gets sft.csv and dpo.csv.", show_default=False)],
    compat: Annotated[Literal["araft-csv"], typer.Option(help="Whose tables.")] = "araft-csv",
    templates_dir: Annotated[
        Path | None,
        typer.Option(
            help="The directory with system.txt and human.txt.",
            show_default="prompt_templates beside the trajectories",
        ),
    ] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(help="Count tokens with this one, and say what a limit would cut.", show_default=False),
    ] = None,
    max_length: Annotated[
        int | None, typer.Option(help="Refuse rows with more tokens; needs --tokenizer.", show_default=False, min=2)
    ] = None,
    allow_cut: Annotated[
        bool, typer.Option("--allow-cut", help="Write the tables although a trainer would cut rows of them.")
    ] = False,
) -> None:
    """Turn trajectories into araft's SFT and DPO tables, byte for byte, offline.

    One row for each action. In the DPO table the rejected step is the one before
    it, and a constant sentence at the first. Rows that cannot be read are named,
    counted and left out.
    """
    from thinktwice.methods.react import araft

    read, malformed = araft.read_trajectories(trajectories)
    for row in malformed[:SHOWN]:
        typer.echo(f"{trajectories}:{row.line}: left out, {row.reason}", err=True)
    if len(malformed) > SHOWN:
        typer.echo(f"and {len(malformed) - SHOWN} more lines left out", err=True)
    if not read:
        raise DataError(f"{trajectories} has no trajectory that can be used: {len(malformed)} lines left out.")
    templates = araft.Templates.load(templates_dir or trajectories.parent / "prompt_templates")
    if max_length is not None and tokenizer is None:
        raise ConfigError("--max-length counts tokens; say whose with --tokenizer DIRECTORY")
    if tokenizer is not None:
        _check_lengths([row for t in read for row in araft.sft_rows(t, templates)], tokenizer, max_length, allow_cut)
    written = araft.write_tables(read, templates, out)
    typer.echo(f"{len(read) + len(malformed)} trajectories = {len(read)} used + {len(malformed)} left out")
    for path, rows in written.items():
        typer.echo(f"{rows} rows: {path}")


def _check_lengths(rows: list[tuple[str, str]], tokenizer: str, max_length: int | None, allowed: bool) -> None:
    """Print what a limit on the length would cut, and refuse it unless that was asked for."""
    from thinktwice.methods.react.budget import measure
    from thinktwice.nano import BUNDLED, resolve
    from thinktwice.train.vocab import load_tokenizer

    try:
        encode = load_tokenizer(Path(resolve(tokenizer) if tokenizer in BUNDLED else tokenizer))
    except (OSError, ValueError):  # what transformers says of it is a page
        raise ConfigError(f"--tokenizer {tokenizer!r} cannot be loaded; name a directory or a model's id.") from None
    options = {"add_special_tokens": False}
    spans = []
    for prompt, completion in rows:
        before, after = (len(encode(text, **options)["input_ids"]) for text in (prompt, completion))
        spans.append((before + after, ((before, before + after),)))
    found = measure(spans, max_length)
    typer.echo(str(found))
    if found.over and not allowed:
        raise DataError(
            f"{found.over} of {found.rows} rows are longer than {max_length} tokens; a trainer that cuts them would "
            f"lose {found.lost} actions whole and the end of {found.cut}. Raise --max-length, or say --allow-cut."
        )
