"""The command that puts a trained verifier to work: verify. Law: everything heavy is imported inside it."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer


def verify(
    model: Annotated[
        Path, typer.Argument(help="A run that trained a verifier, or the verifier's directory.", show_default=False)
    ],
    file: Annotated[
        Path,
        typer.Argument(
            help='JSON lines {"question": text, "candidates": [text, ...]}, or what thinktwice argue writes.',
            show_default=False,
        ),
    ],
    arm: Annotated[
        str | None, typer.Option(help="Whose weights, and how they are asked.", show_default="the headline's first")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where the verdicts go, one JSON line a question.", show_default="stdout")
    ] = None,
) -> None:
    """Say which of several solutions of a question is right, by a trained verifier.

    A verdict: {id, question, scores, best, agree, right}. `scores` are mean
    log-probabilities, one a candidate; `best` counts from 0; `agree` says of a pair
    whether both orders chose the same one; `right` is null where nobody has said
    which candidates are right.

    Any number of candidates: best of n. A pairwise verifier sees every two of them
    in both orders, a pointwise one each by itself.
    """
    import sys

    from thinktwice.answer import open_verifier
    from thinktwice.cli.progress import interactive, logging_to, quiet_loading
    from thinktwice.cli.work import model_directory
    from thinktwice.errors import ConfigError
    from thinktwice.methods.transplant import Transplant
    from thinktwice.methods.transplant.ranking import rank, read_candidates
    from thinktwice.run import write_text

    candidates = read_candidates(file)
    place = Path(model_directory(str(model), Path("runs"), arm))
    with logging_to(interactive(sys.stderr)):
        quiet_loading()
        saved = open_verifier(place)
        if arm is not None:
            saved = saved.as_arm(arm)
        if not isinstance(saved.method, Transplant):
            raise ConfigError(f"arm {arm!r} is no verifier; name one that trained with method.name=transplant.")
        lines, ranked = [], []
        for verdict in rank(candidates, saved.method, saved.engine, saved.render):
            ranked.append(verdict)
            lines.append(json.dumps(asdict(verdict), ensure_ascii=False) + "\n")
            if out is None:
                print(lines[-1], end="", flush=True)
    if out is not None:
        write_text(out, "".join(lines))
    told = [f"{len(ranked)} questions"]
    both = [verdict.agree for verdict in ranked if verdict.agree is not None]
    if both:
        told.append(f"the same candidate in both orders {sum(both) / len(both):.1%}")
    known = [verdict.right for verdict in ranked if verdict.right is not None]
    if known:
        told.append(f"the best candidate is right {sum(known) / len(known):.1%}")
    typer.echo(" · ".join(told), err=True)
