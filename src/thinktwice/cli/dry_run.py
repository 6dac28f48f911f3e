"""What a run would need and do: memory on every GPU, commands, files. Law: it loads no weights and runs nothing."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from thinktwice.cli.needs import needs, summary
from thinktwice.cli.slurm import Cluster, scripts, shape
from thinktwice.config import Recipe, merge, parse
from thinktwice.errors import ConfigError
from thinktwice.train.settings import Training

if TYPE_CHECKING:
    from thinktwice.train.memory import Estimate

GIB = 2**30


def dry_run(recipe: Recipe, file: Path, overrides: Sequence[str], runs: Path) -> None:
    """Print it.

    Raises:
        ConfigError: a key that a method or the trainer does not have.
    """
    rounds, processes = shape(recipe)
    for line in report(recipe, file, overrides, runs, rounds, processes):
        typer.echo(line)


def report(
    recipe: Recipe, file: Path, overrides: Sequence[str], runs: Path, rounds: int, processes: int
) -> Iterator[str]:
    """Yield the lines of a dry run."""
    settings = trainings(recipe)
    yield f"{recipe.name}: {rounds} {_plural('round', rounds)}, {processes} {_plural('GPU', processes)}"
    yield ""
    yield from memory(recipe, settings)
    yield "commands"
    yield from (f"  {line}" for line in commands(recipe, settings, file, overrides, runs, rounds))
    yield ""
    found = needs(recipe, file, settings)
    wide = max(len(need.what) for need in found)
    yield "what it reads"
    for need in found:
        mark = {"here": "✓", "missing": "✗", "fetched": "↓"}[need.state]
        yield f"  {mark} {need.what:<{wide}}  {need.why}{': ' if need.say else ''}{need.say}"
    yield ""
    yield summary(found)


def trainings(recipe: Recipe) -> dict[str, Training]:
    """Return the settings of every arm that trains."""
    shared = merge({"seed": recipe.seed}, recipe.train)
    return {
        name: parse(Training, merge(shared, arm.train), f"arms.{name}.train")
        for name, arm in recipe.arms.items()
        if arm.trains
    }


def memory(recipe: Recipe, settings: Mapping[str, Training]) -> Iterator[str]:
    """Yield the lines about memory: one table for all arms whose training is the same."""
    from thinktwice.train.memory import answering_memory, training_memory
    from thinktwice.train.shapes import shapes
    from thinktwice.train.zero import Zero

    try:
        config = shapes(recipe.model.path)
    except ConfigError as error:
        yield f"memory: not known. {error}"
        yield ""
        return
    tokens = _new_tokens(recipe)
    longest = int(getattr(config.get_text_config(), "max_position_embeddings", None) or 2048)
    alike: dict[str, list[str]] = {}
    for name, one in settings.items():
        alike.setdefault(one.fingerprint(), []).append(name)
    for arms in alike.values():
        one = settings[arms[0]]
        zero = Zero.read(one.deepspeed) if one.deepspeed is None or Path(one.deepspeed).is_file() else Zero()
        estimate = training_memory(config, one, processes=one.processes, zero=zero, new_tokens=tokens)
        yield f"memory of a GPU that trains {', '.join(arms)}: {_gib(estimate.bytes)}, estimated"
        yield f"  {estimate.parameters:,} parameters, {estimate.trained:,} trained"
        yield from _parts(estimate)
        yield ""
    last = next(iter(settings.values()), Training())
    length = min(longest, (last.max_length or longest) + recipe.decode.max_new_tokens)
    asked = {"rows": recipe.decode.batch_size, "length": length}
    estimate = answering_memory(config, last, dtype=recipe.model.dtype, new_tokens=tokens, **asked)
    yield f"memory of the GPU that answers: {_gib(estimate.bytes)}, estimated"
    yield from _parts(estimate)
    yield ""


def _parts(estimate: "Estimate") -> Iterator[str]:
    for part in estimate.parts:
        yield f"  {part.name:<22}{_gib(part.bytes):>11}  {part.how}"


def _new_tokens(recipe: Recipe) -> int:
    """Return how many control tokens the arms add together: they all stand on one base."""
    from thinktwice.methods import build_method

    found = set()
    for name in recipe.arms:
        spec = recipe.method_of(name)
        found |= {token.token for token in getattr(build_method(spec.name, spec.options), "control_tokens", ())}
    return len(found)


def commands(
    recipe: Recipe, settings: Mapping[str, Training], file: Path, overrides: Sequence[str], runs: Path, rounds: int
) -> Iterator[str]:
    """Yield every command: the run, what its trainings start, and the same run as a chain of SLURM jobs."""
    from thinktwice.methods import build_method

    more = [] if runs == Path("runs") else ["--runs", str(runs)]
    yield "$ " + shlex.join(["thinktwice", "run", str(file), *overrides, *more])
    for name, one in settings.items():
        if one.processes == 1:
            continue
        from thinktwice.train.launch import command

        spec = recipe.method_of(name)
        own = getattr(build_method(spec.name, spec.options), "rounds", 0)
        stage = f"train_1-{name}" if own else f"train-{name}"
        more_rounds = f", and likewise to train_{own}-{name}" if own > 1 else ""
        folder = runs / recipe.name / "stages" / f"{stage}.scratch" / "work" / "fit" / "launch"
        yield f"  which starts, for {stage}{more_rounds}:"
        yield "  $ " + shlex.join(command(one, str(folder)))
    out = Path("slurm") / recipe.name
    yield f"the same as {rounds} SLURM {_plural('job', rounds)}:"
    yield "$ " + shlex.join(["thinktwice", "slurm", str(file), *overrides, "--out", str(out), *more])
    yield f"$ bash {out}/submit.sh"
    submit = scripts(file, overrides, out, Cluster(), {}, runs)["submit.sh"]
    yield from (f"  $ {line}" for line in submit.splitlines() if line.startswith("job=$("))


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"


def _gib(size: int) -> str:
    return f"{size / GIB:.2f} GiB" if size >= GIB / 100 else f"{size / 2**20:.2f} MiB"
