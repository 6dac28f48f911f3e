"""Files that are either whole or not there. Law: a half-written file is never trusted."""

import errno
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from thinktwice.errors import RunError


def canonical(value: Any) -> str:
    """Return JSON that is the same for the same value, whatever the order of its keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Any) -> str:
    """Return the SHA-256 of a JSON value, in hex."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the disk's refusals into one sentence that says what to do; other errors pass."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            message = _full(path)
        elif error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            message = f"{path} cannot be written ({error.strerror}); choose a place that is yours with --runs"
        else:
            raise
        raise RunError(message) from error


@contextmanager
def filling(path: Path) -> Iterator[None]:
    """Around other people's code: turn only a full disk into a sentence, however their library words it."""
    try:
        yield
    except Exception as error:
        if os.strerror(errno.ENOSPC) in str(error):
            raise RunError(_full(path)) from error
        raise


def _full(path: Path) -> str:
    return (
        f"the disk that holds {path} is full; free some space and give the same command again: "
        "it goes on where it stopped"
    )


def sync(path: Path) -> None:
    """Have the disk confirm a file or a directory entry."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write a whole file or leave the old one: temporary file, fsync, rename."""
    temporary = path.with_name(f"{path.name}.tmp")
    with writing(path):
        with temporary.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
        sync(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file, whole or not at all; NaN and infinity are a ValueError because JSON has no word for them."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Return the JSON value in a file.

    Raises:
        RunError: the file is not there or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"{path} is missing") from None
    except (ValueError, OSError) as error:
        raise RunError(f"{path} is damaged ({error}); restore it or delete it") from None


def seal(directory: Path) -> dict[str, dict[str, Any]]:
    """Fsync everything below a directory and return `{relative path: {"sha256", "bytes"}}`."""
    sealed: dict[str, dict[str, Any]] = {}
    for path in sorted(directory.rglob("*")):
        with writing(path):
            sync(path)
        if path.is_file():
            sealed[path.relative_to(directory).as_posix()] = {
                "sha256": file_digest(path),
                "bytes": path.stat().st_size,
            }
    with writing(directory):
        sync(directory)
    return sealed


def fault(directory: Path, sealed: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Say in what way a directory differs from its seal; None when every sealed file is as it was."""
    for name, expected in sealed.items():
        path = directory / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != expected["bytes"]:
            return f"{name} has {path.stat().st_size} bytes, not {expected['bytes']}"
        if file_digest(path) != expected["sha256"]:
            return f"{name} has other bytes than were written"
    return None


def aside(path: Path, why: str) -> Path:
    """Rename something that can't be used to `<name>.<why>-N`, so that nothing a person made is ever deleted."""
    number = 1
    while (target := path.with_name(f"{path.name}.{why}-{number}")).exists():
        number += 1
    with writing(path):
        path.rename(target)
    return target
