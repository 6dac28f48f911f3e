"""The public ReAct trainer's command lines as recipes and commands. Law: what is not the same is said in a note."""

import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from thinktwice.cli.migrate.command import Migrated, Script, read_flags, script_words, told
from thinktwice.cli.migrate.react import FLAGS, SCRIPTS
from thinktwice.errors import ConfigError

TEACHER = "meta-llama/Llama-2-70b-chat-hf"
SERVER = "http://localhost:8000/v1"
CORPUS = "data/hotpotqa.sqlite"
ROWS = 4
"""Rows of one optimiser step there: 1 times 4 accumulated."""
EPISODES = {
    "corpus": CORPUS,
    "grammar": "text",
    "k": 1,  # they show the first page of three
    "max_turns": 5,
    "observation_tokens": 300,
}
OUTCOME_ONLY = {"grounded": False, "no_loop": False, "clean": False, "per_question": 0}
"""The published filter: a right answer is enough."""
TRAINING = {
    "mode": "qlora",
    "bits": 4,
    "lora_rank": 16,
    "lora_alpha": 32,
    "lora_dropout": 0.05,
    "lora_targets": ["q_proj", "v_proj"],
    "lr": 2e-4,
    "schedule": "linear",
    "warmup_steps": 15,
    "weight_decay": 0.01,
    "betas": [0.9, 0.999],
    "max_grad_norm": 1.0,
    "epochs": 1,
    "batch_size": ROWS,
    "grad_accumulation": ROWS,
    "precision": "fp16",
    "gradient_checkpointing": True,
    "max_length": 4096,
}
"""config/SFT_trainer.json; a tenth of 150 steps is warm-up; no limit is set there, so that TRL's applied."""
PREFERENCES: dict[str, Any] = {"lr": 5e-5, "schedule": "cosine", "warmup_steps": 100, "beta": 0.1}
"""What config/DPO_trainer.json and dpo_trainer.py change."""
CUT = {"rows": "step", "max_length": 1024, "overflow": "cut"}
"""TRL 0.7's default for SFT; a row there begins with a prompt of three examples."""
CUT_PAIRS = {"pairs": ["araft"], "max_length": 512, "overflow": "cut", "max_prompt": 128}
"""TRL 0.7's defaults for DPO, and araft's pairs."""
LEVELS = (1, 2, 3)

_CORPUS_NOTE = (
    f"what is searched is a corpus file, not the live Wikipedia: thinktwice corpus build DATA --out {CORPUS} makes it "
    "of HotpotQA's paragraphs; with the distractors alone searches look better than they would over all of Wikipedia."
)


def migrate_react(
    words: Sequence[str], *, data: str | None = None, compat: bool = False, controls: bool = True
) -> Migrated:
    """Translate a command line of one of the six scripts.

    Args:
        words: the command line, or a shell file that holds it.
        data: HotpotQA's directory, for `task.path` of a recipe that trains.
        compat: filter, cut and pair as the public code does.
        controls: add the arms that a claim needs.

    Raises:
        ConfigError: what cannot be had, in one sentence.
    """
    script, _, rest = script_words(words, SCRIPTS)
    given = read_flags(rest, FLAGS, script)
    values = {f.key: f.default for f in FLAGS if script in f.scripts} | given
    notes = told(given, FLAGS, script)
    if script == "traj_generator":
        return _distillation(values, notes, compat)
    if script in ("traj_to_SFT_converter", "traj_to_DPO_converter"):
        return _tables(values, notes)
    if script == "evaluator_hotpot":
        return _evaluation(values, notes)
    return _training(script, values, notes, data, compat, controls)


def _distillation(v: Mapping[str, Any], notes: list[str], compat: bool) -> Migrated:
    work = {"start": v["start"], "stop": v["stop"], "quantity": v["traj_qty"]}
    filters = {"f1_threshold": v["f1_threshold"], **(OUTCOME_ONLY if compat else {})}
    method = {
        **EPISODES,
        "max_turns": v["agent_max_iter"],
        "temperature": 0.8,
        "work": {key: value for key, value in work.items() if value is not None},
        "filters": filters,
    }
    if filters["f1_threshold"] <= 0 or filters["f1_threshold"] > 1:
        raise ConfigError(f"--f1-threshold is above 0 and at most 1, got {filters['f1_threshold']}.")
    job = {"task": {"path": v["dataset"]}, "model": v["model"], "endpoint": SERVER, "method": method}
    notes += [
        _CORPUS_NOTE,
        "failed episodes are kept as well (episodes.sqlite): they are where preferences are mined.",
        "a single file is one split here, test.",
    ]
    out = shlex.quote(v["output_dir"])
    return Migrated(job, f"thinktwice distil hotpotqa --config FILE --split test --out {out}", tuple(notes))


def _tables(v: Mapping[str, Any], notes: list[str]) -> Migrated:
    if "llama-2" not in v["model"].lower():
        raise ConfigError(f"MODEL {v['model']!r}: araft's tables are written in Llama-2-chat's template only.")
    outfile = Path(v["outfile"])
    if outfile.suffix not in ("", ".csv"):
        raise ConfigError(f"--outfile {v['outfile']!r} must end in .csv, as theirs must.")
    out = outfile.parent if outfile.suffix else outfile
    parts = ("export-pairs", v["dataset"], "--compat", "araft-csv", "--templates-dir", v["templates_dir"])
    command = shlex.join(["thinktwice", *map(str, parts), "--out", str(out)])
    notes.append(
        "a recipe needs no table: rows and pairs are made of token ids, not of text; these are for other trainers."
    )
    return Migrated({}, command, tuple(notes))


def _evaluation(v: Mapping[str, Any], notes: list[str]) -> Migrated:
    asked = v["samples"]
    task: dict[str, Any] = {"name": "hotpotqa", "path": v["dataset"]}
    levels, problems = list(LEVELS), 7405
    if asked is None:
        notes.append("without --samples every question is asked; keep in evaluation.levels those that the file has.")
    else:
        counts = sorted({n for n in asked if n})
        if len(counts) != 1 or counts[0] < 0:
            raise ConfigError(f"--samples {' '.join(map(str, asked))}: each level has as many questions, or none.")
        levels, problems = [level for level, n in zip(LEVELS, asked, strict=True) if n], counts[0]
        if len(levels) == len(LEVELS):
            task["per_level"] = problems
    model = str(PurePosixPath(v["model"]) / v["subfolder"]) if v["subfolder"] else v["model"]
    notes += [
        _CORPUS_NOTE,
        "answers are greedy; theirs were drawn as the model's own generation_config says (Llama-2-chat samples).",
        "report.txt there has sums of F1; here are means with intervals, EM, hops, loops and failures.",
    ]
    tree = {
        "name": "araft-evaluation",
        "task": task,
        "model": {"path": model, "dtype": "float16"},
        "method": {"name": "react", **EPISODES, "max_turns": v["agent_max_iter"], "shots": 3},
        "decode": {"max_new_tokens": 1024, "batch_size": 16},
        "evaluation": {"problems": problems, "dev_problems": 0, "levels": levels},
        "arms": {"agent": {"trained": False}},
    }
    return Migrated(tree, "thinktwice run FILE", tuple(notes))


def _training(
    script: Script, v: Mapping[str, Any], notes: list[str], data: str | None, compat: bool, controls: bool
) -> Migrated:
    preferring, rows = script == "dpo_trainer", v["samples"]
    if rows is not None and rows < 1:
        raise ConfigError(f"--samples must be at least 1, got {rows}.")
    steps = {} if rows is None else {"steps": math.ceil(rows / ROWS)}
    method: dict[str, Any] = {
        "name": "react",
        **EPISODES,
        **({"shots": 3} if compat else {}),
        "teacher": {"model": TEACHER, "base_url": SERVER},
        "temperature": 0.8,
        "max_new_tokens": 1024,
        "work": {"quantity": 600 if preferring or compat or rows is None else rows},
        "store": "data/araft/episodes.sqlite",
        "filters": {"f1_threshold": 1.0, **(OUTCOME_ONLY if compat else {})},
    }
    arms, headline = _arms(preferring, {**PREFERENCES, **steps}, compat, controls)
    planned, warmup = steps.get("steps", 600 // ROWS), PREFERENCES["warmup_steps"]
    if preferring:
        notes.append(f"the published warm-up takes {min(warmup, planned)} of the {planned} steps of {ROWS} pairs.")
    notes += _told(preferring, compat, [name for name in arms if name not in ("sft", "dpo")] if controls else [])
    tree: dict[str, Any] = {
        "name": f"araft-{'dpo' if preferring else 'sft'}",
        "task": {"name": "hotpotqa", **({"path": data} if data else {}), "per_level": 100, "dev": 300, "train": 4000},
        "model": {"path": v["base_model"] if preferring else v["model"], "dtype": "float16"},
        "method": method,
        "train": {**TRAINING, **(steps if compat and not preferring else {})},
        "decode": {"max_new_tokens": 1024, "batch_size": 16},
        "evaluation": {"problems": 100, "dev_problems": 100, "levels": list(LEVELS)},
        "arms": arms,
    }
    if headline:
        tree["headline"] = {**headline, "level": 3}
    return Migrated(tree, "thinktwice run FILE", tuple(notes))


def _arms(
    preferring: bool, train: dict[str, Any], compat: bool, controls: bool
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Return the arms, that of the command line last, and what is compared."""
    arms: dict[str, Any] = {}
    if controls:
        arms["prompted"] = {"trained": False, "method": {"shots": 3}}
    if controls and not compat:
        arms["sft_cut"] = {"method": {**CUT, "shots": 3}}
    arms["sft"] = {"method": dict(CUT)} if compat else {}
    if not preferring:
        other = next((name for name in ("sft_cut", "prompted") if name in arms), None)
        return arms, {"a": "sft", "b": other} if other else None
    if controls and not compat:
        arms["dpo_araft"] = {"start": "sft", "method": {"objective": "dpo", **CUT_PAIRS}, "train": train}
    if controls:
        arms["guard"] = {"weights": "sft", "method": {"guard": "ban"}}
    arms["dpo"] = {"start": "sft", "method": {"objective": "dpo", **(CUT_PAIRS if compat else {})}, "train": train}
    return arms, {"a": "dpo", "b": "sft"}


def _told(preferring: bool, compat: bool, added: Sequence[str]) -> list[str]:
    """Return what is different about a training, whatever its flags."""
    length = "512 tokens, and of the prompt the last 128" if preferring else "1024 tokens"
    notes = [_CORPUS_NOTE, f"the teacher is the published one, {TEACHER}, on a server of yours (method.teacher)."]
    if compat:
        notes.append(f"rows are cut as there ({length}); the report counts the actions that this takes away.")
    else:
        notes.append(
            "a row that is too long is an error. The public trainers set no length, so that TRL's default cut the end "
            f"of every longer row, where the action stands, to {length}; --compat does so."
        )
    if preferring and not compat:
        notes.append(
            "pairs are mined where the student itself went wrong; theirs, a teacher's step against the one before it, "
            "are method.pairs: [araft]."
        )
    notes.append("the loss is on what the model writes, its stop included; theirs was on prompt and observations, too.")
    if added:
        notes.append(f"control arms were added ({', '.join(added)}); --no-controls leaves them out.")
    return notes
