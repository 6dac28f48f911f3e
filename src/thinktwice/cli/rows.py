"""`thinktwice show`: rows of a run or of a JSONL file, coloured. Law 2: what is learned is visible."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from thinktwice.config import parse
from thinktwice.errors import ConfigError, DataError, RunError, nearest
from thinktwice.records import TraceRecord
from thinktwice.run import Run
from thinktwice.show import (
    Decode,
    Piece,
    example_pieces,
    pair_pieces,
    printable,
    texts_pieces,
    to_plain,
    to_rich,
    trace_pieces,
)
from thinktwice.types import Example, Pair, Trace


@dataclass(frozen=True)
class Filter:
    """Which rows."""

    limit: int = 5
    arm: str | None = None
    level: int | None = None
    retracted: bool = False
    wrong: bool = False


@dataclass(frozen=True)
class Shown:
    """One row: a heading, and pieces below it."""

    heading: str
    pieces: tuple[Piece, ...]


def print_rows(path: Path, chosen: Filter, tokenizer: Path | None) -> None:
    """Print the rows of a run directory or a file that the filter lets through."""
    if not path.exists():
        near = [str(p) for p in path.parent.glob("*")] if path.parent.is_dir() else []
        raise RunError(f"there is nothing at {path}.{nearest(str(path), near) if near else ''}")
    rows = _of_run(path, chosen) if path.is_dir() else _of_file(path, chosen, tokenizer)
    console = Console(highlight=False)
    shown = 0
    for row in rows:
        if shown:
            console.print()
        console.print(Text(row.heading, style="bold"), soft_wrap=True)
        console.print(written(row.pieces, console), soft_wrap=True)
        shown += 1
        if shown == chosen.limit:
            break
    if not shown:
        console.print(f"no row of {path} is let through", markup=False)


def written(pieces: Sequence[Piece], console: Console) -> Text:
    """Return pieces in colour, or with their marks spelled out where the console has none."""
    coloured = console.color_system is not None and not console.no_color
    return to_rich(pieces) if coloured else Text(to_plain(pieces))


def _of_run(path: Path, chosen: Filter) -> Iterator[Shown]:
    run = Run.load(path)
    names = run.trace_names()
    if not names:
        raise RunError(f"{path} has no traces yet")
    if chosen.arm is not None and chosen.arm not in names:
        raise ConfigError(f"{path} has no traces of an arm {chosen.arm!r}.{nearest(chosen.arm, names)}")
    for name in names:
        if chosen.arm in (None, name):
            for row in run.traces(name).done.values():
                yield from _record(parse(TraceRecord, row, f"{path}/traces/{name}.jsonl"), chosen)


def _record(record: TraceRecord, chosen: Filter) -> Iterator[Shown]:
    if (chosen.level not in (None, record.level)) or (chosen.wrong and record.score.value == 1):
        return
    if chosen.retracted and len(record.trace.kept) == len(record.trace.steps):
        return
    heading = printable(f"{record.arm} · level {record.level} · {record.key} · {verdict(record)}")
    yield Shown(heading, (Piece(record.question + "\n", "seen"), *trace_pieces(record.trace)))


def verdict(record: TraceRecord) -> str:
    """Say whether an answer is right, and what it was when it isn't."""
    if record.score.value == 1:
        return "right"
    if 0 < record.score.value < 1:
        return f"partly right ({record.score.value:.2f}): {record.score.answer}, not {record.reference}"
    return f"wrong: {record.score.answer or 'no answer'}, not {record.reference}"


def _of_file(path: Path, chosen: Filter, tokenizer: Path | None) -> Iterator[Shown]:
    decode = decoder(tokenizer or _beside(path))
    with path.open(encoding="utf-8") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise DataError(f"{path}:{number}: not a JSON line: {error}") from None
            if not isinstance(row, dict):
                raise DataError(f"{path}:{number}: expected an object, got {line[:40]!r}")
            yield from _row(row, f"{path}:{number}", chosen, decode)


def _row(row: Mapping[str, Any], place: str, chosen: Filter, decode: Decode | None) -> Iterator[Shown]:
    """Tell what kind of row it is by its keys."""
    if "trace" in row:
        yield from _record(parse(TraceRecord, {k: v for k, v in row.items() if k != "check"}, place), chosen)
    elif "steps" in row:
        trace = parse(Trace, row, place)
        if not chosen.retracted or len(trace.kept) < len(trace.steps):
            yield Shown(f"{trace.problem_id} · {trace.stop}", tuple(trace_pieces(trace)))
    elif "chosen" in row and "rejected" in row:
        yield _pair(row, place, decode)
    elif "token_ids" in row:
        decode = _spelling(decode, place)
        example = parse(Example, row, place)
        yield Shown(f"{example.problem_id} · {len(example.token_ids)} tokens", tuple(example_pieces(example, decode)))
    elif "question" in row and "answer" in row:
        answer = row["answer"] if isinstance(row["answer"], str) else json.dumps(row["answer"])
        yield Shown(place, (Piece(f"{row['question']}\n", "seen"), Piece(answer, "learned")))
    else:
        keys = ", ".join(map(str, list(row)[:6]))
        raise DataError(f"{place}: a row with keys {keys} is no trace, example, pair or problem")


def _pair(row: Mapping[str, Any], place: str, decode: Decode | None) -> Shown:
    """Show two sides of token ids, or of text (`prompt`, `chosen`, `rejected`)."""
    texts = [row.get(key, "") for key in ("prompt", "chosen", "rejected")]
    if all(isinstance(text, str) for text in texts):
        return Shown(f"{place} · pair", tuple(texts_pieces(*texts)))
    pair = parse(Pair, row, place)
    lengths = f"{len(pair.chosen.token_ids)} and {len(pair.rejected.token_ids)} tokens"
    parts = [printable(part) for part in (pair.problem_id, pair.kind) if part]
    return Shown(" · ".join([*parts, lengths]), tuple(pair_pieces(pair, _spelling(decode, place))))


def _spelling(decode: Decode | None, place: str) -> Decode:
    if decode is None:
        raise ConfigError(f"{place}: these are token ids; name the model whose they are with --tokenizer DIR")
    return decode


def _beside(path: Path) -> Path | None:
    """Return the model that a stage of a run trained on a file: its ids are that model's."""
    model = path.parent / "model"
    return model if (model / "tokenizer.json").is_file() else None


def decoder(directory: Path | None) -> Decode | None:
    """Return ids -> text by the tokenizer in a directory; None for None."""
    if directory is None:
        return None
    path = directory / "tokenizer.json" if directory.is_dir() else directory
    if not path.is_file():
        raise ConfigError(f"there is no {path}")
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    return lambda token_ids: str(tokenizer.decode(list(token_ids), skip_special_tokens=False))
