"""The seed's scripts as recipes. Law: what is not the same is said in a note."""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from thinktwice.cli.migrate.command import Migrated, read_flags, script_words, told
from thinktwice.cli.migrate.transplant import FLAGS, SCRIPTS
from thinktwice.errors import ConfigError

EPOCHS = 10
"""After so many the seed's unmasked run was stopped."""
TASKS = {
    "addsub": "addsub",
    "singleop": "singleop",
    "svamp_structured": "svamp",
    "multiarith": "multiarith",
    "asdiv": "asdiv",
    "GSM8k_structured": "gsm8k",
    "singleq": "singleeq",
    "simuleq": "simuleq",
}
"""Lila's names of the seed's eight subsets -> our tasks."""


def migrate_transplant(
    words: Sequence[str], *, data: str | None = None, compat: bool = False, controls: bool = True
) -> Migrated:
    """Translate main.py, or datagen-main.py, with the constants that were changed in it.

    Args:
        words: the script's name, and its constants as flags (`--lr 1e-4`).
        data: where dataset.csv lies, instead of INPUT_DIR.
        compat: do as the seed did: one adapter, rows shifted by one, the argument as it is, the loss over all tokens, a
            constant learning rate, gradients not clipped.
        controls: add the arms that a claim needs.

    Raises:
        ConfigError: what cannot be had, in one sentence.
    """
    script, _, rest = script_words(words, SCRIPTS)
    given = read_flags(rest, FLAGS, script)
    values = {**{flag.key: flag.default for flag in FLAGS if script in flag.scripts}, **given}
    notes = told(given, FLAGS, script)
    if script == "datagen-main":
        return _generation(values, notes)
    return _training(values, notes, data, compat, controls)


def _generation(v: Mapping[str, Any], notes: list[str]) -> Migrated:
    names = v["DATASET_NAMES"] or ",".join(TASKS)
    chosen = []
    for name in (word.strip().removesuffix(".json") for word in names.split(",")):
        if name not in TASKS:
            raise ConfigError(f"--DATASET_NAMES: {name!r} is none of the seed's subsets: {', '.join(TASKS)}.")
        chosen.append(TASKS[name])
    job = {
        "writer": {"model": v["model"]},
        "sampling": {"temperature": v["temperature"], "top_p": v["top_p"], "max_new_tokens": v["max_tokens"]},
        "arguing": {"mode": "roles", "choice": True, "base": True},
    }
    notes.append(
        "right solutions are asked for argument first and wrong ones answer first, as the seed did, so that who reads "
        "them can tell the prompt; arguing.mode=sample draws both from one prompt."
    )
    notes.append(
        "a reply's JSON is read with quotes and line breaks in it; theirs had to fall into six pieces at quotes."
    )
    tasks = "lila" if len(chosen) == len(TASKS) else ",".join(chosen)
    out = PurePosixPath(v["OUTPUT_DIR"]) / PurePosixPath(v["OUTPUT_FILE"]).with_suffix(".jsonl")
    return Migrated(job, f"thinktwice argue {tasks} --config FILE --out {out}", tuple(notes))


def _training(v: Mapping[str, Any], notes: list[str], data: str | None, compat: bool, controls: bool) -> Migrated:
    place = PurePosixPath(v["INPUT_DIR"])
    masked = place.name == "masked"
    argument = ("seed" if compat else "masked") if masked else "plain" if compat else "none"
    posing = {"file": data or str(place / "dataset.csv"), "most": 1}
    method = {"name": "transplant", "rows": "shifted" if compat else "content", "argument": argument, "posing": posing}
    pairs, part = v["BATCH_SZ"], v["SUBBATCH_SZ"]
    if not 0 < part <= pairs:
        raise ConfigError(f"--SUBBATCH_SZ {part} must be 1 to --BATCH_SZ {pairs}.")
    quantised = v["load_in_4bit"] or v["load_in_8bit"]
    train: dict[str, Any] = {
        "mode": "qlora" if quantised else "lora",
        **({"bits": 4 if v["load_in_4bit"] else 8} if quantised else {}),
        "lora_rank": v["lora_rank"],
        "lora_alpha": v["lora_alpha"],
        "lora_dropout": v["lora_dropout"],
        "lora_targets": [word.strip() for word in v["target_modules"].split(",")],
        "lr": v["lr"] * pairs / 128,
        "betas": [v["beta1"], v["beta2"]],
        "weight_decay": v["weight_decay"],
        "batch_size": 2 * pairs,
        "grad_accumulation": max(1, pairs // part),
        "epochs": v["epochs"] or EPOCHS,
        "eval_every": max(1, v["TEST_INTERVAL"] * part // pairs),
        "gradient_checkpointing": True,
        "early_stopping": 100_000,
    }
    if compat:
        train |= {"arguer": "tied", "loss_over": "vocabulary", "schedule": "constant", "max_grad_norm": 0.0}
    else:
        train |= {"schedule": "cosine", "warmup_steps": 20, "max_grad_norm": 1.0}
    notes += _differences(compat, argument)
    tree: dict[str, Any] = {
        "name": "transplant-seed",
        "task": {"name": "given"},
        "model": {"path": v["base_model"], "dtype": v["torch_dtype"]},
        "method": method,
        "train": train,
        "decode": {"batch_size": v["TEST_BATCH_SZ"]},
        "evaluation": {"problems": 1000, "dev_problems": 300, "levels": [2]},
        "arms": {"transplant": {}, **(_controls(compat, v) if controls else {})},
    }
    if controls:
        tree["headline"] = {"a": "transplant", "b": "text", "level": 2}
    return Migrated({**tree, "seed": v["seed"]}, "thinktwice run FILE", tuple(notes))


def _controls(compat: bool, v: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arms that tell a reading of states from a reading of text; one adapter has the weights of two."""
    twice = {"lora_rank": 2 * v["lora_rank"], "lora_alpha": 2 * v["lora_alpha"]}
    alone = {} if compat else {"train": twice}  # a tied adapter is one already
    frozen = {"arguer": "frozen", **({} if compat else twice)}
    return {
        "text": {"method": {"rows": "none"}, **alone},
        "no_transplant": {"weights": "transplant", "method": {"states": "none"}},
        "shuffled": {"weights": "transplant", "method": {"states": "shuffled"}},
        "swapped": {"weights": "transplant", "method": {"states": "swapped"}},
        "frozen": {"train": frozen},
        "probe": {"trained": False, "method": {"name": "probe"}},
    }


def _differences(compat: bool, argument: str) -> list[str]:
    notes = [
        "the seed's base carried alpaca-lora-7b, put on twice, so that arguer and chooser were one network; here "
        "training begins from fresh adapters over the model named.",
        "both orders of every pair are trained and scored; the seed showed each in the order of its file.",
        "the words around question and solutions are this package's, in the model's own chat template if it has one.",
        "the residual keeps the model's number format; the seed's was float64.",
        "on the seed's test rows n-grams and the argument's choice reach 0.793 (thinktwice audit dataset.csv): that is "
        "the bar, not 0.59.",
    ]
    if argument == "plain":
        notes.append("the argument is shown as it is: it states the label that it argues for.")
    if not compat:
        notes.append(
            "each reader has an adapter of its own, the rows are the solution's, the loss is over the two identifiers, "
            "the learning rate warms up and falls; --compat does as the seed did."
        )
    if argument == "none":
        notes.append("the argument for a candidate is not shown; method.argument=masked (or plain) shows it.")
    return notes
