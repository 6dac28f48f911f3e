"""Rows from files or the hub to problems. Law: a bad row is named, counted and set aside; past 1 % the load stops.

Local files are JSON lines, a JSON array (or an object whose `Instances` is one), or XML with one element a row. Nothing
is repaired by guessing: a row is read as it stands, or quarantined with its line number and the reason.
"""

import hashlib
import json
import logging
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from thinktwice.errors import DataError
from thinktwice.types import Problem

log = logging.getLogger(__name__)

MAX_BAD = 0.01
"""A source with a larger share of quarantined rows is not what it was taken for."""


class Omitted(Exception):  # noqa: N818  not an error
    """Raised by a converter for a sound row that the task has no use for; counted by its message, no threshold."""


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row set aside."""

    line: int
    """Line number in a file of JSON lines; elsewhere the row's place, from 1."""
    reason: str
    raw: str = ""
    """The row as it stands in the source."""


@dataclass(frozen=True)
class Reading:
    """What one source held. Law: rows = problems + quarantined + repeated + omitted."""

    source: str
    rows: int
    problems: tuple[Problem, ...]
    quarantined: tuple[BadRow, ...] = ()
    repeated: int = 0
    """Rows that said exactly what an earlier one had said."""
    omitted: dict[str, int] = field(default_factory=dict)
    """Sound rows that the task has no use for, by reason."""

    def __str__(self) -> str:
        """One line for a log."""
        parts = [f"{self.rows} rows, {len(self.problems)} problems"]
        parts += [f"{count} left out: {reason}" for reason, count in sorted(self.omitted.items())]
        parts += [f"{self.repeated} repeated rows left out"] if self.repeated else []
        parts += [_told(self.quarantined)] if self.quarantined else []
        return f"{self.source}: {'; '.join(parts)}"


Convert = Callable[[Mapping[str, Any]], Problem]
"""Makes a row a problem; raises DataError for a bad row and `Omitted` for a useless one."""


def read(source: Path | str, convert: Convert, *, quarantine: Path | None = None) -> Reading:
    """Read a local file; see `collect`.

    Raises:
        DataError: the file is missing, empty or not of a known format, or more than 1 % of its rows are bad.
    """
    return collect(rows_of(Path(source)), convert, source=str(source), quarantine=quarantine)


def collect(
    rows: Iterable[tuple[int, Mapping[str, Any] | BadRow]],
    convert: Convert,
    *,
    source: str,
    quarantine: Path | None = None,
) -> Reading:
    """Convert numbered rows. Law: every row ends up in exactly one place of the `Reading`.

    Quarantined rows are written to `quarantine` (JSON lines: line, reason, raw) before anything can stop the load.

    Raises:
        DataError: no row at all, more than 1 % bad rows, or none usable.
    """
    problems: dict[str, Problem] = {}
    bad: list[BadRow] = []
    omitted: Counter[str] = Counter()
    total = repeated = 0
    for line, row in rows:
        total += 1
        if isinstance(row, BadRow):
            bad.append(row)
            continue
        try:
            problem = convert(row)
        except Omitted as useless:
            omitted[str(useless)] += 1
            continue
        except DataError as error:
            bad.append(BadRow(line, str(error), json.dumps(row, ensure_ascii=False, default=str)))
            continue
        known = problems.setdefault(problem.id, problem)
        if known is problem:
            continue
        if known == problem:
            repeated += 1
        else:
            reason = f"its id {problem.id} was given to another row, which says something else"
            bad.append(BadRow(line, reason, json.dumps(row, ensure_ascii=False, default=str)))
    if quarantine is not None and bad:
        quarantine.parent.mkdir(parents=True, exist_ok=True)
        lines = (json.dumps({"line": b.line, "reason": b.reason, "raw": b.raw}, ensure_ascii=False) for b in bad)
        quarantine.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    if total == 0:
        raise DataError(f"{source} is empty. Give a file with one problem a row.")
    if len(bad) > MAX_BAD * total:
        raise DataError(f"{source}: {_told(bad)} of {total}, more than {MAX_BAD:.0%}. Mend or remove them.")
    if not problems:
        raise DataError(f"{source}: none of {total} rows is a problem of this task ({dict(omitted)}).")
    reading = Reading(source, total, tuple(problems.values()), tuple(bad), repeated, dict(omitted))
    log.log(logging.WARNING if bad else logging.INFO, "%s", reading)
    return reading


def _told(bad: Sequence[BadRow]) -> str:
    shown = "; ".join(f"line {row.line}: {row.reason}" for row in bad[:3])
    return f"{len(bad)} quarantined ({shown}{'; ...' if len(bad) > 3 else ''})"


def rows_of(path: Path) -> Iterator[tuple[int, Mapping[str, Any] | BadRow]]:
    """Yield the rows of a local file with their line numbers (or places), bad ones as `BadRow`."""
    data = _bytes_of(path)
    start = data.lstrip()[:1]
    if start == b"<":
        yield from _xml_rows(path, data)
    elif start == b"[" or (start == b"{" and path.suffix == ".json" and _is_one_document(data)):
        yield from _array_rows(path, data)
    else:
        for number, line in enumerate(data.split(b"\n"), 1):
            if line.strip():
                yield number, _json_row(number, line.rstrip(b"\r"))


def document_of(path: Path) -> Any:
    """Return what a file says that is one JSON value.

    Raises:
        DataError: it cannot be read, or is not JSON.
    """
    return _document(path, _bytes_of(path))


def _bytes_of(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}. Check the path.") from None
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{path} is UTF-16. Save it as UTF-8.")
    return data.removeprefix(b"\xef\xbb\xbf")


def _document(path: Path, data: bytes) -> Any:
    try:
        return _json(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON: {error}. Mend it, or save one JSON object a line.") from None


def _is_one_document(data: bytes) -> bool:
    return b'"Instances"' in data and isinstance(_json_row(1, data), Mapping)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        raise ValueError("a key stands twice")
    return row


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a value JSON knows")


def _json(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)


def _json_row(number: int, line: bytes) -> Mapping[str, Any] | BadRow:
    shown = line.decode("utf-8", "replace")
    try:
        row = _json(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        return BadRow(number, f"not UTF-8 (byte 0x{line[error.start]:02x} at {error.start})", shown)
    except (ValueError, RecursionError) as error:
        return BadRow(number, f"not JSON ({error})", shown)
    return row if isinstance(row, Mapping) else BadRow(number, "not a JSON object", shown)


def _array_rows(path: Path, data: bytes) -> Iterator[tuple[int, Mapping[str, Any] | BadRow]]:
    document = _document(path, data)
    rows = document["Instances"] if isinstance(document, Mapping) else document
    for number, row in enumerate(rows, 1):
        yield number, row if isinstance(row, Mapping) else BadRow(number, "not a JSON object", json.dumps(row))


def _xml_rows(path: Path, data: bytes) -> Iterator[tuple[int, Mapping[str, Any] | BadRow]]:
    """Yield every element that has an `ID`, as its attributes and the texts of its children."""
    import xml.etree.ElementTree as ElementTree

    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise DataError(f"{path} declares XML entities, which are not read. Remove its DOCTYPE.")
    try:
        root = ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError) as error:
        raise DataError(f"{path} is not XML: {error}. Mend it.") from None
    found = (element for element in root.iter() if element.get("ID") is not None)
    for number, element in enumerate(found, 1):
        yield number, {**element.attrib, **{child.tag: child.text for child in element}}


def rows_of_hub(
    repository: str, config: str | None, split: str, revision: str | None = None
) -> Iterator[tuple[int, Mapping[str, Any] | BadRow]]:
    """Yield the rows of one split of a hub dataset, numbered from 1.

    Raises:
        DataError: `datasets` is not installed, or the dataset cannot be loaded (offline, no such name).
    """
    try:
        import datasets  # type: ignore[import-untyped]
    except ImportError:
        raise DataError(
            f"reading {repository!r} from the hub needs `datasets`: pip install 'thinktwice[train]', or give path=FILE."
        ) from None
    try:
        rows = datasets.load_dataset(repository, config, split=split, revision=revision)
    except Exception as error:  # whatever the hub, the network or a cache does, the fix is the same
        raise DataError(
            f"{repository!r} is no local directory, and its {split} split cannot be loaded from the hub "
            f"({(str(error) or type(error).__name__).splitlines()[0]}). "
            "Give local files with path=, or get online once so that it is cached."
        ) from error
    yield from enumerate(rows, 1)


def text_of(row: Mapping[str, Any], *names: str) -> str:
    """Return the texts of the named fields joined by a space; DataError when one is missing, null or empty."""
    parts = []
    for name in names:
        value = row.get(name)
        if not isinstance(value, str) or not value.strip():
            told = (
                "is missing" if name not in row else "is empty" if isinstance(value, str) else f"is {value!r}, no text"
            )
            raise DataError(f"{name!r} {told}")
        parts.append(value.replace("\r\n", "\n").strip())
    return " ".join(parts)


def content_id(name: str, *texts: str) -> str:
    """Return a stable id for a row whose source gives none: the same text has the same id everywhere."""
    return f"{name}-{hashlib.sha256(chr(0).join(texts).encode()).hexdigest()[:16]}"


def plain(text: str) -> str:
    """Return a prompt as disjointness compares it: NFKC, case and white space apart."""
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())


def carve(problems: Sequence[Problem], count: int, salt: str) -> tuple[list[Problem], list[Problem]]:
    """Split off `count` problems, chosen by the hash of their ids: (the rest, the chosen), both in source order.

    Raises:
        DataError: `count` is negative, or nothing would be left.
    """
    if not 0 <= count < max(1, len(problems)):
        raise DataError(f"cannot split {count} problems off {len(problems)}; ask for 0 to {len(problems) - 1}.")
    ranked = sorted(problems, key=lambda problem: content_id(salt, problem.id))
    chosen = {problem.id for problem in ranked[:count]}
    return [p for p in problems if p.id not in chosen], [p for p in problems if p.id in chosen]
