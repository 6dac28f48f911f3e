"""Where documents come from: HotpotQA's contexts, dumps of Wikipedia abstracts, a `wiki` world.

Files are JSON lines or one JSON array, also packed by gzip or bzip2, and are read piece by piece, whatever their size.
A row with `context` is a HotpotQA question, whose paragraphs are documents; any other row is one document:

    title        required
    text         or `abstract`, or `extract`: a text, or a list of sentences
    redirects    or `aliases`: other names of the page                                          (optional)
    choices      what an ambiguous title may mean: titles                                       (optional)
    redirect     in place of a text: the title that this one leads to                           (optional)

Everything else (`url`, `id`, ...) is left alone. A bad row is counted and named; past 1 % the reading stops.
"""

import bz2
import gzip
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from thinktwice.errors import DataError
from thinktwice.tasks.worlds.wiki import Encyclopedia

log = logging.getLogger(__name__)

MAX_BAD = 0.01
SUFFIXES = (".json", ".jsonl", ".json.gz", ".jsonl.gz", ".json.bz2", ".jsonl.bz2")
PIECE = 1 << 20
LONGEST_ROW = 64 << 20
"""Characters; what has no end by then is not a row."""


@dataclass(frozen=True, slots=True)
class Document:
    """One page, or one redirect."""

    title: str
    text: str = ""
    redirects: tuple[str, ...] = ()
    """Other names that lead here."""
    choices: tuple[str, ...] = ()
    """Titles that this one may mean; makes it a disambiguation page."""
    redirect: str = ""
    """The title it leads to; set only where it is no page of its own."""


def world_documents(encyclopedia: Encyclopedia) -> Iterator[Document]:
    """Yield a page for every person, town and country of a `wiki` world: its facts, one a line.

    A family name is a page of its own that names those who bear it; where only one person does, it leads to them.
    """
    families: dict[str, list[str]] = {}
    for person in encyclopedia.persons:
        families.setdefault(person.rpartition(" ")[2], []).append(person)
    for subject in encyclopedia.pages:
        yield Document(subject, encyclopedia.page(subject))
    for family, persons in families.items():
        if len(persons) > 1:
            yield Document(family, choices=tuple(persons))
        else:
            yield Document(family, redirect=persons[0])


def read_documents(sources: Sequence[Path]) -> Iterator[Document]:
    """Yield the documents of files, or of directories of them, in the order of names.

    Raises:
        DataError: a file cannot be read, is empty, has questions without paragraphs, or more than 1 % bad rows.
    """
    for path in (file for source in sources for file in _files(source)):
        yield from _checked(path)


def paragraphs(row: Mapping[str, Any]) -> Iterator[Document]:
    """Yield the paragraphs of a HotpotQA question, in its own layout ([[title, sentences], ...]) or the hub's."""
    context = row["context"]
    if isinstance(context, Mapping):
        context = list(zip(_list(context.get("title")), _list(context.get("sentences")), strict=True))
    for pair in _list(context):
        if not isinstance(pair, Sequence) or len(pair) != 2:
            raise ValueError("a paragraph is not [title, sentences]")
        yield Document(_text("title", pair[0]), _text("sentences", pair[1]))


def _document(row: Mapping[str, Any]) -> Document:
    title = _text("title", row.get("title"))
    redirect = row.get("redirect")
    if isinstance(redirect, str) and redirect.strip():
        return Document(title, redirect=redirect)
    named = next((name for name in ("text", "abstract", "extract") if row.get(name) is not None), None)
    choices = _names(row, "choices")
    if named is None and not choices:
        raise ValueError("it has no text (nor abstract, extract)")
    text = "" if named is None else _text(named, row[named])
    return Document(title, text, _names(row, "redirects") + _names(row, "aliases"), choices)


def _list(value: Any) -> Sequence[Any]:
    if not isinstance(value, list | tuple):
        raise ValueError("its context is no list")
    return value


def _names(row: Mapping[str, Any], field: str) -> tuple[str, ...]:
    value = row.get(field) or ()
    if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
        raise ValueError(f"{field!r} is no list of titles")
    return tuple(value)


def _text(name: str, value: Any) -> str:
    """Return a text; sentences are joined as they stand, and lists of them (paragraphs) by a line break."""
    if isinstance(value, list) and all(isinstance(part, list) for part in value) and value:
        value = "\n".join(_text(name, part) for part in value)
    elif isinstance(value, list) and all(isinstance(part, str) for part in value):
        value = "".join(value)
    if not isinstance(value, str) or (name == "title" and not value.strip()):
        raise ValueError(f"its {name} is missing" if value in (None, "") else f"its {name} is no text")
    return value


def _files(source: Path) -> Iterable[Path]:
    if not source.is_dir():
        return [source]
    found = sorted(path for path in source.rglob("*") if path.name.endswith(SUFFIXES) and path.is_file())
    if not found:
        raise DataError(f"{source} has no file that ends in {', '.join(SUFFIXES[:2])} (or these with .gz, .bz2).")
    return found


def _checked(path: Path) -> Iterator[Document]:
    """Yield a file's documents; count its bad rows."""
    total = 0
    bad: list[str] = []
    for total, row in enumerate(rows(path), 1):
        try:
            if not isinstance(row, Mapping):
                raise ValueError(str(row) if isinstance(row, _Bad) else "it is not a JSON object")
            if "context" in row:
                found = list(paragraphs(row))
            elif "question" in row and "title" not in row:
                raise DataError(_without_contexts(path))
            else:
                found = [_document(row)]
        except DataError:
            raise
        except ValueError as error:
            bad.append(f"row {total}: {error}" if len(bad) < 3 else "")
            if len(bad) > MAX_BAD * max(total, 10_000):
                break
            continue
        yield from found
    told = f"{len(bad):,} of {total:,} rows cannot be read ({'; '.join(filter(None, bad))})"
    if len(bad) > MAX_BAD * total:
        raise DataError(
            f"{path}: {told}. A row is a HotpotQA question with `context`, or has `title` and `text` (or `abstract`)."
        )
    if bad:
        log.warning("%s: %s", path, told)
    if not total:
        raise DataError(f"{path} is empty. Give a file with one JSON object a line, or a JSON array.")


def _without_contexts(path: Path) -> str:
    return (
        f"{path} has questions without their paragraphs (no `context`), as HotpotQA's simplified files do. Give a file "
        "that has them: hotpot_train_v1.1.json or hotpot_dev_distractor_v1.json from hotpotqa.github.io."
    )


class _Bad(str):
    """Why a line is no JSON."""


def rows(path: Path) -> Iterator[Any]:
    """Yield the rows of a file of JSON lines or of one JSON array, holding one row at a time.

    Raises:
        DataError: it cannot be read, or an array is broken.
    """
    try:
        with closing(_opened(path)) as file:
            start = file.read(PIECE).lstrip("\ufeff \t\r\n")
            yield from _array(path, file, start[1:]) if start.startswith("[") else _lines(file, start)
    except (OSError, EOFError, UnicodeDecodeError) as error:  # missing, no gzip after all, no UTF-8
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"cannot read {path}: {reason}. Check the path; files are UTF-8.") from None


def _opened(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8")
    if path.suffix == ".bz2":
        return bz2.open(path, "rt", encoding="utf-8")
    return open(path, encoding="utf-8", newline="\n")


def _lines(file: IO[str], start: str) -> Iterator[Any]:
    rest = start
    while True:
        *lines, rest = rest.split("\n")
        for line in lines:
            if line.strip():
                yield _parsed(line)
        piece = file.read(PIECE)
        if not piece or len(rest) > LONGEST_ROW:
            break
        rest += piece
    if rest.strip():
        yield _parsed(rest)


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        return _Bad(f"it is not JSON ({error})")


def _array(path: Path, file: IO[str], text: str) -> Iterator[Any]:
    decoder = json.JSONDecoder()
    while True:
        text = text.lstrip(" \t\r\n,")
        if text.startswith("]"):
            return
        try:
            row, end = decoder.raw_decode(text)
        except (ValueError, RecursionError) as error:
            piece = file.read(max(PIECE, len(text)))  # doubling, so that a long row is not scanned too often
            if not piece or len(text) > LONGEST_ROW:
                raise DataError(f"{path} is a broken JSON array ({error}). Get it again.") from None
            text += piece
            continue
        yield row
        text = text[end:]
