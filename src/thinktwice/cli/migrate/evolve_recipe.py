"""The public ELITE code's command lines as recipes. Law: what is not the same is said in a note."""

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from thinktwice.cli.migrate.command import Migrated, read_flags, script_words, told
from thinktwice.cli.migrate.evolve import FLAGS, SCRIPTS
from thinktwice.errors import ConfigError

EVAL_ROWS = 300
"""Instances of each task that theirs was tested on."""
DEV = 100
"""Training problems on which is decided whether a round may stand."""
LORA = {
    "mode": "qlora",
    "bits": 4,
    "lora_rank": 16,
    "lora_alpha": 8,
    "lora_dropout": 0.05,
    "lora_targets": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    "weight_decay": 0.001,
    "betas": [0.9, 0.999],
    "schedule": "constant",
    "precision": "fp16",
}
ROUND = {**LORA, "lr": 1e-3, "epochs": 1, "batch_size": 1, "max_grad_norm": 1.0}
"""finetune.py's settings."""
GOLD = {**LORA, "lr": 5e-5, "epochs": 3, "batch_size": 2, "max_grad_norm": 0.3}
"""sft.py's settings; its warm-up did nothing, because a constant schedule has none."""
GOLD_ROWS = 50
FEEDBACK = {"feedback": 1.0, "answer": 0.0, "prompt": 0.0}
"""What ELITE means to learn."""
PROMPTS = {"feedback": 0.0, "answer": 0.0, "prompt": 1.0}
"""What its trainer learns."""
MEANT = {"vote": "verdict", "accept": "verdict", "weights": "restart", "objectives": FEEDBACK, "guards": {"on": True}}
RELEASED = {"vote": "medoid", "accept": "all", "weights": "ties", "objectives": PROMPTS, "guards": {"on": False}}
ALSO = {"boolq": "thinktwice_boolq", "squad": "thinktwice_squad", "gsm8k": "thinktwice_gsm8k"}


def migrate_evolve(
    words: Sequence[str], *, data: str | None = None, compat: bool = False, controls: bool = True
) -> Migrated:
    """Translate main.py or sft.py, or one of the two compose scripts with what was changed in it.

    Args:
        words: the script's name and its flags, or a shell file that runs it.
        data: where the task files lie, in place of base_dataset_path (base_root).
        compat: do as the public code does: the prompt is learned, the vote counts nothing, adapters are merged by TIES,
            no guard; from the second round on prompts have no examples.
        controls: add the arms that a claim needs.

    Raises:
        ConfigError: what cannot be had, in one sentence.
    """
    script, _, rest = script_words(words, SCRIPTS)
    given = read_flags(rest, FLAGS, script)
    values = {**{flag.key: flag.default for flag in FLAGS if script in flag.scripts}, **given}
    notes = told(given, FLAGS, script)
    if script == "sft":
        return _gold(values, notes, data)
    if script == "main":
        return _rounds(values, notes, data, compat, controls, given)
    return _composed(script, values, notes, data)


def _rounds(
    v: Mapping[str, Any], notes: list[str], data: str | None, compat: bool, controls: bool, given: Mapping[str, Any]
) -> Migrated:
    if "iteration_amount" in given and "cur_iteration" in given:
        raise ConfigError("--iteration_amount and --cur_iteration are of two versions; keep one.")
    early = "iteration_amount" in given and "num_return_seq" not in given
    v = {**v, "num_return_seq": 8} if early else v  # that version's default
    for key in ("per_task_data_rows", "num_return_seq", "eval_inference_batch_size", "clusters", "iteration_amount"):
        if v[key] is not None and v[key] < 1:
            raise ConfigError(f"--{key} is {v[key]}; it must be at least 1.")
    rounds = v["iteration_amount"] or v["cur_iteration"] + 1
    path, tasks = _data(data or v["base_dataset_path"], notes)
    rows = v["per_task_data_rows"]
    task = {
        "name": "natural_instructions",
        "path": path,
        "parts": ["definition", "caution"],
        "per_task": max(EVAL_ROWS, rows * rounds + DEV),
        "dev": DEV,
    }
    method: dict[str, Any] = {"name": "evolve", "rounds": rounds}
    if tasks is None:
        notes.append(
            f"{path} is not here, so its tasks could not be counted: set method.problems to {rows} times their number."
        )
    else:
        method["problems"] = rows * tasks
    method |= {"samples": 1, "temperature": 1.0, "critiques": v["num_return_seq"], **_examples(v, compat)}
    method |= {**(RELEASED if compat else MEANT), "replay": 0.0, "gold_visible": "none"}
    notes += _differences(compat)
    _scored_elsewhere(v, notes)
    arms: dict[str, Any] = {"base": {"trained": False, "method": {"name": "baseline"}}}
    if not v["baseline_only"]:
        arms = {"evolve": {}, **({**arms, **_controls(compat)} if controls else {})}
    tree: dict[str, Any] = {
        "name": _name(v, "elite"),
        "task": task,
        "model": {"path": v["model_path"], "dtype": "float16"},
        "method": method,
        "train": ROUND,
        "decode": {"batch_size": v["eval_inference_batch_size"], "max_new_tokens": 100},
        "evaluation": {"problems": 1000, "dev_problems": DEV, "levels": [0]},
        "arms": arms,
    }
    if len(arms) > 1:
        compared = ("meant", "evolve") if compat else ("evolve", "shuffled")
        tree["headline"] = {"a": compared[0], "b": compared[1], "level": 0}
    if v["wandb_enabled"]:
        tree["report_to"] = ["wandb"]
    return Migrated(tree, "thinktwice run FILE", tuple(notes))


def _data(path: str, notes: list[str]) -> tuple[str, int | None]:
    """Return the task's path, and how many training tasks it has; None where it is not on this machine."""
    place = Path(path)
    root = place.parent if place.name == "train" else place
    train = place if place.name == "train" else root / "train"
    if not train.is_dir() or not (root / "test").is_dir():
        notes.append(f"{root} must have folders train and test with task files, or task.test_tasks must name tasks.")
    return str(root), len(list(train.glob("*.json"))) if train.is_dir() else None


def _examples(v: Mapping[str, Any], compat: bool) -> dict[str, Any]:
    optimised, human = v["enable_prompt_optimization"], v["enable_initial_human_examples"]
    count = v["clusters"] if optimised else v["pos_example_amount"]
    if v["enable_mismatch_initial_human_examples"] and human:
        return {"exemplars": "mismatched", "shots": max(2, v["pos_example_amount"])}
    if optimised:
        return {"exemplars": "none"} if compat else {"exemplars": "clustered", "shots": count}
    return {"exemplars": "human", "shots": count} if human and count else {"exemplars": "none"}


def _controls(compat: bool) -> dict[str, Any]:
    """Return the arms without which nothing is shown: gold answers, and what the released code and ELITE's idea differ
    in; of the idea also placebos, and no guards.
    """
    learn_gold = {"feedback": 0.0, "answer": 1.0, "prompt": 0.0}
    gold = {"source": "none", "accept": "reference", "gold_visible": "critic+train", "objectives": learn_gold}
    sft_gold = {"method": {**gold, "weights": "restart", "exemplars": "none"}}
    if compat:
        return {"meant": {"method": MEANT}, "sft_gold": sft_gold}
    own = {"source": "none", "accept": "all", "objectives": PROMPTS, "exemplars": "none"}
    return {
        "shuffled": {"method": {"source": "shuffled"}},
        "verdict_only": {"method": {"content": False}},
        "sft_gold": sft_gold,
        "own_prompts": {"method": own},
        "guards_off": {"method": {"guards": {"on": False}}},
    }


def _differences(compat: bool) -> list[str]:
    notes = [
        "one answer a problem is written greedily; theirs was drawn at temperature 0.3. Critiques are drawn at "
        "method.temperature.",
        "rows are not cut at 256 tokens; a row that is too long for the model stops the training (train.overflow).",
        "answers are scored greedily by ROUGE-L with stemming, best over the references; theirs were sampled, the "
        "first reference alone, without stemming.",
        "feedback is asked for in lines that can be read (verdict, first wrong line, explanation, answer).",
    ]
    if compat:
        notes.append(
            "what is learned is the question and the model's own answer, because that is what the public trainer "
            "learns: its collator replaces the feedback. Arm meant learns the feedback."
        )
        notes.append("from iteration 1 on their prompts had no examples; here they have none from the first round on.")
    else:
        notes.append(
            "the feedback is learned; the public trainer learned its own prompts instead (arm own_prompts, --compat)."
        )
        notes.append(
            "each round begins from the base on everything that was kept (weights: restart), and is rolled back where "
            "it does harm (guards); theirs merged dependent adapters by TIES into 4 bits, without a check."
        )
    return notes


def _scored_elsewhere(v: Mapping[str, Any], notes: list[str]) -> None:
    asked = [name for key, name in ALSO.items() if v[f"enable_{key}_eval"]]
    if asked:
        notes.append(
            f"afterwards: thinktwice eval runs/{_name(v, 'elite')} --tasks {','.join(asked)} scores the weights that "
            "stand at the end. What cannot be read as an answer is wrong there, and no answer is right for being part "
            "of another."
        )


def _gold(v: Mapping[str, Any], notes: list[str], data: str | None) -> Migrated:
    if data is None:
        notes.append("the file it trains on is fixed in sft.py; --data DIR says where the task files are.")
    path, _ = _data(data or "data/natural_instructions", notes)
    notes += [
        "the completion alone is learned; theirs learned the prompt, because its collator replaces the labels.",
        f"{GOLD_ROWS} rows of each task are drawn, in test as in train; theirs were the first of each file.",
        "its warm-up did nothing, because transformers' constant schedule has none.",
        "as a control of main.py's it has another learning rate, other epochs and other rows: the arm sft_gold there "
        "has the same of all three.",
    ]
    arms = {"base": {"trained": False}, **({} if v["baseline_only"] else {"sft": {}})}
    task = {"name": "natural_instructions", "path": path, "parts": ["definition", "caution"], "per_task": GOLD_ROWS}
    tree: dict[str, Any] = {
        "name": _name(v, "elite-sft"),
        "task": task,
        "model": {"path": v["model_path"], "dtype": "float16"},
        "method": {"name": "baseline"},
        "train": GOLD,
        "decode": {"batch_size": 4, "max_new_tokens": 100},
        "evaluation": {"problems": 1000, "dev_problems": 0, "levels": [0]},
        "arms": arms,
    }
    if "sft" in arms:
        tree["headline"] = {"a": "sft", "b": "base", "level": 0}
    return Migrated(tree, "thinktwice run FILE", tuple(notes))


def _composed(script: str, v: Mapping[str, Any], notes: list[str], data: str | None) -> Migrated:
    path = PurePosixPath(data or v["base_root"] or "data/natural_instructions")
    tested = script == "compose_eval_data"
    inner = path.name == ("test" if tested else "train")
    split = ("test" if tested else "train") if inner else "test"
    out = PurePosixPath("natural_ins_eval.json" if tested else v["output_path"]).with_suffix(".jsonl")
    notes.append("a row a line, with every reference; theirs were two lists in one object, with the first reference.")
    command = "compose-eval" if tested else "compose-sft"
    where = path.parent if inner else path
    line = f"thinktwice {command} natural_instructions {shlex.quote(f'task.path={where}')} --split {split}"
    parts = "'task.parts=[definition,caution]'"
    return Migrated({}, f"{line} {parts} --rows-per-task {v['limit']} --out {shlex.quote(str(out))}", tuple(notes))


def _name(v: Mapping[str, Any], default: str) -> str:
    """Return the run's name: that of the experiment, or of its directory, where it can be one."""
    for said in (v.get("experiment_name"), PurePosixPath(v["experiment_root_path"]).name):
        if said and said not in ("official", "results") and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", said):
            return f"{default}-{said}"
    return default
