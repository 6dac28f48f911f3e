"""What a recipe needs before it can run: files, models, packages, GPUs. Law: it looks, and loads and runs nothing."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from thinktwice.config import Recipe
from thinktwice.train.settings import Training

PATHS = ("path", "file", "files", "corpus", "data", "critic", "verifier", "reviewed")
"""Options of tasks and methods that name what is read."""
WRITTEN = ("store", "quarantine", "base_url")
"""Options that name what is written, or a server."""
SUFFIXES = (".json", ".jsonl", ".yaml", ".yml", ".csv", ".tsv", ".txt", ".sqlite", ".parquet", ".py")


@dataclass(frozen=True, slots=True)
class Need:
    """One thing a recipe needs."""

    what: str
    """A file, a directory, a model, a package."""
    why: str
    """Which key of the recipe asks for it."""
    state: Literal["here", "missing", "fetched"]
    """fetched: it is not here, and the run would fetch it."""
    say: str = ""
    """What there is, or what to do."""


def needs(recipe: Recipe, file: Path, trainings: Mapping[str, Training]) -> list[Need]:
    """Return everything a recipe reads, in the order of its keys.

    Args:
        recipe: as it is run.
        file: where it was read.
        trainings: the settings of every arm that trains.
    """
    found = [_file(str(file), "the recipe"), _model(recipe)]
    found += _task(recipe)
    asked = [("method", recipe.method.options), *((f"arms.{n}.method", a.method) for n, a in recipe.arms.items())]
    for key, options in asked:
        found += [_file(path, f"{key}.{name}") for name, path in paths(options)]
    for name, settings in trainings.items():
        if settings.deepspeed is not None:
            found += [_file(settings.deepspeed, _key(recipe, name, "deepspeed")), _package("deepspeed", "deepspeed")]
        if settings.mode == "qlora":
            found.append(_package("bitsandbytes", "'thinktwice[qlora]'"))
        if settings.backend == "trl":
            found.append(_package("trl", "'thinktwice[train]'"))
        if settings.processes > 1 or settings.mode == "qlora":
            found.append(_gpus(settings.processes, _key(recipe, name, "processes")))
    found += [_package(tracker, tracker) for tracker in recipe.report_to]
    return list(dict.fromkeys(found))


def paths(options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (key, path) of every option that names a file or directory to read."""
    for name, value in options.items():
        if name in WRITTEN:
            continue
        if isinstance(value, Mapping):
            yield from ((f"{name}.{inner}", path) for inner, path in paths(value))
        for text in value if isinstance(value, list | tuple) else [value]:
            if not isinstance(text, str) or not text or "://" in text:
                continue
            path = text.partition(".py:")[0] + ".py" if ".py:" in text else text
            if name in PATHS or path.endswith(SUFFIXES):
                yield name, path


def _key(recipe: Recipe, arm: str, name: str) -> str:
    return f"arms.{arm}.train.{name}" if name in recipe.arms[arm].train else f"train.{name}"


def _file(path: str, why: str) -> Need:
    place = Path(path)
    if place.is_dir():
        count = sum(1 for inside in place.rglob("*") if inside.is_file())
        return Need(path, why, "here" if count else "missing", f"{count} files" if count else "an empty directory")
    if place.is_file():
        return Need(path, why, "here", f"{place.stat().st_size:,} bytes")
    return Need(path, why, "missing", "there is no such file or directory")


def _task(recipe: Recipe) -> Iterator[Need]:
    named, published = list(paths(recipe.task.options)), _asks_hub(recipe.task.name)
    for name, path in named:
        found = _file(path, f"task.{name}")
        if found.state == "missing" and published and not Path(path).exists() and path.count("/") == 1:
            found = Need(path, f"task.{name}", "missing", "no such directory here; the task would ask the hub for it")
        yield found
    if not named and published:
        yield Need(f"{recipe.task.name}'s published files", "task.path is not set", "fetched", "from the hub")


def _asks_hub(name: str) -> bool:
    """Return whether a task reads its published files when it is given no path."""
    import inspect
    from importlib import import_module

    from thinktwice.tasks import TASKS

    if name not in TASKS:
        return False
    module, _, function = TASKS[name].partition(":")
    path = inspect.signature(getattr(import_module(module), function)).parameters.get("path")
    return path is not None and path.default is None


def _model(recipe: Recipe) -> Need:
    from huggingface_hub import try_to_load_from_cache

    from thinktwice.nano import BUNDLED

    path, why = recipe.model.path, "model.path"
    if path in BUNDLED:
        return Need(path, why, "here", "in the package")
    if Path(path).is_dir():
        whole = (Path(path) / "config.json").is_file() and any(Path(path).glob("*.safetensors"))
        return Need(path, why, "here" if whole else "missing", "" if whole else "no config.json, or no *.safetensors")
    if path.startswith((".", "/", "~")) or path.count("/") != 1:
        return Need(path, why, "missing", "neither a directory nor a hub id (owner/name)")
    held = try_to_load_from_cache(path, "config.json", revision=recipe.model.revision)
    if isinstance(held, str) and any(Path(held).parent.glob("*.safetensors")):
        return Need(path, why, "here", "in the hub's cache")
    return Need(path, why, "fetched", "from the hub, by the first job that needs it: hf download " + path)


def _package(name: str, install: str) -> Need:
    if find_spec(name) is not None:
        return Need(name, "package", "here")
    return Need(name, "package", "missing", f"pip install {install}")


def _gpus(wanted: int, why: str) -> Need:
    import torch

    found = torch.cuda.device_count()
    if found >= wanted:
        return Need(f"{wanted} GPUs" if wanted > 1 else "a GPU", why, "here", f"{found} here")
    return Need(f"{wanted} GPUs" if wanted > 1 else "a GPU", why, "missing", f"{found} on this machine")


def summary(found: Sequence[Need]) -> str:
    """Return one sentence: what is missing."""
    missing = [need for need in found if need.state == "missing"]
    if not missing:
        return "Nothing was run. Everything it reads is here, or would be fetched."
    return f"Nothing was run. Not here: {', '.join(need.what for need in missing)}."
