"""A mapping -> a frozen dataclass, strictly, and back. Law: `parse(type(value), to_dict(value)) == value`.

Written by hand rather than with pydantic because every message names the key, the place it was written, what was
expected and what was found, and because plain dataclasses from any module (`types.Trace` too) must work unchanged.
"""

import functools
import math
import re
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from thinktwice.config.source import Tree, Word, shown
from thinktwice.errors import ConfigError, nearest

T = TypeVar("T")

REST: Mapping[str, Any] = types.MappingProxyType({"rest": True})
"""Metadata of the one dataclass field (a dict) that collects the keys no other field claims."""
SIMPLE = (int, str, bool)
"""Types whose own values are taken as they are: token ids and texts are most of what a run reads back."""


@dataclass(frozen=True, slots=True)
class _Shape:
    """What a dataclass takes. It is worked out once: hints are strings until they are evaluated."""

    hints: Mapping[str, Any]
    known: Mapping[str, Field[Any]]
    rest: str | None


@functools.cache
def _shape(cls: Any) -> _Shape:
    rest = next((f.name for f in fields(cls) if f.metadata.get("rest")), None)
    known = {f.name: f for f in fields(cls) if f.init and not f.metadata.get("rest")}
    return _Shape(typing.get_type_hints(cls), known, rest)


@functools.cache
def _parts(expected: Any) -> tuple[Any, tuple[Any, ...]]:
    return typing.get_origin(expected), typing.get_args(expected)


def parse(cls: type[T], mapping: Mapping[Any, Any], where: str = "") -> T:
    """Build the frozen dataclass `cls` from a mapping, strictly; `where` starts every error message.

    Raises:
        ConfigError: an unknown or missing key, a value of another type, or a contradiction `cls` refuses.
    """
    built: T = _dataclass(cls, mapping, where, "", "")
    return built


def _dataclass(cls: Any, value: Any, where: str, key: str, place: str) -> Any:
    if isinstance(value, cls):
        return value
    value = _plain(value)
    if not isinstance(value, Mapping):
        keys = ", ".join(f.name for f in fields(cls))
        raise _error(where, place, key, f"expected a mapping with keys {keys}; got {shown(value)}")
    shape = _shape(cls)
    known, rest = shape.known, shape.rest
    places: Mapping[Any, str] = getattr(value, "places", {})
    arguments: dict[str, Any] = {}
    surplus = Tree()
    for name, item in value.items():
        inner = f"{key}.{name}" if key else str(name)
        spot = places.get(name, "")
        if name in known:
            arguments[name] = _convert(shape.hints[name], item, where, inner, spot)
        elif rest is not None:
            surplus[name] = _convert(Any, item, where, inner, spot)
            surplus.places[name] = spot
        else:
            raise _error(where, spot, inner, f"unknown key {name!r}.{nearest(str(name), known)}")
    if rest is not None:
        arguments[rest] = surplus
    for name, f in known.items():
        if name not in arguments and f.default is MISSING and f.default_factory is MISSING:
            inner = f"{key}.{name}" if key else name
            raise _error(where, place, inner, f"missing; write `{name}: ...`")
    try:
        return cls(**arguments)
    except ValueError as error:  # what __post_init__ refuses
        raise _error(where, place, key, str(error)) from None


def _convert(expected: Any, value: Any, where: str, key: str, place: str) -> Any:
    """Return `value` as the annotated type `expected`, or raise with its key."""
    if expected in SIMPLE and type(value) is expected:
        return value
    origin, arguments = _parts(expected)
    if expected is Any or expected is object:
        return _plain(value)
    if origin in (typing.Union, types.UnionType):
        return _union(arguments, value, where, key, place)
    if is_dataclass(expected):
        return _dataclass(expected, value, where, key, place)
    if isinstance(value, Word) and expected is str:
        return value.value if isinstance(value.value, str) else str(value)
    value = _plain(value)

    def fault() -> ConfigError:
        return _error(where, place, key, f"expected {_named(expected)}, got {shown(value)}")

    if origin is Literal:
        if not any(value == choice and type(value) is type(choice) for choice in arguments):
            close = nearest(value, map(str, arguments)) if isinstance(value, str) else ""
            raise _error(where, place, key, f"expected {_named(expected)}; got {shown(value)}.{close}".rstrip("."))
        return value
    if origin in (dict, Mapping):
        if not isinstance(value, Mapping):
            raise fault()
        places: Mapping[Any, str] = getattr(value, "places", {})
        built = Tree()
        for name, item in value.items():
            spot = places.get(name, place)
            exact = _dict_key(arguments[0], name, where, f"{key}.{name}", spot)
            built[exact] = _convert(arguments[1], item, where, f"{key}.{name}", spot)
            built.places[exact] = spot
        return built
    if origin in (list, tuple, Sequence, frozenset):
        if not isinstance(value, list | tuple):
            raise fault()
        fixed = origin is tuple and not (len(arguments) == 2 and arguments[1] is Ellipsis)
        if fixed and len(value) != len(arguments):
            raise _error(where, place, key, f"expected {len(arguments)} values, got {len(value)}: {shown(value)}")
        kinds = arguments if fixed else (arguments[0],) * len(value)
        if not fixed and arguments[0] in SIMPLE and set(map(type, value)) == {arguments[0]}:
            items = list(value)
        else:
            each = enumerate(zip(kinds, value, strict=True))
            items = [_convert(kind, item, where, f"{key}[{i}]", place) for i, (kind, item) in each]
        return items if origin is list else frozenset(items) if origin is frozenset else tuple(items)
    if expected is Path and isinstance(value, str):
        return Path(value)
    if expected is float and isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise fault()
        return float(value)
    if expected in (types.NoneType, None):
        if value is not None:
            raise fault()
        return None
    if isinstance(expected, type) and type(value) is expected:
        return value
    raise fault()


def _union(choices: tuple[Any, ...], value: Any, where: str, key: str, place: str) -> Any:
    """Return the value as the first choice that takes it; exact types before text typed on the command line."""
    if value is None and types.NoneType in choices:
        return None
    exact = sorted(choices, key=lambda choice: choice is str) if isinstance(value, Word) else choices
    errors: list[ConfigError] = []
    for choice in exact:
        try:
            return _convert(choice, value, where, key, place)
        except ConfigError as error:
            errors.append(error)
            if is_dataclass(choice) and isinstance(_plain(value), Mapping):
                raise  # the message from inside says more than "expected this or that"
    if len([c for c in choices if c is not types.NoneType]) == 1:
        only = next(c for c in choices if c is not types.NoneType)
        raise _error(where, place, key, f"expected {_named(only)} or null, got {shown(_plain(value))}")
    names = " or ".join(_named(choice) for choice in choices)
    raise _error(where, place, key, f"expected {names}, got {shown(_plain(value))}")


def _dict_key(expected: Any, name: Any, where: str, key: str, place: str) -> Any:
    """A key of a mapping; JSON writes every key as text, so "10" is a level where a number is asked for."""
    if expected is int and isinstance(name, str) and re.fullmatch(r"-?[0-9]+", name):
        return int(name)
    if expected is str and isinstance(name, int) and not isinstance(name, bool):
        return str(name)
    return _convert(expected, name, where, key, place)


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Word) else value


def _error(where: str, place: str, key: str, message: str) -> ConfigError:
    section = "" if where and place.startswith(where) else where  # a place in a file already names the file
    return ConfigError(": ".join(part for part in (place, section, key, message) if part))


def _named(expected: Any, *, many: bool = False) -> str:
    """The type in words a person who writes YAML uses."""
    origin, arguments = typing.get_origin(expected), typing.get_args(expected)
    if origin is Literal:
        return "one of " + ", ".join("null" if choice is None else str(choice) for choice in arguments)
    if origin in (list, tuple, Sequence, frozenset):
        return ("lists of " if many else "a list of ") + _named(arguments[0], many=True)
    if is_dataclass(expected):
        return "a mapping with keys " + ", ".join(f.name for f in fields(expected))
    words: dict[Any, tuple[str, str]] = {
        int: ("a whole number", "whole numbers"),
        float: ("a finite number", "finite numbers"),
        bool: ("true or false", "true or false"),
        str: ("text", "texts"),
        dict: ("a mapping", "mappings"),
        types.NoneType: ("null", "nulls"),
        Path: ("a path", "paths"),
    }
    name = str(getattr(expected, "__name__", expected))
    return words.get(dict if origin in (dict, Mapping) else expected, (name, name))[many]


def to_dict(value: Any) -> Any:
    """Return a dataclass as plain JSON values; mappings get text keys, tuples become lists."""
    if is_dataclass(value) and not isinstance(value, type):
        plain: dict[str, Any] = {}
        for f in fields(value):
            item = to_dict(getattr(value, f.name))
            if f.metadata.get("rest"):
                plain.update(item)
            else:
                plain[f.name] = item
        return plain
    if isinstance(value, Mapping):
        return {str(key): to_dict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_dict(item) for item in value]
    if isinstance(value, frozenset | set):
        return sorted(to_dict(item) for item in value)
    return str(value) if isinstance(value, Path) else value
