"""What a page names must exist: commands, their options, recipe keys, and files. A second mkdocs hook.

A finding is a warning, and `strict` makes every warning an error. Links are mkdocs' own to check.
"""

import logging
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import typer

ROOT = Path(__file__).parents[1]
FENCE = re.compile(r"^( *)```[^\n]*\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
OWN = re.compile(r"(?:benchmarks|docs|examples|recipes|src|tests)/[\w./-]*\w")
log = logging.getLogger("mkdocs.hooks.checks")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> None:
    """Warn of everything a page names that does not exist."""
    for finding in findings(markdown):
        log.warning("%s: %s", page.file.src_uri, finding)


def findings(markdown: str) -> Iterator[str]:
    """Yield a sentence for each command, option, recipe key or file that a page names and that does not exist."""
    for line in commands(markdown):
        yield from faults(line)
    for span in INLINE.findall(FENCE.sub("", markdown)):
        if OWN.fullmatch(span) and not (ROOT / span).exists():
            yield f"there is no file {span}"


def commands(markdown: str) -> Iterator[str]:
    """Yield every `thinktwice ...` line, in console blocks and in running text."""
    for _, block in FENCE.findall(markdown):
        for line in block.replace("\\\n", " ").splitlines():
            words = line.strip().removeprefix("$ ").split("| ")[-1]
            if line.strip().startswith("$ ") and words.startswith("thinktwice "):
                yield words
    for span in INLINE.findall(FENCE.sub("", markdown)):
        if span.startswith("thinktwice "):
            yield span


def faults(line: str) -> Iterator[str]:
    """Yield what is wrong with one command line: an unknown command, option or recipe, or an override refused."""
    from thinktwice.config import Recipe, load, merge, parse
    from thinktwice.errors import ConfigError
    from thinktwice.train.settings import Training

    name, *words = shlex.split(line, comments=True)[1:]
    if name.startswith("-") or name == "COMMAND":
        return
    if words and f"{name} {words[0]}" in known():
        name, words = f"{name} {words[0]}", words[1:]
    elif words and name in groups() and not words[0].startswith(("-", "[")):
        yield f"`{line}`: {name} has no command {words[0]!r}"
        return
    if name not in known():
        yield f"`{line}`: there is no command {name!r}"
        return
    own = words[: words.index("--")] if "--" in words else words  # what follows is another program's
    for option in (word.partition("=")[0] for word in own if word.startswith("-") and word != "-"):
        if option not in known()[name]:
            yield f"`{line}`: {name} has no option {option!r}"
    if name in ("run", "train") and words and re.fullmatch(r"(recipes|examples)/.*\.yaml", words[0]):
        try:
            recipe = load(Recipe, ROOT / words[0], [word for word in words[1:] if re.match(r"[\w.]+=", word)])
            parse(Training, merge({}, recipe.train), "train")
        except ConfigError as error:
            yield f"`{line}`: {error}"


@cache
def known() -> dict[str, set[str]]:
    """Return the options of every command; those of a group stand under both names, as `corpus build`."""
    from thinktwice.cli import build

    return {name: options(command) for name, command in every(typer.main.get_command(build()))}


def groups() -> set[str]:
    """Return the commands that have commands of their own."""
    return {name.partition(" ")[0] for name in known() if " " in name}


def every(application: Any) -> Iterator[tuple[str, Any]]:
    """Yield every command of an application with its whole name, a group before what is in it."""
    for name, command in application.commands.items():
        yield name, command
        if hasattr(command, "commands"):
            yield from ((f"{name} {inner}", below) for inner, below in every(command))


def options(command: Any) -> set[str]:
    """Return how the options of a command are spelled."""
    return {"--help", "-h", *(o for p in command.params for o in (*p.opts, *p.secondary_opts))}
