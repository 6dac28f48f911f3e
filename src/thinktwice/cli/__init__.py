"""The command line. Law: one sentence for every error that is the user's to mend, and an exit code for its kind.

0 done · 1 it could not be done · 2 a wrong command, option or config · 130 interrupted.
Nothing heavy is imported before a command needs it: `thinktwice --help` knows neither torch nor transformers.
"""

import sys
from collections.abc import Callable
from typing import Any

import typer

from thinktwice.cli import (
    argue,
    attribute,
    audit,
    compose,
    corpus,
    distil,
    export_pairs,
    label,
    look,
    make,
    migrate,
    repeated,
    review,
    serve,
    slurm,
    types,
    verify,
    watch,
    work,
)
from thinktwice.errors import ConfigError, ThinkTwiceError

COMMANDS: tuple[tuple[Callable[..., Any], str], ...] = (
    (work.run, "thinktwice run recipes/backtrack.yaml train.lr=1e-3 name=slower"),
    (slurm.slurm, "thinktwice slurm recipes/evolve_13b.yaml --out slurm/evolve_13b --hours 30"),
    (watch.watch, "thinktwice watch runs/backtrack"),
    (work.train, "thinktwice train recipes/backtrack.yaml --arm backtrack"),
    (work.solve, 'thinktwice solve "Ann has 3. Ben has Ann plus 4. How many does Ben have?"'),
    (work.evaluate, "thinktwice eval runs/backtrack --tasks thinktwice_arith --limit 200"),
    (look.show, "thinktwice show runs/backtrack --arm backtrack --retracted"),
    (attribute.attribute, "thinktwice attribute runs/planning --arm typed"),
    (look.report, "thinktwice report runs/backtrack runs/slower --open"),
    (repeated.repeated, "thinktwice repeated runs/react-seed-0 runs/react-seed-1 --arm dpo --against sft_full"),
    (serve.ui, "thinktwice ui --open"),
    (types.types, "thinktwice types fit recipes/planning.yaml --selection-method k-means --num-types 5 --out types/k5"),
    (make.export, "thinktwice export runs/backtrack --to models/backtrack"),
    (distil.distil, "thinktwice distil hotpotqa task.path=data/hotpotqa --corpus data/hotpotqa.sqlite --out episodes"),
    (export_pairs.export_pairs, "thinktwice export-pairs trajectories.json --compat araft-csv --out tables"),
    (review.review, "thinktwice review runs/evolve/queue.jsonl --out human.jsonl"),
    (argue.argue, "thinktwice argue gsm8k task.path=data/gsm8k writer.model=gpt-4o --out solutions.jsonl"),
    (audit.audit, "thinktwice audit solutions.jsonl --pairing balanced"),
    (verify.verify, "thinktwice verify runs/transplant solutions.jsonl --out ranked.jsonl"),
    (compose.compose_eval, "thinktwice compose-eval boolq task.path=data/boolq task.train=20 --out boolq-eval.jsonl"),
    (compose.compose_sft, "thinktwice compose-sft wiki_instructions --against eval.jsonl --out sft.jsonl"),
    (label.label, "thinktwice label strategyqa task.path=data planner.model=gpt-4o --out steps.json"),
    (
        migrate.migrate,
        "thinktwice migrate planning --out vae.yaml -- train.py --add_soft_prompts True --extract_step_type_tokens vae",
    ),
    (make.pretrain, "thinktwice pretrain --out models/nano seed=1"),
    (look.tasks, "thinktwice tasks"),
    (look.methods, "thinktwice methods"),
    (look.doctor, "thinktwice doctor"),
)
"""Every command, with the example its --help ends with."""


def build() -> typer.Typer:
    """Return the application."""
    app = typer.Typer(
        help="Teach a language model to think twice, and prove each gain against its control.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for function, example in COMMANDS:
        app.command(function.__name__.replace("evaluate", "eval").replace("_", "-"), epilog=f"Example:  {example}")(
            function
        )
    app.add_typer(corpus.app, name="corpus")
    return app


def main() -> None:
    """Run the command line and exit."""
    try:
        build()()
    except ConfigError as error:
        _exit(2, f"thinktwice: {error}")
    except ThinkTwiceError as error:
        _exit(1, f"thinktwice: {error}")
    except KeyboardInterrupt:
        _interrupted()
    except SystemExit as error:
        if error.code == 130:  # how Typer ends a command that Ctrl-C stopped
            _interrupted()
        raise


def _interrupted() -> None:
    goes_on = sys.argv[1:2] in (["run"], ["train"], ["label"], ["argue"], ["distil"], ["review"], ["pretrain"])
    _exit(130, "thinktwice: interrupted" + ("; the same command goes on where it stopped" if goes_on else ""))


def _exit(code: int, message: str) -> None:
    print(message, file=sys.stderr)
    sys.exit(code)
