"""A recipe run in processes of their own, each killed at the next thing that happens. Run by test_pipeline.py.

Things that happen: everything the listener is told (a training step, a chunk of answers), the moment before and after
every stage, and the one in which a stage's first answers are decoded and not written down yet. A process dies at the
first one that no process has died at yet; the next goes on in its directory.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from thinktwice import pipeline
from thinktwice.config import Recipe, parse
from thinktwice.engines import local
from thinktwice.run import Run, provenance
from thinktwice.train import fit

assert local
assert fit  # imported once, here, and not in every process
CHUNK = 7


def attempt(recipe: Recipe, root: Path, seen: Path, die: bool) -> None:
    """Run the recipe; note what happens, and die at the first thing that is new."""
    known = set(seen.read_text().splitlines()) if seen.exists() else set()

    def happens(what: str) -> None:
        if what not in known:
            known.add(what)
            with seen.open("a") as stream:
                stream.write(what + "\n")
            if die:
                os.kill(os.getpid(), signal.SIGKILL)

    stage: Any = Run.stage
    load: Any = pipeline.load_engine
    current = ""

    def loaded(*arguments: Any, **options: Any) -> Any:
        engine = load(*arguments, **options)
        generate = engine.generate

        def watched_generate(*arguments: Any, **options: Any) -> Any:
            done = generate(*arguments, **options)
            happens(f"within {current}")
            return done

        engine.generate = watched_generate
        return engine

    def watched(self: Run, name: str, work: Callable[[Any], None], **options: Any) -> Path:
        nonlocal current
        current = name
        happens(f"before {name}")
        path: Path = stage(self, name, work, **options)
        happens(f"after {name}")
        return path

    Run.stage = watched  # type: ignore[assignment, method-assign]
    pipeline.load_engine = loaded
    pipeline.CHUNK = CHUNK
    pipeline.run_recipe(recipe, root, progress=lambda p: happens(f"{p.stage} {p.done:.3f}"))


def child(*arguments: Any) -> bool:
    """Try in a forked process; return whether it lived to the end."""
    pid = os.fork()
    if pid == 0:
        try:
            attempt(*arguments)
        except BaseException as error:
            print(f"failed: {error!r}", flush=True)
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) != 0:
        sys.exit(1)
    return os.WIFEXITED(status)


def main(recipe_file: Path, place: Path) -> None:
    torch.set_num_threads(1)
    code, environment = provenance.code_state(), provenance.environment()
    provenance.code_state = lambda: code  # type: ignore[assignment]
    provenance.environment = lambda: environment  # type: ignore[assignment]
    os.fsync = lambda descriptor: None  # a killed process loses nothing that the kernel has; only speed is gained
    recipe = parse(Recipe, json.loads(recipe_file.read_text()))
    assert child(recipe, place / "whole", place / "whole.txt", False)
    deaths = 0
    while not child(recipe, place / "killed", place / "killed.txt", True):
        deaths += 1
    print(deaths)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
