"""Another system's command line, read against a table of its flags. Law: no flag is passed over in silence."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from thinktwice.errors import ConfigError, nearest

Script = Literal["train", "eval", "step_type", "data_agent"]

_ASSIGNED = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)


@dataclass(frozen=True)
class Flag:
    """One flag of a public script, and what becomes of it here."""

    names: tuple[str, ...]
    """Its spellings, without dashes; the first is the name it is known by here."""
    scripts: tuple[Script, ...]
    kind: type | tuple[str, ...]
    """bool, int, float, str, or the values there are."""
    default: Any
    """What the public script takes where the flag is left out."""
    becomes: str = ""
    """The recipe's keys, in Markdown; empty where nothing does."""
    differs: str = ""
    """What is different here, as a sentence; said whenever the flag is given."""
    refused: str = ""
    """Why it cannot be had, as a sentence; an error unless the flag says what `harmless` says."""
    harmless: tuple[Any, ...] = ()
    """Values that change nothing: the refused flag may be given with them."""
    secret: bool = False
    """Its value is shown in no message."""

    def read(self, text: str) -> Any:
        """Return a value as it was typed on a command line.

        Raises:
            ConfigError: it is of another kind, or none of the values there are.
        """
        name = f"--{self.names[0]}"
        if isinstance(self.kind, tuple):
            if text not in self.kind:
                raise ConfigError(f"{name} {text!r} is none of its values.{nearest(text, self.kind)}")
            return text
        if self.kind is bool:
            spoken = {"true": True, "yes": True, "t": True, "y": True, "1": True}
            spoken |= {"false": False, "no": False, "f": False, "n": False, "0": False}
            if text.lower() not in spoken:
                raise ConfigError(f"{name} is True or False, got {text!r}.")
            return spoken[text.lower()]
        try:
            return self.kind(text)
        except ValueError:
            wanted = "a whole number" if self.kind is int else "a number"
            raise ConfigError(f"{name} is {wanted}, got {text!r}.") from None


@dataclass(frozen=True)
class Migrated:
    """What a command line becomes."""

    tree: dict[str, Any]
    """The recipe, or the settings of another command."""
    command: str
    """What runs it; FILE stands for where it is written."""
    notes: tuple[str, ...]
    """What is different, one sentence each."""


def script_words(words: Sequence[str], scripts: Mapping[str, Script]) -> tuple[Script, str, list[str]]:
    """Return which script a command line runs, the script's file name, and the words that follow it.

    `scripts` maps how a file's name begins to the script. A shell file that runs one may stand for its command line:
    its variables are filled in, nothing of it is executed.

    Raises:
        ConfigError: no script is named.
    """
    if words and words[0].endswith(".sh"):
        return script_words([*shell_words(Path(words[0])), *words[1:]], scripts)
    for index, word in enumerate(words):
        name = Path(word).name
        found = max((known for known in scripts if name.startswith(known)), key=len, default=None)
        if found is not None and name.endswith(".py"):
            return scripts[found], name, list(words[index + 1 :])
    known = ", ".join(f"{name}.py" for name in scripts)
    raise ConfigError(f"name the script that the command line runs: {known}, or a .sh file that runs one.")


def shell_words(path: Path) -> list[str]:
    """Return the words of the last command of a shell file, with the file's own `NAME=value` filled in."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    values: dict[str, str] = {}
    words: list[str] = []
    for line in text.replace("\\\n", " ").splitlines():
        try:
            parts = shlex.split(line, comments=True)
        except ValueError as error:
            raise ConfigError(f"{path}: {error} in {line.strip()[:60]!r}.") from None
        filled = [_filled(part, values) for part in parts]
        if filled and all(_ASSIGNED.fullmatch(part) for part in filled):
            values |= {name: value for name, _, value in (part.partition("=") for part in filled)}
        elif filled:
            words = filled
    return words


def _filled(word: str, values: Mapping[str, str]) -> str:
    return re.sub(r"\$\{?([A-Za-z_]\w*)\}?", lambda found: values.get(found[1], found[0]), word)


def read_flags(words: Sequence[str], flags: Sequence[Flag], script: Script) -> dict[str, Any]:
    """Return the flags that a command line gives, by the first of their names.

    A switch without a value is on; `--flag=value` and dashes for underscores are read as Hugging Face's parser does.

    Raises:
        ConfigError: an unknown flag, with the nearest name; a missing or unreadable value; a refused flag.
    """
    known = {name: flag for flag in flags if script in flag.scripts for name in flag.names}
    given: dict[str, Any] = {}
    rest, word = list(words), str(script)
    while rest:
        before, word = word, rest.pop(0)
        if not word.startswith("--"):  # it is not shown: it could be a key
            raise ConfigError(f"after {before} comes a word that is no --flag; a value may hold no space.")
        name, equals, value = word[2:].partition("=")
        name = name.replace("-", "_")
        if name not in known:
            elsewhere = sorted({s for flag in flags if name in flag.names for s in flag.scripts})
            other = f" It is a flag of {' and '.join(elsewhere)}." if elsewhere else nearest(name, known)
            raise ConfigError(f"{script} has no flag --{name}.{other}")
        flag = known[name]
        if not equals:
            alone = not rest or rest[0].startswith("--")
            if alone and flag.kind is not bool:
                raise ConfigError(f"--{name} needs a value.")
            value = "true" if alone else rest.pop(0)
        read = flag.read(value)
        if flag.refused and read not in flag.harmless:
            said = "" if flag.secret or flag.kind is bool else f" {read!r}"
            raise ConfigError(f"--{name}{said}: {flag.refused}")
        if flag.names[0] in given and given[flag.names[0]] != read:
            raise ConfigError(f"--{flag.names[0]} is given twice, and differently; keep one.")
        given[flag.names[0]] = read
    return given


def told(given: Mapping[str, Any], flags: Sequence[Flag], script: Script) -> list[str]:
    """Return what is different about the given flags, a sentence each."""
    differing = {flag.names[0]: flag.differs for flag in flags if script in flag.scripts and flag.differs}
    return [f"--{name}: {differing[name]}" for name in given if name in differing]
