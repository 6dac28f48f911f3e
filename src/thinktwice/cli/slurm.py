"""A recipe as chains of SLURM jobs. Law: every script is the same resumable command, and no script holds a secret."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thinktwice.cli.work import Overrides, RecipeFile, Runs
from thinktwice.errors import ConfigError

if TYPE_CHECKING:
    from thinktwice.config import Recipe


@dataclass(frozen=True, slots=True)
class Cluster:
    """What a job asks the cluster for."""

    hours: int = 24
    memory: str = "64G"
    """Of the host: the base is loaded there once, in 16 bits, when it gets its control tokens."""
    cpus: int = 8
    partition: str | None = None
    account: str | None = None


def slurm(
    recipe: RecipeFile,
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option(help="The directory that gets the scripts.", show_default=False)] = None,
    variants: Annotated[
        Path | None,
        typer.Option(help="A YAML file, NAME: [key=value, ...]: a chain of jobs for each.", show_default=False),
    ] = None,
    hours: Annotated[int, typer.Option(help="Time limit of a job.", min=1)] = 24,
    memory: Annotated[str, typer.Option(help="Memory of the host for a job.")] = "64G",
    cpus: Annotated[int, typer.Option(help="Cores for a job.", min=1)] = 8,
    partition: Annotated[str | None, typer.Option(help="SLURM's partition.", show_default=False)] = None,
    account: Annotated[str | None, typer.Option(help="SLURM's account.", show_default=False)] = None,
    runs: Runs = Path("runs"),
) -> None:
    """Write a recipe as SLURM jobs: one a round, each started when the one before has succeeded.

    Nothing is submitted: bash DIR/submit.sh does that. Every job is the same
    command, so that a job that was killed is simply submitted again.
    """
    if out is None:
        raise ConfigError("say where the scripts go: --out DIR")
    files = scripts(
        recipe, overrides or (), out, Cluster(hours, memory, cpus, partition, account), read_variants(variants), runs
    )
    if existing := [name for name, text in files.items() if _differs(out / name, text)]:
        raise ConfigError(f"{out / existing[0]} exists and is another script; choose another --out, or remove it")
    for name, text in files.items():
        place = out / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")
    jobs = sum(name != "submit.sh" and not name.endswith("/submit.sh") for name in files)
    typer.echo(f"{jobs} jobs; submit them: bash {out}/submit.sh")


def _differs(place: Path, text: str) -> bool:
    return place.exists() and place.read_text(encoding="utf-8") != text


def read_variants(file: Path | None) -> dict[str, tuple[str, ...]]:
    """Read what each variant changes; none where there is no file.

    Raises:
        ConfigError: something else than names and lists of key=value.
    """
    from thinktwice.config.source import read

    if file is None:
        return {}
    found: dict[str, tuple[str, ...]] = {}
    for name, changes in read(file).items():
        if not isinstance(changes, list) or not all(isinstance(c, str) and "=" in c for c in changes):
            raise ConfigError(f"{file}: {name} must be a list of changes: {name}: [method.critiques=1, ...]")
        found[str(name)] = tuple(str(change) for change in changes)
    return found


def scripts(
    file: Path,
    overrides: Sequence[str],
    out: Path,
    cluster: Cluster,
    variants: Mapping[str, Sequence[str]],
    runs: Path = Path("runs"),
) -> dict[str, str]:
    """Return the scripts, name -> text. Law: what the schema does not know is refused here, not on the cluster.

    Args:
        file: the recipe.
        overrides: of it, for every job.
        out: where they will lie.
        cluster: what a job asks for.
        variants: name -> further overrides; a chain of jobs each. None: one chain.
        runs: under which the runs lie.
    """
    from thinktwice.config import Recipe, load

    if not variants:
        return chain(load(Recipe, file, overrides), file, overrides, out, cluster, runs)
    found: dict[str, str] = {}
    name = load(Recipe, file, overrides).name
    for variant, changes in variants.items():
        mine = [*overrides, *changes, f"name={name}-{variant}"]
        own = chain(load(Recipe, file, mine), file, mine, out / variant, cluster, runs)
        found |= {f"{variant}/{script}": text for script, text in own.items()}
    submit = "".join(f"bash {shlex.quote(str(out / variant / 'submit.sh'))}\n" for variant in variants)
    return {**found, "submit.sh": f"#!/bin/bash\n# Submits every chain of jobs.\nset -euo pipefail\n{submit}"}


def chain(
    recipe: "Recipe", file: Path, overrides: Sequence[str], out: Path, cluster: Cluster, runs: Path
) -> dict[str, str]:
    """Return the scripts of one run, each a job, and the one that submits them in order."""
    rounds, processes = shape(recipe)
    found = {}
    for number in range(1, rounds + 1):
        words = ["thinktwice", "run", str(file), *overrides, *(["--runs", str(runs)] if runs != Path("runs") else [])]
        if number < rounds:  # the last job does what is left: it answers, counts and writes the page
            words += ["--until-round", str(number)]
        found[f"round-{number}.sh"] = _script(words, f"{recipe.name}-round-{number}", processes, out, cluster)
    lines = ["#!/bin/bash", "# Submits the jobs; each starts when the one before has succeeded.", "set -euo pipefail"]
    for number, name in enumerate(found):
        depends = ["--dependency=afterok:$job", "--kill-on-invalid-dep=yes"] if number else []
        submit = " ".join(["sbatch", "--parsable", *depends, shlex.quote(str(out / name))])
        lines += [f"job=$({submit})", "job=${job%%;*}", f"echo {shlex.quote(name)} is job $job"]
    return {**found, "submit.sh": "\n".join(lines) + "\n"}


def shape(recipe: "Recipe") -> tuple[int, int]:
    """Return (rounds, GPUs) of a recipe, having checked every arm's method and training.

    Raises:
        ConfigError: a key that the method or the trainer does not have.
    """
    from thinktwice.config import merge, parse
    from thinktwice.methods import build_method
    from thinktwice.train.settings import Training

    rounds, processes = 1, 1
    for name, arm in recipe.arms.items():
        spec = recipe.method_of(name)
        rounds = max(rounds, getattr(build_method(spec.name, spec.options), "rounds", 1))
        settings = parse(Training, merge(merge({"seed": recipe.seed}, recipe.train), arm.train), f"arms.{name}.train")
        processes = max(processes, settings.processes)
    return rounds, processes


def _script(words: Sequence[str], job: str, processes: int, out: Path, cluster: Cluster) -> str:
    asked = {
        "job-name": job,
        "chdir": str(Path.cwd()),
        "output": f"{out}/%x-%j.out",
        "nodes": "1",
        "ntasks": "1",
        "gres": f"gpu:{processes}",
        "cpus-per-task": str(cluster.cpus),
        "mem": cluster.memory,
        "time": f"{cluster.hours}:00:00",
        "signal": "B:TERM@120",
        "partition": cluster.partition,
        "account": cluster.account,
    }
    head = [f"#SBATCH --{name}={shlex.quote(value)}" for name, value in asked.items() if value is not None]
    return "\n".join(
        [
            "#!/bin/bash",
            *head,
            "# Killed or out of time? Submit it again: it goes on where it stopped.",
            "set -euo pipefail",
            f"exec {shlex.join(words)}",
            "",
        ]
    )
