"""`thinktwice show RUN --key KEY`: one problem whole, as the arms answered it, token by token if asked."""

import difflib
import math
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from thinktwice.cli.rows import decoder, verdict, written
from thinktwice.cli.tables import plain_table
from thinktwice.config import parse
from thinktwice.errors import ConfigError, RunError, nearest
from thinktwice.records import TraceRecord
from thinktwice.run import Run
from thinktwice.show import STYLES, UNDO_SIGN, Decode, Mark, printable, trace_pieces
from thinktwice.types import Step

BAR = 10
"""Characters of a bar that stands for certainty."""


def print_trace(path: Path, key: str, arm: str | None, tokenizer: Path | None, *, probabilities: bool) -> None:
    """Print every arm's answer to one problem: question, reference, trace, score and kind of failure.

    Raises:
        ConfigError: the run has no such arm, or no such problem; the nearest is named.
        RunError: `path` is no run, or has no traces.
    """
    run = Run.load(path)
    records = list(_records(run, key, arm))
    console = Console(highlight=False)
    first = records[0]
    console.print(Text(printable(f"{first.key} · level {first.level}"), style="bold"), soft_wrap=True)
    console.print(Text(printable(first.question)), soft_wrap=True)
    console.print(Text(printable(f"reference: {first.reference}"), style="bright_black"), soft_wrap=True)
    if first.support:
        console.print(Text(printable(f"it takes: {', '.join(first.support)}"), style="bright_black"), soft_wrap=True)
    base = run.artefact("base", "tokenizer.json")
    decode = decoder(tokenizer or (base.parent if base else None)) if probabilities else None
    for record in records:
        console.print()
        console.print(Text(printable(f"{record.arm} · {verdict(record)}"), style="bold"), soft_wrap=True)
        console.print(written(trace_pieces(record.trace), console), soft_wrap=True)
        if turns := _turns(record):
            console.print(turns, soft_wrap=True)
        for line in _facts(record):
            console.print(Text(printable(line), style="bright_black"), soft_wrap=True)
        if probabilities:
            console.print(_tokens(record, decode))


def _records(run: Run, key: str, arm: str | None) -> Iterator[TraceRecord]:
    names = run.trace_names()
    if not names:
        raise RunError(f"{run.root} has no traces yet")
    if arm is not None and arm not in names:
        raise ConfigError(f"{run.root} has no traces of an arm {arm!r}.{nearest(arm, names)}")
    # The recipe's order, arms it does not know (another version's) last.
    order = [name for name in run.config.get("arms", {}) if name in names]
    files = {name: run.traces(name).done for name in dict.fromkeys([*order, *names]) if arm in (None, name)}
    found = [name for name, rows in files.items() if key in rows]
    if not found:
        known = list(dict.fromkeys(k for rows in files.values() for k in rows))
        near = difflib.get_close_matches(key, known, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"Keys look like {known[0]!r}." if known else ""
        raise ConfigError(f"{run.root} has no answer to a problem {key!r}. {hint}".rstrip())
    for name in found:
        yield parse(TraceRecord, files[name][key], f"{run.root}/traces/{name}.jsonl")


def _turns(record: TraceRecord) -> Text:
    """Return the turns of an episode at a glance: what was done, about what, and what is remarkable about it."""
    text = Text()
    for number, note in enumerate((n for n in record.notes if n.what != "observation"), start=1):
        text.append(" · " if text else "").append(f"{number} {printable(note.what)} ", style="bold")
        text.append(printable(note.text.replace("\n", " ")))
        if note.mark:
            text.append(f" ({printable(note.mark)})", style="red")
    return text


def _facts(record: TraceRecord) -> Iterator[str]:
    trace = record.trace
    lost = sum(len(step.token_ids) for step in trace.steps if not step.kept)
    yield f"{trace.sampled_tokens} tokens sampled, {lost} of them not in the reply · stopped: {trace.stop}"
    reason = " · ".join(part for part in (record.failure, record.score.why, trace.error or "") if part)
    if reason:
        yield reason


def _tokens(record: TraceRecord, decode: Decode | None) -> Table | Text:
    """Return one row a token, and one a rewind."""
    if not any(step.logprobs for step in record.trace.steps):
        return Text("this run did not record probabilities", style="bright_black")
    table = plain_table("", "token", "probability", "", "")
    number = 0
    for step in record.trace.steps:
        mark, fate = _fate(step)
        for i, token_id in enumerate(step.token_ids):
            number += 1
            p = math.exp(step.logprobs[i]) if i < len(step.logprobs) and step.sampled else None
            bar = "" if p is None else "▇" * max(1, round(BAR * p))
            shown = "–" if p is None else f"{100 * p:.1f} %".rjust(7)
            table.add_row(str(number), Text(_spelled(decode, token_id), style=STYLES[mark]), shown, bar, fate)
        if step.rewind is not None:
            banned = " ".join(_spelled(decode, token_id) for token_id in step.rewind.ban)
            said = f"{step.rewind.n} token{'s' if step.rewind.n != 1 else ''} deleted" + (
                f"; not next: {banned}" if banned else ""
            )
            table.add_row(UNDO_SIGN, Text(said, style="red"), "", "", "")
    return table


def _fate(step: Step) -> tuple[Mark, str]:
    if step.kept:
        return ("written", "") if step.sampled else ("seen", "inserted")
    if step.kind == "undo":
        return "undo", "undo"
    return "retracted", "rejected" if step.kind == "text" else "retracted"


def _spelled(decode: Decode | None, token_id: int) -> str:
    """Return a token visibly: in quotes, with its line breaks and control characters spelled out."""
    return f"#{token_id}" if decode is None else printable(repr(decode([token_id])))
