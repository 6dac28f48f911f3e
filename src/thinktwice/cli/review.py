"""The command that has a person look at answers: review. Law: what was said is on the disk before the next question."""

import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from thinktwice.errors import DataError

if TYPE_CHECKING:
    from rich.console import Console

    from thinktwice.methods.evolve.feedback import Feedback
    from thinktwice.methods.evolve.human import Item, Review

Choice = Literal["correct", "incorrect", "unsure", "skip", "back", "quit"]
CHOICES: tuple[Choice, ...] = ("correct", "incorrect", "unsure", "skip", "back", "quit")
NOTHING = "-"
"""What is typed for nothing where there is a default."""
SHOWN = 60
"""A longer default is not repeated in the question: it stands above."""


class _Ended(Exception):  # noqa: N818  not an error
    """There is no more input."""


def review(
    queue: Annotated[
        Path, typer.Argument(help="JSON Lines: the answers to look at, as a run with source=human queues.")
    ],
    out: Annotated[Path, typer.Option(help="JSON Lines: what you say is added to it.", show_default=False)],
) -> None:
    """Look at answers one after the other and say whether they are right.

    Asked are the verdict (c correct, i incorrect, u unsure; s skip, b back, q quit)
    and, where it applies, the first wrong line, an explanation and what the answer
    should be. Enter takes what is in brackets: what a model drafted, or what you
    said before; - takes nothing.

    Each answer is saved at once. Interrupted or killed, the same command goes on;
    what was skipped is asked again. It reads a pipe as it reads a keyboard.
    """
    from rich.console import Console

    from thinktwice.methods.evolve import human

    items, bad = human.read_queue(queue)
    _report(bad, queue)
    if not items:
        raise DataError(f"{queue} has no answer to look at.")
    said: dict[str, Review] = {}
    if out.exists():
        said, bad = human.read_reviews(out)
        _report(bad, out)
    with suppress(ImportError):  # not on every system; with it a line can be edited
        import readline  # noqa: F401
    before = len(said.keys() & items.keys())
    skipped: set[str] = set()
    with suppress(_Ended):
        _go(list(items.values()), said, skipped, out, Console(highlight=False))
    done = len(said.keys() & items.keys())
    left = f"{len(items) - done} left" + (f" ({len(skipped - said.keys())} skipped)" if skipped - said.keys() else "")
    typer.echo(f"{done} of {len(items)} answers reviewed, {done - before} of them now, {left}: {out}")


def _go(items: Sequence["Item"], said: "dict[str, Review]", skipped: set[str], out: Path, console: "Console") -> None:
    """Ask about one answer after the other, from the first that nobody said anything of."""
    from thinktwice.methods.evolve.human import add_review

    place = _next(items, 0, said, skipped)
    while place < len(items):
        item = items[place]
        before = said.get(item.id)
        default = before.feedback if before is not None else item.draft
        _show(console, f"{place + 1} of {len(items)}", item, default, "you said" if before is not None else "drafted")
        choice = _choose(default)
        if choice == "quit":
            return
        if choice == "back":
            if not place:
                typer.echo("this is the first one")
            place = max(0, place - 1)
            continue
        if choice == "skip":
            skipped.add(item.id)
        else:
            said[item.id] = _rest(item, choice, default if default and default.verdict == choice else None)
            add_review(out, said[item.id])
        place = _next(items, place + 1, said, skipped)


def _next(items: Sequence["Item"], place: int, said: "Mapping[str, Review]", skipped: set[str]) -> int:
    """Return the first place from `place` on that is neither reviewed nor skipped."""
    return next((i for i in range(place, len(items)) if items[i].id not in said.keys() | skipped), len(items))


def _show(console: "Console", place: str, item: "Item", default: "Feedback | None", by: str) -> None:
    from rich.text import Text

    from thinktwice.methods.evolve.feedback import write
    from thinktwice.show import printable

    console.print()
    console.print(Text(f"{place} · {printable(item.problem_id)} · sample {item.sample}", style="bold"), soft_wrap=True)
    console.print(Text(printable(item.question), style="bright_black"), soft_wrap=True)
    for number, line in enumerate(_lines(item), 1):
        console.print(
            Text(f"{number:>3}  ", style="bright_black").append(printable(line), style="green"), soft_wrap=True
        )
    if not _lines(item):
        console.print(Text("(nothing was answered)", style="bright_black"))
    if default is not None:
        told = "\n".join(f"  {line}" for line in printable(write(default)).splitlines())
        console.print(Text(f"{by}:\n{told}", style="cyan"), soft_wrap=True)


def _lines(item: "Item") -> list[str]:
    """Return an answer's lines as they are counted: without blank ones."""
    return [line for line in item.answer.splitlines() if line.strip()]


def _choose(default: "Feedback | None") -> Choice:
    known: dict[str, Choice] = {name: choice for choice in CHOICES for name in (choice, choice[0])}
    standing = default.verdict if default is not None and default.verdict in known else ""
    while True:
        typed = _ask("c correct, i incorrect, u unsure; s skip, b back, q quit", standing).lower()
        if typed in known:
            return known[typed]
        typer.echo(f"type one of {', '.join(choice[0] for choice in CHOICES)}")


def _rest(item: "Item", verdict: Choice, default: "Feedback | None") -> "Review":
    """Ask for what goes with a verdict; defaults are those of the same verdict."""
    from thinktwice.methods.evolve.human import Review

    assert verdict in ("correct", "incorrect", "unsure")
    wrong = verdict == "incorrect"
    step = _step(item, default) if wrong else None
    explanation = _ask("explanation", default.explanation if default else "")
    answer = _ask("what the answer should be", (default.answer or "") if default else "") if wrong else ""
    return Review(item.id, verdict, step=step, explanation=explanation, answer=answer or None)


def _step(item: "Item", default: "Feedback | None") -> int | None:
    count = len(_lines(item))
    if not count:
        return None
    drafted = default.step if default else None
    while True:
        typed = _ask(f"first wrong line, 1 to {count}", str(drafted) if drafted and drafted <= count else "")
        if not typed:
            return None
        if typed.isdecimal() and 1 <= int(typed) <= count:
            return int(typed)
        typer.echo(f"a number from 1 to {count}, or {NOTHING} for none")


def _ask(question: str, default: str) -> str:
    """Return what is typed; the default for an empty line, and nothing for `NOTHING`.

    Raises:
        _Ended: there is no more input.
    """
    from thinktwice.show import printable

    short = len(default) <= SHOWN and "\n" not in default
    shown = f" [{printable(default) if short else 'as above'}]" if default else ""
    try:
        typed = input(f"{question}{shown}: ").strip()
    except EOFError:
        raise _Ended from None
    finally:
        if not sys.stdin.isatty():
            typer.echo()  # nobody's Enter has ended the line
    typed = typed.encode(errors="replace").decode()  # bytes that are no text
    return "" if typed == NOTHING else typed or default


def _report(bad: Mapping[str, int], path: Path) -> None:
    from thinktwice.methods.evolve.human import told
    from thinktwice.show import printable

    if bad:
        typer.echo(printable(f"{path}: rows left out, {told(bad)}"), err=True)
