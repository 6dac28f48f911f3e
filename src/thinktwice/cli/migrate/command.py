"""Another system's command line, read against a table of its flags. Law: no flag is passed over in silence."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from thinktwice.errors import ConfigError, nearest

Script = Literal[
    "train",
    "eval",
    "step_type",
    "data_agent",
    "traj_generator",
    "traj_to_SFT_converter",
    "sft_trainer",
    "traj_to_DPO_converter",
    "dpo_trainer",
    "evaluator_hotpot",
    "main",
    "datagen-main",
    "sft",
    "compose_eval_data",
    "compose_sft_dataset",
]

_ASSIGNED = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)


@dataclass(frozen=True)
class Flag:
    """One flag of a public script, and what becomes of it here."""

    names: tuple[str, ...]
    """Its spellings, without the dashes before them; the first is the name it is known by here."""
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
    place: bool = False
    """It has no dashes: it is a word at its place, in the order of the table."""
    words: int = 1
    """How many values follow; 0: a switch that takes none."""
    short: str = ""
    """Its one letter, without the dash."""

    @property
    def key(self) -> str:
        """What its value is called in a program."""
        return self.names[0].replace("-", "_")

    @property
    def spelled(self) -> tuple[str, ...]:
        """How it is written on a command line."""
        long = tuple(name.upper() if self.place else f"--{name}" for name in self.names)
        return (*long, f"-{self.short}") if self.short else long

    def read(self, text: str) -> Any:
        """Return a value as it was typed on a command line.

        Raises:
            ConfigError: it is of another kind, or none of the values there are.
        """
        name = self.spelled[0]
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
    """Return what a command line gives, by `Flag.key`.

    A switch without a value is on; `--flag=value` and dashes for underscores are read as the public parsers do.

    Raises:
        ConfigError: an unknown flag, with the nearest name; a missing or unreadable value; a refused flag.
    """
    here = [flag for flag in flags if script in flag.scripts]
    places = [flag for flag in here if flag.place]
    known = {name.replace("-", "_"): flag for flag in here if not flag.place for name in flag.names}
    letters = {f"-{flag.short}": flag for flag in here if flag.short}
    given: dict[str, Any] = {}
    rest, word = list(words), str(script)
    while rest:
        before, word = word, rest.pop(0)
        name, equals, value = word.removeprefix("--").partition("=")
        values = [value] if equals else []
        if word in letters:
            flag = letters[word]
        elif word.startswith("--"):
            flag = _named(name, known, flags, script)
        elif places and not word.startswith("-"):
            flag, values = places.pop(0), [word]
        else:  # it is not shown: it could be a key
            raise ConfigError(f"after {before} comes a word that is no --flag; a value may hold no space.")
        if not values:
            values = _values(word, flag, rest)
        read = [flag.read(value) for value in values]
        _give(given, flag, tuple(read) if flag.words > 1 else read[0])
    if places:
        raise ConfigError(f"{script} needs {' '.join(flag.spelled[0] for flag in places)} too.")
    return given


def _named(name: str, known: Mapping[str, Flag], flags: Sequence[Flag], script: Script) -> Flag:
    """Return the flag of a name; ConfigError when this script has none."""
    found = known.get(name.replace("-", "_"))
    if found is None:
        elsewhere = sorted({s for flag in flags if name in flag.names for s in flag.scripts})
        other = f" It is a flag of {' and '.join(elsewhere)}." if elsewhere else nearest(name, known)
        raise ConfigError(f"{script} has no flag --{name}.{other}")
    return found


def _values(word: str, flag: Flag, rest: list[str]) -> list[str]:
    """Take the values that follow a flag off the rest."""
    following = next((i for i, other in enumerate(rest) if re.match(r"--?[A-Za-z]", other)), len(rest))
    if flag.words == 0 or (flag.kind is bool and not following):
        return ["true"]
    if following < flag.words:
        raise ConfigError(f"{word} needs {'a value' if flag.words == 1 else f'{flag.words} values'}.")
    taken, rest[:] = rest[: flag.words], rest[flag.words :]
    return taken


def _give(given: dict[str, Any], flag: Flag, read: Any) -> None:
    """Enter a value; ConfigError when it is refused, or contradicts one before."""
    if flag.refused and read not in flag.harmless:
        said = "" if flag.secret or flag.kind is bool else f" {read!r}"
        raise ConfigError(f"{flag.spelled[0]}{said}: {flag.refused}")
    if flag.key in given and given[flag.key] != read:
        raise ConfigError(f"{flag.spelled[0]} is given twice, and differently; keep one.")
    given[flag.key] = read


def told(given: Mapping[str, Any], flags: Sequence[Flag], script: Script) -> list[str]:
    """Return what is different about the given flags, a sentence each."""
    differing = {flag.key: flag for flag in flags if script in flag.scripts and flag.differs}
    return [f"{differing[key].spelled[0]}: {differing[key].differs}" for key in given if key in differing]
