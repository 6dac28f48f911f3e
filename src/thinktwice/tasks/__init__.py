"""Tasks by name. Law: train, dev and test never meet, and a task is loaded only when it is asked for."""

import importlib
import importlib.util
import inspect
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

from thinktwice.errors import ConfigError, DataError, nearest
from thinktwice.tasks.reading import plain
from thinktwice.types import Task

TASKS = {
    "arith": "thinktwice.tasks.worlds.arith:task",
    "wiki": "thinktwice.tasks.worlds.wiki:task",
    "wiki_hops": "thinktwice.tasks.worlds.wiki.hops:task",
    "wiki_boolq": "thinktwice.tasks.worlds.wiki.twins:boolq_twin",
    "wiki_squad": "thinktwice.tasks.worlds.wiki.twins:squad_twin",
    "wiki_instructions": "thinktwice.tasks.worlds.wiki.twins:instructions_twin",
    "gsm8k": "thinktwice.tasks.gsm8k:gsm8k",
    "math": "thinktwice.tasks.math:math",
    "aqua": "thinktwice.tasks.aqua:aqua",
    "hotpotqa": "thinktwice.tasks.hotpotqa:hotpotqa",
    "strategyqa": "thinktwice.tasks.strategyqa:strategyqa",
    "strategyqa_agent": "thinktwice.tasks.strategyqa:strategyqa_agent",
    "stratgeqa_agent": "thinktwice.tasks.strategyqa:strategyqa_agent",  # as the public code spells it
    "commonsenseqa": "thinktwice.tasks.commonsenseqa:commonsenseqa",
    "commonsenseqa_agent": "thinktwice.tasks.commonsenseqa:commonsenseqa_agent",
    "truthfulqa": "thinktwice.tasks.truthfulqa:truthfulqa",
    "truthfulqa_agent": "thinktwice.tasks.truthfulqa:truthfulqa_agent",
    "boolq": "thinktwice.tasks.boolq:boolq",
    "squad": "thinktwice.tasks.squad:squad",
    "natural_instructions": "thinktwice.tasks.natural_instructions:natural_instructions",
    "svamp": "thinktwice.tasks.lila:svamp",
    "addsub": "thinktwice.tasks.lila:addsub",
    "singleop": "thinktwice.tasks.lila:singleop",
    "multiarith": "thinktwice.tasks.lila:multiarith",
    "asdiv": "thinktwice.tasks.lila:asdiv",
    "singleeq": "thinktwice.tasks.lila:singleeq",
    "simuleq": "thinktwice.tasks.lila:simuleq",
    "given": "thinktwice.tasks.given:given",
}
"""Name -> the function that loads it, as `module:function`; its keyword arguments are the task's options."""


def load_task(name: str, **options: Any) -> Task:
    """Load a task by its name in `TASKS`, or by `path/to/file.py:function` (this runs the file).

    Raises:
        ConfigError: no such task, or it has no such option.
        DataError: its data cannot be used.

    Example:
        >>> load_task("gsm8k", path="data/gsm8k", dev=200)  # doctest: +SKIP
    """
    loader = _loader(name)
    known = inspect.signature(loader).parameters
    for option in options:
        if option not in known and not any(p.kind is p.VAR_KEYWORD for p in known.values()):
            raise ConfigError(f"task {name!r} has no option {option!r}.{nearest(option, known)}")
    missing = [n for n, p in known.items() if p.default is p.empty and p.kind is p.KEYWORD_ONLY and n not in options]
    if missing:
        raise ConfigError(f"task {name!r} needs the option {missing[0]!r}.")
    task = loader(**options)
    if not isinstance(task, Task):
        raise ConfigError(f"task {name!r} returned {type(task).__name__}, not a thinktwice Task.")
    return task


def _loader(name: str) -> Callable[..., Any]:
    file, colon, function = name.rpartition(":")
    if name in TASKS:
        module_name, _, function = TASKS[name].partition(":")
        module = importlib.import_module(module_name)
    elif colon and file.endswith(".py"):
        if not Path(file).is_file():
            raise ConfigError(f"task {name!r}: there is no file {file}.")
        spec = importlib.util.spec_from_file_location(Path(file).stem, file)
        assert spec is not None  # a .py file always has one
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    else:
        raise ConfigError(f"no task is called {name!r}.{nearest(name, TASKS)} Or give path/to/file.py:function.")
    loader = getattr(module, function, None)
    if not callable(loader):
        public = [n for n, value in vars(module).items() if callable(value) and not n.startswith("_")]
        raise ConfigError(f"task {name!r}: {file} has no function {function!r}.{nearest(function, public)}")
    return loader  # type: ignore[no-any-return]  # callable() has been checked


def check_disjoint(task: Task) -> None:
    """Refuse a task whose splits share a problem, by id or by the text of prompt and context. Law: fails closed.

    Case, white space and Unicode compatibility forms are ignored in the text. An id may stand only once in a split,
    because arms are paired by it.

    Raises:
        DataError: naming the splits and the first shared problems.
    """
    ids: dict[str, dict[str, str]] = {}
    texts: dict[str, dict[str, str]] = {}
    for split, problems in task.splits.items():
        ids[split] = {problem.id: problem.id for problem in problems}
        texts[split] = {plain("\0".join((p.prompt, *p.context, *p.choices))): p.id for p in problems}
        if len(ids[split]) < len(problems):
            seen: set[str] = set()
            twice = next(p.id for p in problems if p.id in seen or seen.add(p.id))  # type: ignore[func-returns-value]
            raise DataError(f"task {task.name!r}: id {twice!r} stands twice in {split}; ids must be unique.")
    for one, other in combinations(task.splits, 2):
        for what, values in (("ids", ids), ("texts", texts)):
            shared = sorted(values[one].keys() & values[other].keys())
            if shared:
                named = ", ".join(values[one][key] for key in shared[:3])
                raise DataError(
                    f"task {task.name!r}: {one} and {other} share {len(shared)} {what} ({named}"
                    f"{', ...' if len(shared) > 3 else ''}). Remove them from one of the splits."
                )
