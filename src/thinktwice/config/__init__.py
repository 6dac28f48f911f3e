"""Recipe file + `key=value` overrides -> one frozen, strict config. Law: config is inert and strict.

`load`, `parse` and `to_dict` work on any frozen dataclass. An unknown key fails with the nearest name, a wrong type
says what was expected and what was found, and both name the place (file and line, or the command line). Nothing is
coerced except a whole number where a float is asked for.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from thinktwice.config.recipe import Arm, Decode, Evaluation, Headline, Model, Recipe, Spec
from thinktwice.config.source import Tree, apply, merge, read
from thinktwice.config.strict import REST, parse, to_dict

__all__ = [
    "REST",
    "Arm",
    "Decode",
    "Evaluation",
    "Headline",
    "Model",
    "Recipe",
    "Spec",
    "load",
    "merge",
    "parse",
    "to_dict",
]

T = TypeVar("T")


def load(cls: type[T], path: Path | None = None, overrides: Sequence[str] = ()) -> T:
    """Read a config: defaults < the file (YAML or JSON) < `key=value`. Law: an unknown key is an error.

    Example: `load(Recipe, Path("recipes/backtrack.yaml"), ["train.learning_rate=1e-3", "name=hotter"])`.

    Raises:
        ConfigError: one sentence with the place, the key and, for an unknown key, the nearest name.
    """
    tree = Tree() if path is None else read(path)
    for override in overrides:
        apply(tree, override)
    return parse(cls, tree, "" if path is None else str(path))
