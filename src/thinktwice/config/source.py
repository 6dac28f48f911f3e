"""Where a config is written: YAML or JSON files and `key=value` words. Law: every key remembers its place.

YAML is read by the rules of YAML 1.2: `off`, `no` and `on` are text and `1e-3` is a number. A key that is written
twice is an error.
"""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from thinktwice.errors import ConfigError, nearest


class Tree(dict[Any, Any]):
    """A mapping that remembers where each of its keys was written, so that an error found late can still say so."""

    def __init__(
        self, pairs: Mapping[Any, Any] | Iterable[tuple[Any, Any]] = (), places: Mapping[Any, str] | None = None
    ):
        super().__init__(pairs)
        self.places: dict[Any, str] = dict(places or {})


class Word(str):
    """A scalar from the command line as it was typed: `name=123` is text where text is asked for."""

    value: Any


class _Yaml(yaml.SafeLoader):
    """YAML 1.2's core schema; PyYAML's own is YAML 1.1, where `off` is false, `1e-3` is text and `1:30` is 90."""

    place = ""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> Tree:
        tree = Tree()
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            place = f"{self.place}:{key_node.start_mark.line + 1}"
            if isinstance(key, dict | list):
                raise ConfigError(f"{place}: a key must be a word or a number, got {shown(key)}")
            if key in tree:
                raise ConfigError(f"{place}: {key!r} is written twice; keep one")
            tree[key] = self.construct_object(value_node, deep=True)
            tree.places[key] = place
        return tree


_Yaml.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("null", r"(?:~|null|Null|NULL|)", ["~", "n", "N", ""]),
    ("bool", r"(?:true|True|TRUE|false|False|FALSE)", list("tTfF")),
    ("int", r"[-+]?[0-9][0-9_]*", list("-+0123456789")),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|nan)",
        list("-+.0123456789"),
    ),
):
    _Yaml.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first)
_Yaml.add_constructor("tag:yaml.org,2002:map", _Yaml.construct_mapping)
_Yaml.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(node.value.replace("_", ""), 10))


def read(path: Path) -> Tree:
    """Read a recipe file as a mapping whose keys know their line; an empty file is an empty mapping."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        near = [str(p) for p in sorted(path.parent.glob("*.yaml"))] if path.parent.is_dir() else []
        raise ConfigError(f"no recipe at {path}.{nearest(str(path), near) if near else ''}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    try:
        if path.suffix == ".json":  # JSON's escapes for characters beyond U+FFFF are not YAML's
            tree = json.loads(text)
        else:
            loader = _Yaml(text)
            loader.place = str(path)
            tree = loader.get_single_data()
    except (yaml.YAMLError, json.JSONDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else getattr(error, "lineno", 1)
        problem = getattr(error, "problem", None) or getattr(error, "msg", None) or str(error)
        raise ConfigError(f"{path}:{line}: not valid {path.suffix.lstrip('.') or 'YAML'}: {problem}") from None
    if tree is None:
        return Tree()
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: expected `key: value` lines, got {shown(tree)}")
    return tree if isinstance(tree, Tree) else Tree(tree)


def apply(tree: Tree, override: str) -> None:
    """Set `a.b=value` in the tree."""
    key, equals, text = override.partition("=")
    path = key.strip().split(".")
    if not equals or not all(path):
        raise ConfigError(f"expected key=value (such as train.learning_rate=1e-3), got {override!r}")
    try:
        loader = _Yaml(text)
        loader.place = override
        value = loader.get_single_data()
    except yaml.YAMLError:
        value = text
    word = Word(text)
    word.value = value
    node: Any = tree
    for depth, part in enumerate(path):
        part = next((k for k in node if str(k) == part), part)  # a level written as a number in the file
        node.places[part] = f"{override} (command line)"
        if depth == len(path) - 1:
            node[part] = value if isinstance(value, dict | list) else word
            return
        child = node.get(part)
        if child is not None and not isinstance(child, dict):
            raise ConfigError(
                f"{override}: {'.'.join(path[: depth + 1])} is {shown(child)}, which has no keys below it"
            )
        node[part] = Tree(child or {}, getattr(child, "places", None))  # a copy: an anchor may share it
        node = node[part]


def merge(base: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with `override` laid over it, mapping by mapping; both stay as they were."""
    places = {**getattr(base, "places", {}), **getattr(override, "places", {})}
    merged = Tree(base, places)
    for key, value in override.items():
        below = merged.get(key)
        merged[key] = merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


def shown(value: Any) -> str:
    """Return the value as a person wrote it, with its kind, shortened for a message."""
    if isinstance(value, str):
        return f"text {value if len(value) <= 60 else value[:57] + '...'!r}"
    text = json.dumps(value, default=str, ensure_ascii=False)
    kind = "mapping" if isinstance(value, dict) else "list" if isinstance(value, list | tuple) else ""
    number = "number" if isinstance(value, int | float) and not isinstance(value, bool) else kind
    return f"{number} {text if len(text) <= 60 else text[:57] + '...'}".strip()
